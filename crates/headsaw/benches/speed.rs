//! How fast plans are priced and played, one core: `cargo bench -p headsaw --bench speed`.
//!
//! Best, median and worst of several rounds, as other processes disturb them.

use headsaw::cost::{Load, Priced, StageTimes, predict};
use headsaw::lower::lower;
use headsaw::plan::{CutRequest, Exchange, HeadSteps, Order, Overlap, Plan, cut};
use headsaw::simulate::{Rounds, simulate};
use headsaw::spec::cluster::presets as clusters;
use headsaw::spec::presets;
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 9;

fn main() {
    simulated();
    closed();
}

fn plan(model: &str, tp: u32, pp: u32, micros: u32) -> Plan {
    let numerics = Numerics { activations: Activations::Bf16, kv: KvDtype::F16 };
    let workload = Workload { batch: 1, tokens: 512, micros, context: 8192, sequences: micros, numerics };
    let (exchange, order) = (Exchange::Reduce, Order::Pipelined);
    let request = CutRequest { tp, pp, device_weights: vec![], lanes: 1, exchange, order };
    cut(&presets::find(model).expect("a preset"), workload, &request).expect("a cut that fits")
}

fn simulated() {
    println!("simulated actions a second, pricing and edges included; the same played for 16 rounds (generation)");
    let steps = HeadSteps {
        cut: "3".parse().expect("three steps"),
        lanes: vec![0, 1, 0],
        others: Some(0),
        chunk: 2,
        interleave: 1,
        overlap: Overlap::Heads,
    };
    let base = plan("llama-3.1-70b", 8, 4, 16);
    for (name, plan) in [
        ("llama-3.1-70b tp 8 pp 4, 16 micro-batches", base.clone()),
        ("the same, chunks of 2 heads on 2 lanes", Plan { lanes: 2, steps: Some(steps), ..base }),
        ("gpt3-175b tp 8 pp 16, 32 micro-batches", plan("gpt3-175b", 8, 16, 32)),
    ] {
        let cluster = clusters::parse("h100x128").expect("a preset");
        let program = lower(&plan);
        let cost = Priced::new(&plan, &cluster);
        let load = Load { sequences: 1, tokens: 512, past: 0 };
        let micros = plan.workload.micros;
        for (what, rounds) in
            [("1 round", Rounds::equal(load, micros)), ("16 rounds", Rounds::generation(8, 1024, micros, 16))]
        {
            let rates = measure(|| simulate(&program, &cost, &rounds).expect("a sound program").spans.len());
            println!("  {name:45} {what:10} {}", millions(rates));
        }
    }
}

fn closed() {
    println!("closed forms a second");
    let cluster = clusters::parse("h100x64").expect("a preset");
    let mut plan = plan("llama-3.1-70b", 8, 4, 16);
    let load = |i: u32| Load { sequences: 1, tokens: 128 + i % 4096, past: i % 512 };
    let priced = measure(|| {
        for i in 0..EVALUATIONS {
            plan.workload.micros = 1 + i % 64;
            black_box(predict(&plan, &Priced::new(&plan, &cluster), load(i)));
        }
        EVALUATIONS as usize
    });
    println!("  a plan of 32 devices, every piece priced anew   {}", millions(priced));
    // As a search goes: pieces are priced once for each tp and load, then stages and micro-batches are tried.
    let swept = measure(|| {
        let cost = Priced::new(&plan, &cluster);
        for i in 0..EVALUATIONS / 64 {
            let mut times = StageTimes::of(&plan, &cost, load(i)).expect("an even plan");
            for micros in 1..=64 {
                times.layers[0].0 = 15 + micros % 10;
                black_box(times.seconds(micros, Order::Pipelined));
            }
        }
        EVALUATIONS as usize
    });
    println!("  the same, priced once for 64 numbers of micro-batches {}", millions(swept));
}

const EVALUATIONS: u32 = 64 * 256;

/// Things a second, sorted.
fn measure(mut work: impl FnMut() -> usize) -> Vec<f64> {
    let mut round = || {
        let begun = Instant::now();
        let count = work();
        count as f64 / begun.elapsed().as_secs_f64()
    };
    round();
    let mut rates: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    rates.sort_by(f64::total_cmp);
    rates
}

fn millions(rates: Vec<f64>) -> String {
    let at = |i: usize| rates[i] / 1e6;
    format!("{:6.2} M (median; {:.2} to {:.2})", at(ROUNDS / 2), at(0), at(ROUNDS - 1))
}
