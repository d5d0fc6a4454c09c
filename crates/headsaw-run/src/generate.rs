//! Runs prompts through a cut model: loads what each device holds, feeds the lanes, picks tokens, keeps the digests.

mod check;
mod driver;
mod error;
mod events;
mod load;
mod options;
mod report;

pub use crate::lane::Recorded;
pub use check::not_yet;
pub use error::RunError;
pub use events::{Event, Finish, Flow};
pub use options::Options;
pub use report::{DeviceReport, LoadProgress, Output, Phase, Report};

use crate::compute::Compute;
use crate::device::DeviceWeights;
use crate::lane::{self, DeviceMemory, Run};
use crate::rope::Rotations;
use crate::weights::ModelFile;
use check::{check, sound};
use driver::Driver;
use headsaw::lower::work;
use headsaw::plan::{Plan, Slice};
use headsaw::program::{LaneId, Program};
use headsaw::spec::cluster::DeviceId;
use headsaw::units::Bytes;
use headsaw::verify::{self, Violation};
use load::{load, places};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// A cut model in memory, ready to run.
pub struct Engine {
    plan: Plan,
    program: Program,
    compute: Arc<dyn Compute>,
    rotations: Rotations,
    devices: BTreeMap<DeviceId, DeviceWeights>,
    memory: BTreeMap<DeviceId, DeviceMemory>,
    /// For each sequence of the KV cache the tokens that lie there.
    kept: Vec<Vec<u32>>,
    load_seconds: f64,
}

