//! Plans as other engines take them: flags, environment and files, and what these could not say.
//!
//! Each engine has a file: the version it was checked with, the rules it has, and how a plan is written for it. A plan
//! that breaks a rule is refused before the engine sees it; [`nearest`] then looks for one that the engine can take.

mod cut;
mod deepspeed;
mod megatron;
mod nearest;
mod notes;
mod rules;
mod schedule;
mod serve;
mod sglang;
mod text;
mod torch_pipelining;
mod torchtitan;
mod vllm;

pub use nearest::{Nearest, nearest};
pub use rules::{Broken, Rule};

use crate::plan::Plan;
use crate::verify;
use cut::Cut;

/// An engine that takes plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Engine {
    /// vLLM, serving.
    Vllm,
    /// SGLang, serving.
    Sglang,
    /// Megatron-LM, training.
    Megatron,
    /// torchtitan, training.
    Torchtitan,
    /// DeepSpeed, training.
    Deepspeed,
    /// torch.distributed.pipelining: the order alone.
    TorchPipelining,
}

impl Engine {
    /// All of them.
    pub const ALL: [Engine; 6] = [
        Engine::Vllm,
        Engine::Sglang,
        Engine::Megatron,
        Engine::Torchtitan,
        Engine::Deepspeed,
        Engine::TorchPipelining,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Vllm => "vllm",
            Engine::Sglang => "sglang",
            Engine::Megatron => "megatron",
            Engine::Torchtitan => "torchtitan",
            Engine::Deepspeed => "deepspeed",
            Engine::TorchPipelining => "torch-pipelining",
        }
    }

    /// Its name among people.
    pub fn title(self) -> &'static str {
        match self {
            Engine::Vllm => "vLLM",
            Engine::Sglang => "SGLang",
            Engine::Megatron => "Megatron-LM",
            Engine::Torchtitan => "torchtitan",
            Engine::Deepspeed => "DeepSpeed",
            Engine::TorchPipelining => "torch.distributed.pipelining",
        }
    }

    /// The package on PyPI, whose parser the exports were checked with, and its version.
    pub fn package(self) -> (&'static str, &'static str) {
        match self {
            Engine::Vllm => vllm::PACKAGE,
            Engine::Sglang => sglang::PACKAGE,
            Engine::Megatron => megatron::PACKAGE,
            Engine::Torchtitan => torchtitan::PACKAGE,
            Engine::Deepspeed => deepspeed::PACKAGE,
            Engine::TorchPipelining => torch_pipelining::PACKAGE,
        }
    }

    fn rules(self, cut: &Cut, request: &Request) -> Vec<Broken> {
        match self {
            Engine::Vllm | Engine::Sglang => serve::rules(cut),
            Engine::Megatron => megatron::rules(cut),
            Engine::Torchtitan => torchtitan::rules(cut, request),
            Engine::Deepspeed => deepspeed::rules(cut),
            Engine::TorchPipelining => torch_pipelining::rules(cut),
        }
    }

    fn write(self, cut: &Cut, request: &Request) -> Export {
        match self {
            Engine::Vllm => vllm::write(cut, request),
            Engine::Sglang => sglang::write(cut, request),
            Engine::Megatron => megatron::write(cut, request),
            Engine::Torchtitan => torchtitan::write(cut, request),
            Engine::Deepspeed => deepspeed::write(cut, request),
            Engine::TorchPipelining => torch_pipelining::write(cut),
        }
    }
}

/// What a plan does not say and an engine wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What the engine is to load, in its own words: a folder, a name on the hub, torchtitan's `MODULE:CONFIG`.
    pub model: Option<String>,
    /// Machines that the devices are in, as many in each.
    pub nodes: u32,
}

impl Default for Request {
    fn default() -> Request {
        Request { model: None, nodes: 1 }
    }
}

impl Request {
    /// The words that start a process for each of so many devices, on each node its own.
    fn torchrun(&self, devices: u32) -> Vec<String> {
        let mut words = vec!["torchrun".into(), format!("--nproc-per-node={}", devices / self.nodes.max(1))];
        if self.nodes > 1 {
            words.push(format!("--nnodes={}", self.nodes));
            words.extend(["--node-rank=$NODE_RANK", "--master-addr=$MASTER_ADDR"].map(String::from));
        }
        words
    }
}

/// A plan as an engine takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The engine.
    pub engine: Engine,
    /// Variables to set, in order.
    pub environment: Vec<(String, String)>,
    /// The words before the flags: `vllm serve MODEL`; none where there is nothing to start.
    pub program: Vec<String>,
    /// The flags, in order. `$NODE_RANK` and the like are for the shell.
    pub flags: Vec<Flag>,
    /// Files, by name.
    pub files: Vec<File>,
    /// What the engine does otherwise, or could not be told.
    pub notes: Vec<String>,
}

/// A flag, with a value where it takes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// With its dashes.
    pub name: String,
    /// What comes after it.
    pub value: Option<String>,
}

/// A file that an engine reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// The plan as the engine takes it.
///
/// # Errors
/// All that is wrong with the plan itself, or else every rule of the engine that it breaks.
pub fn export(plan: &Plan, engine: Engine, request: &Request) -> Result<Export, Vec<Broken>> {
    let broken = broken(plan, engine, request);
    if broken.is_empty() { Ok(draft(plan, engine, request)) } else { Err(broken) }
}

/// What a sound plan would be written as if the engine had no rules; where stages differ, as if all were like the first.
/// This is for asking an engine itself what it says to a plan that [`export`] refuses.
pub fn draft(plan: &Plan, engine: Engine, request: &Request) -> Export {
    engine.write(&Cut::of(plan), request)
}

fn broken(plan: &Plan, engine: Engine, request: &Request) -> Vec<Broken> {
    let wrong = verify::plan(plan);
    if !wrong.is_empty() {
        return wrong.iter().map(|violation| Broken::new(Rule::Plan, violation)).collect();
    }
    ruled_out(plan, engine, request)
}

/// The rules that a sound plan breaks.
fn ruled_out(plan: &Plan, engine: Engine, request: &Request) -> Vec<Broken> {
    let cut = Cut::of(plan);
    let mut broken = rules::stages(&cut);
    if broken.is_empty() {
        broken = engine.rules(&cut, request);
        broken.extend(rules::nodes(&cut, request.nodes));
    }
    broken
}
