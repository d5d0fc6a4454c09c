//! Reads a Hugging Face `config.json`, and says what is wrong with a model's shape.

use super::model::{Dtype, Family, ModelSpec, Rope, RopeScaling};
use serde_json::{Map, Value};

/// Architectures that [`ModelSpec::from_hf_config`] knows.
pub const ARCHITECTURES: [&str; 4] = ["LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"];

/// Why a `config.json` cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON at all.
    #[error("not JSON: {0}")]
    Json(String),
    /// One line per key that is missing or wrong.
    #[error("{}", .0.join("\n"))]
    Keys(Vec<String>),
}

impl ModelSpec {
    /// The shape that a Hugging Face `config.json` describes. `name` is what to call the model.
    ///
    /// A `sliding_window` shorter than the context caps the context: within the window the model is the same.
    pub fn from_hf_config(name: &str, json: &str) -> Result<ModelSpec, ConfigError> {
        let value: Value = serde_json::from_str(json).map_err(|e| ConfigError::Json(e.to_string()))?;
        let Value::Object(map) = value else { return Err(ConfigError::Json("expected an object".into())) };
        let mut keys = Keys { map: &map, problems: vec![] };
        let spec = read(&mut keys, name);
        let mut problems = keys.problems;
        if problems.is_empty() {
            problems = spec.check();
        }
        if problems.is_empty() { Ok(spec) } else { Err(ConfigError::Keys(problems)) }
    }

    /// Everything that is wrong with the shape itself; empty for a sound one.
    pub fn check(&self) -> Vec<String> {
        let mut problems = vec![];
        let mut limit = |what: &str, value: u32, max: u32| {
            if value == 0 || value > max {
                problems.push(format!("{what} is {value}; expected 1 to {max}"));
            }
        };
        limit("layers", self.layers, 10_000);
        limit("width", self.width, 1 << 20);
        limit("heads", self.heads, 1 << 16);
        limit("kv_heads", self.kv_heads, 1 << 16);
        limit("head_width", self.head_width, 1024);
        limit("ffn", self.ffn, 1 << 24);
        limit("vocab", self.vocab, 4 << 20);
        limit("context", self.context, 1 << 31);
        problems.extend(self.check_heads());
        problems.extend(self.check_floats());
        problems.extend(self.check_mixed());
        problems
    }

    fn check_heads(&self) -> Option<String> {
        if self.head_width % 2 == 1 {
            return Some(format!("head_width is {}; expected an even number", self.head_width));
        }
        if self.kv_heads != 0 && !self.heads.is_multiple_of(self.kv_heads) {
            return Some(format!("{} heads share {} KV heads; expected a multiple", self.heads, self.kv_heads));
        }
        let widths = [self.heads.checked_mul(self.head_width), self.kv_heads.checked_mul(self.head_width)];
        widths.contains(&None).then(|| format!("{} heads of width {} are too many", self.heads, self.head_width))
    }

    fn check_floats(&self) -> Vec<String> {
        let mut problems = vec![];
        if !(self.norm_epsilon >= 0.0 && self.norm_epsilon < 1.0) {
            problems.push(format!("norm_epsilon is {}; expected 0 or a little more", self.norm_epsilon));
        }
        let Some(rope) = self.rope else { return problems };
        let mut positive = |what: &str, value: f32| {
            if !(value.is_finite() && value > 0.0) {
                problems.push(format!("{what} is {value}; expected a positive number"));
            }
        };
        positive("rope theta", rope.theta);
        match rope.scaling {
            None => {}
            Some(RopeScaling::Linear { factor }) => positive("rope scaling factor", factor),
            Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context }) => {
                positive("rope scaling factor", factor);
                positive("low_freq_factor", low_freq_factor);
                positive("high_freq_factor − low_freq_factor", high_freq_factor - low_freq_factor);
                positive("original context of the rope scaling", original_context as f32);
            }
        }
        problems
    }
}

impl Rope {
    /// What the frequency `theta^(−2i/D)` of each pair `i` is divided by: `[D/2]`.
    pub fn divisors(&self, head_width: u32) -> Vec<f32> {
        (0..head_width / 2).map(|pair| self.divisor(pair, head_width)).collect()
    }

