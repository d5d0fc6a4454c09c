//! `export-check`: asks each engine's own parser what it says to the exports of good and bad plans, and stores that.
//!
//! Engines are installed once, each in a virtual environment in the build folder, which `uv` makes quick. No GPU is used.

use crate::command::{check, root, succeeds};
use anyhow::{Context, Result, bail, ensure};
use headsaw::export::Engine;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[allow(dead_code)] // the tests use all of it
#[path = "../../crates/headsaw/tests/export/cases.rs"]
mod cases;

use cases::Case;

const STORED: &str = "crates/headsaw/tests/export/verdicts.json";

#[derive(clap::Args)]
pub struct Args {
    /// Ask only these engines; what the others said stays as it is
    #[arg(value_name = "ENGINE")]
    engines: Vec<String>,
}

/// How an engine's parser is installed: Python, packages beside its own, packages without what they depend on.
struct Recipe {
    python: &'static str,
    with: &'static [&'static str],
    alone: &'static [&'static str],
}

fn recipe(engine: Engine) -> Recipe {
    const TORCH: &str = "torch==2.15.0";
    let plain = |python, with| Recipe { python, with, alone: &[] };
    match engine {
        // Its pin of certifi has been withdrawn.
        Engine::Vllm => plain("3.11", &[]),
        // Its wheel alone, over vLLM's packages: the parser needs few more, and none of its kernels.
        Engine::Sglang => {
            Recipe { python: "3.11", with: &["vllm==0.33.0", "ipython", "orjson"], alone: &["sglang==0.5.23"] }
        }
        Engine::Megatron => plain("3.12", &[TORCH]),
        // One of its configurations is in float8.
        Engine::Torchtitan => plain("3.11", &[TORCH, "torchao==0.18.0"]),
        Engine::Deepspeed => plain("3.11", &[TORCH, "setuptools"]),
        Engine::TorchPipelining => plain("3.11", &["numpy"]),
    }
}

/// What an engine said to a case: what it would cut, or why it refuses.
type Answers = BTreeMap<String, Value>;

/// Install what is missing, ask, rewrite what is stored; an error where an engine refuses a good plan or reads another.
pub fn run(args: &Args) -> Result<()> {
    for engine in wanted(&args.engines)? {
        let verdicts = examine(engine).with_context(|| format!("checking {}", engine.name()))?;
        store(engine, verdicts)?;
    }
    Ok(())
}

/// Puts what an engine said beside what the others did.
fn store(engine: Engine, verdicts: Value) -> Result<()> {
    let path = root().join(STORED);
    let mut stored: Map<String, Value> = match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).with_context(|| format!("reading {STORED}"))?,
        Err(_) => Map::new(),
    };
    stored.insert(engine.name().into(), verdicts);
    fs::write(&path, serde_json::to_string_pretty(&stored)? + "\n").with_context(|| format!("writing {STORED}"))
}

fn wanted(names: &[String]) -> Result<Vec<Engine>> {
    if names.is_empty() {
        return Ok(Engine::ALL.into_iter().rev().collect()); // the light ones first
    }
    let find = |name: &String| {
        let found = Engine::ALL.into_iter().find(|engine| engine.name() == name);
        found.with_context(|| format!("{name}: no such engine; {:?}", Engine::ALL.map(Engine::name)))
    };
    names.iter().map(find).collect()
}

/// Asks an engine about its cases.
fn examine(engine: Engine) -> Result<Value> {
    let python = install(engine)?;
    let (good, bad) = (cases::good(engine), cases::bad(engine));
    let (version, mut said) = ask(engine, &python, good.iter().chain(&bad))?;
    let mut accepted: BTreeMap<String, Vec<&str>> = BTreeMap::new(); // some engines are not told the model
    for case in &good {
        let answer = said.remove(&case.name).context("an answer to each case")?;
        as_planned(case, &answer).with_context(|| case.name.clone())?;
        accepted.entry(hash(case).expect("a good plan is written")).or_default().push(&case.name);
    }
    let mut refused = Map::new();
    let mut unseen = 0;
    for case in &bad {
        let words = said.remove(&case.name).map(|answer| match &answer["refused"] {
            Value::String(words) => words.clone(),
            _ => {
                unseen += 1;
                format!("accepts it as {answer}")
            }
        });
        refused.insert(case.name.clone(), json!({ "hash": hash(case), "engine": words }));
    }
    println!(
        "{} {version}: {} good plans accepted; of {} bad plans that headsaw refuses its parser accepts {unseen}",
        engine.name(),
        good.len(),
        bad.len()
    );
    Ok(json!({ "version": version, "accepted": accepted, "refused": refused }))
}

/// Did the engine read what the plan says?
fn as_planned(case: &Case, answer: &Value) -> Result<()> {
    if let Some(words) = answer["refused"].as_str() {
        bail!("refused: {words}");
    }
    let (tp, layers) = (case.plan.stages[0].slices.len(), case.layers());
    let expected = match case.engine {
        Engine::TorchPipelining => json!({ "stages": layers.len() }),
        _ => json!({ "tp": tp, "layers": layers }),
    };
    ensure!(*answer == expected, "read as {answer}, planned as {expected}");
    Ok(())
}

