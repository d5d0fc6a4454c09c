//! Did everything happen that a program says, in its order, and nothing before what it waits for?

use super::Violation;
use super::file::{bounded, enough, places};
use super::program::name;
use crate::program::*;
use crate::trace::{Source, Span, Trace};
use crate::units::Seconds;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// How far the clocks of two lanes of a measured trace may disagree: threads read one clock, but each a moment after what
/// it has done can be seen by the others.
pub const CLOCK_TOLERANCE: Seconds = Seconds(5e-6);

/// All that is wrong with a trace of a sound program: every lane does its actions once a round, in the program's order
/// and one at a time; an action begins after what it needs has ended, a receive ends after its send began, and nobody
/// leaves a collective before the last has come to it.
///
/// A simulated trace holds all rounds from the first on. A measured one may lack what each lane did first (older spans make
/// room for newer ones) and the rest of its last round, which ends where the run was told to stop; between lanes its times
/// are held to [`CLOCK_TOLERANCE`].
pub fn trace(program: &Program, trace: &Trace) -> Vec<Violation> {
    let mut found = places(program, &trace.lanes, &trace.spans, u32::MAX);
    if found.is_empty() {
        let held = Held::new(program, trace);
        held.orders(&mut found);
        if found.is_empty() {
            held.edges(&mut found);
        }
    }
    bounded(found)
}

/// What a trace holds of each lane.
struct Held<'a> {
    program: &'a Program,
    source: &'a Source,
    /// For each lane its spans, with their places in the trace.
    lanes: Vec<Vec<(usize, &'a Span)>>,
    /// Seconds that times of two lanes may differ the wrong way round.
    tolerance: f64,
    /// Seconds that the arithmetic may be wrong by.
    rounding: f64,
}

