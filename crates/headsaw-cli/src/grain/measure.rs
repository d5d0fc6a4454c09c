//! `grain --measure`: runs the cuts of the curves on this machine, in turn, and takes the times of a layer.

use crate::bench::random_tokens;
use crate::error::Failure;
use crate::forecast::Forecast;
use crate::interrupt::{self, Cleanly};
use crate::model::Model;
use crate::progress::Progress;
use crate::scene::Phase;
use crate::{calibrate, engine};
use headsaw::cost::Load;
use headsaw::grain::{Arm, Grain, Question, Times, arms};
use headsaw::lower::work;
use headsaw::plan::{Overlap, Plan};
use headsaw::spec::cluster::{Cluster, Links, Prices};
use headsaw::units::Bytes;
use headsaw_run::calibrate::Scope;
use headsaw_run::generate::{Engine, Flow, Options};
use headsaw_run::weights::ModelFile;
use headsaw_run::{compute, machine};
use std::time::{Duration, Instant};

/// Measure too.
#[derive(Debug, clap::Args)]
pub struct MeasureArgs {
    /// Run the cuts of the curves on this machine too, and put what was measured beside the prediction; the prompt is then
    /// 256 tokens where nobody says. Without --cluster the machine is measured first, so that the prediction is for it
    #[arg(long)]
    pub measure: bool,
    /// Seconds that measuring may take, about
    #[arg(long, value_name = "SECONDS", default_value_t = 40, requires = "measure",
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub measure_seconds: u32,
}

/// Tokens of a prompt that is measured, where nobody says.
pub const PROMPT: u32 = 256;

/// How long each figure of this machine is measured for, before the cuts are.
const A_FIGURE: Duration = Duration::from_millis(40);

/// Tokens that are generated: as many as `grain` has room for.
const GENERATED: usize = crate::scene::ROUNDS as usize;

/// This machine as a cluster, as far as this plan's predictions need it.
pub fn here(plan: &Plan) -> Result<Cluster, Failure> {
    let compute = compute::cpu(None).map_err(Failure::failed)?;
    let title = calibrate::title(compute.name());
    let mut bar = Progress::new("measuring this machine {bar:40} {percent} %");
    let weights = work::weight_types(plan);
    let scope = Scope { title: &title, weights: &weights, budget: A_FIGURE };
    Ok(headsaw_run::calibrate::calibrate(&scope, &*compute, &mut |at| bar.at(at.done, at.total)))
}

/// Measures, and lays the times into the answer. Whether somebody pressed Ctrl-C: then what is there counts.
pub fn measure(
    question: &Question,
    forecast: &Forecast,
    given: &str,
    seconds: u32,
    grain: &mut Grain,
) -> Result<bool, Failure> {
    let model = Model::find(given)?;
    let file = engine::weights(&model)?;
    let arms = arms(question).map_err(Failure::input)?;
    let mut times: Vec<Vec<Times>> = vec![Vec::new(); arms.len()];
    let (links, budget) = (Links::of(&forecast.cluster), Duration::from_secs(seconds.into()));
    let (begun, mut bar) = (Instant::now(), Progress::new("measuring the cuts {bar:40} {pos} of {len} s"));
    let cleanly = Cleanly::begin();
    let batches = batches(&arms);
    for batch in &batches {
        let mut stands: Vec<Stand> =
            batch.clone().map(|at| Stand::load(file, &arms[at], &links)).collect::<Result<_, _>>()?;
        let until = budget.mul_f64(batch.end as f64 / arms.len() as f64);
        loop {
            for (at, stand) in batch.clone().zip(&mut stands) {
                times[at].extend(stand.run()?);
                bar.at(begun.elapsed().as_secs(), seconds.into());
                if interrupt::asked() {
                    break;
                }
            }
            if interrupt::asked() || begun.elapsed() >= until {
                break;
            }
        }
    }
    bar.end();
    let interrupted = interrupt::asked();
    drop(cleanly);
    let rounds = times.iter().map(Vec::len).min().unwrap_or(0) as u32;
    let medians: Vec<Option<Times>> = times.iter().map(|times| Times::median(without_first(times))).collect();
    grain.lay(&arms, &medians, rounds.saturating_sub(1).max(1));
    Ok(interrupted)
}

