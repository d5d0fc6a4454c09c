//! From plan to program: writes every action and every edge, once.

mod layers;
mod memory;
pub mod order;
mod units;
pub mod work;

use crate::plan::{Exchange, HeadSteps, Overlap, Plan, Slice};
use crate::program::*;
use crate::shard::BLOCK;
use crate::spec::cluster::DeviceId;
use crate::units::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;
use work::Counter;

/// Lowers a plan that `verify::plan` accepts.
///
/// A round takes every micro-batch slot once through all stages. What a slot carries (chunks of prompts, one token of
/// each of several sequences, nothing) is said by a header that the sampling lane sends to each device; so one program
/// serves prompts and generation.
pub fn lower(plan: &Plan) -> Program {
    let mut lowering = Lowering::new(plan);
    match &plan.steps {
        None => lowering.whole_layers(),
        Some(steps) => lowering.units(steps),
    }
    lowering.program
}

/// Where in the model an action belongs, and which part of it is the lane's.
#[derive(Debug, Clone)]
struct At {
    micro: MicroId,
    layer: Option<u32>,
    part: Range<u32>,
    unit: Option<Unit>,
}

impl At {
    fn new(micro: MicroId, layer: Option<u32>, part: Range<u32>) -> At {
        At { micro, layer, part, unit: None }
    }
}

/// Where a lane sits.
#[derive(Debug, Clone, Copy)]
struct Seat {
    stage: usize,
    slice: usize,
    number: u32,
}

struct Lowering<'a> {
    plan: &'a Plan,
    order: order::Slots,
    program: Program,
    seats: Vec<Seat>,
    /// For each stage: the group of all its lanes, and the groups of lanes of equal number.
    all: Vec<GroupId>,
    ranks: Vec<Vec<GroupId>>,
    places: BTreeMap<(DeviceId, PlaceKind, u32), PlaceId>,
    headers: BTreeMap<(DeviceId, u32), ChanId>,
    /// Channels into and out of a lane, in the order of their columns.
    residual: Vec<ChanId>,
    logits: Vec<ChanId>,
    /// Values by name, so that readers and the writer mean the same one whoever comes first.
    values: BTreeMap<Name, BufId>,
}

/// A value by what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    device: DeviceId,
    /// Where it lies; none for pure order.
    kind: Option<PlaceKind>,
    micro: MicroId,
    /// The residual's, when it is made.
    version: u32,
    /// Which part of the place: a lane's, or a unit's.
    part: u32,
    /// Of a sum that grows unit by unit: after which.
    after: u32,
}

