//! Which prompt goes where: what each micro-batch slot carries next, which token follows, and what came out of it.

use super::{Event, Finish, Flow, Options, Output, Phase, Report};
use crate::lane::{Control, Header, Row};
use crate::sample::Sampler;
use headsaw::plan::Plan;
use headsaw::program::MicroId;
use std::time::Instant;

/// A prompt and what has become of it.
struct Sequence<'p> {
    prompt: &'p [u32],
    /// Tokens of the prompt that were sent into the model, or lay in the cache.
    sent: usize,
    /// Of these, tokens that lay in the cache.
    reused: usize,
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

/// What lies in a sequence of the KV cache: the first tokens of a prompt and of what followed it.
#[derive(Debug, Clone, Copy)]
struct Held {
    prompt: usize,
    /// Tokens that have been all the way through the model.
    tokens: usize,
}

/// Tokens that both begin with.
fn shared(one: &[u32], other: &[u32]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// Decides what each micro-batch slot carries, and picks tokens; runs on the sampling lane.
pub(super) struct Driver<'p> {
    options: &'p Options,
    on_event: &'p mut (dyn FnMut(Event) -> Flow + Send),
    sequences: Vec<Sequence<'p>>,
    /// For each sequence of the KV cache: which prompt has it.
    slots: Vec<Option<usize>>,
    /// For each, tokens that are on their way through the model: until they have left, nobody else gets it.
    on_the_way: Vec<usize>,
    /// What lies in each now; none where it is what lay there before this run.
    held: Vec<Option<Held>>,
    /// For each the tokens that lay there before this run.
    kept: &'p [Vec<u32>],
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
    pub(super) fn new(
        plan: &Plan,
        prompts: &'p [Vec<u32>],
        options: &'p Options,
        kept: &'p [Vec<u32>],
        on_event: &'p mut (dyn FnMut(Event) -> Flow + Send),
    ) -> Driver<'p> {
        let vocab = plan.model.vocab as usize;
        let logits = if options.keep_logits { options.max_tokens * vocab } else { 0 };
        let sequence = |prompt| Sequence {
            prompt,
            sent: 0,
            reused: 0,
            tokens: Vec::with_capacity(options.max_tokens),
            pending: false,
            hashes: blake3::Hasher::new(),
            logits: Vec::with_capacity(logits),
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
            held: vec![None; plan.workload.sequences as usize],
            kept,
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
        for slot in 0..self.slots.len() {
            while self.on_the_way[slot] == 0
                && self.slots[slot].is_none_or(|prompt| self.sequences[prompt].finish.is_some())
            {
                if self.waiting == self.sequences.len() {
                    self.slots[slot] = None;
                    break;
                }
                self.settle(slot, self.waiting);
                self.waiting += 1;
            }
        }
    }

    /// The prompt has this sequence of the cache from now on, with what it can use of what lies there. At least one token
    /// is left to compute: its logits say what follows.
    fn settle(&mut self, slot: usize, prompt: usize) {
        let sequence = &mut self.sequences[prompt];
        if self.options.reuse && self.options.past == 0 && self.held[slot].is_none() {
            sequence.reused = shared(sequence.prompt, &self.kept[slot]).min(sequence.prompt.len() - 1);
            sequence.sent = sequence.reused;
        }
        self.held[slot] = Some(Held { prompt, tokens: sequence.reused });
        self.slots[slot] = Some(prompt);
    }

    /// For each sequence of the cache the tokens that lie there.
    pub(super) fn held(&self) -> Vec<Vec<u32>> {
        let tokens = |(held, kept): (&Option<Held>, &Vec<u32>)| {
            let Some(Held { prompt, tokens }) = *held else { return kept.clone() };
            let sequence = &self.sequences[prompt];
            let known = if self.options.past == 0 { tokens } else { 0 };
            sequence.prompt.iter().chain(&sequence.tokens).copied().take(known).collect()
        };
        self.held.iter().zip(self.kept).map(tokens).collect()
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
                position: (self.options.past + position) as u32,
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
                    position: (self.options.past + sequence.prompt.len() + sequence.tokens.len() - 1) as u32,
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
            let tokens = sequence.prompt.len();
            self.tell(Event::Prefilled { prompt, tokens }, prompt);
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

    pub(super) fn report(self) -> Report {
        let mut all = blake3::Hasher::new();
        let prompt_tokens = self.sequences.iter().map(|sequence| (sequence.sent - sequence.reused) as u64).sum();
        let mut first_tokens = 0;
        let mut later_tokens = 0;
        let outputs = self.sequences.into_iter().map(|sequence| {
            let digest = *sequence.hashes.finalize().as_bytes();
            all.update(&digest);
            first_tokens += u64::from(!sequence.tokens.is_empty());
            later_tokens += sequence.tokens.len() as u64;
            Output {
                tokens: sequence.tokens,
                reused: sequence.reused,
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
            if let Some(held) = &mut self.held[row.slot as usize] {
                held.tokens = row.position as usize + 1;
            }
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
fn token_hash(logits: &[f32]) -> blake3::Hash {
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
