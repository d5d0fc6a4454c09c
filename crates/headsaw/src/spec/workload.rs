//! What goes through the model together, and in which precision.

use serde::{Deserialize, Serialize};

/// What goes through the model together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Sequences that one micro-batch can carry while it generates (one token each).
    pub batch: u32,
    /// Tokens of a prompt that go through together: the prompt chunk.
    pub tokens: u32,
    /// Micro-batches in flight.
    pub micros: u32,
    /// Tokens of a sequence that the KV cache has room for.
    pub context: u32,
    /// Sequences that the KV cache has room for.
    pub sequences: u32,
    /// How numbers are rounded on the way; part of the model's bits, never of the cut.
    pub numerics: Numerics,
}

impl Workload {
    /// Rows (tokens) that a micro-batch can carry.
    pub fn rows(&self) -> u32 {
        self.batch.max(self.tokens)
    }
}

/// How numbers are rounded on the way through the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Numerics {
    /// What products take.
    pub activations: Activations,
    /// How the KV cache keeps K and V.
    pub kv: KvDtype,
}

/// What products take as activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activations {
    /// 8-bit integers in blocks of 32 with a scale each.
    Int8,
    /// Single precision, with weights dequantised.
    F32,
}

/// How the KV cache keeps K and V.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvDtype {
    /// Half precision.
    F16,
    /// Single precision.
    F32,
}

impl KvDtype {
    /// Bytes of one element.
    pub fn bytes(self) -> u32 {
        match self {
            KvDtype::F16 => 2,
            KvDtype::F32 => 4,
        }
    }
}
