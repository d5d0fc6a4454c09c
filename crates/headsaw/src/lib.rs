//! headsaw cuts a Transformer twice: attention **heads** across devices, which work in parallel, and **stages**, which
//! work in series. Types first: a plan says what lies where, a program says when, a trace says what happened.
//!
//! This crate is pure: no I/O, clock, threads, environment or `unsafe`.
#![forbid(unsafe_code)]

pub mod lower;
pub mod plan;
pub mod program;
pub mod shard;
pub mod spec;
pub mod units;
pub mod verify;
