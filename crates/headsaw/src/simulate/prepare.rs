//! A program made ready to be played: who waits for whom, and what each action takes.

use super::Rounds;
use super::ports::Wires;
use crate::cost::{Collective, CostModel, Domain, HandOver, Load, Price};
use crate::program::text;
use crate::program::*;
use crate::spec::cluster::DeviceId;
use crate::units::Bytes;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// What an action does, as far as time is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Takes its time on its own.
    Compute,
    /// Puts a message into a channel.
    Send(u32),
    /// Takes one out.
    Recv(u32),
    /// Meets the others of a group.
    Meet(u32),
}

/// An action.
#[derive(Debug, Clone, Copy)]
pub struct Task {
    /// What.
    pub kind: Kind,
    /// Actions of the same class take the same time with the same load.
    pub class: u32,
    /// The micro-batch slot.
    pub micro: u32,
    /// What it waits for: a run of `Prepared::waits`.
    pub waits: (u32, u32),
}

/// Waits until a lane has done so many actions of the round.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    /// The lane.
    pub lane: u32,
    /// So many.
    pub done: u32,
}

/// A program made ready.
pub struct Prepared<'a> {
    /// The program.
    pub program: &'a Program,
    /// For each lane, where its actions begin; and where the last ones end.
    pub begins: Vec<u32>,
    /// All actions, lane by lane.
    pub tasks: Vec<Task>,
    /// What they wait for.
    pub waits: Vec<Wait>,
    /// Each lane's domain, where its lanes share anything.
    pub domain_of: Vec<Option<u32>>,
    /// These domains.
    pub domains: Vec<Domain>,
    /// Seconds from a maker on another lane to who waited.
    pub hand_over: Vec<HandOver>,
    /// For each round and slot, which of the loads.
    pub loads: Vec<Vec<u32>>,
    /// `[load][class]`.
    prices: Vec<Vec<Price>>,
    /// The different loads.
    distinct: Vec<Load>,
    /// Links between devices, where there are shaped ones.
    pub wires: Wires,
}

/// A header's bytes, and those of each row that it announces; as the runtime writes them.
const HEADER: Bytes = Bytes(8);
const HEADER_ROW: Bytes = Bytes(16);

/// Rows that an action sends or offers: of those behind the last norm the sampled ones.
fn rows(program: &Program, op: Op, load: Load) -> u64 {
    let sampled = match op {
        Op::Send(chan) => matches!(program.chans[chan.index()].carries, Carries::Logits { .. }),
        Op::AllGather(_, what) => what == Gathered::Normed(NormSite::Output),
        _ => false,
    };
    u64::from(if sampled { load.sequences } else { load.rows() })
}

/// What makes actions equal: the kind of work, between whom, how much.
#[derive(PartialEq, Eq, Hash)]
enum Class {
    Compute(u32, Step, Work),
    Transfer(DeviceId, DeviceId, Bytes, bool),
    Collective(Collective, u32, Work),
    Nothing,
}

