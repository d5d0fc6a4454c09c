//! What a device's kernels were measured to do (`headsaw calibrate` writes it).

use crate::units::{BytesPerSecond, FlopsPerSecond, Seconds};
use serde::{Deserialize, Serialize};

/// What the kernels of a device of CPU threads were measured to do. A lane is a thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Cores that its lanes share with those of all other devices of the machine.
    pub cores: u32,
    /// Reading memory with one lane.
    pub lane_bytes_per_second: BytesPerSecond,
    /// Reading memory with all cores.
    pub bytes_per_second: BytesPerSecond,
    /// From the end of one action to the beginning of the next that waited for it, on another lane.
    pub hand_over_seconds: Seconds,
    /// Matrix products of one lane, by weight type and tokens.
    pub products: Vec<ProductPoint>,
    /// Attention of one lane, by query tokens and keys.
    pub attention: Vec<AttentionPoint>,
    /// Norms, rotary, activations of one lane: elements a second.
    pub elements_per_second: f64,
}

/// One measured product.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductPoint {
    /// Type of the weights as in GGUF files, `Q4_1`.
    pub weights: String,
    /// Rows of activations (tokens).
    pub tokens: u32,
    /// With weights in the cache.
    pub flops_per_second: FlopsPerSecond,
}

/// One measured attention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionPoint {
    /// Query tokens.
    pub tokens: u32,
    /// Keys that each sees.
    pub keys: u32,
    /// 4 · head width · keys operations a head and token.
    pub flops_per_second: FlopsPerSecond,
}
