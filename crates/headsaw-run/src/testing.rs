//! Small random models for tests: the same numbers as a GGUF file or as a Hugging Face folder.

mod encode;

pub use encode::encode;

use crate::tokenizer::Tokenizer;
use crate::weights::{Error, LayerWeight, ModelFile, Source, Weight, parse_safetensors};
use encode::gguf_type;
use headsaw::spec::model::{Dtype, Family, ModelSpec, Rope, RopeScaling};
use std::fmt::Write as _;
use std::path::Path;

/// A shape for tests: everything small, every width a multiple of the head width's needs.
pub fn small_spec(family: Family) -> ModelSpec {
    ModelSpec {
        name: "tiny".into(),
        family,
        layers: 2,
        width: 64,
        heads: 4,
        kv_heads: 2,
        head_width: 16,
        ffn: 96,
        vocab: 320,
        context: 128,
        norm_epsilon: 1e-5,
        rope: Some(Rope { theta: 10_000.0, scaling: None }),
        tied: false,
        dtype: Dtype::F32,
        mixed: Vec::new(),
    }
}

/// A shape to measure with, too large for a core's cache: width 1024, 8 heads of 128, 4 KV heads.
pub fn wide_spec(layers: u32) -> ModelSpec {
    ModelSpec {
        layers,
        width: 1024,
        heads: 8,
        kv_heads: 4,
        head_width: 128,
        ffn: 2816,
        vocab: 4096,
        context: 1024,
        ..small_spec(Family::Llama)
    }
}

/// A GGUF file with random weights of type `dtype` and a byte-level vocabulary of `spec.vocab` tokens.
///
/// Gains and biases are F32. Where rows are no multiple of a type's block, the weight has the type of blocks of 32 that
/// `llama-quantize` takes instead, or F16.
pub fn random_model(spec: &ModelSpec, seed: u64, dtype: Dtype) -> Vec<u8> {
    random_mix(spec, seed, |_| dtype)
}

/// As [`random_model`], with a type for each weight.
pub fn random_mix(spec: &ModelSpec, seed: u64, dtype: impl Fn(Weight) -> Dtype) -> Vec<u8> {
    let mut file = GgufBuilder::default();
    gguf_keys(spec, &mut file);
    gguf_vocab(spec, &mut file);
    gguf_weights(spec, seed, dtype, Weight::all(spec), &mut file);
    file.build()
}

/// The file of [`random_model`] in `parts` parts: the first has the keys, each some of the tensors.
pub fn random_model_parts(spec: &ModelSpec, seed: u64, dtype: Dtype, parts: u16) -> Vec<Vec<u8>> {
    let weights: Vec<Weight> = Weight::all(spec).collect();
    let share = weights.len().div_ceil(usize::from(parts));
    let part = |number: u16| {
        let mut file = GgufBuilder::default();
        if number == 0 {
            gguf_keys(spec, &mut file);
            gguf_vocab(spec, &mut file);
        }
        split_keys(number, parts, weights.len() as i32, &mut file);
        let own = weights.iter().copied().skip(usize::from(number) * share).take(share);
        gguf_weights(spec, seed, |_| dtype, own, &mut file);
        file.build()
    };
    (0..parts).map(part).collect()
}

/// What a part of a model says of itself.
pub fn split_keys(number: u16, parts: u16, tensors: i32, file: &mut GgufBuilder) {
    file.raw("split.no", 2, &number.to_le_bytes());
    file.raw("split.count", 2, &parts.to_le_bytes());
    file.raw("split.tensors.count", 5, &tensors.to_le_bytes());
}

fn gguf_weights(
    spec: &ModelSpec,
    seed: u64,
    dtype: impl Fn(Weight) -> Dtype,
    weights: impl Iterator<Item = Weight>,
    file: &mut GgufBuilder,
) {
    for weight in weights {
        let dtype = fitting(weight, spec, dtype(weight));
        let halves = spec.family != Family::Llama;
        let [rows, cols] = weight.shape(spec);
        let dims = if weight.is_vector() { vec![u64::from(cols)] } else { vec![u64::from(cols), u64::from(rows)] };
        file.tensor(&weight.gguf_name(), &dims, gguf_type(dtype), encode(&values(weight, spec, seed, halves), dtype));
    }
}

/// A Hugging Face folder with the weights of [`random_model`] in F32: `config.json`, `tokenizer.json`,
/// `generation_config.json` and `model.safetensors`.
pub fn random_hf_folder(dir: &Path, spec: &ModelSpec, seed: u64) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join("config.json"), config_json(spec))?;
    std::fs::write(dir.join("tokenizer.json"), tokenizer_json(spec))?;
    std::fs::write(dir.join("generation_config.json"), r#"{"eos_token_id": [0]}"#)?;
    std::fs::write(dir.join("model.safetensors"), safetensors(spec, seed, |_| true))
}

