//! The same digest under every cut into steps: chunk 1, 2, all × steps 1, 2, 3 × lanes 1, 2, 3 × exchange × overlap × tp 1 to 4
//! × pp 1, 2 × micro-batches 1, 3, with and without a shaped link: all of it, where `tests/digest.rs` takes a sample.
//!
//! `HEADSAW_SMOLLM2=model.gguf cargo bench -p headsaw-run --bench digests [-- EVERY]`: with EVERY only each so many-th cut. Ends
//! with an error where one digest differs.

use headsaw::plan::{CutRequest, Exchange, Flow as Steps, HeadSteps, Order, Overlap, Plan, cut};
use headsaw::spec::cluster::Links;
use headsaw::spec::model::ModelSpec;
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw_run::compute;
use headsaw_run::generate::{Engine, Flow, Options};
use headsaw_run::weights::ModelFile;
use std::path::Path;
use std::time::Instant;

const TOKENS: usize = 4;
const PROMPTS: u32 = 3;

fn main() {
    let Some(path) = std::env::var_os("HEADSAW_SMOLLM2") else {
        println!("skipped: HEADSAW_SMOLLM2 names no model");
        return;
    };
    let file = ModelFile::open(Path::new(&path)).expect("a model");
    let every = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(1usize).max(1);
    let begun = Instant::now();
    let mut expected = None;
    let (mut number, mut runs, mut different) = (0, 0, Vec::new());
    for (tp, pp, exchange) in held() {
        let load = |plan: &Plan| Engine::load(&file, plan, compute::cpu(None).expect("kernels"), &mut |_| {});
        let mut engine = load(&plan(file.spec(), (tp, pp, exchange), 1, 1)).expect("it loads");
        for (plan, link) in cuts(file.spec(), (tp, pp, exchange)) {
            number += 1;
            if number % every != 0 {
                continue;
            }
            engine = engine.under(&plan).unwrap_or_else(|error| panic!("{:?}: {error}", plan.steps));
            let digest = digest(&mut engine, link);
            runs += 1;
            if *expected.get_or_insert(digest) != digest {
                different.push(format!("tp {tp} pp {pp} {exchange:?} {:?} lanes {}", plan.steps, plan.lanes));
            }
        }
        println!("tp {tp} pp {pp} {exchange:?}: {runs} runs, {} others, {:?}", different.len(), begun.elapsed());
    }
    different.iter().for_each(|cut| println!("another digest: {cut}"));
    assert!(different.is_empty(), "{} of {runs} runs gave another digest", different.len());
    let digest = blake3::Hash::from(expected.expect("a run")).to_hex();
    println!("{runs} runs of {number} cuts, one digest: {digest}");
}

/// What decides which weights a device holds.
fn held() -> impl Iterator<Item = (u32, u32, Exchange)> {
    let exchanges = [Exchange::Reduce, Exchange::Gather];
    (1..=4).flat_map(move |tp| (1..=2).flat_map(move |pp| exchanges.map(|exchange| (tp, pp, exchange))))
}

fn plan(model: &ModelSpec, (tp, pp, exchange): (u32, u32, Exchange), lanes: u32, micros: u32) -> Plan {
    let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
    let workload = Workload { batch: 1, tokens: 6, micros, context: 32, sequences: PROMPTS, numerics };
    let request = CutRequest { tp, pp, device_weights: vec![], lanes, exchange, order: Order::Pipelined };
    cut(model, workload, &request).expect("a cut")
}

/// All cuts into steps of a device that holds this, without a link and with one.
fn cuts(model: &ModelSpec, held: (u32, u32, Exchange)) -> Vec<(Plan, bool)> {
    let mut all = Vec::new();
    for (lanes, micros) in (1..=3).flat_map(|lanes| [1, 3].map(|micros| (lanes, micros))) {
        for (chunk, steps) in [1, 2, 9].into_iter().flat_map(|chunk| ["1", "2", "3"].map(|steps| (chunk, steps))) {
            for overlap in [Overlap::None, Overlap::Heads, Overlap::Tokens] {
                if overlap == Overlap::Tokens && micros == 1 {
                    continue; // one has nothing to hide behind
                }
                let interleave = if overlap == Overlap::Tokens { 2 } else { 1 };
                let flow = Steps { cut: steps.parse().expect("a cut"), chunk, interleave, overlap };
                let plan = Plan { steps: Some(HeadSteps::in_turn(flow, lanes)), ..plan(model, held, lanes, micros) };
                all.extend([(plan.clone(), false), (plan, true)]);
            }
        }
    }
    all
}

fn digest(engine: &mut Engine, link: bool) -> [u8; 32] {
    let link = link.then(|| Links::all("20Gbit/s,5us".parse().expect("a link")));
    let options = Options { links: link.unwrap_or_default(), ..Options::greedy(TOKENS) };
    let prompts: [Vec<u32>; PROMPTS as usize] = [(1..14).collect(), vec![20, 21], vec![30, 31, 32, 33]];
    engine.generate(&prompts, &options, &mut |_| Flow::Continue).expect("it runs").logits_digest
}
