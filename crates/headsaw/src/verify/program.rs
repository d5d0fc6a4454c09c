//! Does a program come to its end, and does every action read what it means to read?
//!
//! Three rounds are played with vector clocks (Fidge 1988, Mattern 1989): every send waits for its receive, and a place
//! may be written again only by an action that comes after every reader of what was there, in whatever order the lanes
//! happen to run.

use super::Violation;
use crate::program::text::{unit, word};
use crate::program::*;
use std::collections::{BTreeMap, VecDeque};

/// Rounds that are played: the first, one that follows it, and one in the steady state.
const ROUNDS: usize = 3;

/// Clock entries that a check may keep (4 bytes each).
const CLOCKS_MOST: usize = 1 << 25;

/// Can [`program`] follow who knows of whom? For more than some thousand lanes that takes too much memory; then it checks
/// everything but whether memory is reused too early.
pub fn follows_memory(program: &Program) -> bool {
    program.lanes.len() * (program.bufs.len() + program.lanes.len()) <= CLOCKS_MOST
}

/// All that is wrong with a program. Names lane and action, what it expected and what it got.
pub fn program(program: &Program) -> Vec<Violation> {
    let mut found = Vec::new();
    makers(program, &mut found);
    chans(program, &mut found);
    groups(program, &mut found);
    sums(program, &mut found);
    parts(program, &mut found);
    if found.is_empty() {
        Play::new(program).run(&mut found);
    }
    found
}

/// Device, lane and action, for people.
pub(super) fn name(program: &Program, lane: usize, action: &Action) -> String {
    let Lane { device, stage, number, .. } = &program.lanes[lane];
    let layer = action.layer.map(|layer| format!(".L{layer}")).unwrap_or_default();
    let unit = unit(action);
    format!("{device} lane {number}, {}{}{}{layer}{unit}", stage.0, word(program, action.op), action.micro.0)
}

fn actions(program: &Program) -> impl Iterator<Item = (usize, &Action)> {
    program.lanes.iter().enumerate().flat_map(|(i, lane)| lane.actions.iter().map(move |action| (i, action)))
}

/// Each value is made by one lane, and needed only on its own device.
fn makers(program: &Program, found: &mut Vec<Violation>) {
    let mut maker: BTreeMap<BufId, usize> = BTreeMap::new();
    for (lane, action) in actions(program) {
        for buf in &action.makes {
            let first = *maker.entry(*buf).or_insert(lane);
            if first != lane {
                found.push(Violation::new(
                    name(program, lane, action),
                    format!("{buf} made by one lane"),
                    format!("made by lane {first} too"),
                ));
            }
        }
    }
    for (lane, action) in actions(program) {
        for buf in &action.needs {
            match maker.get(buf) {
                None => {
                    found.push(Violation::new(name(program, lane, action), format!("somebody to make {buf}"), "nobody"))
                }
                Some(from) if program.lanes[*from].device != program.lanes[lane].device => {
                    let got = format!("made on {}", program.lanes[*from].device);
                    found.push(Violation::new(name(program, lane, action), format!("{buf} from its own device"), got));
                }
                Some(_) => {}
            }
        }
    }
}

/// Every send has its receive, in the same order of micro-batches, by the lanes that the channel names.
fn chans(program: &Program, found: &mut Vec<Violation>) {
    let mut sent = vec![Vec::new(); program.chans.len()];
    let mut received = sent.clone();
    for (lane, action) in actions(program) {
        let (chan, list, end) = match action.op {
            Op::Send(chan) => (chan, &mut sent, program.chans[chan.index()].from),
            Op::Recv(chan) => (chan, &mut received, program.chans[chan.index()].to),
            _ => continue,
        };
        list[chan.index()].push(action.micro);
        if end.index() != lane {
            found.push(Violation::new(
                name(program, lane, action),
                format!("{chan} to be used by {end}"),
                LaneId(lane as u32),
            ));
        }
    }
    for (i, chan) in program.chans.iter().enumerate() {
        let header = matches!(chan.carries, Carries::Header(_));
        let fits = if header { sent[i].len() == received[i].len() } else { sent[i] == received[i] };
        if !fits {
            let at = format!("{} from {} to {}", ChanId(i as u32), chan.from, chan.to);
            found.push(Violation::new(
                at,
                format!("a receive for each send {:?}", sent[i]),
                format!("{:?}", received[i]),
            ));
        }
    }
}

