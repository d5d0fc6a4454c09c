//! How well a measured table predicts a run: calibrates, then runs SmolLM2 and plays the same program against the table.
//!
//! `HEADSAW_SMOLLM2=model.gguf cargo bench -p headsaw-run --bench predicted`. Other processes disturb
//! both.

use headsaw::cost::Priced;
use headsaw::lower::lower;
use headsaw::plan::{CutRequest, Exchange, Order, Plan, cut};
use headsaw::simulate::{Rounds, simulate};
use headsaw::spec::cluster::Cluster;
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw_run::calibrate::{BUDGET, calibrate};
use headsaw_run::compute;
use headsaw_run::generate::{Engine, Flow, Options};
use headsaw_run::weights::ModelFile;
use std::path::Path;

const PROMPT: u32 = 512;
const TOKENS: u32 = 128;
const ROUNDS: usize = 11;

/// tp, lanes a device.
const CUTS: [(u32, u32); 3] = [(1, 1), (1, 2), (2, 1)];

fn main() {
    let Some(path) = std::env::var_os("HEADSAW_SMOLLM2") else {
        println!("skipped: HEADSAW_SMOLLM2 names no model");
        return;
    };
    let file = ModelFile::open(Path::new(&path)).expect("a model");
    for _ in 0..2 {
        let cluster = calibrate("this machine", &*compute::cpu(None).expect("kernels"), BUDGET, &mut |_| {});
        for (tp, lanes) in CUTS {
            compare(&file, &cluster, tp, lanes);
        }
    }
}

fn compare(file: &ModelFile, cluster: &Cluster, tp: u32, lanes: u32) {
    for (name, prompt, tokens) in [("prompt", PROMPT, 1), ("generation", 1, TOKENS + 1)] {
        let plan = plan(file, tp, lanes, prompt, prompt + tokens);
        let rounds = match tokens {
            1 => Rounds::prompt_chunks(1, prompt, 1, 0),
            _ => Rounds::generation(1, 1, 1, TOKENS),
        };
        let predicted = simulate(&lower(&plan), &Priced::new(&plan, cluster), &rounds).expect("it ends").seconds().0;
        let measured = measured(file, &plan, prompt, tokens);
        let error = 100.0 * (predicted / measured - 1.0);
        println!("tp {tp} lanes {lanes} {name:10} measured {measured:.4} s, predicted {predicted:.4} s: {error:+.1} %");
    }
}

fn plan(file: &ModelFile, tp: u32, lanes: u32, tokens: u32, context: u32) -> Plan {
    let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
    let workload = Workload { batch: 1, tokens, micros: 1, context, sequences: 1, numerics };
    let (exchange, order) = (Exchange::Reduce, Order::Pipelined);
    let request = CutRequest { tp, pp: 1, device_weights: vec![], lanes, exchange, order };
    cut(file.spec(), workload, &request).expect("a cut")
}

/// Seconds of a run: of the rounds' quarter mark, as the table's.
fn measured(file: &ModelFile, plan: &Plan, prompt: u32, tokens: u32) -> f64 {
    let kernels = compute::cpu(None).expect("kernels");
    let mut engine = Engine::load(file, plan, kernels, &mut |_| {}).expect("it loads");
    let ids: Vec<u32> = (0..prompt).map(|i| (i * 7919) % plan.model.vocab).collect();
    let options = Options { digest: false, ..Options::greedy(tokens as usize) };
    let mut round = || {
        let report = engine.generate(std::slice::from_ref(&ids), &options, &mut |_| Flow::Continue).expect("it runs");
        if tokens == 1 { report.prefill.seconds } else { report.decode.seconds }
    };
    round(); // to warm up
    let mut seconds: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    seconds.sort_by(f64::total_cmp);
    seconds[ROUNDS / 4]
}
