//! What is given: the model, the cluster and the workload.

pub mod cluster;
pub mod config;
mod counts;
pub mod model;
mod names;
pub mod presets;
pub mod workload;

pub use names::short;
