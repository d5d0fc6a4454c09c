//! Sound files to start from, and ways to spoil them.

use crate::watch::Folder;
use headsaw::spec::model::{Dtype, Family, ModelSpec};
use headsaw_run::testing::{GgufBuilder, Random, config_json, random_hf_folder, random_model, small_spec};

/// `count`, or what `HEADSAW_MUTANTS` says.
pub fn scaled(count: u64) -> u64 {
    let asked = std::env::var("HEADSAW_MUTANTS").ok().and_then(|n| n.parse().ok());
    asked.unwrap_or(count)
}

/// Small enough that most of the file is its header.
pub fn tiny_spec(family: Family) -> ModelSpec {
    ModelSpec { layers: 1, width: 8, heads: 2, kv_heads: 1, head_width: 4, ffn: 8, vocab: 270, ..small_spec(family) }
}

/// Whole blocks of 32.
fn blocked_spec(family: Family) -> ModelSpec {
    ModelSpec { width: 32, heads: 2, kv_heads: 2, head_width: 16, ffn: 32, ..tiny_spec(family) }
}

/// Whole blocks of 256 in the rows of all but one weight.
fn wide_spec(family: Family) -> ModelSpec {
    ModelSpec { width: 256, heads: 1, kv_heads: 1, head_width: 32, ffn: 256, ..tiny_spec(family) }
}

pub fn gguf_seeds() -> [Vec<u8>; 6] {
    [
        random_model(&tiny_spec(Family::Llama), 1, Dtype::F16),
        random_model(&tiny_spec(Family::Qwen2), 2, Dtype::F32),
        random_model(&blocked_spec(Family::Llama), 3, Dtype::Q4_1),
        random_model(&tiny_spec(Family::Qwen3), 4, Dtype::Bf16),
        random_model(&wide_spec(Family::Llama), 5, Dtype::Q4K),
        sentence_piece(),
    ]
}

/// A model with a SentencePiece vocabulary.
fn sentence_piece() -> Vec<u8> {
    let mut file = GgufBuilder::default();
    file.text("general.architecture", "llama");
    for (key, value) in [
        ("block_count", 0),
        ("context_length", 64),
        ("embedding_length", 4),
        ("feed_forward_length", 4),
        ("attention.head_count", 1),
    ] {
        file.u32(&format!("llama.{key}"), value.max(1));
    }
    file.f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
    let pieces = ["<unk>", "<s>", "</s>", "▁", "T", "h", "e", "▁T", "he", "▁The", "c", "a", "t", "at", "cat"];
    let tokens: Vec<String> =
        pieces.into_iter().map(String::from).chain((0..256).map(|b| format!("<0x{b:02X}>"))).collect();
    let kind = |i: usize| {
        if i < 3 {
            3
        } else if i < pieces.len() {
            1
        } else {
            6
        }
    };
    file.text("tokenizer.ggml.model", "llama");
    file.texts("tokenizer.ggml.tokens", &tokens);
    file.i32s("tokenizer.ggml.token_type", &(0..tokens.len()).map(kind).collect::<Vec<i32>>());
    file.f32s("tokenizer.ggml.scores", &(0..tokens.len()).map(|i| -(i as f32)).collect::<Vec<f32>>());
    file.u32("tokenizer.ggml.bos_token_id", 1);
    file.u32("tokenizer.ggml.eos_token_id", 2);
    let (width, vocab) = (4, tokens.len() as u64);
    file.tensor("token_embd.weight", &[width, vocab], 1, vec![0; 8 * tokens.len()]);
    for name in ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"] {
        file.tensor(&format!("{name}.weight"), &[width], 0, vec![0; 16]);
    }
    for name in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"] {
        file.tensor(&format!("blk.0.{name}.weight"), &[width, width], 1, vec![0; 32]);
    }
    file.build()
}

pub fn hf_seed(name: &str) -> Folder {
    let dir = Folder::new(name);
    let spec = tiny_spec(Family::Qwen2);
    random_hf_folder(&dir.0, &spec, 4).expect("writes");
    std::fs::write(dir.path("config.json"), config_json(&spec)).expect("writes");
    let config = r#"{"eos_token":{"content":"<|endoftext|>"},"chat_template":[{"name":"default","template":"x"}]}"#;
    std::fs::write(dir.path("tokenizer_config.json"), config).expect("writes");
    dir
}

const NUMBERS: [u64; 14] =
    [0, 1, 2, 7, 31, 255, 1 << 16, (1 << 31) - 1, 1 << 31, u32::MAX as u64, 1 << 32, 1 << 61, 1 << 63, u64::MAX];

/// One to three changes anywhere, but mostly in the front, where the headers are.
pub fn bytes(original: &[u8], random: &mut Random) -> Vec<u8> {
    let mut file = original.to_vec();
    for _ in 0..=random.below(3) / 2 + random.below(5) / 4 {
        change(&mut file, random);
    }
    file
}

fn change(file: &mut Vec<u8>, random: &mut Random) {
    if file.is_empty() {
        return;
    }
    let len = file.len() as u64;
    let front = match random.below(8) {
        0 => len.min(64),
        1..=3 => len.min(1024),
        _ => len,
    };
    let at = random.below(front) as usize;
    let run = at..(at + 1 + random.below(16) as usize).min(file.len());
    match random.below(8) {
        0 | 1 => file[at] ^= 1 << random.below(8),
        2 => file.truncate(at),
        3 => file[run].fill(if random.below(2) == 0 { 0 } else { 0xFF }),
        4 => file[run].iter_mut().for_each(|byte| *byte = random.bits() as u8),
        5 => drop(file.drain(run)),
        6 => {
            let copy = file[run].to_vec();
            file.splice(at..at, copy);
        }
        _ => number(file, at, random),
    }
}

/// A 32- or 64-bit number, exactly or nearly a special one.
fn number(file: &mut [u8], at: usize, random: &mut Random) {
    let value = NUMBERS[random.below(NUMBERS.len() as u64) as usize].wrapping_add(random.below(3)).wrapping_sub(1);
    let width = if random.below(2) == 0 { 4 } else { 8 };
    if let Some(field) = file.get_mut(at..at + width) {
        field.copy_from_slice(&value.to_le_bytes()[..width]);
    }
}

const VALUES: [&str; 20] = [
    "0",
    "-1",
    "1",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "1e400",
    "1e-46",
    "0.5",
    "null",
    "true",
    "false",
    "\"\"",
    "\"../../etc/passwd\"",
    "[]",
    "{}",
    "[[[[[[[[[[[[[[[[[[[[[[[[",
    "\"\\ud800\"",
];

/// A number, word or string of a JSON text becomes another value; else as [`bytes`].
pub fn json(original: &[u8], random: &mut Random) -> Vec<u8> {
    if random.below(4) == 0 {
        return bytes(original, random);
    }
    let mut file = original.to_vec();
    for _ in 0..=random.below(2) {
        let starts: Vec<usize> = (1..file.len()).filter(|&i| matches!(file[i - 1], b':' | b'[' | b',')).collect();
        if starts.is_empty() {
            break;
        }
        let at = starts[random.below(starts.len() as u64) as usize];
        let end = (at..file.len()).find(|&i| matches!(file[i], b',' | b']' | b'}')).unwrap_or(file.len());
        let value = VALUES[random.below(VALUES.len() as u64) as usize];
        file.splice(at..end, value.bytes());
    }
    file
}
