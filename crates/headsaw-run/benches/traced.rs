//! What writing down costs: a prompt and generation with a trace and without, in turn.
//!
//! `HEADSAW_SMOLLM2=model.gguf cargo bench -p headsaw-run --bench traced [-- ROUNDS]`. Prints a table for docs/performance.md.

use headsaw::plan::{CutRequest, Exchange, Order, cut};
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw_run::compute;
use headsaw_run::generate::{Engine, Flow, Options};
use headsaw_run::weights::ModelFile;
use std::path::Path;

const PROMPT: u32 = 256;
const TOKENS: u32 = 64;
const ROUNDS: usize = 15;

fn main() {
    let Some(path) = std::env::var_os("HEADSAW_SMOLLM2") else {
        println!("skipped: HEADSAW_SMOLLM2 names no model");
        return;
    };
    let file = ModelFile::open(Path::new(&path)).expect("a model");
    let rounds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(ROUNDS).max(1);
    println!(
        "| cut | test | seconds without, min / median | with a trace | cost of the medians |\n|---|---|---|---|---|"
    );
    for (tp, exchange) in [(1, Exchange::Reduce), (2, Exchange::Reduce), (2, Exchange::Gather)] {
        let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
        let workload = Workload { batch: 1, tokens: 256, micros: 1, context: PROMPT + TOKENS, sequences: 1, numerics };
        let request = CutRequest { tp, pp: 1, device_weights: vec![], lanes: 1, exchange, order: Order::Pipelined };
        let plan = cut(file.spec(), workload, &request).expect("a cut");
        let mut engine =
            Engine::load(&file, &plan, compute::cpu(None).expect("kernels"), &mut |_| {}).expect("it loads");
        let mut seconds: [[Vec<f64>; 2]; 2] = Default::default();
        for round in 0..=rounds {
            for (with, trace) in [None, Some(1 << 16)].into_iter().enumerate() {
                let options = Options { trace, digest: false, ..Options::greedy(TOKENS as usize) };
                let prompt: Vec<u32> = (0..PROMPT).collect();
                let report = engine.generate(&[prompt], &options, &mut |_| Flow::Continue).expect("it runs");
                if round > 0 {
                    seconds[0][with].push(report.prefill.seconds);
                    seconds[1][with].push(report.decode.seconds);
                }
            }
        }
        for (test, [without, with]) in ["prompt", "generation"].into_iter().zip(&mut seconds) {
            let ([least, plain], [least_traced, traced]) = (spread(without), spread(with));
            let cost = 100.0 * (traced / plain - 1.0);
            println!(
                "| tp {tp} {exchange:?} | {test} | {least:.4} / {plain:.4} | {least_traced:.4} / {traced:.4} | {cost:+.2} % |"
            );
        }
    }
}

/// Least and median.
fn spread(seconds: &mut [f64]) -> [f64; 2] {
    seconds.sort_by(f64::total_cmp);
    [seconds[0], seconds[seconds.len() / 2]]
}
