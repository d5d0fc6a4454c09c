//! Runs prompts through a cut model: loads what each device holds, feeds the lanes, picks tokens, keeps the digests.

use crate::compute::Compute;
use crate::device::{DeviceWeights, Loader};
pub use crate::lane::Recorded;
use crate::lane::{self, Control, DeviceMemory, Failure, Fault, Header, Row, Run};
use crate::rope::Rotations;
use crate::sample::{Sampler, Sampling};
use crate::weights::{self, ModelFile};
use headsaw::lower::lower;
use headsaw::plan::{Plan, Slice};
use headsaw::program::{MicroId, Program};
use headsaw::spec::cluster::{DeviceId, Links};
use headsaw::units::Bytes;
use headsaw::verify::{self, Memory, Violation};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What can go wrong with a run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan does not hold together, or is for another model.
    #[error("the plan does not fit:{}", list(.0))]
    Plan(Vec<Violation>),
    /// A prompt or an option that cannot be taken.
    #[error("{0}")]
    Input(String),
    /// The model file.
    #[error(transparent)]
    Weights(#[from] weights::Error),
    /// Something broke on the way.
    #[error(transparent)]
    Failed(#[from] Failure),
}

fn list(violations: &[Violation]) -> String {
    violations.iter().map(|violation| format!("\n  {violation}")).collect()
}

impl RunError {
    /// The user's input is at fault (exit code 2), not the run (1).
    pub fn is_bad_input(&self) -> bool {
        !matches!(self, RunError::Failed(_))
    }
}

/// How tokens are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Tokens for each prompt at most.
    pub max_tokens: usize,
    /// How a token is picked.
    pub sampling: Sampling,
    /// A token of these ends its sequence (and is not part of it).
    pub stop_ids: Vec<u32>,
    /// Keep every logit that was sampled from.
    pub keep_logits: bool,
    /// Hash every logit that was sampled from.
    pub digest: bool,
    /// For each prompt the tokens that follow, whatever the logits say (for comparisons); empty to sample.
    pub forced: Vec<Vec<u32>>,
    /// A device that is made to fail (for tests).
    pub fault: Option<Fault>,
    /// Write down when each action began and ended: so many actions of each lane, the newest ones.
    pub trace: Option<usize>,
    /// Links between the devices that the run feels.
    pub links: Links,
}

impl Options {
    /// The most likely token, `max_tokens` times.
    pub fn greedy(max_tokens: usize) -> Options {
        Options {
            max_tokens,
            sampling: Sampling::GREEDY,
            stop_ids: Vec::new(),
            keep_logits: false,
            digest: true,
            forced: Vec::new(),
            fault: None,
            trace: None,
            links: Links::default(),
        }
    }
}

/// What happens while tokens are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A chunk of a prompt goes into the model.
    Prefilling {
        /// Which prompt.
        prompt: usize,
        /// Its tokens up to the end of the chunk.
        tokens: usize,
    },
    /// All of a prompt has gone through the model.
    Prefilled {
        /// Which.
        prompt: usize,
        /// Its tokens.
        tokens: usize,
    },
    /// A token was made.
    Token {
        /// For which prompt.
        prompt: usize,
        /// Which.
        token: u32,
    },
    /// A prompt has all its tokens.
    Finished {
        /// Which.
        prompt: usize,
        /// Why.
        finish: Finish,
    },
}

/// Why a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// It has as many tokens as were asked for.
    Length,
    /// It came to an end of its own.
    Stop,
    /// The caller said so.
    Cancelled,
}

/// What the listener to events wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// This prompt has enough (a stop text was seen).
    Stop,
    /// End the run with what is there.
    Cancel,
}

/// What came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// One for each prompt, in their order.
    pub outputs: Vec<Output>,
    /// BLAKE3 over the prompts' digests, in their order.
    pub logits_digest: [u8; 32],
    /// Prompts through the model, up to the first token of the last one.
    pub prefill: Phase,
    /// The tokens after the first.
    pub decode: Phase,
    /// What the lanes wrote down, where it was asked for.
    pub recorded: Option<Recorded>,
}

/// What came out for one prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// BLAKE3 over the BLAKE3s of each token's logits (single precision, little endian, in row order).
    pub logits_digest: [u8; 32],
    /// `[tokens, V]`, where they were asked for. One more token than in `tokens` where a stop token ended it.
    pub logits: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
}