impl<'a> Held<'a> {
    fn new(program: &'a Program, trace: &'a Trace) -> Held<'a> {
        let mut lanes = vec![Vec::new(); program.lanes.len()];
        for (i, span) in trace.spans.iter().enumerate() {
            lanes[span.lane as usize].push((i, span));
        }
        let rounding = 1e-12 * trace.ends().1.0;
        let clocks = if trace.source == Source::Simulated { 0.0 } else { CLOCK_TOLERANCE.0 };
        Held { program, source: &trace.source, lanes, tolerance: clocks + rounding, rounding }
    }

    /// An action's place among all that its lane does.
    fn position(&self, lane: usize, action: u32, round: u64) -> u64 {
        round * self.program.lanes[lane].actions.len() as u64 + u64::from(action)
    }

    fn position_of(&self, span: &Span) -> u64 {
        self.position(span.lane as usize, span.action, u64::from(span.round))
    }

    /// The first position that is held of a lane.
    fn first(&self, lane: usize) -> Option<u64> {
        self.lanes[lane].first().map(|(_, span)| self.position_of(span))
    }

    /// `0PROJECT0.L3 of round 2`.
    fn named(&self, lane: usize, position: u64) -> String {
        let actions = &self.program.lanes[lane].actions;
        let action = &actions[(position % actions.len() as u64) as usize];
        format!("{} of round {}", name(self.program, lane, action), position / actions.len() as u64)
    }

    fn at(&self, place: usize, span: &Span) -> String {
        format!("spans[{place}], {}", self.named(span.lane as usize, self.position_of(span)))
    }

    /// Every action of every lane once a round, in order, one at a time.
    fn orders(&self, found: &mut Vec<Violation>) {
        let rounds = self.lanes.iter().flatten().map(|(_, span)| u64::from(span.round) + 1).max().unwrap_or(0);
        for (lane, held) in self.program.lanes.iter().enumerate().filter(|(_, held)| !held.actions.is_empty()) {
            let simulated = *self.source == Source::Simulated;
            let mut next = if simulated { Some(0) } else { self.first(lane) };
            let mut until = f64::NEG_INFINITY;
            for (place, span) in &self.lanes[lane] {
                if enough(found) {
                    return;
                }
                let here = self.position_of(span);
                if next != Some(here) {
                    let expected = self.named(lane, next.unwrap_or(0));
                    found.push(Violation::new(format!("spans[{place}]"), expected, self.named(lane, here)));
                }
                if span.start.0 < until - self.rounding {
                    let expected = format!("to begin when the one before has ended, at {until} s");
                    found.push(Violation::new(self.at(*place, span), expected, format!("{} s", span.start.0)));
                }
                (next, until) = (Some(here + 1), span.end.0);
            }
            let all = rounds * held.actions.len() as u64;
            if let Some(next) = next.filter(|next| simulated && *next < all) {
                let at = format!("{} lane {}", held.device, held.number);
                found.push(Violation::new(at, self.named(lane, next), "nothing more"));
            }
        }
    }

    /// What is held at a position of a lane.
    fn find(&self, lane: usize, position: u64) -> Found<'a> {
        let Some(first) = self.first(lane) else { return Found::Never };
        match position.checked_sub(first) {
            None => Found::Before,
            Some(after) => self.lanes[lane].get(after as usize).map_or(Found::Never, |(_, span)| Found::Held(span)),
        }
    }

    /// Nothing happens before what it waits for.
    fn edges(&self, found: &mut Vec<Violation>) {
        let (makers, turns) = (makers(self.program), Turns::new(self.program));
        let mut meetings: BTreeMap<Knot, Meeting> = BTreeMap::new();
        for (lane, held) in self.lanes.iter().enumerate() {
            let mut before = f64::NEG_INFINITY;
            for (place, span) in held {
                if enough(found) {
                    return;
                }
                let action = &self.program.lanes[lane].actions[span.action as usize];
                let made = self.needs(*place, span, action, &makers, found);
                match turns.knot(self.program, LaneId(span.lane), span.action, span.round) {
                    Some(Knot::Message(chan, message)) if matches!(action.op, Op::Recv(_)) => {
                        self.receive(*place, span, turns.sender(self.program, chan, message), found);
                    }
                    Some(knot @ Knot::Meeting(..)) => {
                        meetings.entry(knot).or_default().join(before.max(made), *place, span);
                    }
                    _ => {}
                }
                before = span.end.0;
            }
        }
        for meeting in meetings.values() {
            if !enough(found) {
                self.meeting(meeting, found);
            }
        }
    }

    /// An action begins after what it needs has ended; when the last of that did.
    fn needs(
        &self,
        place: usize,
        span: &Span,
        action: &Action,
        makers: &FxHashMap<BufId, (usize, u32)>,
        found: &mut Vec<Violation>,
    ) -> f64 {
        let mut made = f64::NEG_INFINITY;
        let others =
            action.needs.iter().filter_map(|buf| makers.get(buf)).filter(|(lane, _)| *lane != span.lane as usize);
        for (lane, at) in others {
            let position = self.position(*lane, *at, u64::from(span.round));
            let needed = || format!("to begin after {}", self.named(*lane, position));
            match self.find(*lane, position) {
                Found::Before => {}
                Found::Never => found.push(Violation::new(self.at(place, span), needed(), "which never was")),
                Found::Held(maker) => {
                    made = made.max(maker.end.0);
                    if span.start.0 < maker.end.0 - self.tolerance {
                        let expected = format!("{}, which ends at {} s", needed(), maker.end.0);
                        found.push(Violation::new(self.at(place, span), expected, format!("{} s", span.start.0)));
                    }
                }
            }
        }
        made
    }

    /// A receive ends after its send began.
    fn receive(&self, place: usize, span: &Span, sender: Option<(LaneId, u32, u64)>, found: &mut Vec<Violation>) {
        let Some((lane, action, round)) = sender else { return };
        let position = self.position(lane.index(), action, round);
        let sent = || format!("to end after the beginning of {}", self.named(lane.index(), position));
        match self.find(lane.index(), position) {
            Found::Before => {}
            Found::Never => found.push(Violation::new(self.at(place, span), sent(), "which never was")),
            Found::Held(send) if span.end.0 < send.start.0 - self.tolerance => {
                let expected = format!("{}, at {} s", sent(), send.start.0);
                found.push(Violation::new(self.at(place, span), expected, format!("{} s", span.end.0)));
            }
            Found::Held(_) => {}
        }
    }

    /// Nobody leaves before the last has come.
    fn meeting(&self, meeting: &Meeting, found: &mut Vec<Violation>) {
        for (place, span) in &meeting.members {
            if span.end.0 < meeting.complete - self.tolerance {
                let expected = format!("to end after all have come, at {} s", meeting.complete);
                found.push(Violation::new(self.at(*place, span), expected, format!("{} s", span.end.0)));
            }
        }
    }
}

enum Found<'a> {
    /// It is there.
    Held(&'a Span),
    /// It was, before what is held.
    Before,
    /// What is held ends before.
    Never,
}

/// A collective, as far as it is held.
struct Meeting<'a> {
    /// When the last came: not before the end of what it did just before, nor before what it needs was made.
    complete: f64,
    members: Vec<(usize, &'a Span)>,
}

impl Default for Meeting<'_> {
    fn default() -> Self {
        Meeting { complete: f64::NEG_INFINITY, members: Vec::new() }
    }
}

impl<'a> Meeting<'a> {
    fn join(&mut self, came: f64, place: usize, span: &'a Span) {
        self.complete = self.complete.max(came);
        self.members.push((place, span));
    }
}

/// Who makes each value; of several messages that bring one, the last.
fn makers(program: &Program) -> FxHashMap<BufId, (usize, u32)> {
    let mut makers = FxHashMap::default();
    for (lane, held) in program.lanes.iter().enumerate() {
        for (at, action) in (0..).zip(&held.actions) {
            makers.extend(action.makes.iter().map(|buf| (*buf, (lane, at))));
        }
    }
    makers
}
