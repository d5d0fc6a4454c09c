//! Curves of the grain: `cargo run -q -p headsaw --example 05_curves -- heads` draws how long attention takes by heads on a
//! device, `-- slots` what overlapping gains by units in flight.

use headsaw::draw::chart::{Chart, Line, Unit, svg};
use headsaw::grain::{LOSS, Question, grain};
use headsaw::plan::{CutRequest, Exchange, Flow, HeadSteps, Order, Overlap, Plan, cut};
use headsaw::simulate::Rounds;
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw::spec::{cluster, presets};

#[allow(dead_code)] // the tests need more of it
#[path = "../tests/shared/eight.rs"]
mod eight;
use eight::{Case, EXAMPLE, THREE, TWO};

fn main() {
    let what = std::env::args().nth(1).unwrap_or_default();
    match answer(&what) {
        Some(drawn) => print!("{drawn}"),
        None => {
            eprintln!("error: {what}: expected heads or slots");
            std::process::exit(2);
        }
    }
}

/// The picture of that name.
pub fn answer(what: &str) -> Option<String> {
    match what {
        "heads" => Some(svg(&heads())),
        "slots" => Some(svg(&slots())),
        _ => None,
    }
}

/// Attention of a layer of Llama-3.1-70B on an H100, for prompts of three lengths and a token after 8,192.
fn heads() -> Chart {
    let line = |(name, tokens, past): (&str, u32, u32)| Line { name: name.into(), points: attention(tokens, past) };
    let loads = [
        ("1 token, 8,192 cached", 1, 8192),
        ("512 tokens", 512, 0),
        ("2,048 tokens", 2048, 0),
        ("8,192 tokens", 8192, 0),
    ];
    Chart {
        title: "Llama-3.1-70B on H100: how many heads fill a GPU".into(),
        x: "heads on a device".into(),
        y: ("attention of one layer".into(), Unit::Seconds),
        lines: loads.into_iter().map(line).collect(),
    }
}

/// Heads, and seconds of their attention.
fn attention(tokens: u32, past: u32) -> Vec<(f64, f64)> {
    let plan = plan(tokens + past);
    let cluster = cluster::presets::find("h100").expect("a preset");
    let rounds = Rounds::prompt_chunks(1, tokens, 1, past);
    let grain = grain(&Question { plan: &plan, cluster: &cluster, rounds: &rounds, loss: LOSS }).expect("a grain");
    grain.curve.points.iter().map(|point| (f64::from(point.heads), point.seconds)).collect()
}

/// 8 heads on each of 8 devices, one at a time through three steps.
fn plan(context: u32) -> Plan {
    let model = presets::find("llama-3.1-70b").expect("a preset");
    let numerics = Numerics { activations: Activations::Bf16, kv: KvDtype::F16 };
    let workload = Workload { batch: 1, tokens: context, micros: 1, context, sequences: 1, numerics };
    let kind = &cluster::presets::find("h100").expect("a preset").groups[0].kind;
    let flow = Flow { cut: "3".parse().expect("a cut"), chunk: 1, interleave: 1, overlap: Overlap::Heads };
    let (steps, lanes) = HeadSteps::on(flow, &kind.lanes);
    let (exchange, order) = (Exchange::Reduce, Order::Pipelined);
    let request = CutRequest { tp: 8, pp: 1, device_weights: vec![], lanes: lanes.len() as u32, exchange, order };
    Plan { steps: Some(steps), ..cut(&model, workload, &request).expect("a plan") }
}

/// Slots one after the other ÷ slots overlapped, by heads.
fn slots() -> Chart {
    let gain = |lanes, times: [f64; 3], heads: u32| {
        let serial = f64::from(heads) * times.iter().sum::<f64>();
        (f64::from(heads), serial / Case { heads, devices: 1, lanes, ..EXAMPLE }.seconds(times))
    };
    let line = |(name, lanes, times): (&str, _, _)| {
        let sizes = (0..7).map(|power| gain(lanes, times, 1 << power));
        Line { name: name.into(), points: sizes.collect() }
    };
    let lines = [
        ("equal steps, three lanes", THREE, [1.0; 3]),
        ("equal steps, two lanes", TWO, [1.0; 3]),
        ("3 : 0.5 : 1, three lanes", THREE, [3.0, 0.5, 1.0]),
        ("3 : 0.5 : 1, two lanes", TWO, [3.0, 0.5, 1.0]),
    ];
    Chart {
        title: "What overlapping steps gains".into(),
        x: "units in flight: heads on a device × micro-batches".into(),
        y: ("times as fast as one after the other".into(), Unit::Times),
        lines: lines.into_iter().map(line).collect(),
    }
}
