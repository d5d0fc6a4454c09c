//! `headsaw simulate`: what a cut would take on a cluster.

use crate::auto::Auto;
use crate::cut::CutJson;
use crate::error::Failure;
use crate::forecast::{Forecast, ForecastArgs, OVERLAPS, Unfit};
use crate::output::{BOLD, counted, grouped, print, print_json, si, styled};
use crate::picture::PictureArgs;
use crate::played::{Played, Spent};
use crate::progress::Waiting;
use crate::scene::Phase;
use crate::steps::heads_of_a_device;
use crate::table::{Table, facts};
use headsaw::plan::{Overlap, Slice};
use headsaw::spec::cluster::DeviceId;
use headsaw::units::Bytes;
use serde::Serialize;

/// Foretell what a cut takes on a cluster
///
/// Plays the program of a plan against the cost model of a cluster: how long a prompt, or a token of every sequence,
/// takes; where the time of each device goes; which steps take it. Nothing is run, no GPU is needed. Equal replicas are
/// played once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headsaw simulate llama-3.1-8b --cluster h100x8 --tp 8
  headsaw simulate llama-3.1-70b --cluster h100x16 --tp 8 --pp 2 --for decode --batch 16
  headsaw simulate llama-3.1-8b --cluster h100 --steps 3 --chunk 4 --overlap auto
  headsaw simulate eight-heads --cluster h100x4 --steps 3 --chunk 1 --gantt
  headsaw simulate llama-3.1-8b --cluster h100x8 --tp 8 -o trace.pftrace
  headsaw simulate smollm2-135m --tp 2 --steps 3 -o predicted.trace
  headsaw simulate demo --tp 2 --prompt 256 --link 1Gbit/s,50us --exchange auto --overlap auto
  headsaw simulate plan.json --prompt 4096 --json")]
pub struct Args {
    #[command(flatten)]
    forecast: ForecastArgs,
    #[command(flatten)]
    picture: PictureArgs,
}

#[derive(Serialize)]
struct Json<'a> {
    model: &'a str,
    cluster: &'a str,
    cut: CutJson,
    replicas: u32,
    phase: Phase,
    prompt: u32,
    sequences: u32,
    /// Of a prompt; of a token of every sequence.
    seconds: f64,
    closed_form_seconds: Option<f64>,
    bubble: f64,
    tokens_per_second: f64,
    tokens_per_second_all: f64,
    actions: u64,
    wall_seconds: f64,
    devices: Vec<DeviceJson>,
    steps: Vec<StepJson>,
    overlaps: Vec<OverlapJson>,
    auto: Option<&'a Auto>,
}

#[derive(Serialize)]
struct DeviceJson {
    device: u32,
    kind: String,
    stage: usize,
    layers: [u32; 2],
    heads: [u32; 2],
    busy_seconds: f64,
    exchange_seconds: f64,
    waiting_seconds: f64,
    memory_bytes_peak: Bytes,
    memory_bytes: Option<Bytes>,
}

#[derive(Serialize)]
struct StepJson {
    step: &'static str,
    seconds: f64,
}

#[derive(Serialize)]
struct OverlapJson {
    overlap: Overlap,
    micro_batches: u32,
    seconds: f64,
    bubble: f64,
}

/// Plays and shows.
pub fn act(args: &Args, json: bool) -> Result<(), Failure> {
    args.picture.check()?;
    let forecast = args.forecast.resolve()?;
    forecast.auto.iter().for_each(Auto::tell);
    let waiting = Waiting::begin("simulating");
    let played = forecast.play()?;
    let overlaps = overlaps(&forecast, &played)?;
    if json {
        let report = report(&forecast, &played, overlaps);
        drop(waiting);
        print_json(&report)?;
    } else {
        let text = human(&forecast, &played, &overlaps);
        drop(waiting);
        print(&text)?;
    }
    args.picture.draw(&forecast, played, json)
}

/// An overlap, and what it takes or why it can not be.
type Tried = (Overlap, Result<OverlapJson, Unfit>);