impl<'a> Lowering<'a> {
    fn new(plan: &'a Plan) -> Lowering<'a> {
        let mut lowering = Lowering {
            plan,
            order: order::of(plan),
            program: Program {
                lanes: Vec::new(),
                bufs: Vec::new(),
                places: Vec::new(),
                chans: Vec::new(),
                groups: Vec::new(),
                micros: plan.workload.micros,
            },
            seats: Vec::new(),
            all: Vec::new(),
            ranks: Vec::new(),
            places: BTreeMap::new(),
            headers: BTreeMap::new(),
            residual: Vec::new(),
            logits: Vec::new(),
            values: BTreeMap::new(),
        };
        lowering.seat_lanes();
        lowering.link_headers();
        lowering.link_stages();
        lowering.link_logits();
        lowering
    }

    fn seat_lanes(&mut self) {
        for (stage, held) in self.plan.stages.iter().enumerate() {
            let first = self.program.lanes.len() as u32;
            for (slice, part) in held.slices.iter().enumerate() {
                for number in 0..self.width() {
                    let role = if number < self.compute_lanes() { Role::Compute } else { Role::Exchange };
                    self.seats.push(Seat { stage, slice, number });
                    self.program.lanes.push(Lane {
                        device: part.device,
                        stage: StageId(stage as u32),
                        number,
                        role,
                        actions: Vec::new(),
                    });
                }
            }
            let lanes: Vec<LaneId> = (first..self.program.lanes.len() as u32).map(LaneId).collect();
            let width = self.width() as usize;
            let rank = |number: u32| lanes.iter().copied().skip(number as usize).step_by(width).collect();
            let ranks: Vec<Vec<LaneId>> = self.carriers().map(rank).collect();
            let ranks = ranks.into_iter().map(|lanes| self.group(lanes)).collect();
            self.ranks.push(ranks);
            let all = if self.plan.steps.is_none() { self.group(lanes) } else { self.ranks[stage][0] };
            self.all.push(all);
        }
    }

    /// Lanes of a device that compute: where nothing overlaps one does all.
    fn compute_lanes(&self) -> u32 {
        work::compute_lanes(self.plan)
    }

    /// Lanes of a device in all.
    fn width(&self) -> u32 {
        work::lanes(self.plan)
    }

    /// Numbers of the lanes that bring parts together and hand the residual on: all of them, each for its share of the
    /// rows; with the steps cut one for all rows, the lane for exchanges where there is one.
    fn carriers(&self) -> Range<u32> {
        if self.plan.steps.is_some() { self.width() - 1..self.width() } else { 0..self.plan.lanes }
    }

    /// Numbers of the lanes that do what is no head's work, each its share of the rows.
    fn workers(&self) -> Range<u32> {
        match &self.plan.steps {
            Some(HeadSteps { others: Some(lane), overlap: Overlap::Heads | Overlap::Tokens, .. }) => *lane..*lane + 1,
            _ => 0..self.compute_lanes(),
        }
    }

    fn group(&mut self, lanes: Vec<LaneId>) -> GroupId {
        self.program.groups.push(Group { lanes });
        GroupId(self.program.groups.len() as u32 - 1)
    }

    fn chan(&mut self, from: LaneId, to: LaneId, carries: Carries, initial: u32) -> ChanId {
        self.program.chans.push(Chan { from, to, carries, initial });
        ChanId(self.program.chans.len() as u32 - 1)
    }

    /// The lane that sees all logits: the first of the last stage.
    fn sampler(&self) -> LaneId {
        LaneId(self.seats.iter().position(|seat| seat.stage + 1 == self.plan.stages.len()).expect("a stage") as u32)
    }

    fn link_headers(&mut self) {
        let sampler = self.sampler();
        for lane in 0..self.seats.len() {
            if self.seats[lane].number > 0 {
                continue;
            }
            let device = self.program.lanes[lane].device;
            for micro in 0..self.plan.workload.micros {
                let initial = u32::from(self.order.open.contains(&MicroId(micro)));
                let chan = self.chan(sampler, LaneId(lane as u32), Carries::Header(MicroId(micro)), initial);
                self.headers.insert((device, micro), chan);
            }
        }
    }

    /// Columns of the residual that a lane writes.
    fn columns(&self, lane: usize) -> Range<u32> {
        let held = self.rows(lane);
        let part = self.row_part(lane);
        let end = |block: u32| (held.start + block * BLOCK).min(held.end);
        end(part.start)..end(part.end)
    }

    /// Columns of the residual that a lane's device holds.
    fn rows(&self, lane: usize) -> Range<u32> {
        match self.plan.exchange {
            Exchange::Reduce => 0..self.plan.model.width,
            Exchange::Gather => self.slice(lane).rows.clone(),
        }
    }

    fn slice(&self, lane: usize) -> &'a Slice {
        let seat = self.seats[lane];
        &self.plan.stages[seat.stage].slices[seat.slice]
    }

