//! What is given: the model, the cluster and the workload.

pub mod cluster;
pub mod config;
mod counts;
mod mixed;
pub mod model;
mod names;
pub mod presets;
pub(crate) mod span;
pub mod workload;

pub use mixed::{Layers, Matrix, Mixed};
pub use names::short;
