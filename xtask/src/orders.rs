//! `orders`: asks PyTorch's pipelining whether it accepts the orders that headsaw writes, and stores what it says.
//!
//! The package for CPUs alone is not on PyPI, so this one brings CUDA's libraries, which it wants to load; no GPU is used.

use crate::command::{check, root, succeeds};
use crate::fetch;
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[allow(dead_code)] // the tests use all of it
#[path = "../../crates/headsaw/tests/orders/cases.rs"]
mod cases;

const TORCH: &str = "2.15.0";
const STORED: &str = "crates/headsaw/tests/orders/verdicts.json";

/// Install PyTorch where it is missing, ask it, rewrite what is stored; an error where a verdict is not the right one.
pub fn run() -> Result<()> {
    let python = install()?;
    let right = texts();
    let wrong: BTreeMap<String, String> = cases::broken().into_iter().map(|(name, text)| (name.into(), text)).collect();
    let (torch, refused) = ask(&python, &right)?;
    ensure!(refused.is_empty(), "torch {torch} refuses {refused:#?}");
    let (_, refused) = ask(&python, &wrong)?;
    let accepted: Vec<&String> = wrong.keys().filter(|name| !refused.contains_key(*name)).collect();
    ensure!(accepted.is_empty(), "torch {torch} accepts {accepted:?}");

    let good: Map<String, Value> = right.iter().map(|(name, text)| (hash(text), json!(name))).collect();
    let bad: Map<String, Value> =
        refused.iter().map(|(name, reason)| (hash(&wrong[name]), json!([name, reason]))).collect();
    let stored = json!({ "torch": torch, "accepted": good, "refused": bad });
    let path = root().join(STORED);
    fs::write(&path, serde_json::to_string_pretty(&stored)? + "\n").with_context(|| format!("writing {STORED}"))?;
    println!("torch {torch}: {} texts accepted ({} cases), {} refused", good.len(), cases::all().len(), bad.len());
    Ok(())
}

/// Texts of all cases, each once, by the name of the first case that has it.
fn texts() -> BTreeMap<String, String> {
    let first: BTreeMap<String, String> = cases::all().iter().rev().map(|case| (case.text(), case.name())).collect();
    first.into_iter().map(|(text, name)| (name, text)).collect()
}

fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_string()
}

/// A Python that has PyTorch, kept beside the model.
fn install() -> Result<PathBuf> {
    let venv = fetch::cache()?.join(format!("torch-{TORCH}"));
    let python = venv.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let version = format!("import torch; assert torch.__version__.split('+')[0] == '{TORCH}'");
    if succeeds(Command::new(&python).args(["-c", &version])) {
        return Ok(python);
    }
    eprintln!("xtask: installing torch {TORCH} into {} (5 GB)", venv.display());
    check(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    check(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--no-cache-dir", "--disable-pip-version-check"])
            .arg(format!("torch=={TORCH}"))
            .stdout(std::io::stderr()),
    )?;
    Ok(python)
}

/// PyTorch's version, and why it refuses which of the texts.
fn ask(python: &Path, texts: &BTreeMap<String, String>) -> Result<(String, BTreeMap<String, String>)> {
    let script = root().join("xtask/peers/torch_orders.py");
    let mut child = Command::new(python)
        .args(["-W", "ignore"])
        .arg(&script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", python.display()))?;
    child.stdin.take().expect("a pipe").write_all(&serde_json::to_vec(texts)?)?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{} failed: {}", script.display(), output.status);
    let mut answer: Value = serde_json::from_slice(&output.stdout)?;
    let said: BTreeMap<String, Option<String>> = serde_json::from_value(answer["refused"].take())?;
    ensure!(said.keys().eq(texts.keys()), "an answer to each text");
    let refused = said.into_iter().filter_map(|(name, reason)| Some((name, reason?))).collect();
    Ok((answer["torch"].as_str().context("PyTorch's version")?.to_owned(), refused))
}
