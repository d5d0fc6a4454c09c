//! Traces: those of all plans are sound, every kind of damage is found, and a file brings back what was written.

#[allow(dead_code)] // not all of what tests share
mod shared;

use headsaw::lower::lower;
use headsaw::plan::Plan;
use headsaw::program::{Knot, LaneId, Op, Program, Turns};
use headsaw::simulate::simulate;
use headsaw::trace::{Load, Rounds, Source, Span, Trace, TraceFile};
use headsaw::units::Seconds;
use headsaw::verify::{self, CLOCK_TOLERANCE, Violation};
use proptest::prelude::*;
use shared::eight::{Case, EXAMPLE, PerHead};
use shared::plans::{any_plan, any_units};

/// A prompt, then some tokens.
fn loads(plan: &Plan, rounds: u32) -> Rounds {
    let load = |round: u32| match round {
        0 => Load { sequences: 2, tokens: plan.workload.tokens, past: 0 },
        _ => Load { sequences: 2, tokens: 1, past: plan.workload.tokens + round - 1 },
    };
    Rounds((0..rounds).map(|round| vec![load(round); plan.workload.micros as usize]).collect())
}

fn played(plan: &Plan, rounds: u32, times: [f64; 3]) -> (Program, Trace) {
    let program = lower(plan);
    let trace = simulate(&program, &PerHead(times), &loads(plan, rounds)).unwrap();
    (program, trace)
}

fn file_of(plan: Plan, trace: &Trace, rounds: Rounds) -> TraceFile {
    let (format, source, spans) = (headsaw::trace::FORMAT, trace.source.clone(), trace.spans.clone());
    TraceFile { format, source, plan, cluster: Some("local".into()), link: None, rounds, spans }
}

