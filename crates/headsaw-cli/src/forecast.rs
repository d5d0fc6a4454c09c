//! What `simulate` and `grain` are asked: a plan or a cut of a model, on a cluster, and what goes through it.

use crate::auto::{self, Arm, Auto, Made};
use crate::cluster::LOCAL;
use crate::cut::{CutArgs, CutJson, Demand};
use crate::error::{Failure, both};
use crate::place::{self, ClusterArgs, Site};
use crate::played::{ACTIONS_MOST, Lowered, Played, has_own};
use crate::scene::{Phase, Scene};
use crate::steps::{StepArgs, heads_of_a_device, interleave};
use crate::subject::Subject;
use crate::verify::refuse;
use headsaw::plan::{Order, Overlap, Plan};
use headsaw::simulate::Rounds;
use headsaw::spec::cluster::{Cluster, DeviceId, Link};
use headsaw::verify;

/// What is to be foretold.
#[derive(Debug, Clone, clap::Args)]
pub struct ForecastArgs {
    /// A plan file (- for standard input); or a GGUF file, Hugging Face folder, config.json or preset
    #[arg(value_name = "PLAN|MODEL")]
    pub subject: String,
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Prompts, or generation
    #[arg(long = "for", value_name = "PHASE", default_value = "prefill")]
    pub phase: Phase,
    /// Tokens of the prompt; while generating, those in the cache [default: 2048, at most what there is room for]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub prompt: Option<u32>,
    /// Sequences of a micro-batch [default: 1; while generating the plan's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: Option<u32>,
    /// Replicas of the plan, each with its own prompts [default: as many as the cluster has room for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub dp: Option<u32>,
    #[command(flatten)]
    pub cut: CutArgs,
    /// Tokens of a prompt where nobody says, if they are not the usual ones.
    #[arg(skip)]
    pub usual_prompt: Option<u32>,
    /// This machine as it was measured, where it is meant and no flag says what the devices are.
    #[arg(skip)]
    pub here: Option<Cluster>,
}

/// A plan of one replica on a cluster, with what goes through it.
#[derive(Debug, Clone)]
pub struct Forecast {
    /// The plan; `plan.cluster` names the cluster.
    pub plan: Plan,
    /// What it is on: the plan's device `i` is the cluster's.
    pub cluster: Cluster,
    /// Equal copies of the plan side by side.
    pub replicas: u32,
    /// What goes through one of them.
    pub scene: Scene,
    /// What each slot carries, round by round.
    pub rounds: Rounds,
    /// What of the plan was left open, and why it is so.
    pub auto: Option<Auto>,
    /// The link that joins all devices.
    pub link: Option<Link>,
}

impl ForecastArgs {
    /// All that is needed to foretell; all that is wrong at once.
    pub fn resolve(&self) -> Result<Forecast, Failure> {
        self.resolve_as(|_, _, cut| cut.clone())
    }

    /// The same with other defaults for what the flags of the cut leave open.
    pub fn resolve_as(&self, usual: impl Fn(&Subject, &Site, &CutArgs) -> CutArgs) -> Result<Forecast, Failure> {
        let subject = Subject::find(&self.subject, &self.cut);
        let site = match self.here.as_ref().filter(|_| self.cluster.cluster.is_none()) {
            Some(here) => Ok(Site::measured(here.clone())),
            None => {
                let named = self.cluster.site(subject.as_ref().ok().and_then(Subject::named));
                named.and_then(|site| site.map_or_else(|| Site::find(LOCAL), Ok))
            }
        };
        let site = site.and_then(|site| site.over(self.cut.link));
        let subject = match subject {
            Ok(subject) => subject,
            Err(failure) => return Err(failure.beside(site.err())),
        };
        let cut = site.as_ref().map_or_else(|_| self.cut.clone(), |site| usual(&subject, site, &self.cut));
        ForecastArgs { cut, ..self.clone() }.resolve_found(&subject, site)
    }

    fn resolve_found(&self, subject: &Subject, site: Result<Site, Failure>) -> Result<Forecast, Failure> {
        let (mut forecast, site) = self.made(subject, site)?;
        let replicas = self.replicas(&forecast);
        if auto::asked(&self.cut) && replicas.is_ok() {
            forecast = self.fastest(subject, forecast, &site);
        }
        let held = self.holds_together(&forecast.plan, &site);
        (forecast.replicas, ()) = both(replicas, held)?;
        Ok(forecast)
    }

