//! What a trace amounts to, round by round: how long each took, and where the time of its lanes and devices went.

use super::{Rounds, Span, Trace, used};
use crate::program::{Op, Program, Step};
use crate::spec::cluster::DeviceId;

/// Steps in the order of a layer; exchanges last.
pub const STEPS: [&str; 13] = [
    "embed", "norm", "project", "attend", "score", "softmax", "context", "merge", "gate_up", "down", "logits",
    "sample", "exchange",
];

/// An operation's place in [`STEPS`].
pub fn step_number(op: Op) -> usize {
    let Op::Compute(step) = op else { return STEPS.len() - 1 };
    match step {
        Step::Embed => 0,
        Step::Norm(_) => 1,
        Step::Project => 2,
        Step::Attend => 3,
        Step::Score => 4,
        Step::Softmax => 5,
        Step::Context => 6,
        Step::Merge => 7,
        Step::GateUp => 8,
        Step::Down => 9,
        Step::Logits => 10,
        Step::Sample => 11,
    }
}

/// What some time amounts to. All are seconds but the bubble.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// How long it was.
    pub seconds: f64,
    /// Idle ÷ total of the compute lanes that do anything.
    pub bubble: f64,
    /// Of each of [`STEPS`], summed over all lanes.
    pub steps: [f64; STEPS.len()],
    /// Busy time of each lane, computing or exchanging.
    pub lanes: Vec<f64>,
    /// Where the time of each device went, in the order of [`devices`].
    pub devices: Vec<Spent>,
}

/// Where a device's time went, in seconds; `busy`, `exchange` and `waiting` are the whole.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spent {
    /// Something is computed.
    pub busy: f64,
    /// Nothing is, and parts are brought together or sent.
    pub exchange: f64,
    /// Neither.
    pub waiting: f64,
    /// Both go on together.
    pub overlap: f64,
}

impl Spent {
    /// From what was computed and exchanged when, within so many seconds.
    pub fn of(mut computes: Vec<(f64, f64)>, mut exchanges: Vec<(f64, f64)>, seconds: f64) -> Spent {
        let (busy, exchanging) = (union(&mut computes), union(&mut exchanges));
        computes.append(&mut exchanges);
        let either = union(&mut computes);
        let overlap = (busy + exchanging - either).max(0.0);
        Spent { busy, exchange: either - busy, waiting: (seconds - either).max(0.0), overlap }
    }
}

/// Length of the union of some intervals.
fn union(intervals: &mut [(f64, f64)]) -> f64 {
    intervals.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut length, mut until) = (0.0, f64::NEG_INFINITY);
    for (start, end) in intervals {
        length += (*end - start.max(until)).max(0.0);
        until = until.max(*end);
    }
    length
}

impl Figures {
    fn none(lanes: usize, devices: usize) -> Figures {
        let (lanes, devices) = (vec![0.0; lanes], vec![Spent::default(); devices]);
        Figures { seconds: 0.0, bubble: 0.0, steps: [0.0; STEPS.len()], lanes, devices }
    }

    /// Seconds of all devices in which an exchange and a computation of the same device go on together.
    pub fn overlap(&self) -> f64 {
        self.devices.iter().map(|spent| spent.overlap).sum()
    }

    /// Each figure by itself: its median.
    pub(super) fn median(of: &[&Figures]) -> Figures {
        let median = |figure: &dyn Fn(&Figures) -> f64| middle(of.iter().map(|figures| figure(figures)).collect());
        let first = of.first().expect("figures of one round at least");
        let spent = |i: usize| Spent {
            busy: median(&|f| f.devices[i].busy),
            exchange: median(&|f| f.devices[i].exchange),
            waiting: median(&|f| f.devices[i].waiting),
            overlap: median(&|f| f.devices[i].overlap),
        };
        Figures {
            seconds: median(&|f| f.seconds),
            bubble: median(&|f| f.bubble),
            steps: std::array::from_fn(|i| median(&|f| f.steps[i])),
            lanes: (0..first.lanes.len()).map(|i| median(&|f| f.lanes[i])).collect(),
            devices: (0..first.devices.len()).map(spent).collect(),
        }
    }

    /// These, and so many times the others after them.
    pub(super) fn and(mut self, times: f64, other: &Figures) -> Figures {
        let seconds = self.seconds + times * other.seconds;
        let idle = self.bubble * self.seconds + other.bubble * times * other.seconds;
        self.bubble = if seconds > 0.0 { idle / seconds } else { 0.0 };
        self.seconds = seconds;
        let add =
            |sums: &mut [f64], more: &[f64]| sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += times * more);
        add(&mut self.steps, &other.steps);
        add(&mut self.lanes, &other.lanes);
        for (sum, more) in self.devices.iter_mut().zip(&other.devices) {
            sum.busy += times * more.busy;
            sum.exchange += times * more.exchange;
            sum.waiting += times * more.waiting;
            sum.overlap += times * more.overlap;
        }
        self
    }

    /// Those of no time at all.
    pub(super) fn zero(&self) -> Figures {
        Figures::none(self.lanes.len(), self.devices.len())
    }
}

