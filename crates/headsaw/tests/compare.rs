//! Predicted beside measured: what equal, slower and shorter traces compare to.

#[allow(dead_code)] // not all of what tests share
mod shared;

use headsaw::lower::lower;
use headsaw::plan::{Exchange, Overlap, Plan};
use headsaw::program::{Op, Program};
use headsaw::simulate::simulate;
use headsaw::trace::{self, Comparison, Load, Pair, Rounds, Side, Source, Trace, compare};
use headsaw::units::Seconds;
use proptest::prelude::*;
use shared::eight::{Case, EXAMPLE, Everything, PerHead};
use shared::plans::any_units;

/// Two prompts' chunks, then tokens.
fn loads(plan: &Plan, tokens: u32) -> Rounds {
    let load = |round: u32| match round {
        0 | 1 => Load { sequences: 1, tokens: 4, past: 4 * round },
        _ => Load { sequences: 1, tokens: 1, past: 6 + round },
    };
    Rounds((0..2 + tokens).map(|round| vec![load(round); plan.workload.micros as usize]).collect())
}

/// The same, `times` as slow and later, as if it were measured.
fn slower(trace: &Trace, times: f64) -> Trace {
    let mut trace = trace.clone();
    trace.source = Source::Measured { machine: "here".into() };
    for span in &mut trace.spans {
        let moved = |time: Seconds| Seconds(3.0 + times * time.0);
        (span.start, span.end) = (moved(span.start), moved(span.end));
    }
    trace
}

fn compared(program: &Program, rounds: &Rounds, predicted: &Trace, measured: &Trace) -> Comparison {
    compare(program, Side { trace: predicted, rounds }, Side { trace: measured, rounds })
}

fn close(pair: Pair<f64>, times: f64) -> bool {
    (pair.predicted * times - pair.measured).abs() < 1e-9
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn twice_as_slow_is_half_predicted(plan in any_units(), times in prop::array::uniform3(1e-6f64..1e-3)) {
        let (program, rounds) = (lower(&plan), loads(&plan, 4));
        let predicted = simulate(&program, &PerHead(times), &rounds).unwrap();
        let measured = slower(&predicted, 2.0);
        let both = compared(&program, &rounds, &predicted, &measured);
        prop_assert_eq!(both.alone.len(), 0);
        let whole = both.whole().unwrap();
        prop_assert!((whole.map(|f| f.seconds).error().unwrap() + 0.5).abs() < 1e-9);
        prop_assert!(close(whole.map(|f| f.bubble), 1.0));
        prop_assert!(close(whole.map(|f| f.overlap()), 2.0));
        for i in 0..trace::STEPS.len() {
            prop_assert!(close(whole.map(|f| f.steps[i]), 2.0));
        }
        for lane in 0..program.lanes.len() {
            prop_assert!(close(whole.map(|f| f.lanes[lane]), 2.0));
        }
        let devices = trace::devices(&program).len();
        for device in 0..devices {
            let spent = whole.map(|f| f.devices[device]);
            let all = spent.map(|s| s.busy + s.exchange + s.waiting);
            prop_assert!(close(all, 2.0));
            prop_assert!((all.measured - whole.measured.seconds).abs() < 1e-9);
        }
    }

    /// Overlap and busy time, by another road: a look at every moment between two changes.
    #[test]
    fn time_goes_where_every_moment_says(plan in any_units()) {
        let (program, rounds) = (lower(&plan), Rounds::equal(Load { sequences: 1, tokens: 4, past: 0 }, plan.workload.micros));
        let trace = simulate(&program, &Everything(1e-3), &rounds).unwrap();
        let windows = trace::whole_rounds(&program, &rounds, &trace);
        let figures = &trace::figures(&program, &trace, &windows)[0];
        prop_assert!((figures.seconds - trace.seconds().0).abs() < 1e-12);
        prop_assert!((figures.bubble - trace.occupancy().bubble).abs() < 1e-9);
        for (spent, device) in figures.devices.iter().zip(trace::devices(&program)) {
            let own = |exchanges: bool| {
                let spans = trace.spans.iter().filter(|span| program.lanes[span.lane as usize].device == device);
                let op = |span: &trace::Span| program.lanes[span.lane as usize].actions[span.action as usize].op;
                let spans = spans.filter(move |span| matches!(op(span), Op::Compute(_)) != exchanges);
                spans.map(|span| (span.start.0, span.end.0)).collect::<Vec<_>>()
            };
            let (computes, exchanges) = (own(false), own(true));
            let mut moments: Vec<f64> = computes.iter().chain(&exchanges).flat_map(|(start, end)| [*start, *end]).collect();
            moments.sort_by(f64::total_cmp);
            let (mut busy, mut overlap) = (0.0, 0.0);
            for pair in moments.windows(2) {
                let at = (pair[0] + pair[1]) / 2.0;
                let any = |list: &[(f64, f64)]| list.iter().any(|(start, end)| *start < at && at < *end);
                let length = pair[1] - pair[0];
                busy += if any(&computes) { length } else { 0.0 };
                overlap += if any(&computes) && any(&exchanges) { length } else { 0.0 };
            }
            prop_assert!((spent.busy - busy).abs() < 1e-9 && (spent.overlap - overlap).abs() < 1e-9);
        }
    }
}

