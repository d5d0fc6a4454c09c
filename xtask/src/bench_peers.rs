//! `bench-peers`: headsaw, llama.cpp and candle on the same file, in turn, on a machine that may be noisy.

use crate::command::{cargo, check, root};
use crate::{fetch, oracle};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const LLAMA: &str = "llama-cpp-python==0.3.36";
/// What llama.cpp is built with where AVX2 is the most that may be used.
const AVX2_BUILD: &str = "-DGGML_NATIVE=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON \
                          -DGGML_AVX512=OFF";

/// Arguments of `bench-peers`.
#[derive(clap::Args)]
pub struct Args {
    /// Rounds; in each, every engine runs once
    #[arg(short, long, default_value_t = 5)]
    rounds: usize,
    /// Tokens of the prompt
    #[arg(short, long, default_value_t = 512)]
    prompt: usize,
    /// Tokens generated from an empty context
    #[arg(short = 'n', long, default_value_t = 128)]
    generation: usize,
    /// A GGUF file instead of SmolLM2
    #[arg(short, long)]
    model: Option<PathBuf>,
    /// Both sides without AVX-512: headsaw is told so, llama.cpp is built so
    #[arg(long)]
    avx2: bool,
    /// candle too (built under target/, about 5 minutes)
    #[arg(long)]
    candle: bool,
    /// A Python that has llama-cpp-python; without it one is made under target/ (about 10 minutes)
    #[arg(long)]
    python: Option<PathBuf>,
}

/// One engine with its settings.
struct Arm {
    name: &'static str,
    command: Vec<String>,
    /// Set for it alone.
    variable: Option<(&'static str, String)>,
    /// The llama.cpp that it is compared with.
    peer: usize,
    /// Tokens per second of each round: prompt, generation.
    rates: Vec<[f64; 2]>,
}

/// Build and install what is missing, run the rounds, print the table.
pub fn run(args: &Args) -> Result<()> {
    let model = match &args.model {
        Some(model) => model.clone(),
        None => fetch::model()?,
    };
    let python = match &args.python {
        Some(python) => python.clone(),
        None => install(args.avx2)?,
    };
    let candle = args.candle.then(oracle::candle).transpose()?;
    check(&mut cargo(&["build", "--release", "--package", "headsaw-cli"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let headsaw = target.join(format!("release/headsaw{}", std::env::consts::EXE_SUFFIX));
    let mut arms = arms(args, &model, &python, &headsaw, candle.as_deref());
    for round in 0..args.rounds {
        eprintln!("xtask: round {} of {}", round + 1, args.rounds);
        for arm in &mut arms {
            arm.rates.push(measure(arm).with_context(|| arm.name)?);
        }
    }
    print(&arms, args);
    Ok(())
}

/// llama.cpp as its Python package builds it, or without AVX-512.
fn install(avx2: bool) -> Result<PathBuf> {
    let venv = root().join(if avx2 { "target/peers-venv-avx2" } else { "target/peers-venv" });
    let python = venv.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if !python.exists() {
        check(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    }
    eprintln!("xtask: installing {LLAMA} (about 10 minutes the first time)");
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", LLAMA]);
    if avx2 {
        pip.args(["--no-cache-dir", "--no-binary", "llama-cpp-python"]).env("CMAKE_ARGS", AVX2_BUILD);
    }
    check(&mut pip)?;
    Ok(python)
}

fn arms(args: &Args, model: &Path, python: &Path, headsaw: &Path, candle: Option<&Path>) -> Vec<Arm> {
    let text = |path: &Path| path.display().to_string();
    let (prompt, generation) = (args.prompt.to_string(), args.generation.to_string());
    let arm = |name, words: &[&str], variable, peer| {
        let command = words.iter().map(ToString::to_string).collect();
        Arm { name, command, variable, peer, rates: Vec::new() }
    };
    let ours = |name, tp: &str, lanes: &str, peer| {
        let words = [&text(headsaw), "bench", &text(model), "-p", &prompt, "-n", &generation, "-r", "1", "--json"];
        let isa = args.avx2.then(|| ("HEADSAW_ISA", "avx2".to_string()));
        arm(name, &[&words[..], &["--tp", tp, "--lanes", lanes]].concat(), isa, peer)
    };
    let theirs = |name, threads: &str, peer| {
        let script = text(&root().join("xtask/peers/llama_bench.py"));
        arm(name, &[&text(python), &script, &text(model), threads, &prompt, &generation], None, peer)
    };
    let candle = |name, threads: &str, peer| {
        let variable = Some(("RAYON_NUM_THREADS", threads.to_string()));
        candle.map(|candle| arm(name, &[&text(candle), "bench", &text(model), &prompt, &generation], variable, peer))
    };
    let mut arms = vec![
        theirs("llama.cpp, 2 threads", "2", 0),
        ours("headsaw, 2 lanes", "1", "2", 0),
        ours("headsaw, tp 2 x 1 lane", "2", "1", 0),
        theirs("llama.cpp, 1 thread", "1", 3),
        ours("headsaw, 1 lane", "1", "1", 3),
    ];
    arms.extend(candle("candle, 2 threads", "2", 0));
    arms.extend(candle("candle, 1 thread", "1", 3));
    arms
}

fn measure(arm: &Arm) -> Result<[f64; 2]> {
    let mut command = Command::new(&arm.command[0]);
    let output = command.args(&arm.command[1..]).envs(arm.variable.clone()).output()?;
    ensure!(output.status.success(), "{}: {}", arm.command.join(" "), String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout)?;
    let rate = |test: &str| {
        let value = &json[test];
        value.as_f64().or(value["tokens_per_second"]["median"].as_f64()).with_context(|| format!("no {test} in {json}"))
    };
    Ok([rate("prompt")?, rate("generation")?])
}

/// Minimum, median and maximum.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let middle = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
    [values[0], middle, values[values.len() - 1]]
}

fn print(arms: &[Arm], args: &Args) {
    println!("tokens/s, min / median / max of {} interleaved rounds; ratio: median of the rounds' ratios", args.rounds);
    println!("| engine | prompt {} | generation {} | ratio to llama.cpp |", args.prompt, args.generation);
    println!("|---|---|---|---|");
    for arm in arms {
        let peer = &arms[arm.peer];
        let [prompt, generation] = [0, 1].map(|test| spread(arm.rates.iter().map(|rates| rates[test]).collect()));
        let ratio = |test: usize| {
            let pairs = arm.rates.iter().zip(&peer.rates);
            spread(pairs.map(|(ours, theirs)| ours[test] / theirs[test]).collect())[1]
        };
        let show = |[min, median, max]: [f64; 3]| format!("{min:.0} / **{median:.0}** / {max:.0}");
        let ratios = format!("{:.2} x, {:.2} x", ratio(0), ratio(1));
        println!("| {} | {} | {} | {ratios} |", arm.name, show(prompt), show(generation));
    }
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(spread(vec![4.0, 1.0, 3.0, 2.0]), [1.0, 2.5, 4.0]);
        assert_eq!(spread(vec![5.0, 1.0, 3.0]), [1.0, 3.0, 5.0]);
    }
}
