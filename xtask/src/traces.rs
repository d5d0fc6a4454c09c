//! `traces`: reads our `.pftrace` files by Perfetto's own protos (PyPI) and holds them against our Chrome JSON; predicted,
//! and predicted beside measured.

use crate::command::{check, root, succeeds};
use crate::fetch;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

const PERFETTO: &str = "0.59.1";

/// What is simulated and drawn: by heads, by layers, generation, the gather exchange.
const CASES: [&str; 4] = [
    "eight-heads --cluster h100x4 --tp 4 --steps 3 --chunk 1",
    "llama-3.1-8b --cluster h100x8 --tp 2 --pp 2",
    "llama-3.1-70b --cluster h100x16 --tp 8 --pp 2 --for decode --batch 16",
    "eight-heads --cluster h100x4 --tp 2 --pp 2 --exchange gather",
];

/// What is run, and predicted too.
const MEASURED: &str = "demo --tp 2 --steps 3 --chunk 1 --context 64";

/// Install Perfetto's package where it is missing, draw, compare.
pub fn run() -> Result<()> {
    let python = install()?;
    let folder = root().join("target/traces");
    std::fs::create_dir_all(&folder)?;
    let mut files = Vec::new();
    for (i, case) in CASES.iter().enumerate() {
        for ending in ["pftrace", "json"] {
            let file = folder.join(format!("{i}.{ending}"));
            draw(case, &file)?;
            files.push(file);
        }
    }
    files.extend(beside(&folder)?);
    check(Command::new(python).arg(root().join("xtask/peers/perfetto_decode.py")).args(files))
}

/// Two traces in one file: the demo's model cut by heads and steps, what was predicted and what was measured.
fn beside(folder: &Path) -> Result<Vec<PathBuf>> {
    let [plan, predicted, measured] =
        ["demo.plan.json", "predicted.trace", "measured.trace"].map(|name| folder.join(name));
    check(headsaw("plan").args(MEASURED.split(' ')).arg("-o").arg(&plan))?;
    check(headsaw("simulate").arg(&plan).args(["--cluster", "local", "-o"]).arg(&predicted))?;
    check(
        headsaw("run")
            .args(["demo", "-p", "In the beginning", "-n", "4", "--plan"])
            .arg(&plan)
            .arg("--trace")
            .arg(&measured),
    )?;
    let files = ["both.pftrace", "both.json"].map(|name| folder.join(name));
    for file in &files {
        check(headsaw("draw").arg(&predicted).arg("--beside").arg(&measured).arg("-o").arg(file))?;
    }
    Ok(files.to_vec())
}

fn draw(case: &str, file: &Path) -> Result<()> {
    check(headsaw("simulate").args(case.split(' ')).arg("-o").arg(file))
}

fn headsaw(verb: &str) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root()).args(["run", "--quiet", "-p", "headsaw-cli", "--", verb]);
    command.stdout(std::process::Stdio::null());
    command
}

/// A Python that has Perfetto's protos, kept beside the model.
fn install() -> Result<PathBuf> {
    let venv = fetch::cache()?.join(format!("perfetto-{PERFETTO}"));
    let python = venv.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if succeeds(Command::new(&python).args(["-c", "import perfetto.protos.perfetto.trace.perfetto_trace_pb2"])) {
        return Ok(python);
    }
    check(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let package = format!("perfetto=={PERFETTO}");
    let quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "protobuf", &package];
    check(Command::new(&python).args(quiet).stdout(std::io::stderr()))?;
    Ok(python)
}
