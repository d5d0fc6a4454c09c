//! Constants of attention on a GPU, fitted on measurements.

use crate::units::Seconds;
use serde::{Deserialize, Serialize};

/// Constants of attention: which kernel runs, and five numbers fitted on its measured times.
///
/// Fitted are those of A100 and H100, on aiconfigurator's tables of vLLM's attention (`tests/reference/attention.rs`).
/// Where there is no table, they carry over by these rules:
/// - launches are those of the kernel: they are software;
/// - `serial_efficiency` is that of the kernel where tensor cores and special-function units stand in the same relation;
/// - `block_seconds` of FlashAttention 2 is 1.52 times what its block, 64 × 128 scores of width 128, takes at the peaks, as
///   on A100; of FlashAttention 3 half stays as on H100, and half goes with the memory's rate a multiprocessor, where that is
///   more than H200's;
/// - `memory_efficiency` is that of the same generation of memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionFit {
    /// The kernel whose tiles are counted.
    pub kernel: AttentionKernel,
    /// Tiles that a multiprocessor has room for at once, from the size of its shared memory: a tile of FlashAttention 2
    /// takes 80 KiB at width 128, of FlashAttention 3 nearly all there is. Not fitted.
    pub resident_tiles: u32,
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
    /// FlashAttention 2 over a paged cache (arXiv 2307.08691): tiles of 64 rows.
    Flash2,
    /// FlashAttention 3 (arXiv 2407.08608): tiles of 128 or 192 rows, warps specialised, the Q heads of a group packed
    /// into one tile.
    Flash3,
}
