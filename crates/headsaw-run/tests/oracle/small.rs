//! Three small random models in the form of Hugging Face folders, the same on every machine, and the token sequences they
//! are asked about. Written by the oracle (to ask another engine) and by the test (to ask this one).
//!
//! Every weight is an integer of at most 8 bits times a power of two, so that F32, F16 and BF16 files hold the very same
//! numbers and have the same reference logits.

use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// Size of the vocabulary of all models.
pub const VOCAB: usize = 512;
/// Positions that are compared in every sequence.
pub const POSITIONS: usize = 64;

/// The three models.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// 6 Q heads, 2 KV heads, output of its own, Llama 3's rope scaling.
    Llama,
    /// 8 Q heads, 4 KV heads, QKV biases, tied output.
    Qwen2,
    /// 6 Q heads, 2 KV heads, wider together than the model, Q and K normed, output of its own.
    Qwen3,
}

/// The stored type of the weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dtype {
    F32,
    F16,
    Bf16,
}

/// A prompt and the tokens that are forced after it.
pub struct Sequence {
    pub prompt: Vec<u32>,
    pub forced: Vec<u32>,
}

struct Shape {
    width: usize,
    heads: usize,
    kv_heads: usize,
    ffn: usize,
    layers: usize,
}

const HEAD_WIDTH: usize = 32;

impl Family {
    /// All.
    pub const ALL: [Family; 3] = [Family::Llama, Family::Qwen2, Family::Qwen3];

    /// Name of the model, and of its stored logits.
    pub fn name(self) -> &'static str {
        match self {
            Family::Llama => "llama",
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
        }
    }

    fn shape(self) -> Shape {
        match self {
            Family::Llama => Shape { width: 192, heads: 6, kv_heads: 2, ffn: 320, layers: 4 },
            Family::Qwen2 => Shape { width: 256, heads: 8, kv_heads: 4, ffn: 288, layers: 4 },
            Family::Qwen3 => Shape { width: 160, heads: 6, kv_heads: 2, ffn: 288, layers: 4 },
        }
    }
}

/// Three sequences: prompts of 1, 7 and 40 tokens, each with 64 forced tokens.
pub fn sequences() -> Vec<Sequence> {
    let mut random = SplitMix(0x5e9);
    let mut ids = |n| (0..n).map(|_| (random.next() % VOCAB as u64) as u32).collect::<Vec<_>>();
    [1, 7, 40].map(|n| Sequence { prompt: ids(n), forced: ids(POSITIONS) }).into()
}

/// The text of `config.json`.
pub fn config(family: Family) -> serde_json::Value {
    let Shape { width, heads, kv_heads, ffn, layers } = family.shape();
    let mut config = json!({
        "hidden_size": width,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": VOCAB,
        "max_position_embeddings": 256,
        "hidden_act": "silu",
        "torch_dtype": "float32",
        "bos_token_id": 0,
        "eos_token_id": 1,
    });
    let more = match family {
        Family::Llama => json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "rms_norm_eps": 2e-3,
            "rope_theta": 10000.0,
            "tie_word_embeddings": false,
            "attention_bias": false,
            "mlp_bias": false,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        }),
        Family::Qwen2 => json!({
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "rms_norm_eps": 1e-3,
            "rope_theta": 1000.0,
            "tie_word_embeddings": true,
            "sliding_window": 256,
            "max_window_layers": layers,
            "use_sliding_window": false,
        }),
        Family::Qwen3 => json!({
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "head_dim": HEAD_WIDTH,
            "rms_norm_eps": 2e-3,
            "rope_theta": 1000.0,
            "tie_word_embeddings": false,
            "attention_bias": false,
            "sliding_window": null,
            "max_window_layers": layers,
            "use_sliding_window": false,
        }),
    };
    for (key, value) in more.as_object().expect("an object") {
        config[key] = value.clone();
    }
    config
}

