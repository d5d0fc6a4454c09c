//! `bench-peers`: headsaw and llama.cpp on the same file, in turn, on a machine that may be noisy.

use crate::command::{cargo, check, root};
use crate::fetch;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const LLAMA: &str = "llama-cpp-python==0.3.36";

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
    /// A Python that has llama-cpp-python; without it one is made under target/ (about 10 minutes)
    #[arg(long)]
    python: Option<PathBuf>,
}

/// One engine with its settings.
struct Arm {
    name: &'static str,
    command: Vec<String>,
    /// Tokens per second of each round: prompt, generation.
    rates: Vec<[f64; 2]>,
}

/// Build and install what is missing, run the rounds, print the table.
pub fn run(args: &Args) -> Result<()> {
    let model = fetch::model()?;
    let python = match &args.python {
        Some(python) => python.clone(),
        None => install()?,
    };
    check(&mut cargo(&["build", "--release", "--package", "headsaw-cli"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let headsaw = target.join(format!("release/headsaw{}", std::env::consts::EXE_SUFFIX));
    let mut arms = arms(args, &model, &python, &headsaw);
    for round in 0..args.rounds {
        eprintln!("xtask: round {} of {}", round + 1, args.rounds);
        for arm in &mut arms {
            arm.rates.push(measure(&arm.command).with_context(|| arm.name)?);
        }
    }
    print(&arms, args);
    Ok(())
}

fn install() -> Result<PathBuf> {
    let venv = root().join("target/peers-venv");
    let python = venv.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if !python.exists() {
        check(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    }
    eprintln!("xtask: installing {LLAMA} (about 10 minutes the first time)");
    check(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", LLAMA]))?;
    Ok(python)
}

fn arms(args: &Args, model: &Path, python: &Path, headsaw: &Path) -> Vec<Arm> {
    let text = |path: &Path| path.display().to_string();
    let (prompt, generation) = (args.prompt.to_string(), args.generation.to_string());
    let ours = |name, tp: &str, lanes: &str| {
        let words = [&text(headsaw), "bench", &text(model), "-p", &prompt, "-n", &generation, "-r", "1", "--json"];
        let cut = ["--tp", tp, "--lanes", lanes];
        Arm { name, command: words.iter().chain(&cut).map(ToString::to_string).collect(), rates: Vec::new() }
    };
    let theirs = |name, threads: &str| {
        let script = text(&root().join("xtask/peers/llama_bench.py"));
        let words = [&text(python), &script, &text(model), threads, &prompt, &generation];
        Arm { name, command: words.iter().map(ToString::to_string).collect(), rates: Vec::new() }
    };
    vec![
        theirs("llama.cpp, 2 threads", "2"),
        ours("headsaw, 2 lanes", "1", "2"),
        ours("headsaw, tp 2 x 1 lane", "2", "1"),
        theirs("llama.cpp, 1 thread", "1"),
        ours("headsaw, 1 lane", "1", "1"),
    ]
}

fn measure(command: &[String]) -> Result<[f64; 2]> {
    let output = Command::new(&command[0]).args(&command[1..]).output()?;
    ensure!(output.status.success(), "{}: {}", command.join(" "), String::from_utf8_lossy(&output.stderr));
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
    for (i, arm) in arms.iter().enumerate() {
        let peer = &arms[if i < 3 { 0 } else { 3 }];
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
