//! Files as large as the limits allow: they too cost no more memory than their size and 64 MiB.

use crate::mutate::{hf_seed, tiny_spec};
use crate::{read_all, watch};
use headsaw::spec::model::{Dtype, Family};
use headsaw_run::testing::{GgufBuilder, random_model};
use headsaw_run::tokenizer::Tokenizer;
use headsaw_run::weights::ModelFile;
use std::path::Path;

fn vocabulary_only(path: &Path) -> Result<(), String> {
    let tokenizer = Tokenizer::from_gguf(path).map_err(|e| e.to_string())?;
    tokenizer.encode("0123456789", true).map(drop).map_err(|e| e.to_string())
}

/// Letters in base 52: short and different from each other.
fn piece(mut n: u32) -> String {
    let mut piece = String::new();
    loop {
        let digit = (n % 52) as u8;
        piece.push(char::from(if digit < 26 { b'a' + digit } else { b'A' + digit - 26 }));
        n /= 52;
        if n == 0 {
            return piece;
        }
    }
}

fn refused_or_read(name: &str, file: &[u8], read: fn(&Path) -> Result<(), String>) -> Result<(), String> {
    let dir = watch::Folder::new(name);
    let path = dir.path("model.gguf");
    std::fs::write(&path, file).expect("writes");
    watch::guarded_slowly(&path, read)
}

const TOKENS: u32 = 1 << 20;

#[test]
fn largest_byte_level_vocabulary() {
    let mut file = GgufBuilder::default();
    let tokens: Vec<String> = (0..TOKENS).map(piece).collect();
    let merge = |token: &String| format!("{} {}", &token[..1], &token[1..]);
    let merges: Vec<String> = tokens.iter().filter(|t| t.len() > 1).map(merge).collect();
    file.text("tokenizer.ggml.model", "gpt2");
    file.texts("tokenizer.ggml.tokens", &tokens);
    file.texts("tokenizer.ggml.merges", &merges);
    refused_or_read("limit-bpe", &file.build(), vocabulary_only).expect("reads");
}

#[test]
fn largest_sentence_piece_vocabulary() {
    let mut file = GgufBuilder::default();
    let tokens: Vec<String> = (0..TOKENS).map(piece).collect();
    file.text("tokenizer.ggml.model", "llama");
    file.texts("tokenizer.ggml.tokens", &tokens);
    file.f32s("tokenizer.ggml.scores", &vec![0.0; tokens.len()]);
    file.i32s("tokenizer.ggml.token_type", &vec![4; tokens.len()]);
    refused_or_read("limit-spm", &file.build(), vocabulary_only).expect("reads");
}

#[test]
fn most_keys_and_tensors() {
    let mut file = GgufBuilder::default();
    (0..1u32 << 16).for_each(|i| file.bool(&piece(i), true));
    let message = refused_or_read("limit-keys", &file.build(), read_all).expect_err("no architecture");
    assert!(message.contains("general.architecture"), "{message}");
    let mut file = GgufBuilder::default();
    file.text("general.architecture", "llama");
    (0..1u32 << 17).for_each(|i| file.tensor(&piece(i), &[1, 1, 1, 1], 0, vec![0; 4]));
    let message = refused_or_read("limit-tensors", &file.build(), read_all).expect_err("no such model");
    assert!(message.contains("llama.block_count"), "{message}");
    let file = random_model(&tiny_spec(Family::Llama), 1, Dtype::F16);
    refused_or_read("limit-sound", &file, read_all).expect("reads");
}

#[test]
fn most_tensors_of_safetensors() {
    let dir = hf_seed("limit-entries");
    let entry = |i: u32| format!(r#""{}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#, piece(i));
    let entries: Vec<String> = (0..1 << 17).map(entry).collect();
    let header = format!("{{{}}}", entries.join(","));
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    std::fs::write(dir.path("model.safetensors"), file).expect("writes");
    let message = watch::guarded_slowly(&dir.0, read_all).expect_err("no such model");
    assert!(message.contains("model.embed_tokens.weight"), "{message}");
}

#[test]
fn largest_tokenizer_json() {
    let tokens: Vec<String> = (0..TOKENS).map(piece).collect();
    let merges = tokens.iter().filter(|t| t.len() > 1).map(|t| format!(r#""{} {}""#, &t[..1], &t[1..]));
    let merges = merges.collect::<Vec<_>>().join(",");
    let vocab = tokens.iter().enumerate().map(|(i, t)| format!(r#""{t}":{i}"#)).collect::<Vec<_>>().join(",");
    let json = format!(r#"{{"model":{{"merges":[{merges}],"vocab":{{{vocab}}}}},"decoder":{{"type":"ByteLevel"}}}}"#);
    let dir = watch::Folder::new("limit-json");
    std::fs::write(dir.path("tokenizer.json"), json).expect("writes");
    let read = |path: &Path| {
        let bytes = std::fs::read(path).expect("reads");
        Tokenizer::from_json(bytes, TOKENS).map(drop).map_err(|e| e.to_string())
    };
    watch::guarded_slowly(&dir.path("tokenizer.json"), read).expect("reads");
}

/// Patterns that compile to as much as can be had for their length.
#[test]
fn patterns_that_grow() {
    let dir = hf_seed("limit-patterns");
    for unit in [r"\\p{L}{29}", r"\\w\\W", r"[\\w&&\\pL]", r"(?i:\\pL)", r"(?=\\w)", r"\\p{L}{99}"] {
        for count in [10, 40, 80, 300] {
            let regex = unit.repeat(count);
            let pattern = format!(r#"{{"type":"Split","pattern":{{"Regex":"{regex}"}},"behavior":"Isolated"}}"#);
            let patterns = vec![pattern; 6].join(",");
            let json = format!(
                r#"{{"model":{{"vocab":{{"a":0}},"merges":[]}},"decoder":{{"type":"ByteLevel"}},
                "pre_tokenizer":{{"type":"Sequence","pretokenizers":[{patterns}]}}}}"#
            );
            std::fs::write(dir.path("tokenizer.json"), json).expect("writes");
            let _ = watch::guarded_slowly(&dir.0, read_all);
        }
    }
}

/// A long text costs memory and time in proportion.
#[test]
fn a_word_of_a_million_letters() {
    let model = ModelFile::from_reader("m", random_model(&tiny_spec(Family::Llama), 1, Dtype::F16)).expect("opens");
    let tokenizer = Tokenizer::from_model(&model).expect("a tokenizer");
    let ids = tokenizer.encode(&"a".repeat(1 << 20), false).expect("encodes");
    assert_eq!(ids.len(), 1 << 20);
}