/// Tokens and the time they took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phase {
    /// Tokens that went through.
    pub tokens: u64,
    /// Wall clock.
    pub seconds: f64,
}

impl Phase {
    /// Zero where nothing was measured.
    pub fn tokens_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.tokens as f64 / self.seconds } else { 0.0 }
    }
}

/// How far loading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadProgress {
    /// Bytes of weights read.
    pub done: Bytes,
    /// About so many in all.
    pub total: Bytes,
}

/// What a device holds and uses.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceReport {
    /// Which.
    pub device: DeviceId,
    /// Its stage.
    pub stage: usize,
    /// Its Q heads.
    pub heads: Range<u32>,
    /// The KV heads they use.
    pub kv_heads: Range<u32>,
    /// Its layers.
    pub layers: Range<u32>,
    /// Its weights, in memory.
    pub weight_bytes: Bytes,
    /// Weights, cache, values and products on their way, all allocated before the first token. Some hundred kilobytes of
    /// kernels' scratch and channels come on top.
    pub memory_bytes_peak: Bytes,
}

/// A cut model in memory, ready to run.
pub struct Engine {
    plan: Plan,
    program: Program,
    compute: Arc<dyn Compute>,
    rotations: Rotations,
    devices: BTreeMap<DeviceId, DeviceWeights>,
    memory: BTreeMap<DeviceId, DeviceMemory>,
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
        check(file, plan)?;
        let (program, held) = sound(plan)?;
        let rope = plan.model.rope.as_ref().expect("families that run have rotary positions");
        let rotations = Rotations::new(rope, file.rope_divisors(), plan.workload.context);
        let devices = load(file, plan, &*compute, held.values().map(|memory| memory.weights).sum(), progress)?;
        let memory = places(plan, &program);
        Ok(Engine { plan: plan.clone(), program, compute, rotations, devices, memory })
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
        let Engine { compute, rotations, devices, memory, .. } = self;
        drop(memory); // before there is other
        let memory = places(plan, &program);
        Ok(Engine { plan: plan.clone(), program, compute, rotations, devices, memory })
    }

    /// The plan that is run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What each device holds and uses.
    pub fn devices(&self) -> Vec<DeviceReport> {
        let report = |(stage, slice): (usize, &Slice)| {
            let weight_bytes = self.devices[&slice.device].bytes();
            let rotations = Rotations::size(self.plan.model.head_width, self.plan.workload.context);
            DeviceReport {
                device: slice.device,
                stage,
                heads: slice.heads.clone(),
                kv_heads: slice.kv_heads(&self.plan.model),
                layers: self.plan.stages[stage].layers.clone(),
                weight_bytes,
                memory_bytes_peak: weight_bytes + self.memory[&slice.device].bytes() + rotations,
            }
        };
        self.plan.slices().map(report).collect()
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
        let mut driver = Driver::new(&self.plan, prompts, options, on_event);
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
            let need = prompt.len() + options.max_tokens.max(1) - 1;
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

fn check(file: &ModelFile, plan: &Plan) -> Result<(), RunError> {
    let mut found = verify::plan(plan);
    if plan.model != *file.spec() {
        found.push(Violation {
            at: "model".into(),
            expected: format!("{} as the plan has it", plan.model.name),
            got: format!("{}: make a plan for this model", file.spec().name),
        });
    }
    let hash: String = file.hash().iter().map(|byte| format!("{byte:02x}")).collect();
    if let Some(expected) = plan.model_hash.as_ref().filter(|expected| **expected != hash) {
        found.push(Violation { at: "model_hash".into(), expected: expected.clone(), got: hash });
    }
    found.extend(not_yet(plan));
    if found.is_empty() { Ok(()) } else { Err(RunError::Plan(found)) }
}

/// What plans can say and simulations follow, but no kernel here does.
pub fn not_yet(plan: &Plan) -> Vec<Violation> {
    let mut found = Vec::new();
    if let Some(steps) = plan.steps.as_ref().filter(|steps| steps.cut != steps.cut.attend_whole()) {
        let expected = format!("{}: score, softmax and context are one kernel here", steps.cut.attend_whole());
        found.push(Violation { at: "steps.cut".into(), expected, got: steps.cut.to_string() });
    }
    let activations = plan.workload.numerics.activations;
    if !activations.run_here() {
        let expected = "int8 or f32: the others are to plan for GPUs".into();
        let got = format!("{activations:?}").to_lowercase();
        found.push(Violation { at: "workload.numerics.activations".into(), expected, got });
    }
    found
}

/// The program of a plan, sound, and the memory that it takes, which this machine has.
fn sound(plan: &Plan) -> Result<(Program, BTreeMap<DeviceId, Memory>), RunError> {
    let program = lower(plan);
    if !verify::follows_memory(&program) {
        let lanes = program.lanes.len();
        return Err(RunError::Input(format!(
            "{lanes} lanes are too many to verify and run: take fewer devices, --lanes or --micro-batches"
        )));
    }
    let unsound = verify::program(&program);
    if !unsound.is_empty() {
        return Err(RunError::Plan(unsound)); // what lanes share in memory rests on this check
    }
    let held = verify::memory(plan, &program);
    fits_machine(plan, &held)?;
    Ok((program, held))
}

fn places(plan: &Plan, program: &Program) -> BTreeMap<DeviceId, DeviceMemory> {
    let place = |(stage, slice): (usize, &Slice)| (slice.device, DeviceMemory::new(plan, program, stage, slice));
    plan.slices().map(place).collect()
}

/// Refuses, before anything is allocated, what this machine has no memory for.
fn fits_machine(plan: &Plan, held: &BTreeMap<DeviceId, Memory>) -> Result<(), RunError> {
    let devices = held.values().map(Memory::total).sum::<Bytes>();
    let need = devices + Rotations::size(plan.model.head_width, plan.workload.context);
    match crate::machine::memory() {
        Some(room) if need > room => Err(RunError::Input(format!(
            "this run needs {need} and this machine has {room}: take a smaller --context or --prompt-chunk, or fewer prompts at once"
        ))),
        _ => Ok(()),
    }
}

/// Devices load side by side, as many at once as there are cores.
fn load(
    file: &ModelFile,
    plan: &Plan,
    compute: &dyn Compute,
    total: Bytes,
    progress: &mut dyn FnMut(LoadProgress),
) -> Result<BTreeMap<DeviceId, DeviceWeights>, RunError> {
    let all: Vec<(usize, &Slice)> = plan.slices().collect();
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let loaded = Mutex::new(BTreeMap::new());
    let loader = Loader {
        file,
        plan,
        compute,
        loaded: &|bytes| {
            done.fetch_add(bytes.0, Ordering::Relaxed);
        },
    };
    let work = || {
        while let Some((stage, slice)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let device = loader.device(*stage, slice);
            loaded.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(slice.device, device);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores.min(all.len())).map(|_| scope.spawn(work)).collect();
        while !threads.iter().all(|thread| thread.is_finished()) {
            progress(LoadProgress { done: Bytes(done.load(Ordering::Relaxed)), total });
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    let loaded = loaded.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    Ok(loaded.into_iter().map(|(id, device)| Ok((id, device?))).collect::<Result<_, weights::Error>>()?)
}

/// A prompt and what has become of it.
struct Sequence<'p> {
    prompt: &'p [u32],
    /// Tokens of the prompt that were sent into the model.
    sent: usize,
    tokens: Vec<u32>,
    /// The last token was picked and not sent yet.
    pending: bool,
    hashes: blake3::Hasher,
    logits: Vec<f32>,
    finish: Option<Finish>,
}

impl Sequence<'_> {
    fn prefilled(&self) -> bool {
        self.sent == self.prompt.len()
    }
}

/// Decides what each micro-batch slot carries, and picks tokens; runs on the sampling lane.
struct Driver<'p> {
    options: &'p Options,
    on_event: &'p mut (dyn FnMut(Event) -> Flow + Send),
    sequences: Vec<Sequence<'p>>,
    /// For each sequence of the KV cache: which prompt has it.
    slots: Vec<Option<usize>>,
    /// For each, tokens that are on their way through the model: until they have left, nobody else gets it.
    on_the_way: Vec<usize>,
    /// The next prompt that has no slot yet.
    waiting: usize,
    /// Prompts that have all their tokens.
    finished: usize,
    rows: usize,
    batch: usize,
    micros: usize,
    vocab: usize,
    sampler: Sampler,
    cancelled: bool,
    begun: Instant,
    prefilled: Option<Instant>,
    ended: Instant,
}

