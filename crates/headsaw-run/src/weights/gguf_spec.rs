//! The shape of the model in a GGUF file, out of its keys and tensors.

use super::error::{Error, show};
use super::gguf::{Gguf, Value, brief};
use headsaw::spec::model::{Dtype, Family, ModelSpec, Rope, RopeScaling};

/// Keys (after the architecture's prefix) that change results in ways headsaw does not follow.
const UNKNOWN_EFFECTS: [&str; 8] = [
    "expert_count",
    "attention.scale",
    "attention.clamp_kqv",
    "attention.max_alibi_bias",
    "logit_scale",
    "residual_scale",
    "embedding_scale",
    "rope.scaling.attn_factor",
];

/// Reads the shape; all that is wrong with the keys is one error.
pub(crate) fn read(file: &str, gguf: &Gguf) -> Result<ModelSpec, Error> {
    let (prefix, family) = match gguf.keys.get("general.architecture") {
        Some(Value::Text(name)) if name == "llama" => ("llama", Family::Llama),
        Some(Value::Text(name)) if name == "qwen2" => ("qwen2", Family::Qwen2),
        Some(Value::Text(name)) if name == "qwen3" => ("qwen3", Family::Qwen3),
        other => {
            let found = other.map_or("missing".into(), brief);
            let expected = "llama (also Mistral), qwen2 or qwen3, the architectures that run";
            return Err(Error::key(file, "general.architecture", found, expected));
        }
    };
    let mut keys = Keys { gguf, prefix, problems: vec![] };
    let mut spec = shape(&mut keys, family);
    if spec.name.is_empty() {
        spec.name = prefix.into();
    }
    refuse_unknown_effects(&mut keys);
    let mut problems = keys.problems;
    if problems.is_empty() {
        problems = spec.check();
    }
    Error::problems(file, problems)?;
    Ok(spec)
}

/// The keys of one architecture, and what was wrong with those asked for.
struct Keys<'a> {
    gguf: &'a Gguf,
    prefix: &'a str,
    problems: Vec<String>,
}

impl Keys<'_> {
    fn wrong(&mut self, key: &str, expected: &str) {
        let key = format!("{}.{key}", self.prefix);
        let found = self.gguf.keys.get(&key).map_or("missing".into(), brief);
        self.problems.push(format!("key `{key}` is {found}; expected {expected}"));
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.gguf.keys.get(&format!("{}.{key}", self.prefix))
    }

    fn number(&mut self, key: &str, default: Option<u32>) -> u32 {
        let found = match self.get(key) {
            None => default,
            Some(Value::Unsigned(n)) => u32::try_from(*n).ok(),
            Some(Value::Signed(n)) => u32::try_from(*n).ok(),
            Some(_) => None,
        };
        found.unwrap_or_else(|| {
            self.wrong(key, "one whole number below 2^32");
            1
        })
    }

    fn float(&mut self, key: &str, default: Option<f32>) -> f32 {
        let found = match self.get(key) {
            None => default,
            Some(Value::Float(x)) => Some(*x as f32),
            Some(_) => None,
        };
        found.unwrap_or_else(|| {
            self.wrong(key, "a number in floating point");
            1.0
        })
    }
}

fn shape(keys: &mut Keys, family: Family) -> ModelSpec {
    let heads = keys.number("attention.head_count", None);
    let width = keys.number("embedding_length", None);
    if keys.get("attention.key_length").is_none() && (heads == 0 || !width.is_multiple_of(heads)) {
        keys.wrong("attention.head_count", &format!("a divisor of the width {width}"));
    }
    let head_width = keys.number("attention.key_length", Some(width / heads.max(1)));
    for key in ["attention.value_length", "rope.dimension_count"] {
        if keys.number(key, Some(head_width)) != head_width {
            keys.wrong(key, &format!("the head width {head_width}"));
        }
    }
    ModelSpec {
        name: name(keys.gguf),
        family,
        layers: keys.number("block_count", None),
        width,
        heads,
        kv_heads: keys.number("attention.head_count_kv", Some(heads)),
        head_width,
        ffn: keys.number("feed_forward_length", None),
        vocab: vocab(keys),
        context: context(keys),
        norm_epsilon: keys.float("attention.layer_norm_rms_epsilon", None),
        rope: Some(Rope { theta: keys.float("rope.freq_base", Some(10_000.0)), scaling: scaling(keys) }),
        tied: !keys.gguf.tensors.iter().any(|t| t.name == "output.weight"),
        dtype: Dtype::F32,
        mixed: Vec::new(),
    }
}

fn name(gguf: &Gguf) -> String {
    match gguf.keys.get("general.name") {
        Some(Value::Text(name)) => show(name),
        _ => String::new(),
    }
}

/// The embedding's rows; the key `vocab_size` is optional and may leave out padding.
fn vocab(keys: &mut Keys) -> u32 {
    match keys.gguf.tensors.iter().find(|t| t.name == "token_embd.weight") {
        Some(tensor) if tensor.shape.len() == 2 => u32::try_from(tensor.shape[0]).unwrap_or(u32::MAX),
        _ => keys.number("vocab_size", None),
    }
}

/// Capped at a sliding window: within the window the model is the same.
fn context(keys: &mut Keys) -> u32 {
    let context = keys.number("context_length", None);
    match keys.number("attention.sliding_window", Some(0)) {
        0 => context,
        window => context.min(window),
    }
}

fn scaling(keys: &mut Keys) -> Option<RopeScaling> {
    let linear = match keys.get("rope.scaling.type") {
        None => false,
        Some(Value::Text(kind)) if kind == "none" => return None,
        Some(Value::Text(kind)) if kind == "linear" => true,
        Some(_) => {
            keys.wrong("rope.scaling.type", "none or linear (Llama 3's is in the tensor `rope_freqs.weight`)");
            false
        }
    };
    let old = keys.float("rope.scale_linear", Some(1.0));
    let factor = keys.float("rope.scaling.factor", Some(old));
    (linear || factor != 1.0).then_some(RopeScaling::Linear { factor })
}

fn refuse_unknown_effects(keys: &mut Keys) {
    for key in UNKNOWN_EFFECTS {
        let harmless = match keys.get(key) {
            None | Some(Value::Unsigned(0) | Value::Signed(0)) => true,
            Some(Value::Float(x)) => *x == 0.0 || (*x == 1.0 && key != "attention.scale"),
            Some(_) => false,
        };
        if !harmless {
            keys.wrong(key, "no such key: headsaw does not follow it");
        }
    }
}
