//! Does what a trace file holds fit together, before anybody looks at its times?

use super::Violation;
use crate::lower::lower;
use crate::program::Program;
use crate::trace::{LaneInfo, Load, Span, Trace, TraceFile};
use std::collections::BTreeSet;

/// Violations that are listed.
const VIOLATIONS_MOST: usize = 200;

/// The latest time that makes sense: thirty years.
const SECONDS_MOST: f64 = 1e9;

/// Rows that a slot may carry, as many as a plan may ask for.
const ROWS_MOST: u32 = 65_536;

/// Does what a trace file holds fit together: a sound plan, loads for all of its slots, spans of its program's actions?
/// The program.
///
/// # Errors
/// All that is wrong with them. Whether the times make sense is left to [`super::trace`].
pub fn traced(file: &TraceFile) -> Result<Program, Vec<Violation>> {
    let mut found = super::plan(&file.plan);
    found.iter_mut().for_each(|violation| violation.at.insert_str(0, "plan: "));
    loads(file, &mut found);
    if !found.is_empty() {
        return Err(bounded(found));
    }
    let program = lower(&file.plan);
    let rounds = file.rounds.0.len() as u32;
    let mut found = places(&program, &Trace::lanes_of(&program), &file.spans, rounds);
    let held: BTreeSet<u32> = file.spans.iter().map(|span| span.round).collect();
    if (held.len() as u32) < rounds {
        found.push(Violation::new("spans", format!("those of {rounds} rounds"), format!("of {}", held.len())));
    }
    if found.is_empty() { Ok(program) } else { Err(bounded(found)) }
}

/// More is found than is listed.
pub(super) fn enough(found: &[Violation]) -> bool {
    found.len() > VIOLATIONS_MOST
}

/// The first of them, and that there are more.
pub(super) fn bounded(mut found: Vec<Violation>) -> Vec<Violation> {
    if enough(&found) {
        found.truncate(VIOLATIONS_MOST);
        found.push(Violation::new("and so on", "nothing more", "more of the same kinds"));
    }
    found
}

fn loads(file: &TraceFile, found: &mut Vec<Violation>) {
    let (micros, context) = (file.plan.workload.micros, file.plan.model.context);
    for (i, slots) in file.rounds.0.iter().enumerate() {
        if enough(found) {
            return;
        }
        if slots.len() != micros as usize {
            let expected = format!("a load for each of {micros} micro-batches");
            found.push(Violation::new(format!("rounds[{i}]"), expected, slots.len()));
        }
        for (j, load) in slots.iter().enumerate().filter(|(_, load)| !fits(load, context)) {
            let expected = format!("at most {ROWS_MOST} rows, past and tokens at most {context} (the model's context)");
            let got = format!("{} sequences, {} tokens, {} past", load.sequences, load.tokens, load.past);
            found.push(Violation::new(format!("rounds[{i}][{j}]"), expected, got));
        }
    }
}

fn fits(load: &Load, context: u32) -> bool {
    let rows = u64::from(load.sequences) * u64::from(load.tokens);
    let sees = u64::from(load.past) + u64::from(load.tokens);
    rows <= u64::from(ROWS_MOST) && (rows == 0 || sees <= u64::from(context))
}

/// Is every span one of an action that there is, at a time that there can be?
pub(super) fn places(program: &Program, lanes: &[LaneInfo], spans: &[Span], rounds: u32) -> Vec<Violation> {
    let mut found = Vec::new();
    if lanes != Trace::lanes_of(program) {
        found.push(Violation::new("lanes", "those of the program", format!("{} others", lanes.len())));
        return found;
    }
    for (i, span) in spans.iter().enumerate() {
        if enough(&found) {
            break;
        }
        if let Some((expected, got)) = misplaced(program, span, rounds) {
            found.push(Violation::new(format!("spans[{i}]"), expected, got));
        }
    }
    found
}

/// What is expected and got instead, where a span has no place.
fn misplaced(program: &Program, span: &Span, rounds: u32) -> Option<(String, String)> {
    let below = |what: &str, count: usize, got: u32| {
        let expected = match count {
            0 => format!("no {what}"),
            _ => format!("{what} 0 to {}", count - 1),
        };
        (got as usize >= count).then(|| (expected, got.to_string()))
    };
    let actions = program.lanes.get(span.lane as usize).map_or(0, |lane| lane.actions.len());
    let index = below("lane", program.lanes.len(), span.lane)
        .or_else(|| below("action", actions, span.action))
        .or_else(|| below("round", rounds as usize, span.round));
    index.or_else(|| {
        let (start, end) = (span.start.0, span.end.0);
        let sound = start >= 0.0 && end >= start && end <= SECONDS_MOST;
        let expected = || format!("a start of 0 s or later, an end that is no earlier, and at most {SECONDS_MOST} s");
        (!sound).then(|| (expected(), format!("{start:e} s to {end:e} s")))
    })
}