impl<'a> Prepared<'a> {
    /// Prices and edges of a program.
    pub fn new(program: &'a Program, cost: &dyn CostModel, rounds: &Rounds) -> Prepared<'a> {
        let makers = makers(program);
        let mut classes = Classes::new(program, cost);
        let (mut begins, mut tasks, mut waits) = (vec![0], Vec::new(), Vec::new());
        for (number, lane) in program.lanes.iter().enumerate() {
            classes.turns.clear();
            for action in &lane.actions {
                let first = waits.len() as u32;
                waits_of(action, number as u32, &makers, &mut waits);
                let waits = (first, waits.len() as u32);
                tasks.push(Task {
                    kind: kind(action.op),
                    class: classes.of(lane, action),
                    micro: action.micro.0,
                    waits,
                });
            }
            begins.push(tasks.len() as u32);
        }
        let (loads, distinct) = distinct(rounds);
        let prices = distinct.iter().map(|load| classes.prices(*load)).collect();
        let (domain_of, domains) = domains(program, cost);
        let hand_over = program.lanes.iter().map(|lane| cost.hand_over(lane.device)).collect();
        let wires = Wires::of(program, cost);
        Prepared { program, begins, tasks, waits, domain_of, domains, hand_over, loads, prices, distinct, wires }
    }

    /// Something that takes no finite time; none where all does.
    pub fn endless(&self) -> Option<String> {
        let finite = |price: &Price| price.seconds.0.is_finite();
        let classes = self.prices.iter().find_map(|prices| prices.iter().position(|price| !finite(price)));
        let class = classes? as u32;
        let at = self.tasks.iter().position(|task| task.class == class)?;
        let lane = self.begins.partition_point(|begin| *begin as usize <= at) - 1;
        let held = &self.program.lanes[lane];
        let action = &held.actions[at - self.begins[lane] as usize];
        Some(format!("{} of {}", text::word(self.program, action.op), held.device))
    }

    /// What a slot carries in a round; nothing behind the last.
    fn load(&self, micro: u32, round: usize) -> Option<Load> {
        self.loads.get(round).map(|slots| self.distinct[slots[micro as usize] as usize])
    }

    /// Bytes that a lane's action offers or sends in a round.
    pub fn sent(&self, lane: u32, action: u32, round: usize) -> Bytes {
        let action = &self.program.lanes[lane as usize].actions[action as usize];
        if let Op::Send(chan) = action.op
            && let Carries::Header(micro) = self.program.chans[chan.index()].carries
        {
            let next = self.load(micro.0, round + 1).map_or(0, |load| load.rows());
            return HEADER + HEADER_ROW * u64::from(next);
        }
        let load = self.load(action.micro.0, round);
        load.map_or(Bytes(0), |load| action.work.sent * rows(self.program, action.op, load))
    }

    /// What an action takes in a round.
    pub fn price(&self, task: &Task, round: usize) -> Price {
        self.prices[self.loads[round][task.micro as usize] as usize][task.class as usize]
    }
}

fn kind(op: Op) -> Kind {
    match op {
        Op::Compute(_) => Kind::Compute,
        Op::Send(chan) => Kind::Send(chan.0),
        Op::Recv(chan) => Kind::Recv(chan.0),
        Op::AllReduce(group, _) | Op::AllGather(group, _) => Kind::Meet(group.0),
    }
}

/// Who makes each value: lane, and how many actions of the round it has done then.
fn makers(program: &Program) -> Vec<Wait> {
    let mut makers = vec![Wait { lane: u32::MAX, done: 0 }; program.bufs.len()];
    for (lane, held) in program.lanes.iter().enumerate() {
        for (at, action) in held.actions.iter().enumerate() {
            for buf in &action.makes {
                makers[buf.index()] = Wait { lane: lane as u32, done: at as u32 + 1 };
            }
        }
    }
    makers
}

/// The waits of an action on other lanes, one a lane; its own lane does things in order.
fn waits_of(action: &Action, lane: u32, makers: &[Wait], waits: &mut Vec<Wait>) {
    let first = waits.len();
    for buf in &action.needs {
        let maker = makers[buf.index()];
        if maker.lane == lane || maker.lane == u32::MAX {
            continue;
        }
        match waits[first..].iter_mut().find(|wait| wait.lane == maker.lane) {
            Some(wait) => wait.done = wait.done.max(maker.done),
            None => waits.push(maker),
        }
    }
}

/// Which loads there are, and which of them each round's slots carry.
fn distinct(rounds: &Rounds) -> (Vec<Vec<u32>>, Vec<Load>) {
    let mut numbers: BTreeMap<Load, u32> = BTreeMap::new();
    let mut distinct = Vec::new();
    let mut number = |load: &Load| {
        *numbers.entry(*load).or_insert_with(|| {
            distinct.push(*load);
            distinct.len() as u32 - 1
        })
    };
    let loads = rounds.0.iter().map(|slots| slots.iter().map(&mut number).collect()).collect();
    (loads, distinct)
}

/// Domains of which more than one lane does anything, and one computes; others share nothing.
fn domains(program: &Program, cost: &dyn CostModel) -> (Vec<Option<u32>>, Vec<Domain>) {
    let mut lanes: BTreeMap<u32, (Domain, Vec<usize>)> = BTreeMap::new();
    for (number, lane) in program.lanes.iter().enumerate().filter(|(_, lane)| !lane.actions.is_empty()) {
        let domain = cost.domain(lane.device);
        lanes.entry(domain.id).or_insert((domain, Vec::new())).1.push(number);
    }
    let mut domain_of = vec![None; program.lanes.len()];
    let mut domains = Vec::new();
    for (domain, lanes) in lanes.into_values().filter(|(_, lanes)| lanes.len() > 1) {
        lanes.iter().for_each(|lane| domain_of[*lane] = Some(domains.len() as u32));
        domains.push(domain);
    }
    (domain_of, domains)
}

/// The most that a member of a group brings to a collective.
#[derive(Debug, Clone, Copy, Default)]
struct Offer {
    sent: Bytes,
    elements: u32,
}

impl Offer {
    fn with(self, work: &Work) -> Offer {
        Offer { sent: self.sent.max(work.sent), elements: self.elements.max(work.elements) }
    }
}

/// The classes of a program's actions.
struct Classes<'a> {
    program: &'a Program,
    cost: &'a dyn CostModel,
    numbers: FxHashMap<Class, u32>,
    /// An action of each class, by its device.
    examples: Vec<(DeviceId, Op, Work)>,
    /// For each group, what is offered in its collectives, in their order.
    offers: Vec<Vec<Offer>>,
    /// How many collectives of each group the lane in hand has behind it.
    turns: Vec<(GroupId, usize)>,
}