fn hash(case: &Case) -> Option<String> {
    case.draft().map(|export| blake3::hash(cases::text(&export).as_bytes()).to_string())
}

/// The engine's version, and what it says to each case of which something can be written.
fn ask<'a>(engine: Engine, python: &Path, cases: impl Iterator<Item = &'a Case>) -> Result<(String, Answers)> {
    let script = root().join(format!("xtask/peers/export/ask_{}.py", engine.name().replace('-', "_")));
    let asked: Vec<Value> = cases.filter_map(question).collect();
    let mut child = Command::new(python)
        .args(["-W", "ignore"])
        .arg(&script)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", python.display()))?;
    child.stdin.take().expect("a pipe").write_all(&serde_json::to_vec(&asked)?)?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{} failed: {}", script.display(), output.status);
    let last = output.stdout.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default(); // engines talk too
    let mut answer: Value = serde_json::from_slice(last)?;
    let version = answer["version"].as_str().context("the engine's version")?.to_owned();
    ensure!(version == engine.package().1, "{version} is installed, exports name {}", engine.package().1);
    Ok((version, serde_json::from_value(answer["answers"].take())?))
}

/// What the engine is asked about a case.
fn question(case: &Case) -> Option<Value> {
    let export = case.draft()?;
    let flags = export.flags.iter();
    let argv: Vec<&str> =
        flags.flat_map(|flag| std::iter::once(&flag.name).chain(&flag.value)).map(|w| &w[..]).collect();
    let files: BTreeMap<&str, &str> = export.files.iter().map(|file| (&file.name[..], &file.text[..])).collect();
    let environment: BTreeMap<&str, &str> = export.environment.iter().map(|(n, v)| (&n[..], &v[..])).collect();
    Some(json!({
        "name": case.name,
        "argv": argv,
        "files": files,
        "environment": environment,
        "config": config(case),
        "devices": case.plan.devices.len(),
    }))
}

/// The model as a Hugging Face config.json.
fn config(case: &Case) -> Value {
    use headsaw::spec::model::Family;
    let model = &case.plan.model;
    let (architecture, kind) = match model.family {
        Family::Llama => ("LlamaForCausalLM", "llama"),
        Family::Qwen2 => ("Qwen2ForCausalLM", "qwen2"),
        Family::Qwen3 => ("Qwen3ForCausalLM", "qwen3"),
        Family::Gpt => ("GPT2LMHeadModel", "gpt2"),
    };
    json!({
        "architectures": [architecture],
        "model_type": kind,
        "hidden_size": model.width,
        "intermediate_size": model.ffn,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_width,
        "num_hidden_layers": model.layers,
        "vocab_size": model.vocab,
        "max_position_embeddings": model.context,
        "rms_norm_eps": model.norm_epsilon,
        "rope_theta": model.rope.map(|rope| rope.theta),
        "tie_word_embeddings": model.tied,
        "torch_dtype": "bfloat16",
        "hidden_act": "silu",
    })
}

/// A Python that has the engine.
fn install(engine: Engine) -> Result<PathBuf> {
    let (package, version) = engine.package();
    let folder = build_folder().join("engines");
    let venv = folder.join(format!("{}-{version}", engine.name()));
    let python = venv.join("bin/python");
    let installed = format!("import importlib.metadata as m; assert m.version('{package}') == '{version}'");
    if succeeds(Command::new(&python).args(["-c", &installed])) {
        return Ok(python);
    }
    let Recipe { python: wanted, with, alone } = recipe(engine);
    let uv = uv(&folder)?;
    eprintln!("xtask: installing {package} {version} into {} (5 to 12 GB)", venv.display());
    check(Command::new(&uv).args(["venv", "--quiet", "--clear", "--python", wanted]).arg(&venv))?;
    let overrides = folder.join("overrides.txt");
    fs::write(&overrides, "certifi\n")?;
    let pip = |packages: &[&str], more: &[&str]| -> Result<()> {
        let mut command = Command::new(&uv);
        command.args(["pip", "install", "--quiet", "--override"]).arg(&overrides).arg("--python").arg(&python);
        check(command.args(more).args(packages).env("UV_CACHE_DIR", folder.join("cache")))
    };
    let own = format!("{package}=={version}");
    if alone.is_empty() {
        return pip(&[with, &[&own]].concat(), &[]).map(|()| python);
    }
    pip(with, &[])?;
    pip(alone, &["--no-deps"])?;
    Ok(python)
}

/// `uv`, from PyPI where the machine has none.
fn uv(folder: &Path) -> Result<PathBuf> {
    if succeeds(Command::new("uv").arg("--version")) {
        return Ok("uv".into());
    }
    let venv = folder.join("uv");
    let uv = venv.join("bin/uv");
    if !uv.exists() {
        check(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"];
        check(Command::new(venv.join("bin/python")).args(pip).stdout(std::io::stderr()))?;
    }
    Ok(uv)
}

fn build_folder() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
