//! Writes sound files to start fuzzing from: `cargo run --example seeds -- fuzz/corpus`.

use headsaw::spec::model::{Dtype, Family, ModelSpec};
use headsaw_run::testing::{config_json, random_model, safetensors, small_spec, tokenizer_json};
use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let corpus = PathBuf::from(std::env::args().nth(1).expect("usage: seeds FOLDER"));
    for family in [Family::Llama, Family::Qwen2] {
        let spec = ModelSpec { layers: 1, width: 32, heads: 2, ffn: 32, vocab: 270, ..small_spec(family) };
        let write = |target: &str, bytes: Vec<u8>| {
            let folder = corpus.join(target);
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join(format!("{family:?}")), bytes)
        };
        let wide = ModelSpec { width: 256, ffn: 256, ..spec.clone() };
        write("gguf/blocks_of_256", random_model(&wide, 1, Dtype::Q4K))?;
        write("gguf", random_model(&spec, 1, Dtype::Q4_1))?;
        write("safetensors", safetensors(&spec, 1, |_| true))?;
        write("config", config_json(&spec).into_bytes())?;
        write("tokenizer", tokenizer_json(&spec).into_bytes())?;
    }
    Ok(())
}
