//! `headsaw compare`: predicted beside measured.

mod tables;

use crate::cut::CutJson;
use crate::draw::same_plan;
use crate::error::Failure;
use crate::output::{print, print_json};
use crate::place::ClusterArgs;
use crate::traced::Traced;
use headsaw::program::{Lane, Role};
use headsaw::spec::cluster::DeviceId;
use headsaw::spec::short;
use headsaw::trace::{self, Comparison, Figures, Kind, Pair, STEPS, Side, Spent};
use serde::Serialize;

/// Compare two traces: predicted beside measured
///
/// Puts two traces of one plan side by side: the time of each kind of round, of each step, lane and device, how much of it
/// is idle and how much exchange hides behind work. With one trace the other is simulated from its own plan, loads and link.
/// Of the rounds of a kind (a chunk of a prompt, a token) the median counts, without the first of more than two. An error is
/// predicted ÷ measured − 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headsaw compare measured.trace                         against a simulation of the same
  headsaw compare measured.trace --cluster here.toml     as `calibrate -o here.toml` measured
  headsaw compare predicted.trace measured.trace
  headsaw compare measured.trace --json")]
pub struct Args {
    /// A trace file (- for standard input), as `run --trace` and `simulate -o` write it
    #[arg(value_name = "A")]
    first: String,
    /// The trace to compare it with [default: what is predicted for the same plan and loads]
    #[arg(value_name = "B")]
    second: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Serialize)]
struct Json<'a> {
    model: &'a str,
    cut: CutJson,
    traces: Both<TraceJson<'a>>,
    #[serde(flatten)]
    whole: FiguresJson,
    rounds: Vec<KindJson<'a>>,
    /// Rows of the rounds that only one of the traces has.
    alone: &'a [Vec<u32>],
}

/// Predicted and measured, for scripts.
#[derive(Serialize)]
struct Both<T> {
    predicted: T,
    measured: T,
}

impl<T> From<Pair<T>> for Both<T> {
    fn from(Pair { predicted, measured }: Pair<T>) -> Both<T> {
        Both { predicted, measured }
    }
}

#[derive(Serialize)]
struct TraceJson<'a> {
    name: &'a str,
    simulated: bool,
    place: &'a str,
}

#[derive(Serialize)]
struct FiguresJson {
    seconds: Both<f64>,
    error: Option<f64>,
    bubble: Both<f64>,
    overlap: Both<f64>,
    steps: Vec<StepJson>,
    lanes: Vec<LaneJson>,
    devices: Vec<DeviceJson>,
}

#[derive(Serialize)]
struct KindJson<'a> {
    rows: &'a [u32],
    count: Both<usize>,
    #[serde(flatten)]
    figures: FiguresJson,
}

#[derive(Serialize)]
struct StepJson {
    step: &'static str,
    predicted: f64,
    measured: f64,
    error: Option<f64>,
}

#[derive(Serialize)]
struct LaneJson {
    device: u32,
    lane: u32,
    exchanges: bool,
    predicted: f64,
    measured: f64,
    error: Option<f64>,
}

#[derive(Serialize)]
struct DeviceJson {
    device: u32,
    busy: Both<f64>,
    exchange: Both<f64>,
    waiting: Both<f64>,
    overlap: Both<f64>,
}

/// Opens, compares, shows.
pub fn act(args: &Args, json: bool) -> Result<(), Failure> {
    let first = Traced::open(&args.first)?;
    first.doubt();
    let traces = match &args.second {
        None => Pair { predicted: first.predicted(&args.cluster)?, measured: first },
        Some(_) if args.cluster.cluster.is_some() => {
            return Err(Failure::Input("--cluster: for a prediction, and both traces are given; leave one out".into()));
        }
        Some(second) => {
            let second = Traced::open(second)?;
            second.doubt();
            same_plan(&first, &second)?;
            in_order(first, second)
        }
    };
    let sides = traces.map(|traced| Side { trace: &traced.trace, rounds: &traced.rounds });
    let comparison = trace::compare(&traces.measured.program, sides.predicted, sides.measured);
    let Some(whole) = comparison.whole() else { return Err(nothing(&traces, &comparison)) };
    if json {
        return print_json(&report(&traces, &comparison, &whole));
    }
    print(&tables::human(&traces, &comparison, &whole))
}