/// The lanes of a group come to the same collectives in the same order.
fn groups(program: &Program, found: &mut Vec<Violation>) {
    for (i, group) in program.groups.iter().enumerate() {
        let id = GroupId(i as u32);
        let calls = |lane: LaneId| {
            let actions = program.lanes[lane.index()].actions.iter();
            let mine = actions.filter(move |a| matches!(a.op, Op::AllReduce(g, _) | Op::AllGather(g, _) if g == id));
            mine.map(|a| (a.op, a.micro, a.layer)).collect::<Vec<_>>()
        };
        let Some(first) = group.lanes.first() else { continue };
        let expected = calls(*first);
        for lane in &group.lanes[1..] {
            let got = calls(*lane);
            if got != expected {
                let differs =
                    expected.iter().zip(&got).position(|(a, b)| a != b).unwrap_or(expected.len().min(got.len()));
                let show = |calls: &[(Op, MicroId, Option<u32>)]| match calls.get(differs) {
                    Some((op, micro, layer)) => format!("{}{} in layer {layer:?}", word(program, *op), micro.0),
                    None => "nothing more".into(),
                };
                found.push(Violation::new(format!("{id}, {lane}, call {differs}"), show(&expected), show(&got)));
            }
        }
    }
}

/// What adds partial sums up needs those of the sum that it says.
fn sums(program: &Program, found: &mut Vec<Violation>) {
    for (lane, action) in actions(program) {
        let Op::AllReduce(_, sum) = action.op else { continue };
        let places = action.needs.iter().filter_map(|buf| program.bufs[buf.index()].place);
        for kind in places.map(|place| program.places[place.index()].kind) {
            if matches!(kind, PlaceKind::Partial(_)) && kind != PlaceKind::Partial(sum) {
                let expected = format!("partial sums of {sum:?}");
                found.push(Violation::new(name(program, lane, action), expected, format!("{kind:?}")));
            }
        }
    }
}

/// The lanes of a device share each step without gap or overlap.
fn parts(program: &Program, found: &mut Vec<Violation>) {
    let mut ends: BTreeMap<_, u32> = BTreeMap::new();
    for (lane, action) in actions(program) {
        let Op::Compute(step) = action.op else { continue };
        let unit = action.unit.as_ref().map(|unit| unit.number);
        let device = program.lanes[lane].device;
        let key = (device, action.micro, action.layer, unit, crate::program::text::step_word(step), site(step));
        let next = ends.entry(key).or_insert(0);
        if action.part.start != *next {
            let expected = format!("its part to start at {next}");
            found.push(Violation::new(name(program, lane, action), expected, format!("{:?}", action.part)));
        }
        *next = action.part.end;
    }
}

fn site(step: Step) -> Option<NormSite> {
    match step {
        Step::Norm(site) => Some(site),
        _ => None,
    }
}

type Clock = Vec<u32>;

/// What a lane offers to a collective (nothing is noted where memory is not followed).
type Call = Vec<BufId>;

/// Where a place's part stands: which value of which round is in it, and who has read it.
#[derive(Default, Clone)]
struct Content {
    value: Option<(BufId, usize)>,
    readers: Vec<(usize, u32)>,
}

struct Play<'a> {
    program: &'a Program,
    /// Per lane: actions done in all, and what it knows of the others.
    done: Vec<u32>,
    clocks: Vec<Clock>,
    /// Per value: how often it was made and the maker's clock then.
    made: Vec<(usize, Clock)>,
    mailboxes: Vec<VecDeque<Option<Clock>>>,
    /// Per group: for each member, the calls it has come to.
    calls: Vec<BTreeMap<LaneId, Vec<Call>>>,
    /// Per group and call: how many members have come, and what they know together.
    came: Vec<Vec<(usize, Clock)>>,
    /// Per lane: how many calls of each of its groups it has behind it.
    turns: Vec<BTreeMap<GroupId, usize>>,
    contents: BTreeMap<(PlaceId, u32), Content>,
}