/// Reads all that a GGUF file holds, as a run would: opens it, reads every weight, uses the tokenizer.
pub fn read_all(bytes: Vec<u8>) -> Result<(), Error> {
    let model = ModelFile::from_reader("test", bytes)?;
    for weight in Weight::all(model.spec()) {
        let [rows, cols] = weight.shape(model.spec());
        model.rows(weight, 0..rows, 0..cols)?;
    }
    let tokenizer = Tokenizer::from_model(&model)?;
    let ids = tokenizer.encode("The cat <|endoftext|>, 12 é", true)?;
    tokenizer.decode(&ids);
    Ok(())
}

/// Reads the header of a safetensors file: the number of tensors.
pub fn read_safetensors(bytes: Vec<u8>) -> Result<usize, Error> {
    let (tensors, _) = parse_safetensors(&Source::from_bytes("test", bytes), 0)?;
    Ok(tensors.len())
}

/// The safetensors file of [`random_hf_folder`], for the weights that `take` names.
pub fn safetensors(spec: &ModelSpec, seed: u64, take: impl Fn(&str) -> bool) -> Vec<u8> {
    let (mut header, mut data) = (String::new(), vec![]);
    for weight in Weight::all(spec).filter(|w| take(&w.hf_name())) {
        let [rows, cols] = weight.shape(spec);
        let shape = if weight.is_vector() { format!("[{cols}]") } else { format!("[{rows},{cols}]") };
        let start = data.len();
        data.extend(encode(&values(weight, spec, seed, true), Dtype::F32));
        let comma = if header.is_empty() { "" } else { "," };
        let (name, end) = (weight.hf_name(), data.len());
        let _ = write!(header, r#"{comma}"{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}"#);
    }
    let header = format!("{{{header}}}");
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

/// The `config.json` of a shape.
pub fn config_json(spec: &ModelSpec) -> String {
    let (architecture, kind) = match spec.family {
        Family::Qwen2 => ("Qwen2ForCausalLM", "qwen2"),
        Family::Qwen3 => ("Qwen3ForCausalLM", "qwen3"),
        _ => ("LlamaForCausalLM", "llama"),
    };
    let rope = spec.rope.unwrap_or(Rope { theta: 10_000.0, scaling: None });
    let scaling = match rope.scaling {
        None => serde_json::Value::Null,
        Some(RopeScaling::Linear { factor }) => serde_json::json!({ "rope_type": "linear", "factor": factor }),
        Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context }) => {
            serde_json::json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": original_context,
            })
        }
    };
    let config = serde_json::json!({
        "architectures": [architecture],
        "model_type": kind,
        "hidden_act": "silu",
        "hidden_size": spec.width,
        "intermediate_size": spec.ffn,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.head_width,
        "num_hidden_layers": spec.layers,
        "vocab_size": spec.vocab,
        "max_position_embeddings": spec.context,
        "rms_norm_eps": spec.norm_epsilon,
        "rope_theta": rope.theta,
        "rope_scaling": scaling,
        "tie_word_embeddings": spec.tied,
        "torch_dtype": "float32",
    });
    config.to_string()
}