    fn divisor(&self, pair: u32, head_width: u32) -> f32 {
        match self.scaling {
            None => 1.0,
            Some(RopeScaling::Linear { factor }) => factor,
            Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context }) => {
                let (factor, low, high) = (f64::from(factor), f64::from(low_freq_factor), f64::from(high_freq_factor));
                let frequency = libm::pow(f64::from(self.theta), -2.0 * f64::from(pair) / f64::from(head_width));
                let turns = f64::from(original_context) * frequency / std::f64::consts::TAU;
                // turns = original_context / wavelength
                if turns > high {
                    1.0
                } else if turns < low {
                    factor as f32
                } else {
                    let smooth = (turns - low) / (high - low);
                    (1.0 / ((1.0 - smooth) / factor + smooth)) as f32
                }
            }
        }
    }
}

/// The keys of a config, and what was wrong with those asked for.
struct Keys<'a> {
    map: &'a Map<String, Value>,
    problems: Vec<String>,
}

impl<'a> Keys<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    fn wrong(&mut self, key: &str, found: &Value, expected: &str) {
        let mut found = found.to_string();
        if found.len() > 60 {
            let end = (0..=60).rev().find(|&i| found.is_char_boundary(i)).unwrap_or(0);
            found.truncate(end);
            found.push('…');
        }
        self.problems.push(format!("key `{key}` is {found}; expected {expected}"));
    }

    fn number(&mut self, key: &str, default: Option<u32>) -> u32 {
        match (self.get(key), default) {
            (Some(v), _) => match v.as_u64().and_then(|n| u32::try_from(n).ok()) {
                Some(n) => return n,
                None => self.wrong(key, v, "a whole number below 2^32"),
            },
            (None, Some(n)) => return n,
            (None, None) => self.problems.push(format!("key `{key}` is missing")),
        }
        1
    }

    fn float(&mut self, key: &str, default: Option<f32>) -> f32 {
        match (self.get(key), default) {
            (Some(v), _) => match v.as_f64() {
                Some(x) => return x as f32,
                None => self.wrong(key, v, "a number"),
            },
            (None, Some(x)) => return x,
            (None, None) => self.problems.push(format!("key `{key}` is missing")),
        }
        1.0
    }

    fn bool(&mut self, key: &str, default: bool) -> bool {
        match self.get(key) {
            None => default,
            Some(Value::Bool(b)) => *b,
            Some(v) => {
                self.wrong(key, v, "true or false");
                default
            }
        }
    }

    fn text(&mut self, key: &str) -> Option<&'a str> {
        match self.get(key)? {
            Value::String(s) => Some(s),
            v => {
                self.wrong(key, v, "a string");
                None
            }
        }
    }
}

fn read(keys: &mut Keys, name: &str) -> ModelSpec {
    let (family, context) = architecture(keys);
    refuse_what_changes_results(keys);
    let heads = keys.number("num_attention_heads", None);
    let width = keys.number("hidden_size", None);
    let head_width = keys.number("head_dim", Some(width / heads.max(1)));
    if keys.get("head_dim").is_none() && heads != 0 && !width.is_multiple_of(heads) {
        keys.problems
            .push(format!("key `hidden_size` is {width}, no multiple of {heads} heads, and `head_dim` is missing"));
    }
    ModelSpec {
        name: name.into(),
        family,
        layers: keys.number("num_hidden_layers", None),
        width,
        heads,
        kv_heads: keys.number("num_key_value_heads", Some(heads)),
        head_width,
        ffn: keys.number("intermediate_size", None),
        vocab: keys.number("vocab_size", None),
        context: window(keys, context),
        norm_epsilon: keys.float("rms_norm_eps", Some(1e-6)),
        rope: Some(rope(keys)),
        tied: keys.bool("tie_word_embeddings", false),
        dtype: dtype(keys),
        mixed: Vec::new(),
    }
}