/// The three overlaps side by side, where there are steps.
fn overlaps(forecast: &Forecast, played: &Played) -> Result<Vec<Tried>, Failure> {
    let Some(steps) = &forecast.plan.steps else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for overlap in OVERLAPS {
        let tried = if overlap == steps.overlap {
            Ok(overlap_json(overlap, forecast, played))
        } else {
            match forecast.with_overlap(overlap) {
                Ok(other) => Ok(overlap_json(overlap, &other, &other.play()?)),
                Err(unfit) => Err(unfit),
            }
        };
        found.push((overlap, tried));
    }
    Ok(found)
}

fn overlap_json(overlap: Overlap, forecast: &Forecast, played: &Played) -> OverlapJson {
    let micro_batches = forecast.plan.workload.micros;
    OverlapJson { overlap, micro_batches, seconds: played.seconds(), bubble: played.bubble() }
}

fn report<'a>(forecast: &'a Forecast, played: &Played, overlaps: Vec<Tried>) -> Json<'a> {
    let Forecast { plan, scene, replicas, .. } = forecast;
    let rate = forecast.tokens_per_second(played.seconds());
    let steps = played.steps(plan.devices.len()).into_iter().map(|(step, seconds)| StepJson { step, seconds });
    Json {
        model: &plan.model.name,
        cluster: &forecast.cluster.name,
        cut: forecast.cut(),
        replicas: *replicas,
        phase: scene.phase,
        prompt: scene.prompt,
        sequences: scene.sequences,
        seconds: played.seconds(),
        closed_form_seconds: played.closed_form,
        bubble: played.bubble(),
        tokens_per_second: rate,
        tokens_per_second_all: rate * f64::from(*replicas),
        actions: played.actions(),
        wall_seconds: played.wall_seconds,
        devices: devices(forecast, played),
        steps: steps.collect(),
        overlaps: overlaps.into_iter().filter_map(|(_, tried)| tried.ok()).collect(),
        auto: forecast.auto.as_ref(),
    }
}

fn devices(forecast: &Forecast, played: &Played) -> Vec<DeviceJson> {
    let spent = played.spent(&forecast.plan);
    let one = |(stage, slice): (usize, &Slice)| device(forecast, stage, slice, spent[slice.device.0 as usize]);
    let mut devices: Vec<DeviceJson> = forecast.plan.slices().map(one).collect();
    devices.sort_by_key(|device| device.device);
    devices
}

fn device(forecast: &Forecast, stage: usize, slice: &Slice, spent: Spent) -> DeviceJson {
    let (plan, id) = (&forecast.plan, slice.device.0);
    let layers = &plan.stages[stage].layers;
    DeviceJson {
        device: id,
        kind: forecast.kind(DeviceId(id)).into(),
        stage,
        layers: [layers.start, layers.end],
        heads: [slice.heads.start, slice.heads.end],
        busy_seconds: spent.busy,
        exchange_seconds: spent.exchange,
        waiting_seconds: spent.waiting,
        memory_bytes_peak: spent.memory,
        memory_bytes: plan.devices[id as usize].memory,
    }
}

fn human(forecast: &Forecast, played: &Played, overlaps: &[Tried]) -> String {
    let title = format!("{} on {}", forecast.plan.model.name, forecast.cluster.name);
    let mut text = format!("{}\n{}", styled(BOLD, &title), facts(&told(forecast, played)));
    let part = |title: &str, table: Table| format!("\n{}\n{}", styled(BOLD, title), table.show());
    text += &part("Devices of a replica", devices_table(forecast, played));
    text += &part("Steps, in the mean of the devices", steps_table(forecast, played));
    if !overlaps.is_empty() {
        text += &part("What hides behind what", overlaps_table(forecast, overlaps));
    }
    text
}

