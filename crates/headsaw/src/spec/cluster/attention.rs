//! Constants of attention on a GPU, fitted on measurements.

use crate::units::Seconds;
use serde::{Deserialize, Serialize};

/// Constants of attention: which kernel runs, and five numbers fitted on its measured times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionFit {
    /// The kernel whose tiles are counted.
    pub kernel: AttentionKernel,
    /// Two launches: storing the new keys and values in the cache, and attention itself. Fitted.
    pub launch_seconds: Seconds,
    /// Each launch more: adding up the parts of split sequences, copies that regroup heads. Fitted.
    pub further_launch_seconds: Seconds,
    /// The rate of a full GPU, relative to matrix products at the tensor cores' peak and after them exponentials at
    /// the special-function units' peak. Above 1 where the kernel hides one behind the other. Fitted.
    pub serial_efficiency: f64,
    /// How long one tile, alone on its multiprocessor, takes for a block of 64 KiB of keys and values. Fitted.
    pub block_seconds: Seconds,
    /// Reached share of the memory's rate. Fitted.
    pub memory_efficiency: f64,
}

/// A fused attention kernel; what distinguishes them is in `cost::tiles`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttentionKernel {
    /// FlashAttention 2 over a paged cache (arXiv 2307.08691): two tiles of 64 rows on a multiprocessor.
    Flash2,
    /// FlashAttention 3 (arXiv 2407.08608): one tile of 128 or 192 rows on a multiprocessor, warps specialised, the
    /// Q heads of a group packed into one tile.
    Flash3,
}
