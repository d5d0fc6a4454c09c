//! Where a device's time goes: every instant of a trace belongs to work or to one loss, so that shares add up to one.
//!
//! - *exchange*: messages and sums are under way and nothing is computed; what hides behind work costs nothing.
//! - *imbalance*: the device waits because the busiest device of its stage has more to do.
//! - *bubble*: it waits for anything else; and, while steps of heads are all that is computed, the share of the lanes
//!   that they use which are idle. (The MLP has one lane by nature: beside it no lane counts as idle.)
//! - *launch*, *alignment*, *replicated KV heads*: of each step's price, see `price`.
//! - *sharing*: what a step takes longer because another lane of the device is busy, or exchanges, too.

use super::price::Parts;
use crate::cost::Load;
use crate::program::{Action, Op, Program, Step};
use crate::spec::cluster::DeviceId;
use crate::trace::Trace;
use serde::Serialize;
use std::collections::BTreeMap;

/// Shares of the time of a level; with the share of work they add up to one.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Lost {
    /// Exchanges behind which nothing is computed.
    pub exchange: f64,
    /// Launching kernels.
    pub launch: f64,
    /// Lanes without work, devices that wait for other stages.
    pub bubble: f64,
    /// Devices that wait for the busiest of their stage.
    pub imbalance: f64,
    /// KV heads that other devices hold too.
    pub replicated_kv: f64,
    /// Tiles and panels that are not full.
    pub alignment: f64,
    /// Lanes that slow each other down.
    pub sharing: f64,
}

impl Lost {
    /// All of it.
    pub fn all(&self) -> f64 {
        self.each().iter().map(|(_, share)| share).sum()
    }

    /// Each by name, as in `--json`.
    pub fn each(&self) -> [(&'static str, f64); 7] {
        [
            ("exchange", self.exchange),
            ("launch", self.launch),
            ("bubble", self.bubble),
            ("imbalance", self.imbalance),
            ("replicated_kv", self.replicated_kv),
            ("alignment", self.alignment),
            ("sharing", self.sharing),
        ]
    }

    /// Of steps that are done alone, one after the other.
    pub fn alone(parts: Parts) -> Lost {
        let share = |seconds: f64| if parts.seconds > 0.0 { seconds / parts.seconds } else { 0.0 };
        Lost {
            launch: share(parts.launch),
            replicated_kv: share(parts.replicated),
            alignment: share(parts.alignment),
            ..Lost::default()
        }
    }

    fn map(self, other: Lost, f: impl Fn(f64, f64) -> f64) -> Lost {
        Lost {
            exchange: f(self.exchange, other.exchange),
            launch: f(self.launch, other.launch),
            bubble: f(self.bubble, other.bubble),
            imbalance: f(self.imbalance, other.imbalance),
            replicated_kv: f(self.replicated_kv, other.replicated_kv),
            alignment: f(self.alignment, other.alignment),
            sharing: f(self.sharing, other.sharing),
        }
    }
}

/// Device-seconds, the mean of the devices.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Account {
    /// All of them.
    pub seconds: f64,
    /// Those lost.
    pub lost: Lost,
}

impl Account {
    /// Its shares.
    pub fn shares(&self) -> Lost {
        if self.seconds > 0.0 {
            self.lost.map(self.lost, |lost, _| (lost / self.seconds).clamp(0.0, 1.0))
        } else {
            Lost::default()
        }
    }

    /// On a line through this one and one of a layer more: that of `layers` more.
    pub fn further(&self, more: &Account, layers: f64) -> Account {
        let line = |a: f64, b: f64| (a + (b - a) * layers).max(0.0);
        Account { seconds: line(self.seconds, more.seconds), lost: self.lost.map(more.lost, line) }
    }
}

/// What an account is taken of.
pub struct Books<'a> {
    /// The program that was played.
    pub program: &'a Program,
    /// Its trace.
    pub trace: &'a Trace,
    /// What each micro-batch slot carries.
    pub loads: &'a [Load],
    /// Lanes of a device that steps of heads use.
    pub lanes: usize,
}

/// What a device is doing for a while.
struct Piece {
    start: f64,
    end: f64,
    /// Of an exchange there is none.
    step: Option<(Step, Parts)>,
}

