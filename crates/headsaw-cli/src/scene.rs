//! What goes through a plan: prompts in chunks, or sequences that generate; spread over slots and rounds.

use crate::cut::{MICROS_MOST, ROWS_MOST};
use crate::error::Failure;
use crate::forecast::ForecastArgs;
use clap::ValueEnum;
use headsaw::cost::Load;
use headsaw::plan::Plan;
use headsaw::simulate::Rounds;
use serde::Serialize;

/// `--for`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Prompts are read
    Prefill,
    /// Tokens are generated, one a sequence and round
    Decode,
}

/// Rounds of generation: from the end of the second to the end of the third all stages are in the steady state, and
/// the fourth is already on its way through the first of them.
pub const ROUNDS: u32 = 4;

impl Phase {
    /// Tokens that come to a sequence.
    pub fn more(self) -> u32 {
        if self == Phase::Decode { ROUNDS } else { 0 }
    }
}

/// What goes through one replica.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    /// Prompts or generation.
    pub phase: Phase,
    /// Tokens of a prompt; of a cache.
    pub prompt: u32,
    /// Sequences in all.
    pub sequences: u32,
    /// Micro-batches that were asked for.
    pub asked: u32,
    /// Tokens of a sequence that a micro-batch takes; none: the prompt over the micro-batches.
    chunk: Option<u32>,
}

impl Scene {
    /// One prompt that is read at once.
    pub fn prompt(tokens: u32) -> Scene {
        Scene { phase: Phase::Prefill, prompt: tokens, sequences: 1, asked: 1, chunk: None }
    }

    /// As flags and plan say.
    pub fn of(args: &ForecastArgs, plan: &Plan, planned: bool, prompt: u32) -> Scene {
        let micros = plan.workload.micros;
        let decodes = args.phase == Phase::Decode;
        let usual = if decodes && planned { plan.workload.batch } else { 1 };
        let batch = args.batch.unwrap_or(usual);
        let sequences = if decodes { batch.saturating_mul(micros) } else { batch };
        let kept = (planned && args.cut.micro_batches.is_none()).then_some(plan.workload.tokens);
        let chunk = args.cut.prompt_chunk.or(kept).map(|chunk| chunk.min(prompt));
        let by_chunk = !decodes && !planned && args.cut.micro_batches.is_none();
        let asked = chunk.filter(|_| by_chunk).map_or(micros, |chunk| prompt.div_ceil(chunk));
        Scene { phase: args.phase, prompt, sequences, asked, chunk }
    }

    /// Tokens that go through in the time that counts: all of the prompts, or one of each sequence.
    pub fn tokens(&self) -> u64 {
        let each = if self.phase == Phase::Prefill { self.prompt } else { 1 };
        u64::from(self.sequences) * u64::from(each)
    }

    /// Gives the plan's workload its size, with so many micro-batches at least; what each slot carries, round by round.
    pub fn shape(&self, plan: &mut Plan, least: u32) -> Result<Rounds, Failure> {
        let micros = self.asked.max(least);
        let rounds = match self.phase {
            Phase::Prefill => self.prompts(plan, micros, least)?,
            Phase::Decode => self.generation(plan, micros),
        };
        if plan.workload.micros < least {
            let one = if self.phase == Phase::Prefill { "token of the prompt" } else { "sequence" };
            return Err(Failure::Input(format!(
                "--overlap tokens: one micro-batch hides behind another, and one {one} makes one; take 2 or more"
            )));
        }
        Ok(rounds)
    }

    fn prompts(&self, plan: &mut Plan, micros: u32, least: u32) -> Result<Rounds, Failure> {
        let spread = self.prompt.div_ceil(micros);
        let chunk = self.chunk.unwrap_or(spread).min(self.prompt.div_ceil(least));
        let chunks = self.prompt.div_ceil(chunk);
        let micros = micros.min(chunks);
        if micros > MICROS_MOST {
            let enough = self.prompt.div_ceil(MICROS_MOST);
            return Err(Failure::Input(format!(
                "--prompt-chunk {chunk}: {chunks} micro-batches; {enough} or more make {MICROS_MOST} of a prompt of {}",
                self.prompt
            )));
        }
        let rows = u64::from(chunk) * u64::from(self.sequences);
        if rows > u64::from(ROWS_MOST) {
            let fits = ROWS_MOST / self.sequences;
            return Err(Failure::Input(format!(
                "--prompt {}, --batch {}: {rows} tokens in one micro-batch, at most {ROWS_MOST}; cut prompts with \
                 --prompt-chunk {fits}, or smaller",
                self.prompt, self.sequences
            )));
        }
        let workload = &mut plan.workload;
        (workload.tokens, workload.micros, workload.batch) = (rows as u32, micros, self.sequences);
        workload.sequences = workload.sequences.max(self.sequences);
        let load = |i: u32| {
            let past = i.saturating_mul(chunk).min(self.prompt);
            let tokens = chunk.min(self.prompt - past);
            Load { sequences: if tokens > 0 { self.sequences } else { 0 }, tokens, past }
        };
        let rounds = (0..chunks.div_ceil(micros)).map(|round| (0..micros).map(|i| load(round * micros + i)).collect());
        Ok(Rounds(rounds.collect()))
    }

    fn generation(&self, plan: &mut Plan, micros: u32) -> Rounds {
        let micros = micros.min(self.sequences).max(1);
        let workload = &mut plan.workload;
        (workload.micros, workload.batch) = (micros, self.sequences.div_ceil(micros));
        workload.sequences = workload.sequences.max(self.sequences);
        let share = |slot: u32| self.sequences / micros + u32::from(slot < self.sequences % micros);
        let load = |round: u32, slot| Load { sequences: share(slot), tokens: 1, past: self.prompt + round };
        Rounds((0..ROUNDS).map(|round| (0..micros).map(|slot| load(round, slot)).collect()).collect())
    }
}
