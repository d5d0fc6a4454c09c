//! What a device's kernels were measured to do (`headsaw calibrate` writes it).

use crate::spec::model::Dtype;
use crate::units::{Bytes, BytesPerSecond, FlopsPerSecond, Seconds};
use serde::{Deserialize, Serialize};

/// What the kernels of a device of CPU threads were measured to do. A lane is a thread; all rates but
/// `bytes_per_second` are those of one lane that has a core to itself. `cost::table` says how they make a price.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Cores that its lanes share with those of all other devices of the machine.
    pub cores: u32,
    /// What each core does while all compute at once, of what it does alone: they may share a clock, units and caches;
    /// none: the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub together: Option<f64>,
    /// Cache that the cores share.
    pub cache_bytes: Bytes,
    /// Reading what lies in that cache.
    pub cached_bytes_per_second: BytesPerSecond,
    /// Reading memory with one lane.
    pub lane_bytes_per_second: BytesPerSecond,
    /// Reading memory with all cores.
    pub bytes_per_second: BytesPerSecond,
    /// What an action costs beside its work.
    pub action_seconds: Seconds,
    /// From the end of one action to the beginning of the next that waited for it, on another lane.
    pub hand_over_seconds: Seconds,
    /// The same where there are more lanes than cores, so that those who wait give their core away.
    pub crowded_hand_over_seconds: Seconds,
    /// The same where who waits has waited for so long that it sleeps; none: as if it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_seconds: Option<Seconds>,
    /// Norms, rotary, activations.
    pub elements: ElementRates,
    /// Attention, K and V in the cache in half precision.
    pub attention: AttentionRates,
    /// Matrix products by type of the weights and tokens, weights in the cache; in any order.
    pub products: Vec<ProductPoint>,
}

/// What works on each element alone: elements a second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElementRates {
    /// RMS norm and quantising.
    pub norm_per_second: f64,
    /// Quantising.
    pub quantise_per_second: f64,
    /// Rotary.
    pub rotate_per_second: f64,
    /// SiLU of one, times the other.
    pub activate_per_second: f64,
    /// K and V, rounded and brought to their places in the cache.
    pub store_per_second: f64,
    /// One vector added to another.
    pub add_per_second: f64,
    /// Activations laid out in the order in which a product reads them.
    pub lay_per_second: f64,
    /// Logits looked at: finite, the largest.
    pub sample_per_second: f64,
}

/// Attention: each query takes `1/q + keys · (1/e + 4 · D/f)` seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionRates {
    /// `q`: queries a second, were there no keys.
    pub queries_per_second: f64,
    /// `e`: scores that become weights.
    pub exponentials_per_second: f64,
    /// `f`: scores and weighted sums, by queries that share K and V; in any order.
    pub products: Vec<AttentionPoint>,
}

/// One measured rate of products.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductPoint {
    /// Type of the weights.
    pub weights: Dtype,
    /// Rows of activations (tokens).
    pub tokens: u32,
    /// Operations, a multiply-add counts two.
    pub flops_per_second: FlopsPerSecond,
}

/// One measured rate of attention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionPoint {
    /// Queries that share K and V: tokens times Q heads of a KV head.
    pub queries: u32,
    /// Operations, `4 · D` a query and key.
    pub flops_per_second: FlopsPerSecond,
}