    /// The plan of the flags, and what goes through it; what is left open is as usual.
    fn made(&self, subject: &Subject, site: Result<Site, Failure>) -> Result<(Forecast, Site), Failure> {
        let demand = self.demand(subject);
        let plan = subject.plan(&self.cut, demand.as_ref().ok().map(|(demand, _)| *demand), site.as_ref().ok());
        let (site, ((_, prompt), plan)) = both(site, both(demand, plan))?;
        let site = site.sized(&plan)?;
        if subject.base().is_some() {
            self.holds_together(&plan, &site)?; // before its numbers are used
        }
        let scene = Scene::of(self, &plan, subject.base().is_some(), prompt);
        let (rounds, cluster, link) = (Rounds(Vec::new()), site.cluster.clone(), site.link());
        let mut forecast = Forecast { plan, cluster, replicas: 1, scene, rounds, auto: None, link };
        forecast.shape()?;
        Ok((forecast, site))
    }

    /// Of all that the flags leave open the fastest that fits; as it is where none does.
    fn fastest(&self, subject: &Subject, usual: Forecast, site: &Site) -> Forecast {
        let planned = subject.base().is_some_and(|plan| plan.steps.is_some());
        let arms = auto::arms(&self.cut, planned, heads_of_a_device(&usual.plan), site.gpu().is_none());
        let found = auto::fastest(&arms, |arm| {
            let forecast = self.with(subject, site, arm)?;
            let seconds = forecast.play().ok()?.seconds();
            let overlap = forecast.plan.steps.as_ref().map_or(Overlap::None, |steps| steps.overlap);
            let cost = 1.0 / forecast.tokens_per_second(seconds);
            Some(Made { exchange: forecast.plan.exchange, overlap, seconds, cost, made: forecast })
        });
        found.map_or(usual, |(auto, forecast)| Forecast { auto: Some(auto), ..forecast })
    }

    /// One of the ways, where it fits.
    fn with(&self, subject: &Subject, site: &Site, arm: &Arm) -> Option<Forecast> {
        let overlap = if arm.whole { None } else { self.cut.steps.overlap };
        let steps = StepArgs { overlap, chunk: arm.chunk, ..self.cut.steps.clone() };
        let cut = CutArgs { exchange: arm.exchange, steps, ..self.cut.clone() };
        let (forecast, _) = ForecastArgs { cut, ..self.clone() }.made(subject, Ok(site.clone())).ok()?;
        match arm.overlap.filter(|_| !arm.whole) {
            Some(overlap) => forecast.with_overlap(overlap).ok(),
            None => forecast.unfit().is_none().then_some(forecast),
        }
    }

    fn holds_together(&self, plan: &Plan, site: &Site) -> Result<(), Failure> {
        let found = place::violations(plan, Some(site), &self.cut);
        if found.is_empty() { Ok(()) } else { Err(refuse(&self.subject, &found)) }
    }

    /// What the plan has to have room for, and the prompt.
    fn demand(&self, subject: &Subject) -> Result<(Demand, u32), Failure> {
        let model = subject.model();
        let planned = self.cut.context.or(subject.base().map(|plan| plan.workload.context));
        let room = planned.unwrap_or(model.context).min(model.context);
        let more = self.phase.more();
        let prompt = self
            .prompt
            .unwrap_or_else(|| self.usual_prompt.unwrap_or(USUAL_PROMPT).min(room.saturating_sub(more)).max(1));
        let context = prompt.saturating_add(more);
        if context > room {
            let holds = if room < model.context { "the cache holds" } else { "the model was made for" };
            let hint = if context <= model.context { format!("; --context {context} makes room") } else { "".into() };
            return Err(Failure::Input(format!(
                "--prompt {prompt}: {holds} {room} tokens of a sequence{}{hint}",
                if more > 0 { format!(", and {more} are generated") } else { "".into() }
            )));
        }
        let sequences = self.batch.unwrap_or(1);
        Ok((Demand { sequences, prompt, context }, prompt))
    }

    /// As the flag says, or as many as there is room for on devices of one kind.
    fn replicas(&self, forecast: &Forecast) -> Result<u32, Failure> {
        let devices = forecast.plan.devices.len() as u32;
        let most = forecast.room(devices);
        match self.dp {
            Some(dp) if dp > 1 && forecast.shares() => Err(Failure::Input(format!(
                "--dp {dp}: the devices of {} share the cores and the memory of one machine: {dp} replicas on it are no \
                 faster than one; leave it out, or take more --batch",
                forecast.cluster.name,
            ))),
            Some(dp) if dp > most => Err(Failure::Input(format!(
                "--dp {dp}: a replica takes {devices} of the {} device(s) of {}; at most {most} equal one(s) have room",
                forecast.cluster.devices(),
                forecast.cluster.name,
            ))),
            Some(dp) => Ok(dp),
            None => Ok(most),
        }
    }
}