impl<'a> Play<'a> {
    fn new(program: &'a Program) -> Play<'a> {
        let lanes = program.lanes.len();
        let known = if follows_memory(program) { lanes } else { 0 };
        Play {
            program,
            done: vec![0; lanes],
            clocks: vec![vec![0; known]; lanes],
            made: vec![(0, Vec::new()); program.bufs.len()],
            mailboxes: program.chans.iter().map(|chan| (0..chan.initial).map(|_| None).collect()).collect(),
            calls: vec![BTreeMap::new(); program.groups.len()],
            came: vec![Vec::new(); program.groups.len()],
            turns: vec![BTreeMap::new(); lanes],
            contents: BTreeMap::new(),
        }
    }

    fn run(mut self, found: &mut Vec<Violation>) {
        loop {
            let mut moved = false;
            for lane in 0..self.program.lanes.len() {
                while self.step(lane, found) {
                    moved = true;
                }
            }
            if !found.is_empty() {
                return;
            }
            if !moved {
                break;
            }
        }
        for lane in 0..self.program.lanes.len() {
            if let Some(action) = self.next(lane) {
                let at = name(self.program, lane, action);
                found.push(Violation::new(
                    at,
                    "to come to its turn",
                    format!("stuck: {}", self.waits_for(lane, action)),
                ));
            }
        }
    }

    fn round(&self, lane: usize) -> usize {
        self.done[lane] as usize / self.program.lanes[lane].actions.len().max(1)
    }

    fn next(&self, lane: usize) -> Option<&'a Action> {
        let actions = &self.program.lanes[lane].actions;
        (self.round(lane) < ROUNDS && !actions.is_empty()).then(|| &actions[self.done[lane] as usize % actions.len()])
    }

    fn waits_for(&self, lane: usize, action: &Action) -> String {
        let round = self.round(lane);
        if let Some(buf) = action.needs.iter().find(|buf| self.made[buf.index()].0 <= round) {
            return format!("{buf} is never made");
        }
        match action.op {
            Op::Send(chan) => format!("nobody receives {chan}"),
            Op::Recv(chan) => format!("nobody sends into {chan}"),
            Op::AllReduce(group, _) | Op::AllGather(group, _) => format!("not all of {group} come"),
            Op::Compute(_) => "nothing".into(),
        }
    }

    /// Does the lane's next action if it can be done now.
    fn step(&mut self, lane: usize, found: &mut Vec<Violation>) -> bool {
        let Some(action) = self.next(lane) else { return false };
        let round = self.round(lane);
        let ready = action.needs.iter().all(|buf| self.made[buf.index()].0 > round);
        // A channel's or a group's other side must be there too; coming to a collective is already news.
        if !ready || !self.meets(lane, action) {
            return false;
        }
        for buf in &action.needs {
            let clock = self.made[buf.index()].1.clone();
            join(&mut self.clocks[lane], &clock);
        }
        self.hear(lane, action);
        self.done[lane] += 1;
        if let Some(own) = self.clocks[lane].get_mut(lane) {
            *own = self.done[lane];
        }
        self.read(lane, action, round, found);
        self.write(lane, action, round, found);
        if let Op::AllReduce(group, _) | Op::AllGather(group, _) = action.op {
            *self.turns[lane].entry(group).or_default() += 1;
        }
        if let Op::Send(chan) = action.op {
            let clock = self.clocks[lane].clone();
            self.mailboxes[chan.index()].push_back(Some(clock));
        }
        true
    }

    /// Can the action meet whom it must meet?
    fn meets(&mut self, lane: usize, action: &Action) -> bool {
        match action.op {
            Op::Compute(_) => true,
            Op::Recv(chan) => !self.mailboxes[chan.index()].is_empty(),
            Op::Send(chan) => self.receiver_waits(chan),
            Op::AllReduce(group, _) | Op::AllGather(group, _) => self.all_come(lane, group, action),
        }
    }