/// The same as if it were measured.
fn measured(trace: &Trace) -> Trace {
    Trace { source: Source::Measured { machine: "here".into() }, ..trace.clone() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn simulated_traces_are_sound(
        plan in prop_oneof![any_plan(), any_units()], rounds in 1u32..5, times in prop::array::uniform3(0f64..1e-3),
    ) {
        let (program, trace) = played(&plan, rounds, times);
        prop_assert_eq!(verify::trace(&program, &trace), vec![]);
        prop_assert_eq!(verify::trace(&program, &measured(&trace)), vec![]);
    }

    #[test]
    fn a_file_brings_back_what_was_written(plan in any_units(), times in prop::array::uniform3(0f64..1e-3)) {
        let (program, trace) = played(&plan, 2, times);
        let file = file_of(plan.clone(), &trace, loads(&plan, 2));
        let read = TraceFile::read(&file.text()).unwrap();
        prop_assert_eq!(&read, &file);
        prop_assert_eq!(verify::traced(&read), Ok(program.clone()));
        prop_assert_eq!(read.into_trace(&program), trace);
    }

    /// Each lane keeps its newest spans alone, and stops somewhere in the last round.
    #[test]
    fn what_a_ring_keeps_is_sound(plan in any_units(), room in 1usize..60, kept in prop::collection::vec(0usize..60, 16)) {
        let (program, whole) = played(&plan, 3, [1e-6, 2e-6, 3e-6]);
        let mut trace = measured(&whole);
        trace.spans.clear();
        for (lane, kept) in (0..program.lanes.len()).zip(kept.iter().cycle()) {
            let own: Vec<Span> = whole.spans.iter().filter(|span| span.lane as usize == lane).copied().collect();
            trace.spans.extend(&own[own.len().saturating_sub(room + kept)..]);
        }
        prop_assert_eq!(verify::trace(&program, &trace), vec![]);
    }

    #[test]
    fn a_lost_span_is_noticed(plan in any_units(), at in any::<prop::sample::Index>()) {
        let (program, mut trace) = played(&plan, 2, [1e-6; 3]);
        trace.spans.remove(at.index(trace.spans.len()));
        prop_assert!(!verify::trace(&program, &trace).is_empty());
    }
}

/// Two devices, two rounds, everything takes time.
fn example() -> (Program, Trace) {
    let plan = Case { devices: 2, micros: 2, ..EXAMPLE }.plan();
    let program = lower(&plan);
    let load = Load { sequences: 1, tokens: 4, past: 0 };
    let rounds = Rounds(vec![vec![load; 2]; 2]);
    let trace = simulate(&program, &shared::eight::Everything(1e-3), &rounds).unwrap();
    assert_eq!(verify::trace(&program, &trace), vec![]);
    (program, trace)
}

/// What is found after a change.
fn broken(change: impl FnOnce(&Program, &mut Trace)) -> Vec<Violation> {
    let (program, mut trace) = example();
    change(&program, &mut trace);
    verify::trace(&program, &trace)
}

/// The place of a span of the second round that does such a thing.
fn place(program: &Program, trace: &Trace, wanted: impl Fn(&Op) -> bool) -> usize {
    let op = |span: &Span| program.lanes[span.lane as usize].actions[span.action as usize].op;
    trace.spans.iter().position(|span| span.round == 1 && wanted(&op(span))).unwrap()
}

#[track_caller]
fn found(violations: &[Violation], at: &str, expected: &str) {
    let fits = |v: &Violation| v.at.starts_with(at) && v.expected.contains(expected);
    assert!(violations.iter().any(fits), "{at}: {expected}\n{violations:#?}");
}

#[test]
fn spans_of_no_action_are_found() {
    for change in [
        |span: &mut Span| span.lane = 99,
        |span: &mut Span| span.action = u32::MAX,
        |span: &mut Span| span.start = Seconds(-1e-9),
        |span: &mut Span| span.end = Seconds(f64::NAN),
        |span: &mut Span| span.end = Seconds(f64::INFINITY),
        |span: &mut Span| span.end = Seconds(span.start.0 - 1e-9),
    ] {
        let violations = broken(|_, trace| change(&mut trace.spans[7]));
        assert_eq!(violations.len(), 1);
        found(&violations, "spans[7]", "");
    }
    found(&broken(|_, trace| trace.lanes.truncate(1)), "lanes", "those of the program");
}

#[test]
fn an_action_out_of_turn_is_found() {
    let swapped = broken(|_, trace| {
        let (one, other) = (trace.spans[3].action, trace.spans[4].action);
        (trace.spans[3].action, trace.spans[4].action) = (other, one);
    });
    found(&swapped, "spans[3]", "of round 0");
    found(&broken(|_, trace| trace.spans[3].round = 1), "spans[3]", "of round 0");
    let twice = broken(|_, trace| {
        let span = trace.spans[3];
        trace.spans.insert(4, span);
    });
    found(&twice, "spans[4]", "of round 0");
    let last = broken(|_, trace| trace.spans.truncate(trace.spans.len() - 1));
    found(&last, "device 1 lane", "of round 1");
}

#[test]
fn two_actions_of_a_lane_at_once_are_found() {
    let violations = broken(|_, trace| {
        let start = trace.spans[3].start.0;
        trace.spans[4].start = Seconds(start);
    });
    found(&violations, "spans[4], device 0 lane 0", "to begin when the one before has ended");
}

/// Moves a span, with the time before it left free: only what it waits for can complain.
fn early(trace: &mut Trace, at: usize, by: f64) {
    let span = trace.spans[at];
    let first = trace.spans.iter().position(|other| other.lane == span.lane).unwrap();
    for before in &mut trace.spans[first..at] {
        (before.start, before.end) = (Seconds(0.0), Seconds(0.0));
    }
    let moved = |time: Seconds| Seconds((time.0 - by).max(0.0));
    (trace.spans[at].start, trace.spans[at].end) = (moved(span.start), moved(span.end));
}

#[test]
fn what_begins_before_its_values_are_made_is_found() {
    let violations = broken(|program, trace| {
        let at = place(program, trace, |op| matches!(op, Op::Compute(headsaw::program::Step::Attend)));
        early(trace, at, 0.5e-3);
    });
    found(&violations, "spans[", "to begin after device 0 lane 0, 0PROJECT");
}

#[test]
fn what_is_received_before_it_is_sent_is_found() {
    let violations = broken(|program, trace| {
        let sampler = program.lanes.iter().position(|l| l.actions.iter().any(|a| matches!(a.op, Op::Send(_)))).unwrap();
        let from_other = |op: &Op| matches!(op, Op::Recv(chan) if program.chans[chan.index()].from.index() != sampler);
        let at = place(program, trace, from_other);
        early(trace, at, trace.spans[at].end.0);
    });
    found(&violations, "spans[", "to end after the beginning of");
}

#[test]
fn who_leaves_a_collective_early_is_found() {
    let violations = broken(|program, trace| {
        let at = place(program, trace, |op| matches!(op, Op::AllReduce(..)));
        early(trace, at, trace.spans[at].end.0);
    });
    found(&violations, "spans[", "to end after all have come");
}

/// Clocks may differ a little between lanes, and no more.
#[test]
fn clocks_have_a_tolerance_where_they_are_clocks() {
    let (program, trace) = example();
    let at = place(&program, &trace, |op| matches!(op, Op::Compute(headsaw::program::Step::Attend)));
    let by = |part: f64| {
        let mut trace = measured(&trace);
        early(&mut trace, at, part * CLOCK_TOLERANCE.0);
        verify::trace(&program, &trace).iter().filter(|v| v.at.starts_with(&format!("spans[{at}]"))).count()
    };
    assert_eq!((by(0.9), by(1.1)), (0, 1));
    let mut simulated = trace.clone();
    early(&mut simulated, at, 0.9 * CLOCK_TOLERANCE.0);
    assert!(verify::trace(&program, &simulated).iter().any(|v| v.at.starts_with(&format!("spans[{at}]"))));
}

/// Of a measured trace the maker may be forgotten, but not missing.
#[test]
fn what_was_never_made_is_found() {
    let (program, mut trace) = example();
    trace.source = Source::Measured { machine: "here".into() };
    let lane = program.lanes.iter().position(|l| l.actions.iter().any(|a| matches!(a.op, Op::AllReduce(..)))).unwrap();
    let maker = program.lanes[lane].actions.iter().flat_map(|a| &a.needs).find_map(|buf| {
        program
            .lanes
            .iter()
            .position(|l| l.actions.iter().any(|a| a.makes.contains(buf)))
            .filter(|maker| *maker != lane)
    });
    let maker = maker.unwrap() as u32;
    trace.spans.retain(|span| span.lane != maker || span.round == 0);
    found(&verify::trace(&program, &trace), "spans[", "to begin after");
}

#[test]
fn many_violations_are_told_in_few() {
    let violations = broken(|_, trace| {
        trace.spans.extend_from_within(..);
        trace.spans.iter_mut().for_each(|span| span.lane = 99);
    });
    assert_eq!(violations.len(), 201);
    assert_eq!(violations[200].at, "and so on");
}

#[test]
fn messages_and_meetings_are_counted_over_all_rounds() {
    let (program, trace) = example();
    let turns = Turns::new(&program);
    let mut meetings = std::collections::BTreeMap::new();
    for span in &trace.spans {
        let lane = LaneId(span.lane);
        match turns.knot(&program, lane, span.action, span.round) {
            Some(Knot::Message(chan, message)) => {
                let chan_info = &program.chans[chan.index()];
                let sender = turns.sender(&program, chan, message);
                if chan_info.from == lane
                    && matches!(program.lanes[lane.index()].actions[span.action as usize].op, Op::Send(_))
                {
                    assert_eq!(sender, Some((lane, span.action, u64::from(span.round))));
                }
            }
            Some(Knot::Meeting(group, _)) => *meetings.entry((group, span.round)).or_insert(0) += 1,
            None => {}
        }
    }
    for ((group, round), members) in &meetings {
        assert_eq!(meetings[&(*group, 1 - round)], *members);
    }
    assert!(!meetings.is_empty());
}
