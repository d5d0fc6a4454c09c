//! What lanes write down while they work holds together with the program, and changes nothing.

use headsaw::lower::lower;
use headsaw::plan::{CutRequest, Exchange, Flow as Steps, HeadSteps, Order, Overlap, Plan, cut};
use headsaw::spec::cluster::Links;
use headsaw::spec::model::{Dtype, Family};
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw::trace::Load;
use headsaw::verify;
use headsaw_run::compute;
use headsaw_run::generate::{Engine, Flow, Options, Report};
use headsaw_run::testing::{random_model, small_spec};
use headsaw_run::weights::ModelFile;

fn file() -> ModelFile {
    ModelFile::from_bytes(random_model(&small_spec(Family::Llama), 7, Dtype::Q8_0).leak()).unwrap()
}

/// Two stages of two devices, three micro-batches.
fn plan(file: &ModelFile, exchange: Exchange, steps: Option<Steps>) -> Plan {
    let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
    let workload = Workload { batch: 1, tokens: 4, micros: 3, context: 64, sequences: 3, numerics };
    let order = Order::Pipelined;
    let request = CutRequest { tp: 2, pp: 2, device_weights: vec![], lanes: 2, exchange, order };
    let plan = cut(file.spec(), workload, &request).unwrap();
    Plan { steps: steps.map(|steps| HeadSteps::in_turn(steps, 2)), ..plan }
}

fn plans(file: &ModelFile) -> Vec<Plan> {
    let steps = |overlap, interleave| Steps { cut: "3".parse().unwrap(), chunk: 1, interleave, overlap };
    let all = [None, Some(steps(Overlap::None, 1)), Some(steps(Overlap::Heads, 1)), Some(steps(Overlap::Tokens, 2))];
    let both = |steps: Option<Steps>| [Exchange::Reduce, Exchange::Gather].map(|how| plan(file, how, steps.clone()));
    all.into_iter().flat_map(both).collect()
}

fn run(file: &ModelFile, plan: &Plan, room: Option<usize>) -> Report {
    let mut engine = Engine::load(file, plan, compute::cpu(None).unwrap(), &mut |_| {}).unwrap();
    let prompts = [vec![1, 2, 3, 4, 5, 6], vec![7, 8], vec![9]];
    let options = Options { trace: room, ..Options::greedy(6) };
    engine.generate(&prompts, &options, &mut |_| Flow::Continue).unwrap()
}

#[test]
fn measured_traces_hold_together_and_change_no_bit() {
    let file = file();
    for plan in plans(&file) {
        let program = lower(&plan);
        let without = run(&file, &plan, None);
        let with = run(&file, &plan, Some(1 << 16));
        assert_eq!(with.logits_digest, without.logits_digest);
        assert_eq!(without.recorded, None);
        let recorded = with.recorded.unwrap();
        assert_eq!(verify::trace(&program, &recorded.trace), vec![], "{:?}", plan.steps);
        let carried: u32 = recorded.rounds.0.iter().flatten().map(Load::rows).sum();
        // Each prompt, and all tokens that follow it but the last one, which goes nowhere.
        assert_eq!(carried, (6 + 2 + 1) + 3 * 5, "{:?}", recorded.rounds);
    }
}

/// The last token is sampled from the first of many micro-batches: the others' way to the end of the round is kept too.
#[test]
fn the_last_round_is_whole() {
    let file = file();
    for plan in plans(&file) {
        let workload = Workload { micros: 12, sequences: 12, ..plan.workload };
        let plan = Plan { workload, ..plan };
        let mut engine = Engine::load(&file, &plan, compute::cpu(None).unwrap(), &mut |_| {}).unwrap();
        for tokens in [1, 1, 1, 2] {
            let options = Options { trace: Some(1 << 16), ..Options::greedy(tokens) };
            let report = engine.generate(&[vec![1, 2, 3]], &options, &mut |_| Flow::Continue).unwrap();
            let recorded = report.recorded.unwrap();
            let carried: u32 = recorded.rounds.0.iter().flatten().map(Load::rows).sum();
            assert_eq!(carried as usize, 3 + tokens - 1, "{:?} {:?}", plan.exchange, plan.steps);
            assert_eq!(recorded.rounds.0.len(), tokens);
        }
    }
}

#[test]
fn a_small_ring_keeps_the_newest_whole_rounds() {
    let file = file();
    for plan in plans(&file) {
        let program = lower(&plan);
        let longest = program.lanes.iter().map(|lane| lane.actions.len()).max().unwrap();
        let all = run(&file, &plan, Some(1 << 16)).recorded.unwrap();
        let some = run(&file, &plan, Some(5 * longest / 2)).recorded.unwrap();
        assert!(!some.rounds.0.is_empty() && some.rounds.0.len() < all.rounds.0.len(), "{:?}", plan.steps);
        assert_eq!(verify::trace(&program, &some.trace), vec![]);
        assert!(some.trace.ends().0 > all.trace.ends().0);
        let none = run(&file, &plan, Some(1)).recorded.unwrap();
        assert_eq!((none.rounds.0.len(), none.trace.spans.len()), (0, 0));
    }
}

/// The time that a link takes is the exchange's, and lies in the trace.
#[test]
fn a_link_shows_in_the_trace() {
    let file = file();
    let plan = plan(&file, Exchange::Reduce, None);
    let program = lower(&plan);
    let mut engine = Engine::load(&file, &plan, compute::cpu(None).unwrap(), &mut |_| {}).unwrap();
    let links = Links::all("1Gbit/s,2ms".parse().unwrap());
    let options = Options { trace: Some(1 << 16), links, ..Options::greedy(2) };
    let report = engine.generate(&[vec![1, 2, 3]], &options, &mut |_| Flow::Continue).unwrap();
    let recorded = report.recorded.unwrap();
    let exchanges = recorded.trace.spans.iter().filter(|span| {
        let action = &program.lanes[span.lane as usize].actions[span.action as usize];
        let load = recorded.rounds.0[span.round as usize][action.micro.index()];
        matches!(action.op, headsaw::program::Op::AllReduce(..)) && load != Load::EMPTY // nothing takes no time
    });
    assert!(exchanges.clone().count() > 0);
    assert!(exchanges.clone().all(|span| span.end.0 - span.start.0 >= 0.002));
}
