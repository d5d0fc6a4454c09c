//! Files that mean harm: every one is read or refused with a reason, quickly, without a panic, and never costs more memory
//! than its size and 64 MiB.
//!
//! `HEADSAW_MUTANTS=100000` sets how many mutants each seed gets.

mod known;
mod limits;
mod mutate;
mod watch;

use headsaw_run::chat::{Message, Role, Setting, Template};
use headsaw_run::testing::Random;
use headsaw_run::tokenizer::{Decoder, Tokenizer};
use headsaw_run::weights::{ModelFile, Weight};
use std::fmt::Display;
use std::path::Path;

/// Opens a model and reads all that it has: what `run` would do with it.
fn read_all(path: &Path) -> Result<(), String> {
    let text = |e: &dyn Display| e.to_string();
    let model = ModelFile::open(path).map_err(|e| text(&e))?;
    for weight in Weight::all(model.spec()) {
        let [rows, cols] = weight.shape(model.spec());
        model.rows(weight, 0..rows, 0..cols).map_err(|e| text(&e))?;
    }
    let tokenizer = Tokenizer::from_model(&model).map_err(|e| text(&e))?;
    let mut decoder = Decoder::new();
    for special in [false, true] {
        let ids = tokenizer.encode("The cat <|endoftext|>, 12 é", special).map_err(|e| text(&e))?;
        assert!(ids.iter().all(|&id| id < model.spec().vocab), "ids below the vocabulary");
        tokenizer.decode(&ids);
        ids.iter().for_each(|&id| drop(decoder.push(&tokenizer, id)));
    }
    Ok(())
}

/// Mutants of one file of a model; `path` is what is opened. Some must be refused and some, with harmless changes, read.
fn mutants(count: u64, seed: u64, path: &Path, file: &Path, mutate: fn(&[u8], &mut Random) -> Vec<u8>) {
    mutants_by(read_all, count, seed, path, file, mutate);
}

/// The same, read in another way.
fn mutants_by(
    read: fn(&Path) -> Result<(), String>,
    count: u64,
    seed: u64,
    path: &Path,
    file: &Path,
    mutate: fn(&[u8], &mut Random) -> Vec<u8>,
) {
    let count = mutate::scaled(count);
    let original = std::fs::read(file).expect("the seed");
    watch::guarded(path, read).expect("the seed itself is sound");
    let mut random = Random(seed);
    let mut sound = 0;
    for _ in 0..count {
        std::fs::write(file, mutate(&original, &mut random)).expect("writes");
        if let Ok(()) = watch::guarded(path, read) {
            sound += 1;
        }
    }
    std::fs::write(file, original).expect("writes");
    eprintln!("{}: {sound} of {count} mutants read", file.display());
    assert!((1..count).contains(&sound), "{sound} of {count} mutants were read without complaint");
}

#[test]
fn mutants_of_gguf() {
    let dir = watch::Folder::new("gguf");
    let file = dir.path("model.gguf");
    for (seed, bytes) in mutate::gguf_seeds().into_iter().enumerate() {
        std::fs::write(&file, bytes).expect("writes");
        mutants(350, seed as u64, &file, &file, mutate::bytes);
    }
}

#[test]
fn mutants_of_safetensors() {
    let dir = mutate::hf_seed("safetensors");
    mutants(500, 10, &dir.0, &dir.path("model.safetensors"), mutate::bytes);
}

#[test]
fn mutants_of_safetensors_headers() {
    let dir = mutate::hf_seed("headers");
    mutants(400, 11, &dir.0, &dir.path("model.safetensors"), mutate::json);
}

#[test]
fn mutants_of_config() {
    let dir = mutate::hf_seed("config");
    mutants(400, 12, &dir.0, &dir.path("config.json"), mutate::json);
}

#[test]
fn mutants_of_tokenizer_json() {
    let dir = mutate::hf_seed("tokenizer");
    mutants(300, 13, &dir.0, &dir.path("tokenizer.json"), mutate::json);
    mutants(200, 14, &dir.0, &dir.path("tokenizer.json"), mutate::bytes);
    for name in ["generation_config.json", "tokenizer_config.json"] {
        let dir = mutate::hf_seed("beside");
        mutants(100, 15, &dir.0, &dir.path(name), mutate::json);
    }
}

#[test]
fn mutants_of_the_index() {
    let dir = mutate::hf_seed("index");
    std::fs::rename(dir.path("model.safetensors"), dir.path("part.safetensors")).expect("renames");
    let index = r#"{"metadata":{"total_size":1},"weight_map":{"a":"part.safetensors","b":"part.safetensors"}}"#;
    std::fs::write(dir.path("model.safetensors.index.json"), index).expect("writes");
    mutants(200, 16, &dir.0, &dir.path("model.safetensors.index.json"), mutate::json);
}

/// Renders a chat template: what `run --chat` would do with it.
fn render(path: &Path) -> Result<(), String> {
    let source = std::fs::read(path).expect("reads");
    let source = String::from_utf8(source).map_err(|e| e.to_string())?;
    let template = Template::new("template", &source).map_err(|e| e.to_string())?;
    let said = |role, text: &str| Message::new(role, text);
    let messages = [said(Role::User, "One?"), said(Role::Assistant, "<think>a</think>b"), said(Role::User, " Two ")];
    let setting = Setting { bos: "<s>", eos: "</s>", now: 0, asks: true };
    template.render(&messages, &setting).map(drop).map_err(|e| e.to_string())
}

#[test]
fn mutants_of_chat_templates() {
    let dir = watch::Folder::new("template");
    let file = dir.path("chat_template.jinja");
    let seeds = [
        include_str!("../chat/llama3.jinja"),
        include_str!("../chat/mistral.jinja"),
        include_str!("../chat/qwen3.jinja"),
        include_str!("../chat/odds.jinja"),
    ];
    for (seed, source) in seeds.into_iter().enumerate() {
        std::fs::write(&file, source).expect("writes");
        mutants_by(render, 200, 30 + seed as u64, &file, &file, mutate::bytes);
    }
}