fn example() -> (Program, Rounds, Trace) {
    let case = Case { devices: 2, overlap: Overlap::Heads, exchange: Exchange::Gather, ..EXAMPLE };
    let plan = case.plan();
    let (program, rounds) = (lower(&plan), loads(&plan, 6));
    let trace = simulate(&program, &Everything(1e-3), &rounds).unwrap();
    (program, rounds, trace)
}

#[test]
fn prompts_are_compared_with_prompts_and_tokens_with_tokens() {
    let (program, rounds, trace) = example();
    let both = compared(&program, &rounds, &trace, &slower(&trace, 1.0));
    let kinds: Vec<_> = both.kinds.iter().map(|kind| (kind.rows.clone(), kind.rounds.measured)).collect();
    assert_eq!(kinds, [(vec![4], 2), (vec![1], 6)]);
    assert!(both.whole().unwrap().measured.overlap() > 0.0, "heads leave while later ones compute");
    let sum: f64 = both.kinds.iter().map(|kind| kind.rounds.measured as f64 * kind.figures.measured.seconds).sum();
    assert!((both.whole().unwrap().measured.seconds - sum).abs() < 1e-12);
}

/// One slow round, or a slow first one, is no news.
#[test]
fn a_round_that_was_disturbed_does_not_count() {
    let (program, rounds, trace) = example();
    let mut measured = slower(&trace, 1.0);
    for round in [2, 5] {
        for span in measured.spans.iter_mut().filter(|span| span.round >= round) {
            (span.start, span.end) = (Seconds(span.start.0 + 1.0), Seconds(span.end.0 + 1.0));
        }
    }
    let both = compared(&program, &rounds, &trace, &measured);
    assert!(both.kinds[1].figures.map(|f| f.seconds).error().unwrap().abs() < 1e-6);
}

#[test]
fn rounds_that_only_one_has_are_told() {
    let (program, rounds, trace) = example();
    let measured = slower(&trace, 1.0);
    let mut late = measured.clone();
    late.spans.retain(|span| span.round > 1);
    let both = compared(&program, &rounds, &trace, &late);
    assert_eq!(
        both.kinds.iter().map(|kind| (&kind.rows[..], kind.rounds)).collect::<Vec<_>>(),
        [(&[1][..], Pair { predicted: 5, measured: 5 })]
    );
    let prompts = Rounds(rounds.0[..2].to_vec());
    let mut prompt = trace.clone();
    prompt.spans.retain(|span| span.round < 2);
    let side = Side { trace: &prompt, rounds: &prompts };
    let both = compare(&program, side, Side { trace: &measured, rounds: &rounds });
    assert_eq!((both.kinds.len(), both.alone), (1, vec![vec![1]]));
    let none = compare(&program, side, Side { trace: &late, rounds: &rounds });
    assert!(none.whole().is_none() && none.kinds.is_empty());
}

#[test]
fn plans_that_cut_alike_may_be_for_other_devices() {
    let plan = EXAMPLE.plan();
    let mut other = plan.clone();
    (other.cluster, other.workload.context, other.devices[0].memory) = (Some("h100x4".into()), 32, None);
    assert_eq!(trace::differences(&plan, &other), Vec::<&str>::new());
    (other.lanes, other.exchange) = (7, Exchange::Gather);
    assert_eq!(trace::differences(&plan, &other), ["exchange", "lanes"]);
}