impl<'p> Driver<'p> {
    fn new(
        plan: &Plan,
        prompts: &'p [Vec<u32>],
        options: &'p Options,
        on_event: &'p mut (dyn FnMut(Event) -> Flow + Send),
    ) -> Driver<'p> {
        let vocab = plan.model.vocab as usize;
        let kept = if options.keep_logits { options.max_tokens * vocab } else { 0 };
        let sequence = |prompt| Sequence {
            prompt,
            sent: 0,
            tokens: Vec::with_capacity(options.max_tokens),
            pending: false,
            hashes: blake3::Hasher::new(),
            logits: Vec::with_capacity(kept),
            finish: (options.max_tokens == 0).then_some(Finish::Length),
        };
        let sequences: Vec<Sequence> = prompts.iter().map(|prompt| sequence(&prompt[..])).collect();
        let now = Instant::now();
        Driver {
            options,
            on_event,
            finished: sequences.iter().filter(|sequence| sequence.finish.is_some()).count(),
            sequences,
            slots: vec![None; plan.workload.sequences as usize],
            on_the_way: vec![0; plan.workload.sequences as usize],
            waiting: 0,
            rows: plan.workload.tokens as usize,
            batch: plan.workload.batch as usize,
            micros: plan.workload.micros as usize,
            vocab,
            sampler: Sampler::new(options.sampling, vocab),
            cancelled: false,
            begun: now,
            prefilled: None,
            ended: now,
        }
    }

    fn all_finished(&self) -> bool {
        self.cancelled || self.finished == self.sequences.len()
    }

    /// Gives free sequences of the cache to prompts that wait.
    fn admit(&mut self) {
        let free = |(slot, on_the_way): (_, &usize)| (*on_the_way == 0).then_some(slot);
        for slot in self.slots.iter_mut().zip(&self.on_the_way).filter_map(free) {
            while slot.is_none_or(|prompt| self.sequences[prompt].finish.is_some()) {
                if self.waiting == self.sequences.len() {
                    *slot = None;
                    break;
                }
                *slot = Some(self.waiting);
                self.waiting += 1;
            }
        }
    }

    /// The next piece of the first prompt that is not wholly in the model.
    fn chunk(&mut self, header: &mut Header) -> bool {
        for slot in 0..self.slots.len() {
            let Some(prompt) = self.slots[slot] else { continue };
            let sequence = &mut self.sequences[prompt];
            if sequence.prefilled() {
                continue;
            }
            let end = (sequence.sent + self.rows).min(sequence.prompt.len());
            header.rows.extend((sequence.sent..end).map(|position| Row {
                token: sequence.prompt[position],
                slot: slot as u32,
                position: position as u32,
                sampled: position + 1 == sequence.prompt.len(),
            }));
            sequence.sent = end;
            self.tell(Event::Prefilling { prompt, tokens: end }, prompt);
            return true;
        }
        false
    }

    /// The last token of each sequence whose place is this micro-batch.
    fn continuations(&mut self, micro: MicroId, header: &mut Header) {
        for (slot, prompt) in self.slots.iter().enumerate() {
            if slot % self.micros != micro.index() || header.rows.len() == self.batch {
                continue;
            }
            let Some(sequence) = prompt.map(|prompt| &mut self.sequences[prompt]) else { continue };
            if sequence.finish.is_none() && std::mem::take(&mut sequence.pending) {
                header.rows.push(Row {
                    token: *sequence.tokens.last().expect("a pending token"),
                    slot: slot as u32,
                    position: (sequence.prompt.len() + sequence.tokens.len() - 1) as u32,
                    sampled: true,
                });
            }
        }
    }

    /// Takes one row's logits into account.
    fn row(&mut self, row: &Row, logits: &[f32]) {
        let prompt = self.slots[row.slot as usize].expect("rows in flight keep their slot");
        let sequence = &mut self.sequences[prompt];
        if self.cancelled || sequence.finish.is_some() {
            return; // it was ended while this row was on its way
        }
        if self.options.digest {
            sequence.hashes.update(token_hash(logits).as_bytes());
        }
        if self.options.keep_logits {
            sequence.logits.extend_from_slice(logits);
        }
        let forced = self.options.forced.get(prompt).and_then(|forced| forced.get(sequence.tokens.len()));
        let token = forced.copied().unwrap_or_else(|| self.sampler.pick(logits, row.position + 1));
        if sequence.tokens.is_empty() {
            self.tell(Event::Prefilled { prompt, tokens: row.position as usize + 1 }, prompt);
            if self.cancelled || self.sequences[prompt].finish.is_some() {
                return;
            }
        }
        if self.options.stop_ids.contains(&token) {
            self.finish(prompt, Finish::Stop);
            return;
        }
        let sequence = &mut self.sequences[prompt];
        sequence.tokens.push(token);
        sequence.pending = true;
        self.tell(Event::Token { prompt, token }, prompt);
        if self.sequences[prompt].tokens.len() == self.options.max_tokens {
            self.finish(prompt, Finish::Length);
        }
    }

    fn tell(&mut self, event: Event, prompt: usize) {
        match (self.on_event)(event) {
            Flow::Continue => {}
            Flow::Stop => self.finish(prompt, Finish::Stop),
            Flow::Cancel => self.cancelled = true,
        }
    }

    fn finish(&mut self, prompt: usize, finish: Finish) {
        if self.sequences[prompt].finish.is_none() {
            self.sequences[prompt].finish = Some(finish);
            self.finished += 1;
            if (self.on_event)(Event::Finished { prompt, finish }) == Flow::Cancel {
                self.cancelled = true;
            }
        }
    }

    fn report(self) -> Report {
        let mut all = blake3::Hasher::new();
        let prompt_tokens = self.sequences.iter().map(|sequence| sequence.sent as u64).sum();
        let mut first_tokens = 0;
        let mut later_tokens = 0;
        let outputs = self.sequences.into_iter().map(|sequence| {
            let digest = *sequence.hashes.finalize().as_bytes();
            all.update(&digest);
            first_tokens += u64::from(!sequence.tokens.is_empty());
            later_tokens += sequence.tokens.len() as u64;
            Output {
                tokens: sequence.tokens,
                logits_digest: digest,
                logits: sequence.logits,
                finish: sequence.finish.unwrap_or(Finish::Cancelled),
            }
        });
        let outputs = outputs.collect();
        let between = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64();
        let prefilled = self.prefilled.unwrap_or(self.ended);
        Report {
            outputs,
            logits_digest: *all.finalize().as_bytes(),
            prefill: Phase { tokens: prompt_tokens, seconds: between(self.begun, prefilled) },
            decode: Phase { tokens: later_tokens - first_tokens, seconds: between(prefilled, self.ended) },
            recorded: None,
        }
    }
}