/// The first round is to warm up, where there are more.
fn without_first(times: &[Times]) -> &[Times] {
    if times.len() > 1 { &times[1..] } else { times }
}

/// What cannot be measured, before anything is.
pub fn refuse(forecast: &Forecast, given: &str) -> Result<(), Failure> {
    let Forecast { plan, cluster, rounds, scene, .. } = forecast;
    let wrong = |what: String| Err(Failure::Input(format!("--measure: {what}")));
    if let Some(group) = cluster.groups.iter().find(|group| matches!(group.kind.prices, Prices::Gpu(_))) {
        return wrong(format!(
            "what runs here are threads of this machine, not {}: leave --cluster out",
            group.kind.name
        ));
    }
    if !plan.workload.numerics.activations.run_here() {
        return wrong("int8 or f32 activations run here: leave --dtype out".into());
    }
    if plan.stages.len() > 1 {
        return wrong(format!("one stage is measured, and this cut has {}: leave --pp out", plan.stages.len()));
    }
    if plan.steps.as_ref().is_some_and(|steps| steps.overlap == Overlap::Tokens) {
        return wrong("--overlap tokens is tried beside the others: leave it out".into());
    }
    let first: &[Load] = rounds.0.first().map_or(&[], |loads| loads);
    if first.len() != 1 || first[0].sequences != 1 {
        return wrong("one sequence in one micro-batch is measured: leave --batch and --micro-batches out".into());
    }
    if scene.phase == Phase::Prefill && rounds.0.len() > 1 {
        return wrong("a prompt goes through at once: leave --prompt-chunk out, or take a shorter --prompt".into());
    }
    let model = Model::find(given)?;
    engine::weights(&model).map(|_| ())
}

/// Runs of arms whose weights fit into half of the memory together.
fn batches(arms: &[Arm]) -> Vec<std::ops::Range<usize>> {
    let held = |arm: &Arm| -> u64 {
        let of =
            |(stage, slice)| work::slice_weights(&arm.plan, stage, slice) + work::slice_cache(&arm.plan, stage, slice);
        arm.plan.slices().map(of).sum::<Bytes>().0
    };
    let room = machine::memory().map_or(u64::MAX, |memory| memory.0 / 2);
    let (mut batches, mut start, mut sum) = (Vec::new(), 0, 0);
    for (at, arm) in arms.iter().enumerate() {
        let own = held(arm);
        if at > start && sum + own > room {
            batches.push(start..at);
            (start, sum) = (at, 0);
        }
        sum += own;
    }
    batches.push(start..arms.len());
    batches
}

/// A cut in memory, ready to be run again and again.
struct Stand<'a> {
    arm: &'a Arm,
    engine: Engine,
    prompt: Vec<u32>,
    options: Options,
}

impl<'a> Stand<'a> {
    fn load(file: &ModelFile, arm: &'a Arm, links: &Links) -> Result<Stand<'a>, Failure> {
        let compute = compute::cpu(None).map_err(Failure::failed)?;
        let engine = engine::load(file, &arm.plan, compute)?;
        let decodes = arm.loads[0].tokens == 1 && arm.loads[0].past > 0;
        let tokens = if decodes { arm.loads[0].past } else { arm.loads.iter().map(Load::rows).sum() };
        let longest = arm.program.lanes.iter().map(|lane| lane.actions.len()).max().unwrap_or(1);
        let rounds = GENERATED + 2 + (tokens / arm.plan.workload.tokens.max(1)) as usize;
        let options = Options {
            digest: false,
            links: links.clone(),
            trace: Some(rounds * longest),
            ..Options::greedy(if decodes { GENERATED } else { 1 })
        };
        Ok(Stand { arm, engine, prompt: random_tokens(tokens, arm.plan.model.vocab), options })
    }

    /// The times of a layer; none where somebody pressed Ctrl-C meanwhile.
    fn run(&mut self) -> Result<Option<Times>, Failure> {
        let mut listen = |_| if interrupt::asked() { Flow::Cancel } else { Flow::Continue };
        let report = self.engine.generate(std::slice::from_ref(&self.prompt), &self.options, &mut listen)?;
        let recorded = report.recorded.filter(|_| !interrupt::asked());
        Ok(recorded.and_then(|recorded| self.arm.times(&recorded.rounds, &recorded.trace)))
    }
}
