//! What came out, how fast, and what each device holds.

use super::Finish;
use crate::lane::Recorded;
use headsaw::spec::cluster::DeviceId;
use headsaw::units::Bytes;
use std::ops::Range;

/// What came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// One for each prompt, in their order.
    pub outputs: Vec<Output>,
    /// BLAKE3 over the prompts' digests, in their order.
    pub logits_digest: [u8; 32],
    /// Prompts through the model, up to the first token of the last one; without tokens that the cache had.
    pub prefill: Phase,
    /// The tokens after the first.
    pub decode: Phase,
    /// What the lanes wrote down, where it was asked for.
    pub recorded: Option<Recorded>,
}

/// What came out for one prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Tokens of the prompt that lay in the cache from the run before.
    pub reused: usize,
    /// BLAKE3 over the BLAKE3s of each token's logits (single precision, little endian, in row order).
    pub logits_digest: [u8; 32],
    /// `[tokens, V]`, where they were asked for. One more token than in `tokens` where a stop token ended it.
    pub logits: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
}

/// Tokens and the time they took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phase {
    /// Tokens that went through.
    pub tokens: u64,
    /// Wall clock.
    pub seconds: f64,
}

impl Phase {
    /// Zero where nothing was measured.
    pub fn tokens_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.tokens as f64 / self.seconds } else { 0.0 }
    }
}

/// How far loading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadProgress {
    /// Bytes of weights read.
    pub done: Bytes,
    /// About so many in all.
    pub total: Bytes,
}

/// What a device holds and uses.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceReport {
    /// Which.
    pub device: DeviceId,
    /// Its stage.
    pub stage: usize,
    /// Its Q heads.
    pub heads: Range<u32>,
    /// The KV heads they use.
    pub kv_heads: Range<u32>,
    /// Its layers.
    pub layers: Range<u32>,
    /// Its weights, in memory.
    pub weight_bytes: Bytes,
    /// Weights, cache, values, products, headers and messages on their way, all allocated before the first token. Some
    /// hundred kilobytes of kernels' scratch a lane come on top.
    pub memory_bytes_peak: Bytes,
}