impl Control for Driver<'_> {
    fn sample(&mut self, header: &Header, logits: &[f32]) {
        let rows = header.rows.iter().filter(|row| row.sampled);
        for (row, logits) in rows.zip(logits.chunks_exact(self.vocab)) {
            self.row(row, logits);
        }
        for row in &header.rows {
            self.on_the_way[row.slot as usize] -= 1;
        }
        if !header.rows.is_empty() {
            self.ended = Instant::now();
            let all_begun = |s: &Sequence| s.finish.is_some() || !s.tokens.is_empty();
            if self.prefilled.is_none() && self.sequences.iter().all(all_begun) {
                self.prefilled = Some(self.ended);
            }
        }
    }

    fn next(&mut self, micro: MicroId, header: &mut Header) {
        header.rows.clear();
        header.stop = self.all_finished();
        if header.stop {
            return;
        }
        self.admit();
        if !self.chunk(header) {
            self.continuations(micro, header);
        }
        for row in &header.rows {
            self.on_the_way[row.slot as usize] += 1;
        }
    }
}

/// BLAKE3 over the bits of one token's logits, little endian, in row order. Allocates nothing.
pub(crate) fn token_hash(logits: &[f32]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    // Long runs of bytes let BLAKE3 use the widest registers.
    let mut bytes = [0u8; 1 << 16];
    for part in logits.chunks(bytes.len() / 4) {
        for (logit, bytes) in part.iter().zip(bytes.chunks_exact_mut(4)) {
            bytes.copy_from_slice(&logit.to_le_bytes());
        }
        hasher.update(&bytes[..4 * part.len()]);
    }
    hasher.finalize()
}
