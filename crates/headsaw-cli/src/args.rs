//! The flags, once: parsing, `--help` and completions come from here.

use crate::{bench, calibrate, compare, completions, demo, draw, export, grain, inspect, plan, run, simulate, verify};
use clap::{Parser, Subcommand, ValueEnum};

/// Cut a Transformer by heads and by stages, and run the cut.
#[derive(Debug, Parser)]
#[command(name = "headsaw", version, arg_required_else_help = true, max_term_width = 110)]
#[command(after_help = "Examples:
  headsaw demo                             the idea, on a model inside headsaw
  headsaw inspect llama-3.1-70b            which cuts are even
  headsaw verify smollm2-135m --tp 4       what each of 4 devices would hold
  headsaw plan smollm2-135m --tp 3 -o plan.json
  headsaw grain llama-3.1-8b --cluster h100x8 --prompt 512
  headsaw simulate llama-3.1-8b --cluster h100x8 --tp 8
  headsaw simulate smollm2-135m --tp 2 -o predicted.trace
  headsaw draw predicted.trace             who does what when; compare puts another trace beside it
  headsaw run model.gguf -p 'Once upon a time' --plan plan.json
  headsaw export plan.json --to vllm       flags and files of another engine

MODEL is a GGUF file, a Hugging Face folder or its config.json, hf:org/name (what `hf download` fetched; then if
wanted @revision and :file or :Q4_K_M), a preset's name (see inspect), or demo.
Exit codes: 0 done, 1 failed while running, 2 bad input, 130 interrupted.")]
pub struct Cli {
    /// Print exactly one JSON object to stdout, all else to stderr
    #[arg(long, global = true)]
    pub json: bool,
    /// Colours
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        env = "HEADSAW_COLOR",
        hide_env_values = true
    )]
    pub color: Color,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Demo(demo::Args),
    Inspect(inspect::Args),
    Verify(verify::Args),
    Plan(plan::Args),
    Grain(grain::Args),
    Simulate(simulate::Args),
    Compare(compare::Args),
    Draw(draw::Args),
    Run(run::Args),
    Bench(bench::Args),
    Calibrate(calibrate::Args),
    Export(export::Args),
    Completions(completions::Args),
}

/// When to use colours.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    /// From here on.
    pub fn apply(self) {
        let choice = match self {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
    }
}

/// Applies `--color` before parsing, so that clap's own words keep to it.
pub fn early_color() {
    let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let mut wanted = std::env::var("HEADSAW_COLOR").ok();
    while let Some(word) = words.next() {
        if word == "--color" {
            wanted = words.next();
        } else if let Some(value) = word.strip_prefix("--color=") {
            wanted = Some(value.to_string());
        }
    }
    if let Some(color) = wanted.and_then(|word| Color::from_str(&word, true).ok()) {
        color.apply();
    }
}
