//! What is given: the model, the cluster and the workload.

pub mod cluster;
pub mod model;
pub mod workload;
