//! The event loop.

use super::Stuck;
use super::ports::{Ports, incoming};
use super::prepare::{Kind, Prepared, Task};
use super::share::Shared;
use super::times::Times;
use crate::program::text;
use crate::trace::{Source, Span, Trace};
use crate::units::Seconds;

/// Messages that a channel holds: with one in it the next send waits.
const ROOM: u32 = 1;

/// Where a lane is.
#[derive(Debug, Clone, Copy)]
struct Lane {
    /// Actions done in all.
    done: u64,
    /// The next action's place in the round, and the round.
    next: u32,
    round: u32,
    /// When the action in hand began.
    start: f64,
    /// It stands at a collective or a channel, or for a value, since then.
    waits: Option<f64>,
    /// What it has met for is on its way, so many seconds of work from being brought in.
    coming: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Channel {
    arrived: u32,
    inside: u32,
    sender: Option<u32>,
    receiver: Option<u32>,
    /// When the message inside can be taken.
    there: f64,
}

struct Play<'a> {
    prepared: &'a Prepared<'a>,
    now: f64,
    lanes: Vec<Lane>,
    times: Times,
    chans: Vec<Channel>,
    /// Members of each group that have come to its next collective.
    came: Vec<u32>,
    /// For each lane, who waits until it has done so many actions.
    waiters: Vec<Vec<(u64, u32)>>,
    /// Lanes that may go on now.
    ready: Vec<u32>,
    /// The lane that was done last, until it is busy again.
    idle: Option<u32>,
    shared: Vec<Shared>,
    ports: Ports,
    /// Lane by lane, each in order.
    spans: Vec<Span>,
}

/// Plays all rounds.
pub fn play(prepared: &Prepared) -> Result<Trace, Stuck> {
    let mut play = Play::new(prepared);
    play.ready.extend((0..play.lanes.len() as u32).rev());
    loop {
        while let Some(lane) = play.ready.pop() {
            play.go_on(lane);
        }
        play.rest();
        let Some((now, lane)) = play.times.first() else { break };
        play.now = now;
        play.finish(lane);
    }
    play.end()
}

