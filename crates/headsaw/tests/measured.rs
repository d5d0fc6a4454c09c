//! What `grain` makes of a measurement: the simulation takes the place of the machine here.

use headsaw::cost::Priced;
use headsaw::grain::{Arm, Grain, LOSS, Question, Spot, Times, arms, grain};
use headsaw::plan::{CutRequest, Exchange, Flow, HeadSteps, Order, Overlap, Plan, cut};
use headsaw::simulate::{Rounds, simulate};
use headsaw::spec::cluster::{self, Cluster};
use headsaw::spec::presets;
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw::trace::Trace;
use headsaw::units::Seconds;
use headsaw::verify;

/// SmolLM2 in three steps on as many lanes.
fn plan(tokens: u32) -> Plan {
    let model = presets::find("smollm2-135m").expect("a preset");
    let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
    let workload = Workload { batch: 1, tokens, micros: 1, context: tokens + 8, sequences: 1, numerics };
    let (exchange, order) = (Exchange::Reduce, Order::Pipelined);
    let request = CutRequest { tp: 1, pp: 1, device_weights: vec![], lanes: 3, exchange, order };
    let flow = Flow { cut: "3".parse().expect("a cut"), chunk: 1, interleave: 1, overlap: Overlap::Heads };
    Plan { steps: Some(HeadSteps::in_turn(flow, 3)), ..cut(&model, workload, &request).expect("a cut") }
}

fn here() -> Cluster {
    cluster::presets::parse("localx4").expect("a cluster")
}

fn asked(plan: &Plan, cluster: &Cluster, rounds: &Rounds) -> (Grain, Vec<Arm>) {
    let question = Question { plan, cluster, rounds, loss: LOSS };
    (grain(&question).expect("an answer"), arms(&question).expect("cuts"))
}

/// A run of an arm, by simulation, everything so many times as long.
fn run(arm: &Arm, cluster: &Cluster, longer: f64) -> Trace {
    let priced = Priced::new(&arm.plan, cluster);
    let mut trace = simulate(&arm.program, &priced, &Rounds(vec![arm.loads.clone()])).expect("it ends");
    for span in &mut trace.spans {
        (span.start, span.end) = (Seconds(longer * span.start.0), Seconds(longer * span.end.0));
    }
    trace
}

fn measured(arms: &[Arm], cluster: &Cluster, longer: impl Fn(&Arm) -> f64) -> Vec<Option<Times>> {
    arms.iter().map(|arm| arm.times(&Rounds(vec![arm.loads.clone()]), &run(arm, cluster, longer(arm)))).collect()
}

#[test]
fn every_cut_of_a_measurement_runs_and_stands_on_a_curve() {
    let (grain, arms) = asked(&plan(64), &here(), &Rounds::prompt_chunks(1, 64, 1, 0));
    assert!(arms.iter().all(|arm| verify::plan(&arm.plan).is_empty() && arm.plan.stages.len() == 1));
    assert!(arms.iter().all(|arm| arm.plan.stages[0].layers == (0..30)));
    let spots: Vec<Spot> = arms.iter().flat_map(|arm| arm.spots.clone()).collect();
    for spot in [Spot::Here, Spot::Shared, Spot::Uncut, Spot::Tp(1), Spot::Tp(4), Spot::Chunk(9), Spot::Steps(2)] {
        assert!(spots.contains(&spot), "{spot:?}");
    }
    assert!(!spots.contains(&Spot::Steps(5)), "no kernels do score, softmax and context apart");
    let plan = arms.iter().find(|arm| arm.spots.contains(&Spot::Here)).unwrap();
    assert!(plan.spots.contains(&Spot::Chunk(1)) && plan.spots.contains(&Spot::Steps(3)), "{:?}", plan.spots);
    let point = grain.chunk_curve.points.iter().find(|point| point.size == 1).unwrap();
    assert!((plan.predicted.attention / point.seconds - 1.0).abs() < 1e-9);
}

#[test]
fn what_is_as_predicted_contradicts_nothing() {
    let (mut grain, arms) = asked(&plan(64), &here(), &Rounds::prompt_chunks(1, 64, 1, 0));
    grain.lay(&arms, &measured(&arms, &here(), |_| 1.0), 3);
    let measured = grain.measured.expect("it was measured");
    assert!(measured.worst_error < 0.03, "the layers inside take what the middle one takes: {:?}", measured.points);
    assert!(measured.claims.iter().all(|claim| claim.agrees), "{:?}", measured.claims);
    let speedups = grain.speedups;
    let (shared, claim) = (speedups.against_shared.unwrap(), &measured.claims[0]);
    assert_eq!((claim.about, (claim.predicted / shared - 1.0).abs() < 1e-9), ("shared", true));
    assert!(shared < 1.0, "on equal lanes the step pipeline does not win: {shared}");
    assert!((speedups.measured.unwrap() / speedups.with_real_steps - 1.0).abs() < 0.03, "{speedups:?}");
    let ran = |point: &headsaw::grain::Point| point.measured_seconds.is_some_and(|seconds| seconds > 0.0);
    assert!(grain.chunk_curve.points.iter().all(ran));
    assert!(grain.tp_curve.points.iter().all(|point| ran(point) == (point.size <= 4)));
}

#[test]
fn what_takes_longer_than_predicted_is_told() {
    let (mut grain, arms) = asked(&plan(64), &here(), &Rounds::prompt_chunks(1, 64, 1, 0));
    let slow = |arm: &Arm| if arm.spots.contains(&Spot::Here) { 1.0 } else { 4.0 };
    grain.lay(&arms, &measured(&arms, &here(), slow), 1);
    let measured = grain.measured.expect("it was measured");
    let claim = |about: &str| measured.claims.iter().find(|claim| claim.about == about).unwrap();
    assert!(!claim("shared").agrees && claim("shared").measured > 1.0);
    assert!(!claim("chunk").agrees && claim("chunk").measured == 1.0 && claim("chunk").behind > 0.5);
    assert!((0.7..0.8).contains(&measured.worst_error), "{}", measured.worst_error);
    let (mut grain, arms) = asked(&plan(64), &here(), &Rounds::prompt_chunks(1, 64, 1, 0));
    grain.lay(&arms, &vec![None; arms.len()], 0);
    assert_eq!((grain.measured, grain.speedups.measured), (None, None));
}

#[test]
fn generation_is_measured_in_the_rounds_that_generate() {
    let plan = plan(64);
    let (_, arms) = asked(&plan, &here(), &Rounds::generation(1, 32, 1, 2));
    let arm = &arms[0];
    let rounds = Rounds(vec![vec![headsaw::cost::Load { sequences: 1, tokens: 32, past: 0 }], arm.loads.clone()]);
    let priced_on = here();
    let trace = simulate(&arm.program, &Priced::new(&arm.plan, &priced_on), &rounds).expect("it ends");
    let times = arm.times(&rounds, &trace).expect("the second round");
    assert!((times.seconds / arm.predicted.seconds - 1.0).abs() < 0.03, "{times:?} {:?}", arm.predicted);
    assert_eq!(arm.times(&Rounds(vec![rounds.0[0].clone()]), &trace), None);
}