    fn link_stages(&mut self) {
        for to in 0..self.seats.len() {
            let Seat { stage, slice, number } = self.seats[to];
            if stage == 0 || !self.carriers().contains(&number) {
                continue;
            }
            let wanted = self.columns(to);
            let carries = |seat: &Seat| seat.stage + 1 == stage && self.carriers().contains(&seat.number);
            let before: Vec<usize> = (0..self.seats.len()).filter(|from| carries(&self.seats[*from])).collect();
            let slices = self.plan.stages[stage - 1].slices.len();
            // Reducing devices all hold the whole residual: take it from one of them.
            let has = |from: usize| self.plan.exchange == Exchange::Gather || self.seats[from].slice == slice % slices;
            let mut links = Vec::new();
            for from in before.iter().copied().filter(|from| has(*from)) {
                let held = self.columns(from);
                let (start, end) = (wanted.start.max(held.start), wanted.end.min(held.end));
                if start < end {
                    links.push((from, Carries::Residual { start, end }));
                }
            }
            if links.is_empty() {
                // Nothing of the residual is this lane's, but it has to wait for its turn like the others.
                links.push((before[0], Carries::Residual { start: wanted.start, end: wanted.start }));
            }
            for (from, carries) in links {
                let chan = self.chan(LaneId(from as u32), LaneId(to as u32), carries, 0);
                self.residual.push(chan);
            }
        }
    }

    fn link_logits(&mut self) {
        let sampler = self.sampler();
        let home = self.program.lanes[sampler.index()].device;
        for lane in sampler.index()..self.seats.len() {
            let held = &self.slice(lane).vocab;
            let part = self.vocab_part(lane);
            let (start, end) = (held.start + part.start * 16, (held.start + part.end * 16).min(held.end));
            if self.program.lanes[lane].device != home && start < end {
                let chan = self.chan(LaneId(lane as u32), sampler, Carries::Logits { start, end }, 0);
                self.logits.push(chan);
            }
        }
    }

    /// What of some units is a lane's, where these lanes share them.
    fn share_of(&self, lanes: Range<u32>, lane: usize, units: u32) -> Range<u32> {
        let number = self.seats[lane].number.clamp(lanes.start, lanes.end) - lanes.start;
        let count = lanes.end - lanes.start;
        work::piece(units, count, number.min(count - 1))
    }

    /// A worker's share.
    fn share(&self, lane: usize, units: u32) -> Range<u32> {
        self.share_of(self.workers(), lane, units)
    }

    /// Blocks of the residual's rows on this device that a lane brings together.
    fn row_part(&self, lane: usize) -> Range<u32> {
        self.share_of(self.carriers(), lane, self.row_blocks(lane))
    }

    fn row_blocks(&self, lane: usize) -> u32 {
        let held = self.rows(lane);
        (held.end - held.start).div_ceil(BLOCK)
    }

    fn vocab_part(&self, lane: usize) -> Range<u32> {
        let held = &self.slice(lane).vocab;
        if !self.workers().contains(&self.seats[lane].number) {
            return 0..0;
        }
        self.share(lane, (held.end - held.start).div_ceil(16))
    }

    /// All work, layer by layer, split over the lanes by output rows.
    fn whole_layers(&mut self) {
        for lane in 0..self.seats.len() {
            for micro in self.order.turns[self.seats[lane].stage].clone() {
                self.micro(lane, micro);
            }
        }
    }

    /// One micro-batch on one lane.
    fn micro(&mut self, lane: usize, micro: MicroId) {
        let stage = self.seats[lane].stage;
        self.begin(lane, micro);
        for layer in self.plan.stages[stage].layers.clone() {
            self.layer(lane, micro, layer);
        }
        if stage + 1 == self.plan.stages.len() {
            self.finish(lane, micro);
        } else {
            self.hand_on(lane, micro);
        }
    }

