//! Makes a picture of a program and its trace: the one place of this room that looks into a program.

use super::{Bar, Colour, Done, Kind, Picture, Row, View};
use crate::cost::Load;
use crate::program::{Action, Knot, LaneId, Op, Program, Role, Turns};
use crate::simulate::Rounds;
use crate::trace::{Span, Trace};
use crate::units::{Bytes, Flops};
use rustc_hash::FxHashMap;
use std::ops::Range;

impl Picture {
    /// The trace of a program; with operations and bytes where it is said what the slots carried.
    pub fn new(program: &Program, trace: &Trace, rounds: Option<&Rounds>, view: View) -> Picture {
        let (first, last) = trace.ends();
        let from = view.from.map_or(first.0, |from| from.0);
        let to = view.to.map_or(last.0, |to| to.0).max(from);
        let to = view.most.and_then(|most| end_of_first(most, trace, (from, to))).unwrap_or(to);
        let chunks = chunks(program);
        let seen = |span: &&Span| span.end.0 >= from && span.start.0 <= to;
        let spans: Vec<&Span> = trace.spans.iter().filter(seen).collect();
        let bars: Vec<Bar> = spans.iter().map(|span| bar(program, span, &chunks, rounds)).collect();
        let flows = flows(program, trace, seen);
        let rows = program.lanes.iter().map(|lane| Row {
            device: lane.device,
            stage: lane.stage.0,
            number: lane.number,
            exchanges: lane.role == Role::Exchange,
        });
        Picture {
            title: view.title,
            source: trace.source.clone(),
            rows: rows.collect(),
            left_out: trace.spans.len() - bars.len(),
            bars,
            flows,
            chunks,
            window: (from, to),
            whole: (first.0, last.0),
            slot: view.slot.map(|slot| slot.0),
            memory: Vec::new(),
        }
    }
}

/// Where a window has to end for so many actions at most; none where there are no more.
fn end_of_first(most: usize, trace: &Trace, (from, to): (f64, f64)) -> Option<f64> {
    let seen = trace.spans.iter().filter(|span| span.end.0 >= from && span.start.0 <= to);
    let mut starts: Vec<f64> = seen.map(|span| span.start.0).collect();
    let more = starts.len() > most;
    more.then(|| starts.select_nth_unstable_by(most, f64::total_cmp).1.next_down().max(from))
}

/// The chunks of heads that a program has, in order.
fn chunks(program: &Program) -> Vec<Range<u32>> {
    let actions = program.lanes.iter().flat_map(|lane| &lane.actions);
    let heads = actions.filter_map(|action| action.unit.as_ref()).map(|unit| unit.heads.clone());
    let mut chunks: Vec<Range<u32>> = heads.filter(|heads| !heads.is_empty()).collect();
    chunks.sort_unstable_by_key(|heads| (heads.start, heads.end));
    chunks.dedup();
    chunks
}

fn action<'a>(program: &'a Program, span: &Span) -> &'a Action {
    &program.lanes[span.lane as usize].actions[span.action as usize]
}

fn bar(program: &Program, span: &Span, chunks: &[Range<u32>], rounds: Option<&Rounds>) -> Bar {
    let action = action(program, span);
    let kind = Kind::of(program, action.op);
    let heads = action.unit.as_ref().map_or(0..0, |unit| unit.heads.clone());
    let load = rounds.and_then(|rounds| rounds.0.get(span.round as usize)?.get(action.micro.index()));
    Bar {
        row: span.lane,
        kind,
        colour: colour(kind, &heads, action.micro.0, chunks),
        heads,
        micro: action.micro.0,
        round: span.round,
        layer: action.layer,
        work: load.map(|load| done(action, *load)),
        start: span.start.0,
        end: span.end.0,
    }
}

fn colour(kind: Kind, heads: &Range<u32>, micro: u32, chunks: &[Range<u32>]) -> Colour {
    if kind.exchanges() {
        return Colour::Exchange;
    }
    let at = chunks.binary_search_by_key(&(heads.start, heads.end), |chunk| (chunk.start, chunk.end));
    match at {
        Ok(chunk) => Colour::Chunk(chunk as u32),
        Err(_) if chunks.is_empty() => Colour::Micro(micro),
        Err(_) => Colour::Other,
    }
}

/// Each token sees the cached tokens, itself and the new ones before it.
fn done(action: &Action, load: Load) -> Done {
    let (tokens, past, rows) = (u64::from(load.tokens), u64::from(load.past), u64::from(load.rows()));
    let keys = u64::from(load.sequences) * (tokens * past + tokens * (tokens + 1) / 2);
    let work = &action.work;
    let flops: Flops = work.flops * rows + work.flops_per_key * keys;
    let bytes: Bytes = work.weights + work.sent * rows;
    Done { flops, bytes }
}

/// Places among the seen spans that belong together, each flow in the order of time: the k-th send of a channel with the
/// receive that takes it, the members of a collective.
fn flows(program: &Program, trace: &Trace, seen: impl Fn(&&Span) -> bool) -> Vec<Vec<u32>> {
    let turns = Turns::new(program);
    let mut knots: FxHashMap<Knot, Vec<(u32, u32)>> = FxHashMap::default();
    let seen = trace.spans.iter().enumerate().filter(|(_, span)| seen(span));
    for (place, (i, span)) in (0..).zip(seen) {
        if let Some(knot) = turns.knot(program, LaneId(span.lane), span.action, span.round) {
            knots.entry(knot).or_default().push((i as u32, place));
        }
    }
    let mut knots: Vec<(Knot, Vec<(u32, u32)>)> = knots.into_iter().filter(|(_, ends)| ends.len() > 1).collect();
    knots.sort_unstable_by_key(|(knot, _)| *knot);
    let in_time = |(_, mut ends): (Knot, Vec<(u32, u32)>)| {
        let key = |(span, _): &(u32, u32)| {
            let span = &trace.spans[*span as usize];
            (span.start.0, matches!(action(program, span).op, Op::Recv(_))) // a message that takes no time is sent first
        };
        ends.sort_by(|a, b| key(a).partial_cmp(&key(b)).expect("times are numbers"));
        ends.into_iter().map(|(_, place)| place).collect()
    };
    knots.into_iter().map(in_time).collect()
}