/// Tokens of a prompt where nobody says.
const USUAL_PROMPT: u32 = 2048;

impl Forecast {
    /// Replicas of so many devices on the cluster's first kind; one where it takes more than those, or they share cores.
    fn room(&self, devices: u32) -> u32 {
        if self.shares() {
            return 1;
        }
        let groups = &self.cluster.groups;
        let alike = groups.iter().take_while(|group| group.kind == groups[0].kind).map(|group| group.count);
        (alike.fold(0, u32::saturating_add) / devices.max(1)).max(1)
    }

    /// Are the first devices threads of one machine?
    fn shares(&self) -> bool {
        self.cluster.groups.first().is_some_and(|group| !has_own(group))
    }

    /// Makes the plan's micro-batches, and what they carry.
    fn shape(&mut self) -> Result<(), Failure> {
        let overlap = self.plan.steps.as_ref().map(|steps| steps.overlap);
        let least = if overlap == Some(Overlap::Tokens) { 2 } else { 1 };
        self.rounds = self.scene.shape(&mut self.plan, least)?;
        if let Some(steps) = &mut self.plan.steps {
            steps.interleave = steps.interleave.clamp(least, self.plan.workload.micros);
        }
        Ok(())
    }

    /// The same with another overlap; by tokens what goes through is cut into two micro-batches at least.
    pub fn with_overlap(&self, overlap: Overlap) -> Result<Forecast, Unfit> {
        let mut other = self.clone();
        if overlap == Overlap::Tokens && other.plan.order == Order::Sequential {
            return Err(Unfit::Alone);
        }
        if let Some(steps) = &mut other.plan.steps {
            steps.overlap = overlap;
            steps.interleave = interleave(overlap, u32::MAX);
        }
        other.shape().map_err(|_| Unfit::Alone)?;
        other.unfit().map_or(Ok(other), Err)
    }

    /// What keeps the plan from its cluster, or from being played.
    fn unfit(&self) -> Option<Unfit> {
        if self.plan.devices.len() > self.cluster.devices() as usize {
            return Some(Unfit::At("devices".into()));
        }
        let found = verify::plan(&self.plan).into_iter().next().map(|violation| Unfit::At(violation.at));
        found.or_else(|| self.lowered().err().map(|_| Unfit::At("actions to simulate".into())))
    }

    /// Tokens that one replica makes or reads a second.
    pub fn tokens_per_second(&self, seconds: f64) -> f64 {
        self.scene.tokens() as f64 / seconds
    }

    /// Tokens of one sequence that a micro-batch of the plan takes of a prompt.
    pub fn prompt_chunk(&self) -> u32 {
        let first = self.rounds.0.first().and_then(|slots| slots.first());
        first.filter(|_| self.scene.phase == Phase::Prefill).map_or(self.plan.workload.tokens, |load| load.tokens)
    }

    /// The plan for scripts.
    pub fn cut(&self) -> CutJson {
        CutJson::of(&self.plan).over(self.link).in_chunks_of(self.prompt_chunk())
    }

    /// Plays the plan.
    pub fn play(&self) -> Result<Played, Failure> {
        self.lowered()?.play(self)
    }

    /// The plan's program, where it is not too long to be played.
    fn lowered(&self) -> Result<Lowered, Failure> {
        let rounds = self.rounds.0.len() as u64;
        let lowered = Played::lowered(&self.plan);
        let actions = lowered.actions().saturating_mul(rounds);
        if actions > ACTIONS_MOST {
            return Err(Failure::Input(format!(
                "{actions} actions to simulate, at most {ACTIONS_MOST}: take fewer --micro-batches, a larger \
                 --prompt-chunk, or a larger --chunk of heads"
            )));
        }
        Ok(lowered)
    }

    /// What a device is called.
    pub fn kind(&self, device: DeviceId) -> &str {
        self.cluster.kind(device).map_or("", |kind| &kind.name)
    }
}

/// Why one of the overlaps is none here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// No two micro-batches go together.
    Alone,
    /// There is no room: for what.
    At(String),
}

/// All overlaps.
pub const OVERLAPS: [Overlap; 3] = [Overlap::None, Overlap::Heads, Overlap::Tokens];
