//! What is given: the model, the cluster and the workload.

pub mod model;