impl Engine {
    /// Reads for each device what its slice holds.
    ///
    /// # Errors
    /// The plan has violations or is for another model, or the file cannot be read.
    pub fn load(
        file: &ModelFile,
        plan: &Plan,
        compute: Arc<dyn Compute>,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Engine, RunError> {
        let begun = Instant::now();
        check(file, plan)?;
        let (program, held) = sound(plan)?;
        let rope = plan.model.rope.as_ref().expect("families that run have rotary positions");
        let rotations = Rotations::new(rope, file.rope_divisors(), plan.workload.context);
        let devices = load(file, plan, &*compute, held.values().map(|memory| memory.weights).sum(), progress)?;
        let memory = places(plan, &program);
        let (plan, kept, load_seconds) = (plan.clone(), nothing(plan), begun.elapsed().as_secs_f64());
        Ok(Engine { plan, program, compute, rotations, devices, memory, kept, load_seconds })
    }

    /// The same weights under a plan that gives each device the same slices and sequences the same room, and may differ
    /// in all else: lanes, steps, order, micro-batches.
    ///
    /// # Errors
    /// The plan has violations, or other slices.
    pub fn under(self, plan: &Plan) -> Result<Engine, RunError> {
        let mut found = verify::plan(plan);
        found.extend(not_yet(plan));
        let held = |plan: &Plan| (plan.model.clone(), plan.stages.clone(), plan.exchange, plan.workload.numerics);
        if held(plan) != held(&self.plan) || plan.workload.context != self.plan.workload.context {
            let expected = "the slices, exchange, numerics and context that are loaded".into();
            found.push(Violation { at: "plan".into(), expected, got: "others: load it anew".into() });
        }
        if !found.is_empty() {
            return Err(RunError::Plan(found));
        }
        let (program, _) = sound(plan)?;
        let Engine { compute, rotations, devices, memory, load_seconds, .. } = self;
        drop(memory); // before there is other
        let memory = places(plan, &program);
        let (plan, kept) = (plan.clone(), nothing(plan));
        Ok(Engine { plan, program, compute, rotations, devices, memory, kept, load_seconds })
    }

    /// Seconds from the open file to weights in memory, ready to run.
    pub fn load_seconds(&self) -> f64 {
        self.load_seconds
    }

    /// The plan that is run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What each device holds and uses.
    pub fn devices(&self) -> Vec<DeviceReport> {
        let report = |(stage, slice): (usize, &Slice)| {
            let weight_bytes = self.devices[&slice.device].bytes();
            DeviceReport {
                device: slice.device,
                stage,
                heads: slice.heads.clone(),
                kv_heads: slice.kv_heads(&self.plan.model),
                layers: self.plan.stages[stage].layers.clone(),
                weight_bytes,
                memory_bytes_peak: weight_bytes
                    + self.memory[&slice.device].bytes()
                    + self.messages(slice.device)
                    + work::rotation_bytes(&self.plan),
            }
        };
        self.plan.slices().map(report).collect()
    }

    /// Room for messages to a device, and on the one that samples for the header that it sends next.
    fn messages(&self, device: DeviceId) -> Bytes {
        let on_it = |lane: LaneId| self.program.lanes[lane.index()].device == device;
        let chans = self.program.chans.iter().filter(|chan| on_it(chan.to));
        let next = if on_it(self.program.sampler()) { work::header_bytes(&self.plan) } else { Bytes(0) };
        chans.map(|chan| work::channel_bytes(&self.plan, chan.carries)).sum::<Bytes>() + next
    }

    /// Runs prompts (token ids) to their ends; several go through the model together.
    ///
    /// # Errors
    /// A prompt that is empty, too long or outside the vocabulary; a device that is lost; a number that is not finite.
    pub fn generate(
        &mut self,
        prompts: &[Vec<u32>],
        options: &Options,
        on_event: &mut (dyn FnMut(Event) -> Flow + Send),
    ) -> Result<Report, RunError> {
        self.check_prompts(prompts, options)?;
        let kept = std::mem::replace(&mut self.kept, nothing(&self.plan)); // a run that fails leaves nothing that is known
        let mut driver = Driver::new(&self.plan, prompts, options, &kept, on_event);
        let run = Run {
            program: &self.program,
            plan: &self.plan,
            compute: &*self.compute,
            rotations: &self.rotations,
            devices: &self.devices,
            memory: &self.memory,
            fault: options.fault,
            trace: options.trace,
            links: &options.links,
        };
        let recorded = lane::run(&run, &mut driver)?;
        self.kept = driver.held();
        Ok(Report { recorded, ..driver.report() })
    }

    fn check_prompts(&self, prompts: &[Vec<u32>], options: &Options) -> Result<(), RunError> {
        let input = |text: String| Err(RunError::Input(text));
        options.sampling.check().map_err(RunError::Input)?;
        if prompts.is_empty() {
            return input("no prompt: give at least one".into());
        }
        if !(options.forced.is_empty() || options.forced.len() == prompts.len()) {
            return input(format!("{} prompts, but tokens to follow for {}", prompts.len(), options.forced.len()));
        }
        let context = self.plan.workload.context as usize;
        let vocab = self.plan.model.vocab;
        if options.keep_logits {
            let tokens = options.max_tokens.saturating_mul(prompts.len()) as u64;
            let need = Bytes(4 * u64::from(vocab)) * tokens;
            if let Some(room) = crate::machine::memory().filter(|room| *room < need) {
                return input(format!(
                    "all logits of {tokens} tokens are {need} and this machine has {room}: ask for fewer tokens"
                ));
            }
        }
        for (i, prompt) in prompts.iter().enumerate() {
            if prompt.is_empty() {
                return input(format!("prompt {} is empty: it needs at least one token", i + 1));
            }
            let need = prompt.len().saturating_add(options.past).saturating_add(options.max_tokens.max(1) - 1);
            if need > context {
                return input(format!(
                    "prompt {} has {} tokens and {} are to follow: the context holds {context} (the model was made for {})",
                    i + 1,
                    prompt.len(),
                    options.max_tokens,
                    self.plan.model.context
                ));
            }
            let forced = options.forced.get(i).into_iter().flatten();
            if let Some(token) = prompt.iter().chain(forced).find(|token| **token >= vocab) {
                return input(format!("prompt {} has the token {token}: the vocabulary ends at {}", i + 1, vocab - 1));
            }
        }
        Ok(())
    }
}

/// What an empty KV cache holds.
fn nothing(plan: &Plan) -> Vec<Vec<u32>> {
    vec![Vec::new(); plan.workload.sequences as usize]
}