fn told(forecast: &Forecast, played: &Played) -> Vec<(&'static str, String)> {
    let Forecast { scene, replicas, .. } = forecast;
    let seconds = played.seconds();
    let rate = forecast.tokens_per_second(seconds);
    let time = si(seconds, "s");
    let (what, time) = match scene.phase {
        Phase::Prefill => ("prompt", time),
        Phase::Decode => ("token", format!("{time} for one of every sequence")),
    };
    let all =
        if *replicas > 1 { format!(" a replica, {} in all", rated(rate * f64::from(*replicas))) } else { "".into() };
    let mut told = vec![
        ("cut", cut_words(forecast)),
        ("work", work_words(forecast)),
        (what, time),
        ("speed", format!("{} tokens/s{all}", rated(rate))),
        ("bubble", format!("{} (idle ÷ total of the lanes that compute)", percent(played.bubble()))),
    ];
    if let Some(closed) = played.closed_form {
        told.push(("check", format!("{} in closed form, without simulating", si(closed, "s"))));
    }
    told.push(("simulated", format!("{} actions", grouped(played.actions()))));
    told
}

/// `tp 8 × pp 1, 4 replicas; 3 steps, chunks of 2 heads, heads overlap; bf16`.
fn cut_words(forecast: &Forecast) -> String {
    let plan = &forecast.plan;
    let tp = plan.stages.first().map_or(0, |stage| stage.slices.len());
    let mut words = format!("tp {tp} × pp {}", plan.stages.len());
    words += &match forecast.replicas {
        1 => ", one replica".to_string(),
        n => format!(", {n} replicas"),
    };
    words += &format!("; {}", plan.workload.numerics.activations.precision().name());
    if let Some(steps) = &plan.steps {
        let heads = counted(u64::from(steps.chunk.min(heads_of_a_device(plan))), "head");
        words += &format!("; {}, {heads} at a time, overlap {}", steps.cut, steps.overlap.name());
    }
    words
}

fn work_words(forecast: &Forecast) -> String {
    let (scene, rounds) = (&forecast.scene, &forecast.rounds.0);
    let micros = forecast.plan.workload.micros;
    let first = rounds[0][0];
    match scene.phase {
        Phase::Prefill => format!(
            "{} of {} in chunks of {}, {micros} in flight",
            counted(u64::from(scene.sequences), "prompt"),
            counted(u64::from(scene.prompt), "token"),
            grouped(u64::from(first.tokens))
        ),
        Phase::Decode => format!(
            "{} in {}, {} in the cache of each",
            counted(u64::from(scene.sequences), "sequence"),
            counted(u64::from(micros), "micro-batch"),
            counted(u64::from(scene.prompt), "token")
        ),
    }
}

fn rated(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.1}") } else { grouped(rate.round() as u64) }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Rows from which on stages that do nearly the same are told in one.
const ROWS_MANY: usize = 9;
/// Shares of the time that differ by no more are nearly the same.
const NEARLY: f64 = 0.01;

/// Devices that hold and do the same.
struct Row {
    devices: [u32; 2],
    stages: [usize; 2],
    layers: [u32; 2],
    /// Kind, number of layers and of heads, memory held, memory there is.
    holds: [String; 5],
    /// Busy, exchange, waiting: of the time.
    shares: [f64; 3],
}

impl Row {
    fn new(device: DeviceJson, seconds: f64) -> Row {
        let share = |part: f64| if seconds > 0.0 { part / seconds } else { 0.0 };
        let holds = [
            device.kind,
            (device.layers[1] - device.layers[0]).to_string(),
            (device.heads[1] - device.heads[0]).to_string(),
            device.memory_bytes_peak.to_string(),
            device.memory_bytes.map_or("–".into(), |bytes| bytes.to_string()),
        ];
        Row {
            devices: [device.device; 2],
            stages: [device.stage; 2],
            layers: device.layers,
            holds,
            shares: [device.busy_seconds, device.exchange_seconds, device.waiting_seconds].map(share),
        }
    }

    /// Does the other one look the same, in the same stage?
    fn is_like(&self, other: &Row) -> bool {
        self.stages == other.stages
            && self.holds == other.holds
            && self.shares.map(percent) == other.shares.map(percent)
    }