/// Family and default context.
fn architecture(keys: &mut Keys) -> (Family, u32) {
    let named = match keys.get("architectures") {
        Some(Value::Array(list)) => list.first().and_then(Value::as_str),
        Some(v) => {
            keys.wrong("architectures", v, "a list of names");
            None
        }
        None => None,
    };
    let known = match named {
        Some(name) => name,
        None => match keys.text("model_type") {
            Some("llama") => ARCHITECTURES[0],
            Some("mistral") => ARCHITECTURES[1],
            Some("qwen2") => ARCHITECTURES[2],
            Some("qwen3") => ARCHITECTURES[3],
            other => other.unwrap_or("unnamed"),
        },
    };
    match known {
        "LlamaForCausalLM" => (Family::Llama, 2048),
        "MistralForCausalLM" => (Family::Llama, 131_072),
        "Qwen2ForCausalLM" => (Family::Qwen2, 32_768),
        "Qwen3ForCausalLM" => (Family::Qwen3, 32_768),
        other => {
            keys.wrong("architectures", &Value::from(other), &format!("one of {}", ARCHITECTURES.join(", ")));
            (Family::Llama, 2048)
        }
    }
}

fn refuse_what_changes_results(keys: &mut Keys) {
    for key in ["attention_bias", "mlp_bias"] {
        if keys.bool(key, false) {
            keys.wrong(key, &Value::Bool(true), "false (biases there are not supported)");
        }
    }
    if let Some(act) = keys.text("hidden_act").filter(|a| *a != "silu" && *a != "swish") {
        keys.wrong("hidden_act", &act.into(), "silu");
    }
    if let Some(q) = keys.get("quantization_config") {
        let method = q.get("quant_method").unwrap_or(q).clone();
        keys.wrong(
            "quantization_config",
            &method,
            "none (use F32, F16 or BF16 weights, or a GGUF file in Q4_0, Q4_K_M or Q8_0)",
        );
    }
    if keys.float("partial_rotary_factor", Some(1.0)) != 1.0 {
        let v = keys.get("partial_rotary_factor").cloned().unwrap_or_default();
        keys.wrong("partial_rotary_factor", &v, "1");
    }
}

fn window(keys: &mut Keys, context: u32) -> u32 {
    let context = keys.number("max_position_embeddings", Some(context));
    if !keys.bool("use_sliding_window", keys.get("model_type").is_none_or(|t| t != "qwen2" && t != "qwen3")) {
        return context;
    }
    context.min(keys.number("sliding_window", Some(context)))
}

fn dtype(keys: &mut Keys) -> Dtype {
    let key = if keys.get("dtype").is_some() { "dtype" } else { "torch_dtype" };
    match keys.text(key) {
        None | Some("float32" | "auto") => Dtype::F32,
        Some("float16") => Dtype::F16,
        Some("bfloat16") => Dtype::Bf16,
        Some(other) => {
            keys.wrong(key, &other.into(), "float32, float16 or bfloat16");
            Dtype::F32
        }
    }
}

fn rope(keys: &mut Keys) -> Rope {
    let nested = ["rope_parameters", "rope_scaling"].into_iter().find_map(|key| Some((key, keys.get(key)?)));
    let outer_theta = keys.float("rope_theta", Some(10_000.0));
    let Some((key, value)) = nested else { return Rope { theta: outer_theta, scaling: None } };
    let Value::Object(map) = value else {
        keys.wrong(key, value, "an object");
        return Rope { theta: outer_theta, scaling: None };
    };
    let mut inner = Keys { map, problems: vec![] };
    let theta = inner.float("rope_theta", Some(outer_theta));
    let scaling = scaling(&mut inner);
    keys.problems.extend(inner.problems.into_iter().map(|p| format!("in `{key}`: {p}")));
    Rope { theta, scaling }
}

fn scaling(keys: &mut Keys) -> Option<RopeScaling> {
    let key = if keys.get("rope_type").is_some() { "rope_type" } else { "type" };
    match keys.text(key) {
        Some("linear") => Some(RopeScaling::Linear { factor: keys.float("factor", None) }),
        Some("llama3") => Some(RopeScaling::Llama3 {
            factor: keys.float("factor", None),
            low_freq_factor: keys.float("low_freq_factor", None),
            high_freq_factor: keys.float("high_freq_factor", None),
            original_context: keys.number("original_max_position_embeddings", None),
        }),
        Some("default") => None,
        None if keys.get("factor").is_none() && keys.map.values().all(|v| !v.is_object()) => None,
        other => {
            keys.wrong(key, &other.unwrap_or("missing").into(), "default, linear or llama3");
            None
        }
    }
}