    fn begin(&mut self, lane: usize, micro: MicroId) {
        let device = self.program.lanes[lane].device;
        let header = self.part_of(lane, PlaceKind::Header(micro), micro, 0, 0);
        if self.seats[lane].number == 0 {
            let chan = self.headers[&(device, micro.0)];
            self.act(lane, Op::Recv(chan), At::new(micro, None, 0..1), vec![], vec![header]);
        }
        let residual = self.own(lane, PlaceKind::Residual(micro), micro, 0);
        if self.seats[lane].stage == 0 {
            let share = self.seats[lane].number..self.seats[lane].number + 1;
            let embedded = self.own(lane, PlaceKind::Embedded, micro, 0);
            let at = At::new(micro, None, share);
            self.act(lane, Op::Compute(Step::Embed), at, vec![header], vec![embedded]);
            let gather = Op::AllGather(self.all[0], Gathered::Embedded);
            let at = At::new(micro, None, self.row_part(lane));
            self.act(lane, gather, at, vec![embedded], vec![residual]);
            return;
        }
        let into: Vec<ChanId> = self.residual.iter().copied().filter(|chan| self.to(*chan) == lane).collect();
        for chan in into {
            self.act(lane, Op::Recv(chan), At::new(micro, None, 0..1), vec![header], vec![residual]);
        }
    }

    fn to(&self, chan: ChanId) -> usize {
        self.program.chans[chan.index()].to.index()
    }

    fn from(&self, chan: ChanId) -> usize {
        self.program.chans[chan.index()].from.index()
    }

    fn hand_on(&mut self, lane: usize, micro: MicroId) {
        let residual = self.own(lane, PlaceKind::Residual(micro), micro, self.last_version(lane));
        for chan in self.out_of(lane) {
            self.act(lane, Op::Send(chan), At::new(micro, None, 0..1), vec![residual], vec![]);
        }
    }

    /// Channels by which a lane hands the residual on.
    fn out_of(&self, lane: usize) -> Vec<ChanId> {
        self.residual.iter().copied().filter(|chan| self.from(*chan) == lane).collect()
    }

    /// Channels by which a lane's logits go to the lane that samples.
    fn logits_out_of(&self, lane: usize) -> Vec<ChanId> {
        self.logits.iter().copied().filter(|chan| self.from(*chan) == lane).collect()
    }

    fn last_version(&self, lane: usize) -> u32 {
        let layers = &self.plan.stages[self.seats[lane].stage].layers;
        2 * (layers.end - layers.start)
    }

    fn finish(&mut self, lane: usize, micro: MicroId) {
        let version = self.last_version(lane);
        let mut needs = self.normed(lane, At::new(micro, None, 0..0), version, NormSite::Output);
        let logits = self.own(lane, PlaceKind::Logits, micro, 0);
        let at = At::new(micro, None, self.vocab_part(lane));
        if at.part.is_empty() {
            needs.clear(); // reads nothing, and nobody hears when it is done
        }
        self.act(lane, Op::Compute(Step::Logits), at, needs, vec![logits]);
        for chan in self.logits_out_of(lane) {
            self.act(lane, Op::Send(chan), At::new(micro, None, 0..1), vec![logits], vec![]);
        }
        if LaneId(lane as u32) == self.sampler() {
            for (op, needs, makes) in self.sampling(lane, micro) {
                self.act(lane, op, At::new(micro, None, 0..1), needs, makes);
            }
        }
    }

    /// What the lane that samples does: gathers the logits, picks a token, says what comes next.
    fn sampling(&mut self, lane: usize, micro: MicroId) -> Vec<(Op, Vec<BufId>, Vec<BufId>)> {
        let mut actions = Vec::new();
        let mut needs = self.parts_of(lane, PlaceKind::Logits, micro, 0, self.workers());
        for (i, chan) in self.logits.clone().into_iter().enumerate() {
            let made = self.part_of(lane, PlaceKind::Logits, micro, 0, self.plan.lanes + i as u32);
            actions.push((Op::Recv(chan), vec![], vec![made]));
            needs.push(made);
        }
        let token = self.value(lane, None, micro, 0, 0);
        actions.push((Op::Compute(Step::Sample), needs, vec![token]));
        let next = self.order.next[micro.index()];
        let out = self.headers.iter().filter(|((_, m), _)| *m == next.0);
        actions.extend(out.map(|(_, chan)| (Op::Send(*chan), vec![token], vec![])));
        actions
    }

