//! headsaw cuts a Transformer twice: attention **heads** across devices, which work in parallel, and **stages**, which
//! work in series. Types first: a plan says what lies where, a program says when, a trace says what happened.
//!
//! This crate is pure: no I/O, clock, threads, environment or `unsafe`.
//!
//! ```
//! use headsaw::plan::{CutRequest, Exchange, Order, cut};
//! use headsaw::spec::presets;
//! use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
//! use headsaw::{lower::lower, verify};
//!
//! // SmolLM2 has 9 heads. Two devices share them, in each of two stages of 15 layers.
//! let model = presets::find("smollm2-135m").unwrap();
//! let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
//! let workload = Workload { batch: 1, tokens: 128, micros: 2, context: 1024, sequences: 2, numerics };
//! let request = CutRequest {
//!     tp: 2,
//!     pp: 2,
//!     device_weights: vec![],
//!     lanes: 1,
//!     exchange: Exchange::Reduce,
//!     order: Order::Pipelined,
//! };
//! let plan = cut(&model, workload, &request).unwrap();
//! assert_eq!(plan.stages[0].slices[0].heads, 0..5);
//! assert_eq!(plan.stages[0].slices[1].heads, 5..9);
//! assert_eq!(verify::plan(&plan), []);
//! assert_eq!(verify::program(&lower(&plan)), []);
//! ```
#![forbid(unsafe_code)]

pub mod cost;
pub mod draw;
pub mod export;
pub mod grain;
pub mod lower;
pub mod plan;
pub mod program;
pub mod shard;
pub mod simulate;
pub mod spec;
pub mod trace;
pub mod units;
pub mod verify;
