//! Laws that hold for every model, cluster and cut.

#[allow(dead_code)] // not all of what tests share
mod shared;

use headsaw::lower::lower;
use headsaw::plan::{CutRequest, Exchange, Order, Plan, cut};
use headsaw::program::{Op, Place, PlaceId, PlaceKind, Summed};
use headsaw::verify;
use proptest::prelude::*;
use shared::plans::{any_plan, any_units, model, workload};

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
        // What makes or moves nothing for anyone (an empty part, met by nobody else) may be missing.
        let idle = lost.part.is_empty()
            && match lost.op {
                Op::Compute(_) => true,
                Op::AllReduce(group, _) | Op::AllGather(group, _) => program.groups[group.index()].lanes.len() == 1,
                Op::Send(_) | Op::Recv(_) => false,
            };
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
        if program.places[place.index()].kind == PlaceKind::Partial(Summed::Down) {
            let other = |p: &Place| p.device == device && p.kind == PlaceKind::Partial(Summed::Merge);
            let first = program.places.iter().position(other).unwrap();
            program.bufs[buf].place = Some(PlaceId(first as u32));
        }
    }
    let mistaken = verify::program(&program);
    assert!(mistaken.iter().any(|v| v.expected == "partial sums of Down"), "{mistaken:?}");
    for action in program.lanes.iter_mut().flat_map(|lane| &mut lane.actions) {
        if let Op::AllReduce(_, sum) = &mut action.op {
            *sum = Summed::Merge;
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
