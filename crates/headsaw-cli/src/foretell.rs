//! What `run` and `bench` are about to do, foretold: how long a plan takes for their prompts and tokens; and `auto`.

use crate::auto::{self, Arm, Auto, Made};
use crate::cluster::LOCAL;
use crate::cut::CutArgs;
use crate::error::Failure;
use crate::output::say;
use crate::place::{ClusterArgs, Site};
use crate::played::window;
use crate::progress::Waiting;
use crate::scene::{Phase, ROUNDS};
use crate::steps::heads_of_a_device;
use headsaw::cost::{Load, Priced};
use headsaw::lower::lower;
use headsaw::plan::{HeadSteps, Overlap, Plan};
use headsaw::simulate::{Rounds, simulate};
use headsaw::spec::cluster::{Link, Links};
use headsaw::verify;
use headsaw_run::generate;

/// What is to go through the model.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// Sequences.
    pub sequences: u32,
    /// Tokens of a prompt; 0 where only generation counts.
    pub prompt: u32,
    /// Tokens that are generated after the first, of each sequence.
    pub tokens: u32,
    /// Tokens in the cache while they are, in the mean.
    pub past: u32,
}

/// The machine that a run is on, with the links that it feels.
#[derive(Debug)]
pub struct Ground {
    site: Site,
}

impl Ground {
    /// As `--cluster` and `--link` say.
    pub fn find(cluster: &ClusterArgs, cut: &CutArgs) -> Result<Ground, Failure> {
        let site = cluster.site(None)?.map_or_else(|| Site::find(LOCAL), Ok)?;
        if let Some(kind) = site.gpu() {
            return Err(Failure::Input(format!(
                "--cluster {}: what runs here are threads of this machine, not {}: take local, or a file that headsaw \
                 calibrate wrote",
                site.given, kind.name
            )));
        }
        Ok(Ground { site: site.over(cut.link)? })
    }

    /// The links between the devices.
    pub fn links(&self) -> Links {
        Links::of(&self.site.cluster)
    }

    /// The link that joins all devices.
    pub fn link(&self) -> Option<Link> {
        self.site.link()
    }

    /// The plan that the flags make; where they leave something open, the fastest, which is told.
    pub fn plan(
        &self,
        cut: &CutArgs,
        expected: Expected,
        make: impl Fn(&CutArgs) -> Result<Plan, Failure>,
    ) -> Result<(Plan, Option<Auto>), Failure> {
        let plain = make(cut)?;
        if !auto::asked(cut) {
            return Ok((plain, None));
        }
        let waiting = Waiting::begin("looking for the fastest");
        let arms = auto::arms(cut, plain.steps.is_some(), heads_of_a_device(&plain), true);
        let found = auto::fastest(&arms, |arm| {
            let plan = make(&chunked(&auto::flags(cut, arm), arm, expected)).ok()?;
            let seconds = self.seconds(&plan, expected)?;
            let overlap = plan.steps.as_ref().map_or(Overlap::None, |steps| steps.overlap);
            Some(Made { exchange: plan.exchange, overlap, seconds, cost: seconds, made: plan })
        });
        drop(waiting);
        match found {
            Some((auto, plan)) => {
                auto.tell();
                Ok((plan, Some(auto)))
            }
            None => {
                say("auto: none of the ways could be foretold; taking what is usual\n");
                Ok((plain, None))
            }
        }
    }

    /// Seconds by simulation, of the plan as the kernels here take it; none where it cannot run.
    fn seconds(&self, plan: &Plan, expected: Expected) -> Option<f64> {
        let plan = &Plan { steps: plan.steps.as_ref().map(HeadSteps::attend_whole), ..plan.clone() };
        let site = self.site.clone().sized(plan).ok()?;
        let fits = plan.devices.len() <= site.cluster.devices() as usize;
        if !fits || !verify::plan(plan).is_empty() || !generate::not_yet(plan).is_empty() {
            return None;
        }
        let (program, priced) = (lower(plan), Priced::new(plan, &site.cluster));
        let play = |rounds| simulate(&program, &priced, &rounds).ok();
        let mut seconds = 0.0;
        if expected.prompt > 0 {
            let one = play(prompt(plan, expected.prompt))?.seconds().0;
            seconds += one * f64::from(expected.sequences);
        }
        if expected.tokens > 0 {
            let at_once = plan.workload.sequences.clamp(1, expected.sequences.max(1));
            let (start, end) = window(&play(generation(plan, at_once, expected.past))?, Phase::Decode);
            let turns = expected.sequences.div_ceil(at_once);
            seconds += (end - start) * f64::from(expected.tokens) * f64::from(turns);
        }
        Some(seconds)
    }
}

/// Overlap by tokens takes a prompt in two pieces at least.
fn chunked(cut: &CutArgs, arm: &Arm, expected: Expected) -> CutArgs {
    let mut cut = cut.clone();
    if arm.overlap == Some(Overlap::Tokens) && cut.prompt_chunk.is_none() && expected.prompt > 1 {
        cut.prompt_chunk = Some(expected.prompt.div_ceil(cut.micro_batches.unwrap_or(2).max(2)));
    }
    cut
}

/// A prompt in the chunks of the plan, one a slot.
fn prompt(plan: &Plan, prompt: u32) -> Rounds {
    let (chunk, micros) = (plan.workload.tokens.max(1), plan.workload.micros);
    let chunks = prompt.div_ceil(chunk);
    let load = |i: u32| {
        let past = i.saturating_mul(chunk).min(prompt);
        let tokens = chunk.min(prompt - past);
        Load { sequences: u32::from(tokens > 0), tokens, past }
    };
    Rounds((0..chunks.div_ceil(micros)).map(|round| (0..micros).map(|i| load(round * micros + i)).collect()).collect())
}

/// A token of each sequence a round, spread over the slots.
fn generation(plan: &Plan, sequences: u32, past: u32) -> Rounds {
    let micros = plan.workload.micros;
    let share = |slot: u32| sequences / micros + u32::from(slot < sequences % micros);
    let load = |slot| Load { sequences: share(slot), tokens: 1, past };
    Rounds((0..ROUNDS).map(|_| (0..micros).map(load).collect()).collect())
}
