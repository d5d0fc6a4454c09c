//! What lanes write down while they work: when each action began and ended. Each lane has a ring of fixed size, so
//! nothing is allocated while tokens are made, and of a long run the newest rounds are kept.

use super::Header;
use headsaw::program::{MicroId, Program};
use headsaw::trace::{Load, Rounds, Source, Span, Trace};
use headsaw::units::Seconds;
use std::ops::Range;
use std::sync::Mutex;
use std::time::Instant;

/// What was written down in a run: the newest whole rounds, counted from 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// When everything happened, from the run's beginning.
    pub trace: Trace,
    /// What each slot carried.
    pub rounds: Rounds,
}

/// Where the lanes of a run leave what they wrote down.
pub(super) struct Records {
    begun: Instant,
    /// Actions that a lane keeps.
    room: usize,
    lanes: Mutex<Vec<Record>>,
}

/// What one lane writes down.
pub(super) struct Record {
    lane: usize,
    begun: Instant,
    spans: Ring<Entry>,
    loads: Ring<(u64, MicroId, Load)>,
}

#[derive(Clone, Copy)]
struct Entry {
    action: u32,
    round: u64,
    start: Instant,
    end: Instant,
}

/// The newest of what is put in.
struct Ring<T> {
    items: Vec<T>,
    next: usize,
}

impl<T> Ring<T> {
    fn new(room: usize) -> Ring<T> {
        Ring { items: Vec::with_capacity(room), next: 0 }
    }

    #[inline(always)]
    fn put(&mut self, item: T) {
        if self.items.len() < self.items.capacity() {
            self.items.push(item);
            return;
        }
        self.items[self.next] = item;
        self.next = if self.next + 1 == self.items.len() { 0 } else { self.next + 1 };
    }

    /// From the oldest on.
    fn iter(&self) -> impl Iterator<Item = &T> {
        self.items[self.next..].iter().chain(&self.items[..self.next])
    }
}

impl Records {
    /// Room for so many actions of each lane.
    pub fn new(room: usize) -> Records {
        Records { begun: Instant::now(), room: room.max(1), lanes: Mutex::new(Vec::new()) }
    }

    /// An empty record for a lane.
    pub fn lane(&self, lane: usize) -> Record {
        let loads = if lane == 0 { self.room } else { 0 };
        Record { lane, begun: self.begun, spans: Ring::new(self.room), loads: Ring::new(loads) }
    }

    /// Takes what a lane wrote down.
    pub fn keep(&self, record: Record) {
        self.lanes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(record);
    }

    /// All lanes' records of the rounds that each of them has whole.
    pub fn end(self, program: &Program, machine: String) -> Recorded {
        let mut lanes = self.lanes.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        lanes.sort_by_key(|record| record.lane);
        let whole = whole_rounds(program, &lanes);
        let number = |round: u64| (round - whole.start) as u32;
        let mut spans = Vec::new();
        let mut rounds = vec![vec![Load::EMPTY; program.micros as usize]; (whole.end - whole.start) as usize];
        for record in &lanes {
            let since = |at: Instant| Seconds(at.saturating_duration_since(record.begun).as_secs_f64());
            let kept = record.spans.iter().filter(|entry| whole.contains(&entry.round));
            spans.extend(kept.map(|entry| Span {
                lane: record.lane as u32,
                action: entry.action,
                round: number(entry.round),
                start: since(entry.start),
                end: since(entry.end),
            }));
            for (round, micro, load) in record.loads.iter().filter(|(round, ..)| whole.contains(round)) {
                rounds[number(*round) as usize][micro.index()] = *load;
            }
        }
        let trace = Trace { source: Source::Measured { machine }, lanes: Trace::lanes_of(program), spans };
        Recorded { trace, rounds: Rounds(rounds) }
    }
}

/// Rounds of which every lane that does anything has all actions.
fn whole_rounds(program: &Program, lanes: &[Record]) -> Range<u64> {
    let at_work = program.lanes.iter().filter(|lane| !lane.actions.is_empty()).count();
    if lanes.len() < at_work {
        return 0..0;
    }
    let of = |record: &Record| {
        let last_action = program.lanes[record.lane].actions.len() as u32 - 1;
        let mut entries = record.spans.iter().peekable();
        let start = entries.peek().map_or(0, |first| first.round + u64::from(first.action > 0));
        let end = entries.filter(|entry| entry.action == last_action).last().map_or(0, |entry| entry.round + 1);
        start..end
    };
    let ranges: Vec<Range<u64>> = lanes.iter().map(of).collect();
    let start = ranges.iter().map(|range| range.start).max().unwrap_or(0);
    let end = ranges.iter().map(|range| range.end).min().unwrap_or(0);
    start..end.max(start)
}

impl Record {
    /// An action began and ended.
    #[inline(always)]
    pub fn span(&mut self, action: usize, round: u64, start: Instant, end: Instant) {
        self.spans.put(Entry { action: action as u32, round, start, end });
    }

    /// A slot carries this; the first lane writes it down.
    pub fn load(&mut self, round: u64, micro: MicroId, header: &Header) {
        if self.lane == 0 {
            self.loads.put((round, micro, load(header)));
        }
    }
}

/// Rows as a cost model counts them: sequences, the new tokens of each and the cached ones, on an average.
fn load(header: &Header) -> Load {
    let rows = &header.rows;
    let begins = |i: &usize| *i == 0 || rows[*i].slot != rows[*i - 1].slot;
    let (mut sequences, mut past) = (0u32, 0u64);
    for first in (0..rows.len()).filter(begins) {
        sequences += 1;
        past += u64::from(rows[first].position);
    }
    match sequences {
        0 => Load::EMPTY,
        _ => Load { sequences, tokens: rows.len() as u32 / sequences, past: (past / u64::from(sequences)) as u32 },
    }
}