impl<'a> Classes<'a> {
    fn new(program: &'a Program, cost: &'a dyn CostModel) -> Classes<'a> {
        let (offers, turns) = (vec![Vec::new(); program.groups.len()], Vec::new());
        let mut classes = Classes { program, cost, numbers: FxHashMap::default(), examples: Vec::new(), offers, turns };
        for lane in &program.lanes {
            classes.turns.clear();
            for action in &lane.actions {
                classes.offer(action);
            }
        }
        classes
    }

    fn offer(&mut self, action: &Action) {
        let (Op::AllReduce(group, _) | Op::AllGather(group, _)) = action.op else { return };
        let turn = self.turn(group);
        let offers = &mut self.offers[group.index()];
        match offers.get_mut(turn) {
            Some(most) => *most = most.with(&action.work),
            None => offers.push(Offer::default().with(&action.work)),
        }
    }

    /// Which of its group's collectives the lane in hand comes to.
    fn turn(&mut self, group: GroupId) -> usize {
        match self.turns.iter_mut().find(|(known, _)| *known == group) {
            Some((_, turn)) => {
                *turn += 1;
                *turn
            }
            None => {
                self.turns.push((group, 0));
                0
            }
        }
    }

    /// A lane's actions are asked for from its first to its last.
    fn of(&mut self, lane: &Lane, action: &Action) -> u32 {
        let mut work = action.work;
        let class = match action.op {
            Op::Compute(step) => Class::Compute(self.cost.kind(lane.device), step, work),
            Op::Send(chan) => {
                let chan = &self.program.chans[chan.index()];
                let to = self.program.lanes[chan.to.index()].device;
                Class::Transfer(lane.device, to, work.sent, matches!(chan.carries, Carries::Header(_)))
            }
            Op::Recv(_) => Class::Nothing,
            Op::AllReduce(group, _) | Op::AllGather(group, _) => {
                let turn = self.turn(group);
                let offer = self.offers[group.index()][turn];
                (work.sent, work.elements) = (offer.sent, offer.elements);
                let sum = matches!(action.op, Op::AllReduce(..));
                Class::Collective(if sum { Collective::AllReduce } else { Collective::AllGather }, group.0, work)
            }
        };
        let next = self.examples.len() as u32;
        *self.numbers.entry(class).or_insert_with(|| {
            self.examples.push((lane.device, action.op, work));
            next
        })
    }

    fn prices(&self, load: Load) -> Vec<Price> {
        self.examples.iter().map(|(device, op, work)| self.price(load, *device, *op, work)).collect()
    }

    fn price(&self, load: Load, device: DeviceId, op: Op, work: &Work) -> Price {
        let rows = u64::from(load.rows());
        if rows == 0 {
            return Price::default(); // a slot that carries nothing
        }
        let alone = |seconds| Price { seconds, streamed: Bytes(0) };
        match op {
            Op::Compute(step) => self.cost.compute(device, step, work, load),
            Op::Send(chan) => {
                let Chan { to, carries, .. } = self.program.chans[chan.index()];
                let rows = match carries {
                    Carries::Header(_) => return Price::default(), // some bytes, beside what it announces
                    Carries::Logits { .. } => u64::from(load.sequences),
                    Carries::Residual { .. } => rows,
                };
                alone(self.cost.transfer(device, self.program.lanes[to.index()].device, work.sent * rows))
            }
            Op::Recv(_) => Price::default(),
            Op::AllReduce(group, _) => {
                alone(self.cost.collective(Collective::AllReduce, &self.devices(group), work, load))
            }
            Op::AllGather(group, _) => {
                alone(self.cost.collective(Collective::AllGather, &self.devices(group), work, load))
            }
        }
    }

    /// The devices of a group; a device may have several lanes in it.
    fn devices(&self, group: GroupId) -> Vec<DeviceId> {
        let lanes = &self.program.groups[group.index()].lanes;
        let mut devices: Vec<DeviceId> = lanes.iter().map(|lane| self.program.lanes[lane.index()].device).collect();
        devices.dedup();
        devices
    }
}
