//! What a model is, as far as a cut is concerned.
//!
//! The letters used in all docs of headsaw: `B` batch, `T` tokens, `C` width, `H` heads (Q), `K` KV heads,
//! `D` head width, `F` MLP width, `V` vocabulary.

use super::mixed::Mixed;
use serde::{Deserialize, Serialize};

/// The shape of a decoder-only Transformer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// A name for people: `SmolLM2-135M-Instruct`.
    pub name: String,
    /// What the layers are made of.
    pub family: Family,
    /// Number of layers.
    pub layers: u32,
    /// `C`: width of the residual stream.
    pub width: u32,
    /// `H`: query heads.
    pub heads: u32,
    /// `K`: key/value heads; divides `heads`.
    pub kv_heads: u32,
    /// `D`: width of one head.
    pub head_width: u32,
    /// `F`: width of the MLP's hidden layer.
    pub ffn: u32,
    /// `V`: vocabulary rows.
    pub vocab: u32,
    /// Longest sequence the model was made for, in tokens.
    pub context: u32,
    /// The ε inside the root of a norm.
    pub norm_epsilon: f32,
    /// Rotary position embedding; none for learned positions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope: Option<Rope>,
    /// The output matrix is the embedding matrix.
    pub tied: bool,
    /// Data type of most weights.
    pub dtype: Dtype,
    /// Matrices that are stored otherwise, as files of weights say; without weights at hand nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mixed: Vec<Mixed>,
}

/// What the layers are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// RMS norm, rotary positions, gated SiLU MLP, no biases (Llama, SmolLM, Mistral).
    Llama,
    /// As Llama, with biases on Q, K and V.
    Qwen2,
    /// As Llama, with RMS norms on each head's Q and K.
    Qwen3,
    /// Layer norm, learned positions, plain GELU MLP, biases (GPT-2, GPT-3, Megatron). Planned only.
    Gpt,
}

impl Family {
    /// Each head's Q and K are normed on their own, before they rotate.
    pub fn norms_heads(self) -> bool {
        self == Family::Qwen3
    }

    /// headsaw runs it; the others are to plan with.
    pub fn runs(self) -> bool {
        self != Family::Gpt
    }
}

/// Rotary position embedding (Su et al., arXiv 2104.09864).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f32,
    /// How frequencies are stretched beyond the training length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<RopeScaling>,
}

/// How rotary frequencies are stretched.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum RopeScaling {
    /// Positions divided by `factor`.
    Linear {
        /// The divisor.
        factor: f32,
    },
    /// Llama 3.1's scaling by wavelength.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f32,
        /// Wavelengths above `original_context / low_freq_factor` are divided.
        low_freq_factor: f32,
        /// Wavelengths below `original_context / high_freq_factor` stay.
        high_freq_factor: f32,
        /// Context of the pre-training, in tokens.
        original_context: u32,
    },
}

/// How a number (or a block of numbers) is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// 32 numbers: f16 scale, 32 × i8 (GGUF `Q8_0`).
    #[serde(rename = "q8_0")]
    Q8_0,
    /// 32 numbers: f16 scale, 32 × 4 bits, less 8 (GGUF `Q4_0`).
    #[serde(rename = "q4_0")]
    Q4_0,
    /// 32 numbers: f16 scale, f16 minimum, 32 × 4 bits (GGUF `Q4_1`).
    #[serde(rename = "q4_1")]
    Q4_1,
    /// 32 numbers: f16 scale, 32 × 5 bits, less 16 (GGUF `Q5_0`).
    #[serde(rename = "q5_0")]
    Q5_0,
    /// 32 numbers: f16 scale, f16 minimum, 32 × 5 bits (GGUF `Q5_1`).
    #[serde(rename = "q5_1")]
    Q5_1,
    /// 256 numbers: f16 scales of scales and of minima, for each 32 both in 6 bits, 256 × 4 bits (GGUF `Q4_K`).
    #[serde(rename = "q4_k")]
    Q4K,
    /// The same with 256 × 5 bits (GGUF `Q5_K`).
    #[serde(rename = "q5_k")]
    Q5K,
    /// 256 numbers: f16 scale of scales, for each 16 an i8 scale, 256 × 6 bits, less 32 (GGUF `Q6_K`).
    #[serde(rename = "q6_k")]
    Q6K,
}

impl Dtype {
    /// All of them, the widest first.
    pub const ALL: [Dtype; 11] = [
        Dtype::F32,
        Dtype::F16,
        Dtype::Bf16,
        Dtype::Q8_0,
        Dtype::Q6K,
        Dtype::Q5_1,
        Dtype::Q5K,
        Dtype::Q5_0,
        Dtype::Q4_1,
        Dtype::Q4K,
        Dtype::Q4_0,
    ];

    /// Numbers in one block: the grain at which a row of weights can be addressed.
    pub fn block(self) -> u32 {
        match self {
            Dtype::F32 | Dtype::F16 | Dtype::Bf16 => 1,
            Dtype::Q8_0 | Dtype::Q4_0 | Dtype::Q4_1 | Dtype::Q5_0 | Dtype::Q5_1 => 32,
            Dtype::Q4K | Dtype::Q5K | Dtype::Q6K => 256,
        }
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> u32 {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::Bf16 => 2,
            Dtype::Q8_0 => 34,
            Dtype::Q4_0 => 18,
            Dtype::Q4_1 => 20,
            Dtype::Q5_0 => 22,
            Dtype::Q5_1 => 24,
            Dtype::Q4K => 144,
            Dtype::Q5K => 176,
            Dtype::Q6K => 210,
        }
    }

    /// The name in GGUF files and on the command line, `Q4_1`.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::Bf16 => "BF16",
            Dtype::Q8_0 => "Q8_0",
            Dtype::Q4_0 => "Q4_0",
            Dtype::Q4_1 => "Q4_1",
            Dtype::Q5_0 => "Q5_0",
            Dtype::Q5_1 => "Q5_1",
            Dtype::Q4K => "Q4_K",
            Dtype::Q5K => "Q5_K",
            Dtype::Q6K => "Q6_K",
        }
    }
}
