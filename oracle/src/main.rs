//! Reference logits by an engine that shares nothing with headsaw: candle's own Llama, Qwen2 and Qwen3, in f32 on the CPU.
//!
//! - `oracle gguf MODEL.gguf PROMPTS.json OUT.safetensors`: dequantises every weight to f32 and runs the prompts, each
//!   followed by its `forced` tokens or, where it has none, by what the model itself finds likeliest.
//! - `oracle small FOLDER`: writes the small models to `FOLDER/llama`, `FOLDER/qwen2` and `FOLDER/qwen3` and runs their
//!   sequences; the results are `FOLDER/llama.safetensors` and so on.
//! - `oracle bench MODEL.gguf PROMPT GENERATION`: how fast candle's own quantised Llama is, in tokens a second; the number of
//!   threads is RAYON_NUM_THREADS.
//!
//! A result holds, for prompt i, `logits.i` [64, V], `prompt.i` and `forced.i`: row j predicts `forced.i[j]`.

#[path = "../../crates/headsaw-run/tests/oracle/small.rs"]
#[expect(dead_code, reason = "only the test writes F16 and BF16")]
mod small;

use anyhow::{Context, Result, bail};
use candle_core::quantized::gguf_file::Content;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{llama, quantized_llama, qwen2, qwen3};
use small::{Dtype, Family, POSITIONS};
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::time::Instant;

const CPU: Device = Device::Cpu;

fn main() -> Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["gguf", model, prompts, out] => gguf(model.as_ref(), prompts.as_ref(), out.as_ref()),
        ["small", folder] => Family::ALL.into_iter().try_for_each(|family| small(family, folder.as_ref())),
        ["bench", model, prompt, generation] => bench(model.as_ref(), prompt.parse()?, generation.parse()?),
        _ => bail!(
            "usage: oracle gguf MODEL.gguf PROMPTS.json OUT.safetensors | oracle small FOLDER | oracle bench MODEL.gguf \
             PROMPT GENERATION"
        ),
    }
}

/// One round, as `xtask/peers/llama_bench.py` does it: a prompt, then a generation from an empty context.
fn bench(path: &Path, prompt: usize, generation: usize) -> Result<()> {
    let mut file = File::open(path)?;
    let content = Content::read(&mut file).with_context(|| path.display().to_string())?;
    let mut model = quantized_llama::ModelWeights::from_gguf(content, &mut file, &CPU)?;
    let ids: Vec<u32> = (0..prompt as u32).map(|i| 100 + 7 * i % 4000).collect();
    let mut forward = |ids: &[u32], past: usize| -> Result<f32> {
        let logits = model.forward(&Tensor::new(ids, &CPU)?.unsqueeze(0)?, past)?;
        Ok(logits.max_all()?.to_scalar()?)
    };
    forward(&ids, 0)?; // warm-up
    let begun = Instant::now();
    forward(&ids, 0)?;
    let prompt_seconds = begun.elapsed().as_secs_f64();
    forward(&ids[..1], 0)?;
    let begun = Instant::now();
    for i in 0..generation {
        forward(&ids[i % prompt..][..1], i)?;
    }
    let generation_seconds = begun.elapsed().as_secs_f64();
    let rates = [prompt as f64 / prompt_seconds, generation as f64 / generation_seconds];
    println!("{}", serde_json::json!({ "prompt": rates[0], "generation": rates[1] }));
    Ok(())
}

fn gguf(model: &Path, prompts: &Path, out: &Path) -> Result<()> {
    let (config, weights) = llama_of_gguf(model).with_context(|| model.display().to_string())?;
    let model = llama::Llama::load(VarBuilder::from_tensors(weights, DType::F32, &CPU), &config)?;
    let prompts: serde_json::Value = serde_json::from_reader(File::open(prompts)?)?;
    let mut results = HashMap::new();
    for (i, prompt) in prompts["prompts"].as_array().context("no prompts")?.iter().enumerate() {
        let ids = |key: &str| -> Vec<u32> {
            let ids = prompt[key].as_array().into_iter().flatten();
            ids.map(|id| id.as_u64().expect("a token id") as u32).collect()
        };
        let mut cache = llama::Cache::new(true, DType::F32, &config, &CPU)?;
        let run = |tokens: &[u32], past| model.forward(&Tensor::new(tokens, &CPU)?.unsqueeze(0)?, past, &mut cache);
        answer(i, &ids("prompt_tokens"), &ids("forced"), run, &mut results)?;
    }
    Ok(candle_core::safetensors::save(&results, out)?)
}