/// The middle of some numbers, at least one.
fn middle(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let half = numbers.len() / 2;
    if numbers.len() % 2 == 1 { numbers[half] } else { (numbers[half - 1] + numbers[half]) / 2.0 }
}

/// The devices of a program, in the order of its lanes.
pub fn devices(program: &Program) -> Vec<DeviceId> {
    program.lanes.chunk_by(|a, b| a.device == b.device).map(|lanes| lanes[0].device).collect()
}

/// A round that is there as a whole: its number, and the time from the end of the one before to its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Which round.
    pub round: u32,
    /// Seconds.
    pub start: f64,
    /// Seconds.
    pub end: f64,
}

/// The rounds of which all actions are there, and of the round before too: only then it is known when they began.
pub fn whole_rounds(program: &Program, rounds: &Rounds, trace: &Trace) -> Vec<Window> {
    let all: u64 = program.lanes.iter().map(|lane| lane.actions.len() as u64).sum();
    let mut seen = vec![(0u64, 0.0f64); rounds.0.len()];
    for span in &trace.spans {
        if let Some((count, end)) = seen.get_mut(span.round as usize) {
            (*count, *end) = (*count + 1, end.max(span.end.0));
        }
    }
    let first = trace.ends().0.0;
    let mut before = Some(first);
    let mut found = Vec::new();
    for (round, (count, end)) in (0..).zip(seen) {
        let end = (count == all).then_some(end);
        if let (Some(start), Some(end)) = (before, end) {
            found.push(Window { round, start, end: end.max(start) });
        }
        before = end;
    }
    found
}

/// Rounds that may be at work at the same time: an action of a round lies in its own window, or in the two before.
const AT_ONCE: usize = 3;

/// The figures of each of these windows.
pub fn figures(program: &Program, trace: &Trace, windows: &[Window]) -> Vec<Figures> {
    let devices = devices(program);
    let numbers: Vec<usize> = program
        .lanes
        .chunk_by(|a, b| a.device == b.device)
        .enumerate()
        .flat_map(|(number, lanes)| std::iter::repeat_n(number, lanes.len()))
        .collect();
    let mut found = vec![Figures::none(program.lanes.len(), devices.len()); windows.len()];
    let mut pieces = vec![Vec::new(); devices.len()];
    for span in &trace.spans {
        let op = program.lanes[span.lane as usize].actions[span.action as usize].op;
        for (at, start, end) in inside(span, windows) {
            found[at].steps[step_number(op)] += end - start;
            found[at].lanes[span.lane as usize] += end - start;
            let exchanges = !matches!(op, Op::Compute(_));
            pieces[numbers[span.lane as usize]].push(Piece { at, exchanges, start, end });
        }
    }
    for (figures, window) in found.iter_mut().zip(windows) {
        figures.seconds = window.end - window.start;
        let roles = program.lanes.iter().map(|lane| lane.role);
        figures.bubble = used(roles.zip(figures.lanes.iter().copied()), figures.seconds).1;
        figures.devices.fill(Spent { waiting: figures.seconds, ..Spent::default() });
    }
    for (device, mut pieces) in pieces.into_iter().enumerate() {
        pieces.sort_by_key(|piece| piece.at);
        for pieces in pieces.chunk_by(|a, b| a.at == b.at) {
            let of = |exchanges: bool| pieces.iter().filter(move |piece| piece.exchanges == exchanges);
            let [computes, exchanges] = [of(false), of(true)].map(|of| of.map(|p| (p.start, p.end)).collect());
            let figures = &mut found[pieces[0].at];
            figures.devices[device] = Spent::of(computes, exchanges, figures.seconds);
        }
    }
    found
}

/// What of an action lies in a window.
#[derive(Clone, Copy)]
struct Piece {
    at: usize,
    exchanges: bool,
    start: f64,
    end: f64,
}

/// The parts of a span inside windows: which window, start and end.
fn inside<'a>(span: &'a Span, windows: &'a [Window]) -> impl Iterator<Item = (usize, f64, f64)> + 'a {
    let last = windows.partition_point(|window| window.round <= span.round);
    let near = windows[..last].iter().enumerate().skip(last.saturating_sub(AT_ONCE));
    near.filter_map(|(at, window)| {
        let (start, end) = (span.start.0.max(window.start), span.end.0.min(window.end));
        (start < end).then_some((at, start, end))
    })
}
