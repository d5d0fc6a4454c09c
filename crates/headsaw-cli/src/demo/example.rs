//! The example, run: a passage through the cut whose steps overlap and through the same whose steps do not, in turn.

use super::stage::{Stage, once};
use super::{EVEN, Slots};
use crate::error::Failure;
use crate::forecast::Forecast;
use crate::scene::Scene;
use headsaw::cost::{Load, Priced};
use headsaw::draw::{Picture, View};
use headsaw::grain::{Grain, LOSS, Question, grain, in_slots};
use headsaw::lower::lower;
use headsaw::plan::{Overlap, Plan};
use headsaw::program::{Action, Op, Program};
use headsaw::simulate::{Rounds, simulate};
use headsaw::trace::{Figures, Pair, STEPS, Side, Span, Trace, compare};
use headsaw::units::Seconds;
use headsaw_run::generate::{Engine, Report};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Tokens that are read in the example, where the context has room.
const PASSAGE: usize = 256;
/// Rounds in turn, after one to warm up: at most, and at least where they take long.
const ROUNDS: usize = 9;
const ROUNDS_LEAST: usize = 3;
const BUDGET: Duration = Duration::from_secs(3);
/// Actions of a lane that are written down: more than one passage has.
const TRACED: usize = 1 << 14;
/// The layer that is drawn: neither the first nor the last.
const LAYER: u32 = 1;

/// What came out.
pub struct Example {
    /// Tokens of the passage.
    pub tokens: usize,
    /// Rounds that count.
    pub rounds: usize,
    /// All rounds gave the bits of the uncut model.
    pub equal: bool,
    /// The question, and the grain that answers it, with what was measured.
    pub forecast: Forecast,
    pub grain: Grain,
    /// The passage, predicted and in the fastest round: the one that other processes disturbed least.
    figures: Pair<Figures>,
    /// One layer: equal steps on lanes of their own, predicted, measured.
    pub ideal: Picture,
    pub layer: Pair<Picture>,
}

/// Slots of a layer's units on the first device, counted.
pub fn slots(plan: &Plan) -> Result<Slots, Failure> {
    let count = |overlap| -> Result<u32, Failure> {
        let load = Load { sequences: 1, tokens: 1, past: 0 };
        let (_, trace) = in_slots(&with(plan, overlap), load).map_err(Failure::failed)?;
        Ok(trace.seconds().0.round() as u32)
    };
    Ok(Slots { serial: count(Overlap::None)?, pipelined: count(Overlap::Heads)? })
}

fn with(plan: &Plan, overlap: Overlap) -> Plan {
    let mut plan = plan.clone();
    plan.steps.iter_mut().for_each(|steps| steps.overlap = overlap);
    plan
}

impl Example {
    /// Reads the prompt and what was generated from it, over and over, again and again.
    pub fn run(stage: &Stage, generated: &[u32]) -> Result<Example, Failure> {
        let room = PASSAGE.min(stage.model.spec.context as usize - 1);
        let passage: Vec<u32> = stage.prompt.iter().chain(generated).copied().cycle().take(room).collect();
        let tokens = passage.len() as u32;
        let cuts = stage.plan_for(EVEN, tokens, tokens + 1)?;
        let uncut = once(&mut stage.load(&stage.plan_for(1, tokens, tokens + 1)?.whole)?, &passage, &stage.options(1))?;
        let (serial, program) = (with(&cuts.cut, Overlap::None), lower(&cuts.cut));
        let arms = [stage.load(&serial)?, stage.load(&cuts.cut)?];
        let [apart, overlapped] = in_turn(stage, arms, &passage)?;
        let every = apart.iter().chain(&overlapped);
        let equal = every.clone().all(|report| report.logits_digest == uncut.logits_digest);
        let measured = middle(&apart, &lower(&serial)) / middle(&overlapped, &program);
        let forecast = forecast(stage, cuts.cut, tokens)?;
        let question =
            Question { plan: &forecast.plan, cluster: &forecast.cluster, rounds: &forecast.rounds, loss: LOSS };
        let mut grain = grain(&question).map_err(Failure::failed)?;
        grain.speedups.measured = measured.is_finite().then_some(measured);
        let cost = Priced::new(&forecast.plan, &forecast.cluster);
        let predicted = simulate(&program, &cost, &forecast.rounds).map_err(Failure::failed)?;
        let shown = fastest(overlapped)?;
        let recorded = shown.recorded.as_ref().ok_or_else(|| Failure::failed("the lanes wrote nothing down"))?;
        let side = |trace| Side { trace, rounds: &forecast.rounds };
        let figures = compare(&program, side(&predicted), side(&recorded.trace)).whole();
        let figures = figures.ok_or_else(|| Failure::failed("the lanes did not write a whole round down"))?;
        let layer = Pair { predicted: &predicted, measured: &recorded.trace };
        let layer = layer.map(|trace| picture(stage, &program, trace, &forecast.rounds));
        let longest = layer.predicted.seconds().max(layer.measured.seconds());
        let ideal = ideal(stage, &forecast, longest / f64::from(grain.slots.serial))?;
        let rounds = apart.len();
        Ok(Example { tokens: passage.len(), rounds, equal, forecast, grain, figures, ideal, layer })
    }