    fn act(&mut self, lane: usize, op: Op, at: At, needs: Vec<BufId>, makes: Vec<BufId>) {
        let work = self.count(lane, op, &at);
        let At { micro, layer, part, unit } = at;
        self.program.lanes[lane].actions.push(Action { op, micro, layer, part, unit, work, needs, makes });
    }

    fn count(&self, lane: usize, op: Op, at: &At) -> Work {
        let seat = self.seats[lane];
        let stage = &self.plan.stages[seat.stage];
        let counter = Counter { plan: self.plan, stage, slice: &stage.slices[seat.slice] };
        match op {
            Op::Compute(step) => counter.step(step, &at.part, at.unit.as_ref()),
            Op::AllGather(_, what) => {
                let work = counter.gather(what, at.unit.as_ref()); // a lane copies its share
                Work { sent: Bytes(work.sent.0.div_ceil(self.carriers().len() as u64)), ..work }
            }
            Op::AllReduce(_, sum) => counter.reduce(&at.part, sum == Summed::Down),
            Op::Recv(_) => Work::default(),
            Op::Send(chan) => {
                let element = u64::from(self.plan.workload.numerics.activations.element_bytes());
                let sent = match self.program.chans[chan.index()].carries {
                    Carries::Header(_) => Bytes(12),
                    Carries::Residual { start, end } | Carries::Logits { start, end } => {
                        Bytes(element * u64::from(end - start))
                    }
                };
                Work { sent, ..Work::default() }
            }
        }
    }

    /// The part of a value that this lane makes.
    fn own(&mut self, lane: usize, kind: PlaceKind, micro: MicroId, version: u32) -> BufId {
        self.part_of(lane, kind, micro, version, self.seats[lane].number)
    }

    /// The parts of a value that all lanes of this lane's device make.
    fn all_of(&mut self, lane: usize, kind: PlaceKind, micro: MicroId, version: u32) -> Vec<BufId> {
        self.parts_of(lane, kind, micro, version, 0..self.plan.lanes)
    }

    fn parts_of(
        &mut self,
        lane: usize,
        kind: PlaceKind,
        micro: MicroId,
        version: u32,
        parts: Range<u32>,
    ) -> Vec<BufId> {
        parts.map(|part| self.part_of(lane, kind, micro, version, part)).collect()
    }

    fn part_of(&mut self, lane: usize, kind: PlaceKind, micro: MicroId, version: u32, part: u32) -> BufId {
        self.value(lane, Some(kind), micro, version, part)
    }

    fn value(&mut self, lane: usize, kind: Option<PlaceKind>, micro: MicroId, version: u32, part: u32) -> BufId {
        let device = self.program.lanes[lane].device;
        self.named(lane, Name { device, kind, micro, version, part, after: 0 })
    }

    fn named(&mut self, lane: usize, name: Name) -> BufId {
        if let Some(known) = self.values.get(&name) {
            return *known;
        }
        let place = name.kind.map(|kind| self.place(lane, kind, name.micro));
        self.program.bufs.push(Buf { place, part: name.part });
        let buf = BufId(self.program.bufs.len() as u32 - 1);
        self.values.insert(name, buf);
        buf
    }

    /// Which of several places of a kind is a micro-batch's.
    fn slot(&self, kind: PlaceKind, micro: MicroId) -> u32 {
        match kind {
            PlaceKind::Header(_) | PlaceKind::Residual(_) => 0, // one for each micro-batch by its kind
            _ => micro.0 % self.plan.steps.as_ref().map_or(1, |steps| steps.interleave.max(1)),
        }
    }

    fn place(&mut self, lane: usize, kind: PlaceKind, micro: MicroId) -> PlaceId {
        let device = self.program.lanes[lane].device;
        let slot = self.slot(kind, micro);
        if let Some(known) = self.places.get(&(device, kind, slot)) {
            return *known;
        }
        let bytes = self.place_bytes(lane, kind);
        self.program.places.push(Place { device, kind, slot, bytes });
        let place = PlaceId(self.program.places.len() as u32 - 1);
        self.places.insert((device, kind, slot), place);
        place
    }
}