    /// A send waits until its receiver stands at the receive; a header's mailbox must be empty instead.
    fn receiver_waits(&self, chan: ChanId) -> bool {
        let Chan { to, carries, .. } = self.program.chans[chan.index()];
        if matches!(carries, Carries::Header(_)) {
            return self.mailboxes[chan.index()].is_empty();
        }
        let waiting = self.next(to.index()).is_some_and(|action| action.op == Op::Recv(chan));
        waiting && self.mailboxes[chan.index()].is_empty()
    }

    fn all_come(&mut self, lane: usize, group: GroupId, action: &Action) -> bool {
        let turn = self.turn(lane, group);
        let mine = self.calls[group.index()].entry(LaneId(lane as u32)).or_default();
        if mine.len() == turn {
            let mut clock = self.clocks[lane].clone();
            for buf in &action.needs {
                join(&mut clock, &self.made[buf.index()].1);
            }
            let known = clock.len();
            let came = &mut self.came[group.index()];
            came.resize(came.len().max(turn + 1), (0, vec![0; known]));
            came[turn].0 += 1;
            join(&mut came[turn].1, &clock);
            mine.push(if known == 0 { Vec::new() } else { action.needs.iter().take(1).copied().collect() });
        }
        self.came[group.index()][turn].0 == self.program.groups[group.index()].lanes.len()
    }

    /// How many of the group's calls this lane has behind it.
    fn turn(&self, lane: usize, group: GroupId) -> usize {
        self.turns[lane].get(&group).copied().unwrap_or(0)
    }

    /// Learns what the others knew.
    fn hear(&mut self, lane: usize, action: &Action) {
        match action.op {
            Op::Recv(chan) => {
                if let Some(Some(clock)) = self.mailboxes[chan.index()].pop_front() {
                    join(&mut self.clocks[lane], &clock);
                }
            }
            Op::AllReduce(group, _) | Op::AllGather(group, _) => {
                let turn = self.turn(lane, group);
                join(&mut self.clocks[lane], &self.came[group.index()][turn].1);
            }
            _ => {}
        }
    }

    fn read(&mut self, lane: usize, action: &Action, round: usize, found: &mut Vec<Violation>) {
        let mut reads = action.needs.clone();
        let followed = !self.clocks[lane].is_empty();
        if let (Op::AllReduce(group, _) | Op::AllGather(group, _), true) = (action.op, followed) {
            let turn = self.turn(lane, group);
            for calls in self.calls[group.index()].values() {
                reads.extend(&calls[turn]);
            }
        }
        for buf in reads {
            let Buf { place: Some(place), part } = self.program.bufs[buf.index()] else { continue };
            let content = self.contents.entry((place, part)).or_default();
            if content.value != Some((buf, round)) {
                let got = content.value.map_or("nothing".to_string(), |(other, at)| format!("{other} of round {at}"));
                let expected = format!("{buf} of round {round} in {:?}", self.program.places[place.index()].kind);
                found.push(Violation::new(name(self.program, lane, action), expected, got));
            }
            if followed {
                content.readers.push((lane, self.done[lane]));
            }
        }
    }

    fn write(&mut self, lane: usize, action: &Action, round: usize, found: &mut Vec<Violation>) {
        for buf in &action.makes {
            self.made[buf.index()] = (round + 1, self.clocks[lane].clone());
            let Buf { place: Some(place), part } = self.program.bufs[buf.index()] else { continue };
            let content = self.contents.entry((place, part)).or_default();
            if content.value == Some((*buf, round)) {
                continue; // the same value from a further channel
            }
            let known = &self.clocks[lane];
            let late = content.readers.iter().find(|(reader, at)| known.get(*reader).is_some_and(|seen| seen < at));
            if let Some((reader, _)) = late {
                let kind = self.program.places[place.index()].kind;
                let got = format!("lane {reader} may still read it");
                found.push(Violation::new(
                    name(self.program, lane, action),
                    format!("{kind:?} to be free for {buf}"),
                    got,
                ));
            }
            *content = Content { value: Some((*buf, round)), readers: Vec::new() };
        }
    }
}

fn join(clock: &mut Clock, other: &Clock) {
    for (mine, theirs) in clock.iter_mut().zip(other) {
        *mine = (*mine).max(*theirs);
    }
}
