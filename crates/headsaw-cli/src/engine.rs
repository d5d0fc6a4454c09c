//! Kernels by flag, and loading with a progress bar.

use crate::error::Failure;
use crate::model::Model;
use clap::ValueEnum;
use headsaw::plan::Plan;
use headsaw_run::compute::{self, Compute, Isa};
use headsaw_run::generate::{Engine, RunError};
use headsaw_run::weights::ModelFile;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What computes. Every choice gives the same bits.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Kernels (the same bits with each)")]
pub struct ComputeArgs {
    /// Fast kernels, or the plain ones that define the order of additions
    #[arg(long, value_name = "NAME", default_value = "cpu", env = "HEADSAW_BACKEND", hide_env_values = true)]
    backend: BackendArg,
    /// Instruction set of the fast kernels [default: the best of this processor]
    #[arg(long, value_name = "SET", env = "HEADSAW_ISA", hide_env_values = true)]
    isa: Option<IsaArg>,
}

/// `--backend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BackendArg {
    /// Plain and slow
    Reference,
    /// Fast
    Cpu,
}

/// `--isa`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum IsaArg {
    /// x86-64 with AVX-512 and VNNI
    Avx512,
    /// x86-64 with AVX2, FMA and F16C
    Avx2,
    /// Any processor
    Portable,
}

impl ComputeArgs {
    /// The kernels that were asked for.
    pub fn compute(&self) -> Result<Arc<dyn Compute>, Failure> {
        let isa = self.isa.map(|isa| match isa {
            IsaArg::Avx512 => Isa::Avx512,
            IsaArg::Avx2 => Isa::Avx2,
            IsaArg::Portable => Isa::Portable,
        });
        match self.backend {
            BackendArg::Cpu => compute::cpu(isa).map_err(|e| Failure::Input(format!("--isa: {e}"))),
            BackendArg::Reference if isa.is_some() => {
                Err(Failure::input("--isa: the reference kernels have no instruction sets; leave it out"))
            }
            BackendArg::Reference => Ok(compute::reference()),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Failure {
        if error.is_bad_input() { Failure::input(error) } else { Failure::failed(error) }
    }
}

/// The model's file, where it has one.
pub fn weights(model: &Model) -> Result<&ModelFile, Failure> {
    model.file.as_ref().ok_or_else(|| {
        Failure::Input(format!(
            "{}: a shape without weights; give a GGUF file, a Hugging Face folder, or demo, the model inside headsaw",
            model.given
        ))
    })
}

/// Waits shorter than this need no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// Loads what each device holds. A bar shows the way where it takes long and somebody watches.
pub fn load(file: &ModelFile, plan: &Plan, compute: Arc<dyn Compute>) -> Result<Engine, Failure> {
    let begun = Instant::now();
    let watched = std::io::stderr().is_terminal();
    let mut bar: Option<ProgressBar> = None;
    let engine = Engine::load(file, plan, compute, &mut |progress| {
        if !watched || begun.elapsed() < PATIENCE {
            return;
        }
        let bar = bar.get_or_insert_with(|| new_bar(progress.total.0));
        bar.set_position(progress.done.0.min(progress.total.0));
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(engine?)
}

fn new_bar(total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("loading {bar:40} {bytes} of {total_bytes}, {eta} left");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
