//! `oracle`: asks other engines for the right logits and stores them in `oracle/stored`; see `oracle/README.md`.

use crate::command::{cargo, check, root};
use crate::fetch;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// llama.cpp, and what reads its files.
const PYTHON_PACKAGES: [&str; 3] = ["llama-cpp-python==0.3.36", "numpy", "gguf"];

/// Where what other engines are built from goes.
fn target() -> Result<PathBuf> {
    let target = root().join("target/oracle");
    fs::create_dir_all(&target).with_context(|| format!("creating {}", target.display()))?;
    Ok(fs::canonicalize(target)?)
}

/// Builds the package `oracle`.
pub fn candle() -> Result<PathBuf> {
    let target = target()?;
    eprintln!("xtask: building candle (about 5 minutes the first time)");
    let manifest = ["build", "--release", "--locked", "--manifest-path", "oracle/Cargo.toml", "--target-dir"];
    check(cargo(&manifest).arg(&target))?;
    Ok(target.join("release").join(format!("oracle{}", std::env::consts::EXE_SUFFIX)))
}

/// Build candle and llama.cpp, run both, rewrite what is stored.
pub fn run() -> Result<()> {
    let model = fetch::model()?;
    let target = target()?;
    let venv = target.join("venv");
    let python = venv.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if !python.exists() {
        check(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    }
    eprintln!("xtask: installing {} (about 10 minutes the first time)", PYTHON_PACKAGES.join(", "));
    check(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(PYTHON_PACKAGES),
    )?;

    let candle = candle()?;
    check(Command::new(&python).arg(root().join("oracle/make.py")).arg(model).arg(candle).arg(target.join("work")))
}