/// Writes a small model and its reference logits.
fn small(family: Family, folder: &Path) -> Result<()> {
    let model = folder.join(family.name());
    std::fs::create_dir_all(&model)?;
    small::write(family, Dtype::F32, &model)?;
    let weights = candle_core::safetensors::load(model.join("model.safetensors"), &CPU)?;
    let weights = VarBuilder::from_tensors(weights, DType::F32, &CPU);
    let config = small::config(family);
    let mut results = HashMap::new();
    match family {
        Family::Llama => {
            let config = serde_json::from_value::<llama::LlamaConfig>(config)?.into_config(false);
            let model = llama::Llama::load(weights, &config)?;
            for (i, sequence) in small::sequences().iter().enumerate() {
                let mut cache = llama::Cache::new(true, DType::F32, &config, &CPU)?;
                let run =
                    |tokens: &[u32], past| model.forward(&Tensor::new(tokens, &CPU)?.unsqueeze(0)?, past, &mut cache);
                answer(i, &sequence.prompt, &sequence.forced, run, &mut results)?;
            }
        }
        Family::Qwen2 => {
            let config: qwen2::Config = serde_json::from_value(config)?;
            let mut model = qwen2::ModelForCausalLM::new(&config, weights)?;
            for (i, sequence) in small::sequences().iter().enumerate() {
                model.clear_kv_cache();
                let run = |tokens: &[u32], past| model.forward(&Tensor::new(tokens, &CPU)?.unsqueeze(0)?, past);
                answer(i, &sequence.prompt, &sequence.forced, run, &mut results)?;
            }
        }
        Family::Qwen3 => {
            let config: qwen3::Config = serde_json::from_value(config)?;
            let mut model = qwen3::ModelForCausalLM::new(&config, weights)?;
            for (i, sequence) in small::sequences().iter().enumerate() {
                model.clear_kv_cache();
                let run = |tokens: &[u32], past| model.forward(&Tensor::new(tokens, &CPU)?.unsqueeze(0)?, past);
                answer(i, &sequence.prompt, &sequence.forced, run, &mut results)?;
            }
        }
    }
    Ok(candle_core::safetensors::save(&results, folder.join(format!("{}.safetensors", family.name())))?)
}

/// Runs a prompt and 63 of the tokens after it, and keeps the logits that predict each of the 64.
fn answer(
    i: usize,
    prompt: &[u32],
    forced: &[u32],
    mut run: impl FnMut(&[u32], usize) -> candle_core::Result<Tensor>,
    results: &mut HashMap<String, Tensor>,
) -> Result<()> {
    let mut tokens = prompt.to_vec();
    let mut logits = Vec::new();
    let mut past = 0;
    for position in 0..POSITIONS {
        let row = run(&tokens[past..], past)?.flatten_all()?;
        past = tokens.len();
        tokens.push(match forced.get(position) {
            Some(&token) => token,
            None => row.argmax(0)?.to_scalar()?,
        });
        logits.push(row);
    }
    results.insert(format!("logits.{i}"), Tensor::stack(&logits, 0)?);
    results.insert(format!("prompt.{i}"), Tensor::new(prompt, &CPU)?);
    results.insert(format!("forced.{i}"), Tensor::new(&tokens[prompt.len()..], &CPU)?);
    Ok(())
}

/// The f32 weights of a Llama GGUF under Hugging Face's names and in its row order.
fn llama_of_gguf(path: &Path) -> Result<(llama::Config, HashMap<String, Tensor>)> {
    let mut file = File::open(path)?;
    let gguf = Content::read(&mut file)?;
    let value = |key: &str| gguf.metadata.get(key).with_context(|| format!("no metadata {key}"));
    let integer = |key: &str| -> Result<usize> { Ok(value(key)?.to_u32()? as usize) };
    if value("general.architecture")?.to_string()? != "llama" {
        bail!("not a Llama");
    }
    let config = llama::Config {
        hidden_size: integer("llama.embedding_length")?,
        intermediate_size: integer("llama.feed_forward_length")?,
        vocab_size: gguf.tensor_infos["token_embd.weight"].shape.dims2()?.0,
        num_hidden_layers: integer("llama.block_count")?,
        num_attention_heads: integer("llama.attention.head_count")?,
        num_key_value_heads: integer("llama.attention.head_count_kv")?,
        use_flash_attn: false,
        rms_norm_eps: value("llama.attention.layer_norm_rms_epsilon")?.to_f32()?.into(),
        rope_theta: value("llama.rope.freq_base")?.to_f32()?,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: None,
        max_position_embeddings: integer("llama.context_length")?,
        tie_word_embeddings: !gguf.tensor_infos.contains_key("output.weight"),
    };
    let mut weights = HashMap::new();
    for name in gguf.tensor_infos.keys() {
        let mut tensor = gguf.tensor(&mut file, name, &CPU)?.dequantize(&CPU)?;
        // llama.cpp rotates neighbours (2i, 2i + 1) and so stores the rows of a head in that order; candle rotates
        // (i, i + D/2), as Hugging Face does: undo the permutation.
        let heads = match name.rsplit('.').nth(1) {
            Some("attn_q") => Some(config.num_attention_heads),
            Some("attn_k") => Some(config.num_key_value_heads),
            _ => None,
        };
        if let Some(heads) = heads {
            let (rows, columns) = tensor.dims2()?;
            let pairs = tensor.reshape((heads, rows / heads / 2, 2, columns))?;
            tensor = pairs.transpose(1, 2)?.contiguous()?.reshape((rows, columns))?;
        }
        weights.insert(hugging_face_name(name)?, tensor);
    }
    Ok((config, weights))
}

fn hugging_face_name(name: &str) -> Result<String> {
    if let Some((layer, part)) = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
        let part = match part {
            "attn_norm.weight" => "input_layernorm",
            "attn_q.weight" => "self_attn.q_proj",
            "attn_k.weight" => "self_attn.k_proj",
            "attn_v.weight" => "self_attn.v_proj",
            "attn_output.weight" => "self_attn.o_proj",
            "ffn_norm.weight" => "post_attention_layernorm",
            "ffn_gate.weight" => "mlp.gate_proj",
            "ffn_up.weight" => "mlp.up_proj",
            "ffn_down.weight" => "mlp.down_proj",
            _ => bail!("unknown tensor {name}"),
        };
        return Ok(format!("model.layers.{layer}.{part}.weight"));
    }
    Ok(match name {
        "token_embd.weight" => "model.embed_tokens.weight",
        "output_norm.weight" => "model.norm.weight",
        "output.weight" => "lm_head.weight",
        _ => bail!("unknown tensor {name}"),
    }
    .into())
}
