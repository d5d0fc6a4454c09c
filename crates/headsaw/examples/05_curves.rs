//! Curves of the grain: `cargo run -q -p headsaw --example 05_curves -- heads` draws how long attention takes by heads on a
//! device, `-- slots` what overlapping gains by units in flight; with `lang=zh` in Chinese.

use headsaw::draw::Lang;
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
    let what = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    match answer(&what) {
        Some(drawn) => print!("{drawn}"),
        None => {
            eprintln!("error: {what}: expected heads or slots, and lang=zh or nothing");
            std::process::exit(2);
        }
    }
}

/// The picture of that name.
pub fn answer(what: &str) -> Option<String> {
    let lang = if what.ends_with(" lang=zh") { Lang::Zh } else { Lang::En };
    match what.trim_end_matches(" lang=zh") {
        "heads" => Some(svg(&heads(lang), lang)),
        "slots" => Some(svg(&slots(lang), lang)),
        _ => None,
    }
}

/// Attention of a layer of Llama-3.1-70B on an H100, for prompts of three lengths and a token after 8,192.
fn heads(lang: Lang) -> Chart {
    let [title, x, y, cached, few, some, many] = match lang {
        Lang::En => [
            "Llama-3.1-70B on H100: how many heads fill a GPU",
            "heads on a device",
            "attention of one layer",
            "1 token, 8,192 cached",
            "512 tokens",
            "2,048 tokens",
            "8,192 tokens",
        ],
        Lang::Zh => [
            "Llama-3.1-70B，H100：多少个头才能装满一块 GPU",
            "每个设备的头数",
            "一层注意力的耗时",
            "1 个 token，已缓存 8192 个",
            "512 个 token",
            "2048 个 token",
            "8192 个 token",
        ],
    };
    let line = |(name, tokens, past): (&str, u32, u32)| Line { name: name.into(), points: attention(tokens, past) };
    let loads = [(cached, 1, 8192), (few, 512, 0), (some, 2048, 0), (many, 8192, 0)];
    let lines = loads.into_iter().map(line).collect();
    Chart { title: title.into(), x: x.into(), y: (y.into(), Unit::Seconds), lines }
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
fn slots(lang: Lang) -> Chart {
    let gain = |lanes, times: [f64; 3], heads: u32| {
        let serial = f64::from(heads) * times.iter().sum::<f64>();
        (f64::from(heads), serial / Case { heads, devices: 1, lanes, ..EXAMPLE }.seconds(times))
    };
    let line = |(name, lanes, times): (String, _, _)| {
        let sizes = (0..7).map(|power| gain(lanes, times, 1 << power));
        Line { name, points: sizes.collect() }
    };
    let [title, x, y, equal, real, three, two] = match lang {
        Lang::En => [
            "What overlapping steps gains",
            "units in flight: heads on a device × micro-batches",
            "times as fast as one after the other",
            "equal steps, ",
            "3 : 0.5 : 1, ",
            "three lanes",
            "two lanes",
        ],
        Lang::Zh => [
            "各步重叠能快多少",
            "在途的头次：每个设备的头数 × 微批次数",
            "速度是逐个执行的多少倍",
            "各步等长，",
            "3 : 0.5 : 1，",
            "三条通道",
            "两条通道",
        ],
    };
    let steps = [(equal, [1.0; 3]), (real, [3.0, 0.5, 1.0])];
    let named = |(name, times)| [(three, THREE), (two, TWO)].map(|(on, lanes)| (format!("{name}{on}"), lanes, times));
    let lines = steps.into_iter().flat_map(named).map(line).collect();
    Chart { title: title.into(), x: x.into(), y: (y.into(), Unit::Times), lines }
}