    /// Does the other one do nearly the same, in whatever stage?
    fn is_nearly(&self, other: &Row) -> bool {
        let close = |(one, other): (&f64, &f64)| (one - other).abs() <= NEARLY;
        self.holds == other.holds && self.shares.iter().zip(&other.shares).all(close)
    }

    /// One row for some: the shares are the mean.
    fn of(run: &[Row]) -> Row {
        let (first, last) = (&run[0], &run[run.len() - 1]);
        let mean = |i: usize| run.iter().map(|row| row.shares[i]).sum::<f64>() / run.len() as f64;
        Row {
            devices: [first.devices[0], last.devices[1]],
            stages: [first.stages[0], last.stages[1]],
            layers: [first.layers[0], last.layers[1]],
            holds: first.holds.clone(),
            shares: [0, 1, 2].map(mean),
        }
    }

    fn cells(self) -> Vec<String> {
        let [kind, _, heads, memory, room] = self.holds;
        let span =
            |[first, last]: [u64; 2]| if first == last { first.to_string() } else { format!("{first}–{last}") };
        let who = [span(self.devices.map(u64::from)), kind, span(self.stages.map(|stage| stage as u64))];
        let what = [format!("{}..{}", self.layers[0], self.layers[1]), heads];
        [who.to_vec(), what.to_vec(), self.shares.map(percent).to_vec(), vec![memory, room]].concat()
    }
}

/// Runs of rows that are like their first.
fn joined(rows: Vec<Row>, alike: fn(&Row, &Row) -> bool) -> Vec<Row> {
    let mut runs: Vec<Vec<Row>> = Vec::new();
    for row in rows {
        match runs.last_mut() {
            Some(run) if alike(&run[0], &row) => run.push(row),
            _ => runs.push(vec![row]),
        }
    }
    runs.iter().map(|run| Row::of(run)).collect()
}

/// A row for each run of devices that do the same; of many stages one for those that do nearly the same.
fn devices_table(forecast: &Forecast, played: &Played) -> Table {
    let columns = ["<devices", "<kind", "stage", "layers", "heads", "busy", "exchange", "waiting", "memory peak", "of"];
    let mut table = Table::new(&columns);
    let seconds = played.seconds();
    let rows = devices(forecast, played).into_iter().map(|device| Row::new(device, seconds)).collect();
    let mut rows = joined(rows, Row::is_like);
    if rows.len() >= ROWS_MANY {
        rows = joined(rows, Row::is_nearly);
    }
    rows.into_iter().for_each(|row| table.row(row.cells()));
    table
}

fn steps_table(forecast: &Forecast, played: &Played) -> Table {
    let steps = played.steps(forecast.plan.devices.len());
    let all: f64 = steps.iter().map(|(_, seconds)| seconds).sum();
    let mut table = Table::new(&["<step", "time", "share"]);
    for (step, seconds) in steps {
        table.row(vec![step.into(), si(seconds, "s"), percent(seconds / all)]);
    }
    table
}

fn overlaps_table(forecast: &Forecast, overlaps: &[Tried]) -> Table {
    let mut table = Table::new(&["<overlap", "micro-batches", "time", "bubble", "<"]);
    let chosen = forecast.plan.steps.as_ref().map(|steps| steps.overlap);
    for (overlap, tried) in overlaps {
        let (figures, mark) = match tried {
            Ok(one) => ([one.micro_batches.to_string(), si(one.seconds, "s"), percent(one.bubble)], mark(one, chosen)),
            Err(unfit) => (["–".into(), "–".into(), "–".into()], why_not(unfit)),
        };
        table.row([vec![overlap.name().into()], figures.to_vec(), vec![mark]].concat());
    }
    table
}

fn mark(one: &OverlapJson, chosen: Option<Overlap>) -> String {
    if chosen == Some(one.overlap) { "◂ this plan".into() } else { "".into() }
}

fn why_not(unfit: &Unfit) -> String {
    match unfit {
        Unfit::Alone => "takes two micro-batches in flight".into(),
        Unfit::At(what) => format!("does not fit: {what}"),
    }
}