/// Which is which: a simulation is the prediction; of two of a kind the first.
fn in_order(first: Traced, second: Traced) -> Pair<Traced> {
    if second.is_simulated() && !first.is_simulated() {
        return Pair { predicted: second, measured: first };
    }
    Pair { predicted: first, measured: second }
}

fn nothing(traces: &Pair<Traced>, comparison: &Comparison) -> Failure {
    let names = traces.map(|traced| short(&traced.name));
    let rows: Vec<String> = comparison.alone.iter().take(4).map(|rows| tables::rows_words(rows)).collect();
    let held = match rows.is_empty() {
        true => "neither holds a whole round".to_string(),
        false => format!("no round of the same rows is whole in both (rounds of one alone: {})", rows.join("; ")),
    };
    Failure::Input(format!("{}, {}: nothing to compare: {held}", names.predicted, names.measured))
}

fn report<'a>(traces: &'a Pair<Traced>, comparison: &'a Comparison, whole: &Pair<Figures>) -> Json<'a> {
    let Traced { plan, .. } = &traces.measured;
    let trace =
        |traced: &'a Traced| TraceJson { name: &traced.name, simulated: traced.is_simulated(), place: traced.place() };
    let kind = |kind: &'a Kind| KindJson {
        rows: &kind.rows,
        count: kind.rounds.into(),
        figures: figures_json(traces, &kind.figures),
    };
    Json {
        model: &plan.model.name,
        cut: CutJson::of(plan),
        traces: traces.map(trace).into(),
        whole: figures_json(traces, whole),
        rounds: comparison.kinds.iter().map(kind).collect(),
        alone: &comparison.alone,
    }
}

fn figures_json(traces: &Pair<Traced>, figures: &Pair<Figures>) -> FiguresJson {
    let program = &traces.measured.program;
    let seconds = figures.map(|figures| figures.seconds);
    let step = |(step, pair): (&'static str, Pair<f64>)| {
        let (error, Pair { predicted, measured }) = (pair.error(), pair);
        StepJson { step, predicted, measured, error }
    };
    let lane = |(i, lane): (usize, &Lane)| {
        let pair = figures.map(|figures| figures.lanes[i]);
        let (error, Pair { predicted, measured }) = (pair.error(), pair);
        let exchanges = lane.role == Role::Exchange;
        LaneJson { device: lane.device.0, lane: lane.number, exchanges, predicted, measured, error }
    };
    let device = |(i, device): (usize, DeviceId)| {
        let spent = |part: fn(&Spent) -> f64| figures.map(|figures| part(&figures.devices[i])).into();
        DeviceJson {
            device: device.0,
            busy: spent(|spent| spent.busy),
            exchange: spent(|spent| spent.exchange),
            waiting: spent(|spent| spent.waiting),
            overlap: spent(|spent| spent.overlap),
        }
    };
    FiguresJson {
        error: seconds.error(),
        seconds: seconds.into(),
        bubble: figures.map(|figures| figures.bubble).into(),
        overlap: figures.map(Figures::overlap).into(),
        steps: steps(figures).into_iter().map(step).collect(),
        lanes: program.lanes.iter().enumerate().map(lane).collect(),
        devices: trace::devices(program).into_iter().enumerate().map(device).collect(),
    }
}

/// Steps that take time in either.
fn steps(figures: &Pair<Figures>) -> Vec<(&'static str, Pair<f64>)> {
    let all = STEPS.into_iter().enumerate().map(|(i, step)| (step, figures.map(|figures| figures.steps[i])));
    all.filter(|(_, pair)| pair.predicted > 0.0 || pair.measured > 0.0).collect()
}