impl Books<'_> {
    /// The action of a span.
    pub fn action(&self, span: &crate::trace::Span) -> &Action {
        &self.program.lanes[span.lane as usize].actions[span.action as usize]
    }

    /// Where the time between two instants goes. `price`: a step alone, taken apart.
    pub fn account(
        &self,
        (from, to): (f64, f64),
        price: &mut dyn FnMut(DeviceId, Step, &Action, Load) -> Parts,
    ) -> Account {
        let mut devices: BTreeMap<(u32, DeviceId), Vec<Piece>> = BTreeMap::new();
        for lane in &self.program.lanes {
            devices.entry((lane.stage.0, lane.device)).or_default();
        }
        for span in &self.trace.spans {
            let (start, end) = (span.start.0.max(from), span.end.0.min(to));
            let lane = &self.program.lanes[span.lane as usize];
            let action = self.action(span);
            if end <= start {
                continue;
            }
            let step = match action.op {
                Op::Compute(step) => {
                    let parts = price(lane.device, step, action, self.loads[action.micro.index()]);
                    Some((step, stretched(parts, span.end.0 - span.start.0)))
                }
                _ => None,
            };
            devices.get_mut(&(lane.stage.0, lane.device)).expect("a device").push(Piece { start, end, step });
        }
        let times: Vec<(u32, DeviceTime)> =
            devices.into_iter().map(|((stage, _), pieces)| (stage, sweep(pieces, (from, to), self.lanes))).collect();
        mean(&times, to - from)
    }
}

/// Fractions of a span: what of each of its seconds goes where. `seconds` becomes that which sharing lanes adds.
fn stretched(parts: Parts, length: f64) -> Parts {
    let share = |seconds: f64| if length > 0.0 { (seconds / length).min(1.0) } else { 0.0 };
    Parts {
        seconds: (1.0 - share(parts.seconds)).max(0.0),
        launch: share(parts.launch),
        replicated: share(parts.replicated),
        alignment: share(parts.alignment),
    }
}

/// One device's seconds.
#[derive(Default)]
struct DeviceTime {
    waiting: f64,
    lost: Lost,
}

/// Goes through what a device does in the order of time.
fn sweep(pieces: Vec<Piece>, (from, to): (f64, f64), lanes: usize) -> DeviceTime {
    let mut events: Vec<(f64, bool, usize)> = Vec::with_capacity(2 * pieces.len());
    for (i, piece) in pieces.iter().enumerate() {
        events.push((piece.start, true, i));
        events.push((piece.end, false, i));
    }
    events.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut time, mut now, mut busy, mut exchanges) = (DeviceTime::default(), from, Vec::new(), 0u32);
    for (at, begins, i) in events {
        time.pass(at - now, &pieces, &busy, exchanges, lanes);
        now = at;
        match (pieces[i].step.is_some(), begins) {
            (true, true) => busy.push(i),
            (true, false) => busy.retain(|other| *other != i),
            (false, true) => exchanges += 1,
            (false, false) => exchanges -= 1,
        }
    }
    time.pass(to - now, &pieces, &busy, exchanges, lanes);
    time
}

impl DeviceTime {
    /// Some seconds in which nothing begins or ends.
    fn pass(&mut self, seconds: f64, pieces: &[Piece], busy: &[usize], exchanges: u32, lanes: usize) {
        if seconds <= 0.0 {
            return;
        }
        if busy.is_empty() {
            let to = if exchanges > 0 { &mut self.lost.exchange } else { &mut self.waiting };
            *to += seconds;
            return;
        }
        let heads_only = busy.iter().all(|i| pieces[*i].step.is_some_and(|(step, _)| is_heads(step)));
        let lanes = if heads_only { lanes.max(busy.len()) } else { busy.len() };
        let each = seconds / lanes as f64;
        self.lost.bubble += each * (lanes - busy.len()) as f64;
        for (_, parts) in busy.iter().filter_map(|i| pieces[*i].step) {
            self.lost.launch += each * parts.launch;
            self.lost.replicated_kv += each * parts.replicated;
            self.lost.alignment += each * parts.alignment;
            self.lost.sharing += each * parts.seconds;
        }
    }
}

/// Is it a step of a head's work?
pub fn is_heads(step: Step) -> bool {
    matches!(step, Step::Project | Step::Attend | Step::Score | Step::Softmax | Step::Context | Step::Merge)
}

/// The mean of the devices; who waits while a device of its stage is busier does so for balance.
fn mean(times: &[(u32, DeviceTime)], seconds: f64) -> Account {
    let mut busiest: BTreeMap<u32, f64> = BTreeMap::new();
    for (stage, time) in times {
        let least = busiest.entry(*stage).or_insert(f64::INFINITY);
        *least = least.min(time.waiting);
    }
    let count = times.len().max(1) as f64;
    let mut lost = Lost::default();
    for (stage, time) in times {
        lost = lost.map(time.lost, |a, b| a + b / count);
        lost.bubble += busiest[stage] / count;
        lost.imbalance += (time.waiting - busiest[stage]) / count;
    }
    Account { seconds, lost }
}