/// The bytes of `model.safetensors`.
pub fn safetensors(family: Family, dtype: Dtype) -> Vec<u8> {
    let (name, size) = match dtype {
        Dtype::F32 => ("F32", 4),
        Dtype::F16 => ("F16", 2),
        Dtype::Bf16 => ("BF16", 2),
    };
    let mut header = BTreeMap::new();
    let mut data = Vec::new();
    for (tensor, shape, values) in tensors(family) {
        let start = data.len();
        for value in values {
            match dtype {
                Dtype::F32 => data.extend(value.to_le_bytes()),
                Dtype::F16 => data.extend(f16_bits(value).to_le_bytes()),
                Dtype::Bf16 => data.extend(((value.to_bits() >> 16) as u16).to_le_bytes()),
            }
        }
        assert_eq!(data.len() - start, size * shape.iter().product::<usize>());
        header.insert(tensor, json!({"dtype": name, "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let mut text = serde_json::to_string(&header).expect("no floats, no maps with odd keys");
    text += &" ".repeat(text.len().next_multiple_of(8) - text.len());
    let mut file = (text.len() as u64).to_le_bytes().to_vec();
    file.extend(text.as_bytes());
    file.extend(data);
    file
}

/// Writes `config.json` and `model.safetensors` into a folder that exists.
pub fn write(family: Family, dtype: Dtype, folder: &Path) -> std::io::Result<()> {
    std::fs::write(folder.join("config.json"), serde_json::to_string_pretty(&config(family))?)?;
    std::fs::write(folder.join("model.safetensors"), safetensors(family, dtype))
}

/// All tensors by name: shape and values, row by row.
fn tensors(family: Family) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let Shape { width, heads, kv_heads, ffn, layers } = family.shape();
    let mut random = SplitMix(family as u64 + 1);
    let mut out = Vec::new();
    // Uniform integers of [-limit, limit] / 2^shift.
    let mut uniform = |name: String, shape: Vec<usize>, middle: i64, limit: i64, shift: i32| {
        let values = (0..shape.iter().product())
            .map(|_| {
                let integer = middle + (random.next() % (2 * limit as u64 + 1)) as i64 - limit;
                integer as f32 * 2f32.powi(-shift)
            })
            .collect();
        out.push((name, shape, values));
    };
    // Standard deviations: limit / √3 / 2^shift, about 1.2/√inputs here, the keys and queries a little more.
    uniform("model.embed_tokens.weight".into(), vec![VOCAB, width], 0, 75, 8);
    for layer in 0..layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        uniform(name("input_layernorm.weight"), vec![width], 128, 64, 7);
        for (part, rows, limit) in
            [("q", heads * HEAD_WIDTH, 100), ("k", kv_heads * HEAD_WIDTH, 100), ("v", kv_heads * HEAD_WIDTH, 80)]
        {
            uniform(name(&format!("self_attn.{part}_proj.weight")), vec![rows, width], 0, limit, 9);
            if family == Family::Qwen2 {
                uniform(name(&format!("self_attn.{part}_proj.bias")), vec![rows], 0, 120, 7);
            }
            if family == Family::Qwen3 && part != "v" {
                uniform(name(&format!("self_attn.{part}_norm.weight")), vec![HEAD_WIDTH], 128, 64, 7);
            }
        }
        uniform(name("self_attn.o_proj.weight"), vec![width, heads * HEAD_WIDTH], 0, 75, 9);
        uniform(name("post_attention_layernorm.weight"), vec![width], 128, 64, 7);
        uniform(name("mlp.gate_proj.weight"), vec![ffn, width], 0, 90, 9);
        uniform(name("mlp.up_proj.weight"), vec![ffn, width], 0, 75, 9);
        uniform(name("mlp.down_proj.weight"), vec![width, ffn], 0, 75, 9);
    }
    uniform("model.norm.weight".into(), vec![width], 128, 64, 7);
    if family != Family::Qwen2 {
        uniform("lm_head.weight".into(), vec![VOCAB, width], 0, 127, 9);
    }
    out
}

/// The bits of a number that F16 holds exactly as a normal number (all of these are).
fn f16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    if value == 0.0 {
        return sign;
    }
    let exponent = ((bits >> 23) & 0xff) as i32 - 127 + 15;
    assert!((1..31).contains(&exponent) && bits & 0x1fff == 0, "{value} is no normal F16");
    sign | ((exponent as u16) << 10) | ((bits >> 13) & 0x3ff) as u16
}

/// The generator SplitMix64 (Steele, Lea, Flood, 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