/// The `tokenizer.json` of the vocabulary that [`random_model`] writes.
pub fn tokenizer_json(spec: &ModelSpec) -> String {
    let (tokens, merges) = vocabulary(spec.vocab);
    let vocab: serde_json::Map<String, serde_json::Value> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
    let json = serde_json::json!({
        "version": "1.0",
        "added_tokens": [{
            "id": 0, "content": tokens[0], "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        }],
        "normalizer": null,
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": merges,
        },
    });
    json.to_string()
}

/// An end-of-text token, the bytes (letters first), pairs of letters, and fillers: `count` tokens, and the merges.
fn vocabulary(count: u32) -> (Vec<String>, Vec<String>) {
    let letters = ('a'..='z').chain(['Ġ', '.', ',']).chain('A'..='Z').chain('0'..='9');
    let mut tokens: Vec<String> = ["<|endoftext|>".into()].into_iter().chain(letters.map(String::from)).collect();
    let alphabet = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ').chain('\u{100}'..='\u{143}').map(String::from);
    for c in alphabet {
        if !tokens.contains(&c) {
            tokens.push(c);
        }
    }
    tokens.truncate(count as usize);
    let mut merges = vec![];
    let pairs = ('a'..='z').flat_map(|a| ['e', 'n', 't', 'Ġ'].map(|b| (a, b)));
    for (a, b) in pairs.take((count as usize).saturating_sub(tokens.len())) {
        merges.push(format!("{a} {b}"));
        tokens.push(format!("{a}{b}"));
    }
    let fillers = (tokens.len()..count as usize).map(|i| format!("filler {i}"));
    tokens.extend(fillers.collect::<Vec<_>>());
    (tokens, merges)
}

fn gguf_keys(spec: &ModelSpec, file: &mut GgufBuilder) {
    let arch = match spec.family {
        Family::Qwen2 => "qwen2",
        Family::Qwen3 => "qwen3",
        _ => "llama",
    };
    file.text("general.architecture", arch);
    file.text("general.name", &spec.name);
    for (key, value) in [
        ("block_count", spec.layers),
        ("context_length", spec.context),
        ("embedding_length", spec.width),
        ("feed_forward_length", spec.ffn),
        ("attention.head_count", spec.heads),
        ("attention.head_count_kv", spec.kv_heads),
        ("attention.key_length", spec.head_width),
        ("attention.value_length", spec.head_width),
        ("rope.dimension_count", spec.head_width),
        ("vocab_size", spec.vocab),
    ] {
        file.u32(&format!("{arch}.{key}"), value);
    }
    file.f32(&format!("{arch}.attention.layer_norm_rms_epsilon"), spec.norm_epsilon);
    let Some(rope) = spec.rope else { return };
    file.f32(&format!("{arch}.rope.freq_base"), rope.theta);
    match rope.scaling {
        None => {}
        Some(RopeScaling::Linear { factor }) => {
            file.text(&format!("{arch}.rope.scaling.type"), "linear");
            file.f32(&format!("{arch}.rope.scaling.factor"), factor);
        }
        Some(RopeScaling::Llama3 { .. }) => {
            let divisors = rope.divisors(spec.head_width);
            let dims = [divisors.len() as u64];
            file.tensor("rope_freqs.weight", &dims, 0, encode(&divisors, Dtype::F32));
        }
    }
}

fn gguf_vocab(spec: &ModelSpec, file: &mut GgufBuilder) {
    let (tokens, merges) = vocabulary(spec.vocab);
    let kinds: Vec<i32> = (0..tokens.len()).map(|i| if i == 0 { 3 } else { 1 }).collect();
    file.text("tokenizer.ggml.model", "gpt2");
    file.text("tokenizer.ggml.pre", "gpt-2");
    file.texts("tokenizer.ggml.tokens", &tokens);
    file.i32s("tokenizer.ggml.token_type", &kinds);
    file.texts("tokenizer.ggml.merges", &merges);
    file.u32("tokenizer.ggml.eos_token_id", 0);
}

/// The types of a Q4_K_M file of llama.cpp: Q6_K for the output, and for V and down in the first and last eighth of the
/// layers and every third between.
pub fn q4_k_m(spec: &ModelSpec, weight: Weight) -> Dtype {
    let (n, eighth) = (spec.layers, spec.layers / 8);
    let more = |layer: u32| layer < eighth || layer >= 7 * n / 8 || (layer - eighth) % 3 == 2;
    match weight {
        Weight::Output => Dtype::Q6K,
        Weight::Embedding if spec.tied => Dtype::Q6K,
        Weight::Layer(layer, LayerWeight::V | LayerWeight::Down) if more(layer) => Dtype::Q6K,
        _ => Dtype::Q4K,
    }
}

fn fitting(weight: Weight, spec: &ModelSpec, dtype: Dtype) -> Dtype {
    let [_, cols] = weight.shape(spec);
    let smaller = match dtype {
        Dtype::Q4K => Dtype::Q5_0,
        Dtype::Q5K => Dtype::Q5_1,
        Dtype::Q6K => Dtype::Q8_0,
        _ => Dtype::F16,
    };
    match [dtype, smaller].into_iter().find(|dtype| cols.is_multiple_of(dtype.block())) {
        _ if weight.is_vector() => Dtype::F32,
        Some(dtype) => dtype,
        None => Dtype::F16,
    }
}

/// A weight's numbers, row after row. `halves`: rotary pairs lie half a head apart, as in Hugging Face files, instead of
/// side by side.
fn values(weight: Weight, spec: &ModelSpec, seed: u64, halves: bool) -> Vec<f32> {
    let [rows, cols] = weight.shape(spec).map(|n| n as usize);
    let mut random = Random(seed ^ weight_number(weight).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let (centre, spread) = match weight {
        _ if weight.is_gain() => (1.0, 0.2),
        _ if weight.is_vector() => (0.0, 0.5),
        _ => (0.0, 1.7 / (cols as f32).sqrt()),
    };
    let values: Vec<f32> = (0..rows * cols).map(|_| centre + spread * random.next()).collect();
    let rotates = matches!(weight, Weight::Layer(_, w) if w.rotates());
    if !(halves && rotates) {
        return values;
    }
    let unit = if weight.is_vector() { 1 } else { cols };
    split_pairs(&values, unit, spec.head_width as usize)
}

/// Moves row `2i` of each head to `i`, row `2i + 1` to `D/2 + i`.
fn split_pairs(values: &[f32], unit: usize, head_width: usize) -> Vec<f32> {
    let mut moved = vec![0.0; values.len()];
    for (row, from) in values.chunks_exact(unit).enumerate() {
        let (head, within) = (row / head_width, row % head_width);
        let to = head * head_width + within / 2 + within % 2 * (head_width / 2);
        moved[to * unit..][..unit].copy_from_slice(from);
    }
    moved
}

fn weight_number(weight: Weight) -> u64 {
    match weight {
        Weight::Embedding => 1,
        Weight::Output => 2,
        Weight::OutputNorm => 3,
        Weight::Layer(layer, weight) => 16 * (u64::from(layer) + 1) + weight as u64,
    }
}

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A whole number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.bits() % n.max(1)
    }

    /// Uniform in −1..1.
    fn next(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Writes GGUF version 3, whatever it is told: also for files that are meant to be wrong.
#[derive(Debug, Clone, Default)]
pub struct GgufBuilder {
    keys: Vec<Vec<u8>>,
    infos: Vec<Vec<u8>>,
    data: Vec<u8>,
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

impl GgufBuilder {
    /// A key with a value of type `kind`, already in bytes.
    pub fn raw(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.keys.push([&string(key), &kind.to_le_bytes()[..], value].concat());
    }

    /// A string.
    pub fn text(&mut self, key: &str, value: &str) {
        self.raw(key, 8, &string(value));
    }

    /// A whole number.
    pub fn u32(&mut self, key: &str, value: u32) {
        self.raw(key, 4, &value.to_le_bytes());
    }

    /// A number.
    pub fn f32(&mut self, key: &str, value: f32) {
        self.raw(key, 6, &value.to_le_bytes());
    }

    /// A truth value.
    pub fn bool(&mut self, key: &str, value: bool) {
        self.raw(key, 7, &[value.into()]);
    }

    /// An array of elements of type `kind`, already in bytes; `len` is what the header says.
    pub fn array(&mut self, key: &str, kind: u32, len: u64, elements: &[u8]) {
        self.raw(key, 9, &[&kind.to_le_bytes(), &len.to_le_bytes()[..], elements].concat());
    }

    /// An array of strings.
    pub fn texts(&mut self, key: &str, values: &[String]) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| string(v)).collect();
        self.array(key, 8, values.len() as u64, &bytes);
    }

    /// An array of whole numbers.
    pub fn i32s(&mut self, key: &str, values: &[i32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.array(key, 5, values.len() as u64, &bytes);
    }

    /// An array of numbers.
    pub fn f32s(&mut self, key: &str, values: &[f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.array(key, 6, values.len() as u64, &bytes);
    }

    /// A tensor, innermost dimension first, and its data.
    pub fn tensor(&mut self, name: &str, dims: &[u64], kind: u32, data: Vec<u8>) {
        self.tensor_at(name, dims, kind, self.data.len() as u64);
        self.data.extend(data);
        self.data.resize(self.data.len().next_multiple_of(32), 0);
    }

    /// A tensor without data of its own, at `offset`.
    pub fn tensor_at(&mut self, name: &str, dims: &[u64], kind: u32, offset: u64) {
        let dims_bytes: Vec<u8> = dims.iter().flat_map(|d| d.to_le_bytes()).collect();
        let count = (dims.len() as u32).to_le_bytes();
        self.infos.push([&string(name), &count[..], &dims_bytes, &kind.to_le_bytes(), &offset.to_le_bytes()].concat());
    }

    /// The file.
    pub fn build(&self) -> Vec<u8> {
        let counts = [self.infos.len() as u64, self.keys.len() as u64].map(u64::to_le_bytes).concat();
        let mut file = [b"GGUF", &3u32.to_le_bytes()[..], &counts, &self.keys.concat(), &self.infos.concat()].concat();
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(&self.data);
        file
    }
}
