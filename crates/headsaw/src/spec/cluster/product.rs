//! Constants of matrix products and element-wise steps, fitted on measurements.

use crate::units::{BytesPerSecond, Seconds};
use serde::{Deserialize, Serialize};

/// Constants of matrix products and element-wise steps: five a kind of device. `cost::product` says how they make a
/// price, `tests/reference/products.rs` fits them (`refit_products`) and holds what they reach on what was left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductFit {
    /// What each kernel costs beside its work, the next one waiting in a queue or a graph: a product cut along its
    /// depth is two kernels.
    pub launch_seconds: Seconds,
    /// Share of the data sheet's memory rate at which weights and activations stream in and results out.
    pub memory_efficiency: f64,
    /// Rate, in all, at which the second-level cache feeds tiles of operands.
    pub tile_bytes_per_second: BytesPerSecond,
    /// Share of the tensor cores' peak that power lets the whole device keep up.
    pub sustained_efficiency: f64,
    /// Share of the data sheet's memory rate that element-wise kernels reach.
    pub elementwise_efficiency: f64,
}
