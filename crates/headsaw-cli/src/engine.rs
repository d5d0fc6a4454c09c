//! Kernels by flag, and loading with a progress bar.

use crate::error::Failure;
use crate::model::Model;
use crate::output::say;
use crate::progress::Progress;
use clap::ValueEnum;
use headsaw::lower::work;
use headsaw::plan::Plan;
use headsaw_run::compute::{self, Compute, Isa};
use headsaw_run::generate::{Engine, RunError};
use headsaw_run::weights::ModelFile;
use std::sync::Arc;

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

/// The plan as the kernels here take it: they do score, softmax and context in one. Says so where more was asked for.
pub fn runnable(plan: Plan) -> Plan {
    let steps = plan.steps.as_ref().map(|steps| (steps.cut.clone(), steps.attend_whole()));
    let Some((asked, steps)) = steps.filter(|(asked, steps)| *asked != steps.cut) else { return plan };
    say(&format!("note: {asked} runs as {}: score, softmax and context are one kernel here\n", steps.cut));
    Plan { steps: Some(steps), ..plan }
}

/// Says, where nobody reads JSON, that lanes share cores.
pub fn tell_crowded(plan: &Plan, json: bool) {
    let lanes = plan.devices.len() * work::compute_lanes(plan) as usize;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if lanes > cores && !json {
        say(&format!(
            "note: {lanes} lanes share {cores} core(s) and take turns; the bits are the same, the time is not\n"
        ));
    }
}

/// Loads what each device holds. A bar shows the way where it takes long and somebody watches.
pub fn load(file: &ModelFile, plan: &Plan, compute: Arc<dyn Compute>) -> Result<Engine, Failure> {
    let mut bar = Progress::new("loading {bar:40} {bytes} of {total_bytes}, {eta} left");
    Ok(Engine::load(file, plan, compute, &mut |progress| bar.at(progress.done.0, progress.total.0))?)
}
