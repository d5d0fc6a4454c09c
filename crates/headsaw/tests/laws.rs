//! Laws that hold for every model, cluster and cut.

use headsaw::lower::lower;
use headsaw::plan::{CutRequest, Exchange, HeadSteps, Order, Overlap, Plan, cut};
use headsaw::program::{Op, Place, PlaceId, PlaceKind};
use headsaw::spec::model::{Dtype, Family, ModelSpec, Rope};
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw::verify;
use proptest::prelude::*;

fn model(layers: u32, groups: u32, group: u32, head_width: u32, ffn: u32, vocab: u32) -> ModelSpec {
    ModelSpec {
        name: "random".into(),
        family: Family::Llama,
        layers,
        width: groups * group * head_width,
        heads: groups * group,
        kv_heads: groups,
        head_width,
        ffn,
        vocab,
        context: 4096,
        norm_epsilon: 1e-5,
        rope: Some(Rope { theta: 10_000.0, scaling: None }),
        tied: true,
        dtype: Dtype::Q8_0,
    }
}

fn workload(tokens: u32, micros: u32) -> Workload {
    let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
    Workload { batch: 2, tokens, micros, context: 64, sequences: 2, numerics }
}

prop_compose! {
    fn any_plan()(
        layers in 1u32..6, groups in 1u32..5, group in 1u32..4, width in prop::sample::select(vec![8u32, 32, 40, 64]),
        ffn in 1u32..200, vocab in 1u32..300,
    )(
        tp in 1..=groups * group, pp in 1..=layers, lanes in 1u32..4, micros in 1u32..4, tokens in 1u32..9,
        gather in any::<bool>(), pipelined in any::<bool>(), weights in prop::collection::vec(1u32..5, 12),
        weighted in any::<bool>(),
        model in Just(model(layers, groups, group, width, ffn, vocab)),
    ) -> Plan {
        let request = CutRequest {
            tp, pp, lanes,
            device_weights: if weighted { weights[..tp as usize].iter().map(|w| f64::from(*w)).collect() } else { vec![] },
            exchange: if gather { Exchange::Gather } else { Exchange::Reduce },
            order: if pipelined { Order::Pipelined } else { Order::Sequential },
        };
        cut(&model, workload(tokens, micros), &request).expect("within the model's limits")
    }
}

prop_compose! {
    /// A plan whose devices cut their work into units.
    fn any_units()(
        plan in any_plan(),
        cut in prop::sample::select(vec!["1", "2", "3", "5", "project+score|softmax|context+merge"]),
        lanes in prop::collection::vec(0u32..4, 5), others in prop::option::of(0u32..4),
        chunk in 1u32..5, interleave in 1u32..4, how in 0u8..3,
    ) -> Plan {
        let cut: headsaw::plan::StepCut = cut.parse().unwrap();
        let overlap = [Overlap::None, Overlap::Heads, Overlap::Tokens][usize::from(how)];
        let fits = |lane: &u32| lane % plan.lanes;
        let mut steps = HeadSteps {
            lanes: lanes[..cut.parts().len()].iter().map(fits).collect(),
            others: others.as_ref().map(fits),
            interleave: interleave.min(plan.workload.micros),
            cut, chunk, overlap,
        };
        if plan.order == Order::Sequential || overlap == Overlap::None {
            steps.interleave = 1;
        }
        if steps.interleave == 1 && overlap == Overlap::Tokens {
            steps.overlap = Overlap::Heads;
        }
        Plan { steps: Some(steps), ..plan }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_cut_into_units_lowers_to_a_sound_program(plan in any_units()) {
        prop_assert_eq!(verify::plan(&plan), vec![]);
        prop_assert_eq!(verify::program(&lower(&plan)), vec![]);
    }

    #[test]
    fn every_default_cut_is_a_plan_and_lowers_to_a_sound_program(plan in any_plan()) {
        prop_assert_eq!(verify::plan(&plan), vec![]);
        prop_assert_eq!(verify::program(&lower(&plan)), vec![]);
    }

    #[test]
    fn a_plan_survives_its_file(plan in any_plan()) {
        let text = serde_json::to_string(&plan).unwrap();
        prop_assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }

    #[test]
    fn a_head_too_few_is_noticed(plan in any_plan(), device in 0usize..12) {
        let mut plan = plan;
        let slices = &mut plan.stages[0].slices;
        let slice = device % slices.len();
        slices[slice].heads.end -= 1;
        prop_assert!(!verify::plan(&plan).is_empty());
    }

    #[test]
    fn a_lost_action_is_noticed(plan in any_plan(), at in any::<prop::sample::Index>()) {
        let mut program = lower(&plan);
        let lane = at.index(program.lanes.len());
        let action = at.index(program.lanes[lane].actions.len());
        let lost = program.lanes[lane].actions.remove(action);
        // What makes or moves nothing for anyone (an empty part, sent to nobody) may be missing.
        let idle = matches!(lost.op, Op::Compute(_)) && lost.part.is_empty();
        prop_assert!(idle || !verify::program(&program).is_empty(), "{lost:?}");
    }

    #[test]
    fn a_lost_edge_is_noticed_or_was_implied(plan in any_plan(), at in any::<prop::sample::Index>()) {
        // Dropping one edge either breaks a law, or another path orders the same two actions already: then the program
        // is still sound, and the checker, which follows all paths, may accept it. It must not crash or hang.
        let mut program = lower(&plan);
        let lane = at.index(program.lanes.len());
        let action = at.index(program.lanes[lane].actions.len());
        program.lanes[lane].actions[action].needs.pop();
        verify::program(&program);
    }
}

/// The checker has teeth: with one place for partial sums instead of two a fast device overwrites what a slow one reads.
#[test]
fn memory_reused_too_early_is_noticed() {
    let request = CutRequest {
        tp: 3,
        pp: 1,
        device_weights: vec![],
        lanes: 1,
        exchange: Exchange::Reduce,
        order: Order::Pipelined,
    };
    let plan = cut(&model(2, 3, 1, 32, 96, 64), workload(4, 1), &request).unwrap();
    let mut program = lower(&plan);
    for buf in 0..program.bufs.len() {
        let Some(place) = program.bufs[buf].place else { continue };
        let device = program.places[place.index()].device;
        if program.places[place.index()].kind == PlaceKind::Partial(true) {
            let other = |p: &Place| p.device == device && p.kind == PlaceKind::Partial(false);
            let first = program.places.iter().position(other).unwrap();
            program.bufs[buf].place = Some(PlaceId(first as u32));
        }
    }
    let found = verify::program(&program);
    assert!(found.iter().any(|v| v.got.contains("may still read it")), "{found:?}");
}

/// A send before a receive on both sides of a pair: each waits for the other.
#[test]
fn two_lanes_that_wait_for_each_other_are_named() {
    let request = CutRequest {
        tp: 1,
        pp: 2,
        device_weights: vec![],
        lanes: 1,
        exchange: Exchange::Reduce,
        order: Order::Pipelined,
    };
    let plan = cut(&model(2, 2, 1, 32, 96, 64), workload(4, 2), &request).unwrap();
    let mut program = lower(&plan);
    let second = &mut program.lanes[1].actions;
    let receives: Vec<usize> = (0..second.len()).filter(|i| matches!(second[*i].op, Op::Recv(c) if c.0 >= 4)).collect();
    second.swap(receives[0], receives[1]);
    let found = verify::program(&program);
    assert!(!found.is_empty());
}
