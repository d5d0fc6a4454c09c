//! What goes through the model together, and in which precision.

use super::cluster::Precision;
use serde::{Deserialize, Serialize};

/// What goes through the model together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Sequences that one micro-batch can carry while it generates (one token each).
    pub batch: u32,
    /// Rows (tokens) of prompts that go through together in a micro-batch: the prompt chunk, or as many chunks as there
    /// are sequences that go together.
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
    /// bfloat16, weights too: to plan for GPUs; the runtime here has the two above.
    Bf16,
    /// 8-bit floats, weights too, one scale a tensor: to plan for GPUs.
    Fp8,
    /// 8-bit floats, weights too, one 8-bit scale per 32: to plan for GPUs.
    Mxfp8,
    /// 4-bit floats, weights too, one 8-bit scale per 16: to plan for GPUs.
    Nvfp4,
}

impl Activations {
    /// Can the runtime of this project compute with them?
    pub fn run_here(self) -> bool {
        matches!(self, Activations::Int8 | Activations::F32)
    }

    /// The precision of the products.
    pub fn precision(self) -> Precision {
        match self {
            Activations::Int8 => Precision::Int8,
            Activations::F32 => Precision::F32,
            Activations::Bf16 => Precision::Bf16,
            Activations::Fp8 => Precision::Fp8,
            Activations::Mxfp8 => Precision::Mxfp8,
            Activations::Nvfp4 => Precision::Nvfp4,
        }
    }

    /// Bytes of one element that is between two products: norms, rotary, the residual.
    pub fn element_bytes(self) -> u32 {
        match self {
            Activations::Int8 | Activations::F32 => 4,
            Activations::Bf16 | Activations::Fp8 | Activations::Mxfp8 | Activations::Nvfp4 => 2,
        }
    }

    /// Bytes of 32 elements as a product takes them, scales and sums included.
    pub fn block_bytes(self) -> u32 {
        match self {
            Activations::Int8 => 32 + 4 + 4,
            Activations::F32 => 4 * 32,
            Activations::Bf16 => 2 * 32,
            Activations::Fp8 => 32,
            Activations::Mxfp8 => 33,
            Activations::Nvfp4 => 18,
        }
    }

    /// The same on a link: sums are made again by the receiver.
    pub fn sent_block_bytes(self) -> u32 {
        match self {
            Activations::Int8 => 36,
            other => other.block_bytes(),
        }
    }
}

/// How the KV cache keeps K and V.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvDtype {
    /// Half precision.
    F16,
    /// bfloat16: half precision's bytes, single precision's range, 8 bits of it.
    Bf16,
    /// Single precision.
    F32,
}

impl KvDtype {
    /// Bytes of one element.
    pub fn bytes(self) -> u32 {
        match self {
            KvDtype::F16 | KvDtype::Bf16 => 2,
            KvDtype::F32 => 4,
        }
    }
}