    /// Seconds of the passage.
    pub fn times(&self) -> Pair<f64> {
        self.figures.map(|figures| figures.seconds)
    }

    /// Seconds of each step that takes time, of all lanes together.
    pub fn steps(&self) -> Vec<(&'static str, Pair<f64>)> {
        let all = STEPS.into_iter().enumerate().map(|(i, step)| (step, self.figures.map(|figures| figures.steps[i])));
        all.filter(|(_, pair)| pair.predicted > 0.0 || pair.measured > 0.0).collect()
    }
}

/// Runs of two cuts in turn, without the first of each.
fn in_turn(stage: &Stage, mut arms: [Engine; 2], passage: &Vec<u32>) -> Result<[Vec<Report>; 2], Failure> {
    let options = headsaw_run::generate::Options { trace: Some(TRACED), ..stage.options(1) };
    let mut reports = [Vec::new(), Vec::new()];
    let begun = Instant::now();
    for round in 0..=ROUNDS {
        if round > ROUNDS_LEAST && begun.elapsed() > BUDGET {
            break;
        }
        for (engine, reports) in arms.iter_mut().zip(&mut reports) {
            let report = once(engine, passage, &options)?;
            reports.extend((round > 0).then_some(report));
        }
    }
    Ok(reports)
}

/// The prompt read at once on this machine.
fn forecast(stage: &Stage, mut plan: Plan, tokens: u32) -> Result<Forecast, Failure> {
    let cluster = stage.cluster(&plan)?;
    plan.cluster = Some(cluster.name.clone());
    let (rounds, link) = (Rounds::prompt_chunks(1, tokens, 1, 0), stage.args.link);
    Ok(Forecast { plan, cluster, replicas: 1, scene: Scene::prompt(tokens), rounds, auto: None, link })
}

/// The middle of some rounds' seconds for the heads of a layer on a device.
fn middle(reports: &[Report], program: &Program) -> f64 {
    let traces = reports.iter().filter_map(|report| report.recorded.as_ref());
    median(traces.map(|recorded| heads_seconds(program, &recorded.trace)).collect())
}

/// From the first unit's beginning to the last one's end: the middle of all layers and devices.
fn heads_seconds(program: &Program, trace: &Trace) -> f64 {
    let mut ends: BTreeMap<(u32, u32), (f64, f64)> = BTreeMap::new();
    for span in &trace.spans {
        let (action, device) = (action(program, span), trace.lanes[span.lane as usize].device.0);
        let of_heads = matches!(action.op, Op::Compute(_)) && action.unit.is_some();
        let Some(layer) = action.layer.filter(|_| of_heads) else { continue };
        let ends = ends.entry((device, layer)).or_insert((f64::INFINITY, 0.0));
        *ends = (ends.0.min(span.start.0), ends.1.max(span.end.0));
    }
    median(ends.values().map(|(start, end)| end - start).collect())
}

fn action<'a>(program: &'a Program, span: &Span) -> &'a Action {
    &program.lanes[span.lane as usize].actions[span.action as usize]
}

/// The upper middle; no number where there are none.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The round that took the least time.
fn fastest(reports: Vec<Report>) -> Result<Report, Failure> {
    let fastest = reports.into_iter().min_by(|a, b| a.prefill.seconds.total_cmp(&b.prefill.seconds));
    fastest.ok_or_else(|| Failure::failed("no round was run"))
}

/// One layer of a trace, from its own beginning on.
fn picture(stage: &Stage, program: &Program, trace: &Trace, rounds: &Rounds) -> Picture {
    let of_layer = |span: &&Span| action(program, span).layer == Some(LAYER) && span.round == 0;
    let mut layer = Trace { spans: trace.spans.iter().filter(of_layer).copied().collect(), ..trace.clone() };
    moved(&mut layer, 1.0);
    let title = (stage.words.layer)(EVEN);
    Picture::new(program, &layer, Some(rounds), View { title, ..View::default() })
}

/// Begins at zero, every second so long.
fn moved(trace: &mut Trace, second: f64) {
    let first = trace.ends().0.0;
    let place = |at: Seconds| Seconds((at.0 - first) * second);
    trace.spans.iter_mut().for_each(|span| (span.start, span.end) = (place(span.start), place(span.end)));
}

/// Equal steps on lanes of their own; slots so long that all one after another would be as wide as the other pictures.
fn ideal(stage: &Stage, forecast: &Forecast, slot: f64) -> Result<Picture, Failure> {
    let (program, mut trace) = in_slots(&forecast.plan, forecast.rounds.0[0][0]).map_err(Failure::failed)?;
    trace.spans.retain(|span| span.start < span.end);
    moved(&mut trace, slot);
    let view = View { title: (stage.words.layer)(EVEN), slot: Some(Seconds(slot)), ..View::default() };
    Ok(Picture::new(&program, &trace, None, view))
}