impl<'a> Play<'a> {
    fn new(prepared: &'a Prepared<'a>) -> Play<'a> {
        let program = prepared.program;
        let lane = Lane { done: 0, next: 0, round: 0, start: 0.0, waits: None, coming: None };
        let nothing = Span { lane: 0, action: 0, round: 0, start: Seconds(0.0), end: Seconds(0.0) };
        let full =
            |chan: &crate::program::Chan| Channel { arrived: chan.initial, inside: chan.initial, ..Channel::default() };
        Play {
            prepared,
            now: 0.0,
            lanes: vec![lane; program.lanes.len()],
            times: Times::new(program.lanes.len()),
            chans: program.chans.iter().map(full).collect(),
            came: vec![0; program.groups.len()],
            waiters: vec![Vec::new(); program.lanes.len()],
            ready: Vec::new(),
            idle: None,
            shared: prepared.domains.iter().map(|domain| Shared::new(*domain)).collect(),
            ports: Ports::new(program),
            spans: vec![nothing; prepared.tasks.len() * prepared.loads.len()],
        }
    }

    /// The lane that was done last has nothing to do yet.
    fn rest(&mut self) {
        if let Some(lane) = self.idle.take() {
            self.times.set(lane, f64::INFINITY);
        }
    }

    /// A lane is busy until then.
    fn until(&mut self, lane: u32, time: f64) {
        if self.idle == Some(lane) {
            self.idle = None;
        }
        self.times.set(lane, time);
    }

    fn task(&self, lane: u32) -> Option<&'a Task> {
        let Lane { next, round, .. } = self.lanes[lane as usize];
        let begins = &self.prepared.begins;
        let at = begins[lane as usize] + next;
        let more = (round as usize) < self.prepared.loads.len() && at < begins[lane as usize + 1];
        more.then(|| &self.prepared.tasks[at as usize])
    }

    /// Where a lane's spans begin.
    fn place(&self, lane: u32) -> usize {
        self.prepared.begins[lane as usize] as usize * self.prepared.loads.len()
    }

    /// The span of what a lane has done last.
    fn last_span(&self, lane: u32) -> usize {
        self.place(lane) + self.lanes[lane as usize].done as usize - 1
    }

    fn length(&self, lane: u32) -> u32 {
        self.prepared.begins[lane as usize + 1] - self.prepared.begins[lane as usize]
    }

    /// A lane begins its next action, if nothing keeps it waiting.
    fn go_on(&mut self, lane: u32) {
        let Some(task) = self.task(lane) else { return };
        if !self.values_there(lane, task) {
            return;
        }
        match task.kind {
            Kind::Compute => self.begin(lane, task),
            Kind::Send(chan) => self.send(lane, task, chan as usize),
            Kind::Recv(chan) => self.receive(lane, chan as usize),
            Kind::Meet(group) => self.meet(lane, task, group as usize),
        }
    }

    /// Are all values made? Else the lane is called when the maker is done.
    fn values_there(&mut self, lane: u32, task: &Task) -> bool {
        let waits = &self.prepared.waits[task.waits.0 as usize..task.waits.1 as usize];
        let round = u64::from(self.lanes[lane as usize].round);
        for wait in waits {
            let target = round * u64::from(self.length(wait.lane)) + u64::from(wait.done);
            if self.lanes[wait.lane as usize].done < target {
                self.waiters[wait.lane as usize].push((target, lane));
                self.waits(lane);
                return false;
            }
        }
        true
    }

    /// A lane waits, if it does not already.
    fn waits(&mut self, lane: u32) {
        self.lanes[lane as usize].waits.get_or_insert(self.now);
    }

    /// A lane that waited is told later than one that did not.
    fn late(&mut self, lane: u32) -> f64 {
        let since = self.lanes[lane as usize].waits.take();
        since.map_or(0.0, |since| self.prepared.hand_over[lane as usize].after(self.now - since))
    }

    fn begin(&mut self, lane: u32, task: &Task) {
        let late = self.late(lane);
        let price = self.prepared.price(task, self.lanes[lane as usize].round as usize);
        self.lanes[lane as usize].start = self.now + late;
        match self.prepared.domain_of[lane as usize] {
            None => self.until(lane, self.now + late + price.seconds.0),
            Some(domain) => {
                self.work(lane, domain, late + price.seconds.0, price.streamed.0 as f64);
            }
        }
    }

    /// A lane works beside those that share with it.
    fn work(&mut self, lane: u32, domain: u32, seconds: f64, streamed: f64) {
        self.shared[domain as usize].begin(self.now, lane, seconds, streamed);
        self.reset(domain);
    }

    /// A lane has done its work.
    fn worked(&mut self, lane: u32) {
        if let Some(domain) = self.prepared.domain_of[lane as usize] {
            self.shared[domain as usize].end(self.now, lane);
            self.reset(domain);
        }
    }

    /// Speeds have changed: so have the times of all busy lanes. Who has waited for a core begins now.
    fn reset(&mut self, domain: u32) {
        for i in 0..self.shared[domain as usize].busy.len() {
            let busy = &mut self.shared[domain as usize].busy[i];
            if busy.speed > 0.0 && !std::mem::replace(&mut busy.begun, true) {
                let start = &mut self.lanes[busy.lane as usize].start;
                *start = start.max(self.now);
            }
            let busy = *busy;
            self.until(busy.lane, busy.done(self.now));
        }
    }

    fn send(&mut self, lane: u32, task: &Task, chan: usize) {
        if self.chans[chan].inside >= ROOM {
            self.chans[chan].sender = Some(lane);
            return;
        }
        self.chans[chan].inside += 1;
        let price = self.prepared.price(task, self.lanes[lane as usize].round as usize);
        let late = self.late(lane);
        self.lanes[lane as usize].start = self.now + late;
        self.exchange(lane, late + price.seconds.0);
    }

    /// When the message that a lane has just sent can be taken.
    fn there(&mut self, lane: u32, chan: u32) -> f64 {
        let Some(link) = self.prepared.wires.chans[chan as usize] else { return self.now };
        let span = &self.spans[self.last_span(lane)];
        let bytes = self.prepared.sent(lane, span.action, span.round as usize);
        let to = self.prepared.program.chans[chan as usize].to;
        let device = self.prepared.program.lanes[to.index()].device;
        self.ports.there(link, device, self.now, bytes.0 as f64)
    }

    /// The domain of a lane whose exchanges take the cores that compute.
    fn cores(&self, lane: u32) -> Option<u32> {
        self.prepared.domain_of[lane as usize].filter(|domain| self.shared[*domain as usize].exchanges_compute())
    }

    /// A lane exchanges for some seconds.
    fn exchange(&mut self, lane: u32, seconds: f64) {
        if let Some(domain) = self.cores(lane) {
            return self.work(lane, domain, seconds, 0.0);
        }
        self.exchanges(lane, true);
        self.until(lane, self.now + seconds);
    }

    /// A lane has exchanged.
    fn exchanged(&mut self, lane: u32) {
        if self.cores(lane).is_some() { self.worked(lane) } else { self.exchanges(lane, false) }
    }

    /// A lane begins or ends an exchange beside the compute lanes, which notice.
    fn exchanges(&mut self, lane: u32, begins: bool) {
        let Some(domain) = self.prepared.domain_of[lane as usize] else { return };
        let shared = &mut self.shared[domain as usize];
        if begins {
            shared.begin_exchange(self.now)
        } else {
            shared.end_exchange(self.now)
        }
        self.reset(domain);
    }

    fn receive(&mut self, lane: u32, chan: usize) {
        let channel = &mut self.chans[chan];
        if channel.arrived == 0 {
            channel.receiver = Some(lane);
            self.waits(lane);
            return;
        }
        channel.arrived -= 1;
        channel.inside -= 1;
        let there = self.now.max(channel.there);
        let sender = channel.sender.take();
        self.ready.extend(sender);
        let late = self.late(lane);
        self.lanes[lane as usize].start = there + late;
        self.until(lane, there + late);
    }

    fn meet(&mut self, lane: u32, task: &Task, group: usize) {
        self.came[group] += 1;
        let members = &self.prepared.program.groups[group].lanes;
        if (self.came[group] as usize) < members.len() {
            self.waits(lane);
            return;
        }
        self.came[group] = 0;
        let price = self.prepared.price(task, self.lanes[lane as usize].round as usize);
        let began = self.now + self.late(lane); // who came last may have waited for a value
        if self.prepared.wires.groups[group].is_some() {
            return self.bring(group, began, price.seconds.0);
        }
        for member in members {
            // Who came last goes on at once, the others hear of it.
            let late = self.late(member.0);
            self.lanes[member.index()].start = began + late;
            self.exchange(member.0, began + late - self.now + price.seconds.0);
        }
    }

    /// What the members of a group offer goes to the others over links; nobody computes for it until it is there.
    fn bring(&mut self, group: usize, began: f64, seconds: f64) {
        let prepared = self.prepared;
        let link = prepared.wires.groups[group].expect("a link");
        for member in &prepared.program.groups[group].lanes {
            let at = |lane: u32| (self.lanes[lane as usize].next, self.lanes[lane as usize].round as usize);
            let offered = |lane| prepared.sent(lane, at(lane).0, at(lane).1);
            let bytes = incoming(prepared, group, member.0, offered);
            let device = prepared.program.lanes[member.index()].device;
            let there = if bytes > 0.0 { self.ports.there(link, device, began, bytes) } else { began };
            let late = self.late(member.0);
            let held = &mut self.lanes[member.index()];
            (held.start, held.coming) = (began, Some(seconds));
            self.until(member.0, there.max(began + late));
        }
    }

    /// What a lane has met for is there: it is copied, or added up.
    fn take_in(&mut self, lane: u32, seconds: f64) {
        self.exchange(lane, seconds);
    }

    /// A lane's action is done, or the first half of it.
    fn finish(&mut self, lane: u32) {
        if let Some(seconds) = self.lanes[lane as usize].coming.take() {
            return self.take_in(lane, seconds);
        }
        self.idle = Some(lane);
        let task = self.task(lane).expect("a lane that is done with something");
        let place = self.place(lane);
        let held = &mut self.lanes[lane as usize];
        let (start, end) = (Seconds(held.start), Seconds(self.now));
        let span = Span { lane, action: held.next, round: held.round, start, end };
        self.spans[place + held.done as usize] = span;
        held.done += 1;
        held.next += 1;
        let done = held.done;
        if held.next == self.length(lane) {
            let held = &mut self.lanes[lane as usize];
            (held.next, held.round) = (0, held.round + 1);
        }
        match task.kind {
            Kind::Send(chan) => {
                self.exchanged(lane);
                let there = self.there(lane, chan);
                let channel = &mut self.chans[chan as usize];
                channel.there = there;
                channel.arrived += 1;
                let receiver = channel.receiver.take();
                self.ready.extend(receiver);
            }
            Kind::Compute => self.worked(lane),
            Kind::Meet(_) => self.exchanged(lane),
            Kind::Recv(_) => {}
        }
        let ready = &mut self.ready;
        self.waiters[lane as usize].retain(|(target, waiter)| {
            let there = *target <= done;
            if there {
                ready.push(*waiter);
            }
            !there
        });
        self.ready.push(lane);
    }

    fn end(self) -> Result<Trace, Stuck> {
        let program = self.prepared.program;
        let stuck = (0..self.lanes.len() as u32).find(|lane| self.task(*lane).is_some());
        if let Some(lane) = stuck {
            let held = &program.lanes[lane as usize];
            let action = &held.actions[self.lanes[lane as usize].next as usize];
            let word = text::word(program, action.op);
            return Err(Stuck::Waiting(format!(
                "{} lane {} waits at {word}{}",
                held.device, held.number, action.micro.0
            )));
        }
        Ok(Trace { source: Source::Simulated, lanes: Trace::lanes_of(program), spans: self.spans })
    }
}
