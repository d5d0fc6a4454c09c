//! Over turns the KV cache is kept: only new tokens are computed, and the bits are those of computing all anew.

use headsaw::plan::{CutRequest, Exchange, Flow as Steps, HeadSteps, Order, Overlap, Plan, cut};
use headsaw::spec::cluster::DeviceId;
use headsaw::spec::model::{Dtype, Family};
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw_run::compute;
use headsaw_run::generate::{Engine, Event, Flow, Options, Output};
use headsaw_run::testing::{random_model, small_spec};
use headsaw_run::weights::ModelFile;

fn file() -> ModelFile {
    ModelFile::from_bytes(random_model(&small_spec(Family::Llama), 7, Dtype::Q8_0).leak()).unwrap()
}

fn plan(file: &ModelFile, tp: u32, pp: u32, exchange: Exchange, tokens: u32, micros: u32) -> Plan {
    let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
    let workload = Workload { batch: 1, tokens, micros, context: file.spec().context, sequences: 1, numerics };
    let request = CutRequest { tp, pp, device_weights: vec![], lanes: 2, exchange, order: Order::Pipelined };
    cut(file.spec(), workload, &request).unwrap()
}

fn plans(file: &ModelFile) -> Vec<Plan> {
    let stepped = plan(file, 2, 1, Exchange::Reduce, 4, 2);
    let steps = Steps { cut: "3".parse().unwrap(), chunk: 1, interleave: 2, overlap: Overlap::Tokens };
    vec![
        plan(file, 1, 1, Exchange::Reduce, 512, 1),
        plan(file, 3, 1, Exchange::Reduce, 5, 1),
        plan(file, 4, 1, Exchange::Gather, 3, 2),
        plan(file, 2, 2, Exchange::Gather, 4, 3),
        Plan { steps: Some(HeadSteps::in_turn(steps, 2)), ..stepped },
    ]
}

fn engine(file: &ModelFile, plan: &Plan) -> Engine {
    Engine::load(file, plan, compute::cpu(None).unwrap(), &mut |_| {}).unwrap()
}

fn answer(engine: &mut Engine, prompt: &[u32], tokens: usize, reuse: bool) -> Output {
    let options = Options { reuse, ..Options::greedy(tokens) };
    let report = engine.generate(&[prompt.to_vec()], &options, &mut |_| Flow::Continue).unwrap();
    let output = report.outputs[0].clone();
    assert_eq!(report.prefill.tokens as usize, prompt.len() - output.reused);
    output
}

/// What somebody says on top of what was said.
fn says(turn: u32) -> Vec<u32> {
    (0..3 + turn).map(|i| 40 + (11 * turn + 7 * i) % 200).collect()
}

#[test]
fn a_conversation_has_the_bits_of_computing_all_anew() {
    let file = file();
    for (cut, plan) in plans(&file).iter().enumerate() {
        let mut kept = engine(&file, plan);
        let mut prompt = says(0);
        for turn in 1..5 {
            let fresh = answer(&mut engine(&file, &plans(&file)[0]), &prompt, 6, false);
            let output = answer(&mut kept, &prompt, 6, true);
            assert_eq!((output.logits_digest, &output.tokens), (fresh.logits_digest, &fresh.tokens), "{cut}, {turn}");
            // The last token of an answer was picked, and never went into the model.
            let before = if turn == 1 { 0 } else { prompt.len() - says(turn - 1).len() - 1 };
            assert_eq!((output.reused, fresh.reused), (before, 0), "cut {cut}, turn {turn}");
            prompt.extend(&output.tokens);
            prompt.extend(says(turn));
        }
    }
}

#[test]
fn only_what_is_shared_is_taken() {
    let file = file();
    let [first, other] = [[1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 90, 5, 6, 7, 8]];
    let mut kept = engine(&file, &plan(&file, 2, 2, Exchange::Reduce, 3, 2));
    let mut fresh = engine(&file, &plans(&file)[0]);
    answer(&mut kept, &first, 4, true);
    // Another end, the same again, a beginning, nothing shared; and what is not asked for is not taken.
    for (prompt, reuse, reused) in [
        (&other[..], true, 3),
        (&other[..], true, 7),
        (&other[..5], true, 4),
        (&[200, 2, 3], true, 0),
        (&[200, 2, 3], false, 0),
        (&[200, 2, 3], true, 2),
    ] {
        let output = answer(&mut kept, prompt, 4, reuse);
        let anew = answer(&mut fresh, prompt, 4, false);
        assert_eq!((output.logits_digest, output.tokens), (anew.logits_digest, anew.tokens), "{prompt:?}");
        assert_eq!(output.reused, reused, "{prompt:?}");
    }
}

/// Whoever ends an answer early, or a prompt while it is read, finds in the cache what went all the way through.
#[test]
fn what_was_cut_short_is_taken_up_again() {
    let file = file();
    let prompt: Vec<u32> = (1..30).collect();
    let anew = answer(&mut engine(&file, &plans(&file)[0]), &prompt, 8, false);
    for (cut, plan) in plans(&file).iter().enumerate() {
        for at in 0..6 {
            let mut engine = engine(&file, plan);
            let mut events = 0;
            let mut cancel = |event| {
                events += u32::from(matches!(event, Event::Prefilling { .. } | Event::Token { .. }));
                if events > at { Flow::Cancel } else { Flow::Continue }
            };
            let options = Options { reuse: true, ..Options::greedy(8) };
            engine.generate(std::slice::from_ref(&prompt), &options, &mut cancel).unwrap();
            let output = answer(&mut engine, &prompt, 8, true);
            let expected = (anew.logits_digest, &anew.tokens);
            assert_eq!((output.logits_digest, &output.tokens), expected, "cut {cut}, cancelled at {at}");
        }
    }
}

/// A run that broke leaves nothing behind that anybody relies on.
#[test]
fn a_run_that_failed_leaves_an_empty_cache() {
    let file = file();
    let plan = plan(&file, 2, 1, Exchange::Reduce, 3, 1);
    let mut engine = engine(&file, &plan);
    let prompt = [1, 2, 3, 4, 5];
    let first = answer(&mut engine, &prompt, 4, true);
    let fault = Some(headsaw_run::Fault { device: DeviceId(1), round: 0 });
    let options = Options { reuse: true, fault, ..Options::greedy(4) };
    engine.generate(&[prompt.to_vec()], &options, &mut |_| Flow::Continue).unwrap_err();
    let again = answer(&mut engine, &prompt, 4, true);
    assert_eq!((again.reused, again.logits_digest), (0, first.logits_digest));
}
