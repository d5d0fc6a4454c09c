//! The small pipeline inside a device: chunks of heads go through the parts of the step cut, each on its lane.
//!
//! A layer has two halves, attention and the MLP. In each, units follow one another: the chunks of a micro-batch, then
//! those of the next where micro-batches take a layer together. A lane that has several parts takes, for each unit that
//! enters, first the unit's earlier part and then the later part of a unit that entered as many units before as its
//! work has left the lane and come back: so two lanes of three parts are busy from the second slot to the last but one.

use super::{At, Lowering, Name, work};
use crate::plan::{Exchange, HeadStep, HeadSteps, Overlap};
use crate::program::*;
use crate::shard::BLOCK;
use std::collections::BTreeSet;
use std::ops::Range;

/// When a device comes to an action: set of micro-batches, half of a layer, turn of the unit, place in the unit.
type Key = (u32, u32, u32, u32);

/// Places of a unit's actions in its turn.
const NORM: u32 = 0;
const GATHER: u32 = 1;
const FIRST: u32 = 2; // and on from here, two for each part
const LAST: u32 = 99;

/// An action with its time.
struct Timed {
    key: Key,
    lane: usize,
    op: Op,
    at: At,
    needs: Vec<BufId>,
    makes: Vec<BufId>,
}

/// One device's round as it is written.
struct Script {
    /// The device's first lane.
    base: usize,
    timed: Vec<Timed>,
}

/// One micro-batch in one half of a layer.
#[derive(Clone, Copy)]
struct Half {
    micro: MicroId,
    layer: u32,
    /// The residual's version before it.
    version: u32,
    /// Which of the micro-batches that take the layer together.
    index: u32,
    /// Set and half, the beginning of its keys.
    key: (u32, u32),
}

impl Half {
    fn at(&self, part: Range<u32>) -> At {
        At::new(self.micro, Some(self.layer), part)
    }

    fn key(&self, turn: u32, place: u32) -> Key {
        (self.key.0, self.key.1, turn, place)
    }
}

impl Script {
    fn add(&mut self, key: Key, lane: usize, op: Op, at: At, needs: Vec<BufId>, makes: Vec<BufId>) {
        self.timed.push(Timed { key, lane, op, at, needs, makes });
    }
}

impl Lowering<'_> {
    /// Every device's actions.
    pub(super) fn units(&mut self, steps: &HeadSteps) {
        let width = self.width() as usize;
        for base in (0..self.seats.len()).step_by(width) {
            let mut script = Script { base, timed: Vec::new() };
            let together = if steps.overlap == Overlap::None { 1 } else { steps.interleave.max(1) };
            let turns = self.order.turns[self.seats[base].stage].clone();
            for (set, micros) in turns.chunks(together as usize).enumerate() {
                self.set(&mut script, steps, set as u32, micros);
            }
            script.timed.sort_by_key(|timed| timed.key);
            self.write(script);
        }
    }

    /// Writes a device's round. Each lane looks at a micro-batch's header before its first action for it.
    fn write(&mut self, script: Script) {
        let mut looked = BTreeSet::new();
        for Timed { lane, op, at, mut needs, makes, .. } in script.timed {
            let header = self.part_of(lane, PlaceKind::Header(at.micro), at.micro, 0, 0);
            if looked.insert((lane, at.micro)) && !makes.contains(&header) && !needs.contains(&header) {
                needs.push(header);
            }
            self.act(lane, op, at, needs, makes);
        }
    }

    /// Micro-batches that take each layer together, from the first of the stage's layers to the last.
    fn set(&mut self, script: &mut Script, steps: &HeadSteps, set: u32, micros: &[MicroId]) {
        let stage = self.seats[script.base].stage;
        let layers = self.plan.stages[stage].layers.clone();
        for (index, micro) in micros.iter().enumerate() {
            let index = index as u32;
            self.enter(script, (set, 0, index, 0), *micro);
            for (i, layer) in layers.clone().enumerate() {
                let version = 2 * i as u32;
                let half =
                    |h: u32| Half { micro: *micro, layer, version: version + h, index, key: (set, 1 + version + h) };
                self.attention_units(script, steps, half(0));
                self.mlp_units(script, half(1));
            }
            self.leave(script, (set, 1 + 2 * layers.len() as u32, index, 0), *micro);
        }
    }

    fn carrier(&self, script: &Script) -> usize {
        script.base + self.carriers().start as usize
    }

    fn worker_lanes(&self, script: &Script) -> Vec<usize> {
        self.workers().map(|number| script.base + number as usize).collect()
    }

    /// The residual comes in: embedded, or from the stage before.
    fn enter(&mut self, script: &mut Script, key: Key, micro: MicroId) {
        let (base, carrier) = (script.base, self.carrier(script));
        let device = self.program.lanes[base].device;
        let whole = At::new(micro, None, 0..1);
        let header = self.part_of(base, PlaceKind::Header(micro), micro, 0, 0);
        let chan = self.headers[&(device, micro.0)];
        script.add(key, base, Op::Recv(chan), whole.clone(), vec![], vec![header]);
        let residual = self.own(carrier, PlaceKind::Residual(micro), micro, 0);
        if self.seats[base].stage > 0 {
            let into: Vec<ChanId> = self.residual.iter().copied().filter(|chan| self.to(*chan) == carrier).collect();
            for chan in into {
                script.add(key, carrier, Op::Recv(chan), whole.clone(), vec![header], vec![residual]);
            }
            return;
        }
        let mut embedded = Vec::new();
        for (share, lane) in (0..).zip(self.worker_lanes(script)) {
            let made = self.own(lane, PlaceKind::Embedded, micro, 0);
            let at = At::new(micro, None, share..share + 1);
            script.add(key, lane, Op::Compute(Step::Embed), at, vec![header], vec![made]);
            embedded.push(made);
        }
        let gather = Op::AllGather(self.all[0], Gathered::Embedded);
        let at = At::new(micro, None, self.row_part(carrier));
        script.add((key.0, key.1, key.2, LAST), carrier, gather, at, embedded, vec![residual]);
    }

    /// Normalises the residual, each worker its share of the rows; gives what the products need.
    fn norm_units(&mut self, script: &mut Script, half: Half, site: NormSite, turn: u32) -> Vec<BufId> {
        let carrier = self.carrier(script);
        let residual = self.residual(script, half.micro, half.version);
        let kind = match self.plan.exchange {
            Exchange::Reduce => PlaceKind::NormedAll,
            Exchange::Gather => PlaceKind::NormedPart(site),
        };
        let mut parts = Vec::new();
        for lane in self.worker_lanes(script) {
            let part = self.share(lane, self.row_blocks(lane));
            if part.is_empty() {
                continue;
            }
            let made = self.own(lane, kind, half.micro, half.version);
            let step = Op::Compute(Step::Norm(site));
            script.add(half.key(turn, NORM), lane, step, half.at(part), residual.clone(), vec![made]);
            parts.push(made);
        }
        if self.plan.exchange == Exchange::Reduce {
            return parts;
        }
        let group = self.all[self.seats[script.base].stage];
        let all = self.own(carrier, PlaceKind::NormedAll, half.micro, half.version);
        let op = Op::AllGather(group, Gathered::Normed(site));
        script.add(half.key(turn, GATHER), carrier, op, half.at(0..1), parts, vec![all]);
        vec![all]
    }

    fn attention_units(&mut self, script: &mut Script, steps: &HeadSteps, half: Half) {
        let stage = &self.plan.stages[self.seats[script.base].stage];
        let chunks = work::chunks(self.plan, stage);
        let first = half.index * chunks;
        let normed = self.norm_units(script, half, NormSite::Attention, first);
        let mut sum = None;
        for number in 0..chunks {
            let heads = work::unit_heads(self.plan, self.slice(script.base), number);
            let chunk = Chunk { half, unit: Unit { number, heads }, turn: first + number, last: number + 1 == chunks };
            sum = self.chunk_parts(script, steps, &chunk, &normed, sum);
        }
        if self.plan.exchange == Exchange::Reduce {
            let turn = first + chunks - 1 + excursions(steps, steps.lanes.len() - 1);
            self.reduce(script, half, turn, (Summed::Merge, sum.into_iter().collect()));
        }
    }

    /// One chunk of heads through all parts. Gives the sum over the chunks so far.
    fn chunk_parts(
        &mut self,
        script: &mut Script,
        steps: &HeadSteps,
        chunk: &Chunk,
        normed: &[BufId],
        sum: Option<BufId>,
    ) -> Option<BufId> {
        let Chunk { half, unit, .. } = chunk;
        let mut sum = sum;
        for (i, part) in steps.cut.parts().iter().enumerate() {
            let lane = script.base + part_lane(steps, i) as usize;
            let key = half.key(chunk.turn + excursions(steps, i), FIRST + 2 * i as u32);
            for step in work::steps_of(part) {
                if step == Step::Merge {
                    sum = self.merge_chunk(script, steps, chunk, lane, sum);
                } else if !unit.heads.is_empty() {
                    let (needs, makes) = self.head_values(lane, step, *half, unit, normed);
                    script.add(key, lane, Op::Compute(step), chunk.at(0..1), needs, makes);
                }
            }
        }
        sum
    }

    /// The output projection of a chunk's heads: added to the sum so far.
    fn merge_chunk(
        &mut self,
        script: &mut Script,
        steps: &HeadSteps,
        chunk: &Chunk,
        lane: usize,
        sum: Option<BufId>,
    ) -> Option<BufId> {
        let Chunk { half, unit, last, .. } = chunk;
        let i = steps.lanes.len() - 1;
        let gather = self.plan.exchange == Exchange::Gather;
        if !gather && unit.heads.is_empty() {
            return sum;
        }
        let late = u32::from(gather && steps.overlap != Overlap::None); // while the chunk travels, the next is begun
        let key = half.key(chunk.turn + excursions(steps, i) + late, FIRST + 2 * i as u32);
        let mut needs = self.attended(script, steps, chunk);
        needs.extend(sum);
        let made = if gather && *last {
            needs.extend(self.residual(script, half.micro, half.version));
            let carrier = self.carrier(script);
            self.own(carrier, PlaceKind::Residual(half.micro), half.micro, half.version + 1)
        } else {
            self.after(lane, PlaceKind::Partial(Summed::Merge), *half, (0, unit.number))
        };
        let rows = 0..self.row_blocks(lane);
        if rows.is_empty() {
            return None; // its heads have left, and no rows are its own
        }
        script.add(key, lane, Op::Compute(Step::Merge), chunk.at(rows), needs, vec![made]);
        Some(made)
    }

    /// The parts of the residual on a device: what the MLP's workers made, or what one lane did.
    fn residual(&mut self, script: &Script, micro: MicroId, version: u32) -> Vec<BufId> {
        let carrier = self.carrier(script);
        let by_workers = self.plan.exchange == Exchange::Gather && version > 0 && version.is_multiple_of(2);
        let parts = if by_workers { self.workers() } else { self.carriers() };
        let holds = |number: &u32| {
            let lane = script.base + *number as usize;
            self.row_blocks(carrier) > 0 && (!by_workers || !self.share(lane, self.row_blocks(lane)).is_empty())
        };
        let parts: Vec<u32> = parts.filter(holds).collect();
        let kind = PlaceKind::Residual(micro);
        parts.into_iter().map(|part| self.part_of(carrier, kind, micro, version, part)).collect()
    }

    /// What a step of a chunk before the merge needs and makes.
    fn head_values(
        &mut self,
        lane: usize,
        step: Step,
        half: Half,
        unit: &Unit,
        normed: &[BufId],
    ) -> (Vec<BufId>, Vec<BufId>) {
        let mut own = |kind, after| self.after(lane, kind, half, (unit.number, after));
        match step {
            Step::Project => (normed.to_vec(), vec![own(PlaceKind::Queries, 0)]),
            Step::Softmax => (vec![own(PlaceKind::Scores, 0)], vec![own(PlaceKind::Scores, 1)]),
            Step::Context => (vec![own(PlaceKind::Scores, 1)], vec![own(PlaceKind::Attended, 0)]),
            _ => {
                let kind = if step == Step::Score { PlaceKind::Scores } else { PlaceKind::Attended };
                let made = own(kind, 0);
                let mut needs = vec![own(PlaceKind::Queries, 0)];
                needs.extend(self.projected_before(lane, half, unit));
                (needs, vec![made])
            }
        }
    }

    /// The earlier chunk that projected a KV head which this one needs too.
    fn projected_before(&mut self, lane: usize, half: Half, unit: &Unit) -> Option<BufId> {
        let model = &self.plan.model;
        let group = model.heads / model.kv_heads;
        let held = self.slice(lane).heads.start;
        let head = (unit.heads.start / group * group).max(held);
        let owner = (head - held) / work::chunk_size(self.plan);
        (owner < unit.number).then(|| self.part_of(lane, PlaceKind::Queries, half.micro, half.version, owner))
    }

    /// A value that takes the place of an earlier one of the same name.
    fn after(&mut self, lane: usize, kind: PlaceKind, half: Half, (part, after): (u32, u32)) -> BufId {
        let Half { micro, version, .. } = half;
        let device = self.program.lanes[lane].device;
        self.named(lane, Name { device, kind: Some(kind), micro, version, part, after })
    }

    /// What a merge needs of the heads: its own, or with gather the chunk of all devices.
    fn attended(&mut self, script: &mut Script, steps: &HeadSteps, chunk: &Chunk) -> Vec<BufId> {
        let Chunk { half, unit, .. } = chunk;
        let own = self.part_of(script.base, PlaceKind::Attended, half.micro, half.version, unit.number);
        let mine = if unit.heads.is_empty() { vec![] } else { vec![own] };
        if self.plan.exchange == Exchange::Reduce {
            return mine;
        }
        let carrier = self.carrier(script);
        let all = self.part_of(carrier, PlaceKind::AttendedAll, half.micro, half.version, unit.number);
        let context = |part: &Vec<HeadStep>| part.contains(&HeadStep::Context);
        let made_by = steps.cut.parts().iter().position(context).expect("all five steps");
        // In the same place as the step before it, so behind it in a lane that does both.
        let key = half.key(chunk.turn + excursions(steps, made_by), FIRST + 2 * made_by as u32);
        let group = self.all[self.seats[script.base].stage];
        script.add(key, carrier, Op::AllGather(group, Gathered::Attended), chunk.at(0..1), mine, vec![all]);
        vec![all]
    }

    /// Brings the partial sums together.
    fn reduce(&mut self, script: &mut Script, half: Half, turn: u32, (sum, partial): (Summed, Vec<BufId>)) {
        let carrier = self.carrier(script);
        let part = self.row_part(carrier);
        let mut needs = partial;
        needs.extend(self.residual(script, half.micro, half.version));
        let made = self.own(carrier, PlaceKind::Residual(half.micro), half.micro, half.version + 1);
        let group = self.ranks[self.seats[script.base].stage][0];
        script.add(half.key(turn, LAST), carrier, Op::AllReduce(group, sum), half.at(part), needs, vec![made]);
    }

    fn mlp_units(&mut self, script: &mut Script, half: Half) {
        let stage = &self.plan.stages[self.seats[script.base].stage];
        let pieces = work::pieces(self.plan, stage);
        let first = half.index * pieces;
        let normed = self.norm_units(script, half, NormSite::Mlp, first);
        let mut sums: Vec<Vec<BufId>> = vec![Vec::new(); self.workers().len()];
        for number in 0..pieces {
            let unit = Unit { number, heads: 0..0 };
            let hidden = self.gate_up(script, half, &unit, first + number, &normed);
            self.downs(script, half, &unit, (first + number, pieces), &hidden, &mut sums);
        }
        if self.plan.exchange == Exchange::Reduce {
            self.reduce(script, half, first + pieces, (Summed::Down, sums.concat()));
        }
    }

    /// Gate, up and activation of a piece; gives what `down` needs.
    fn gate_up(&mut self, script: &mut Script, half: Half, unit: &Unit, turn: u32, normed: &[BufId]) -> Vec<BufId> {
        let stage = &self.plan.stages[self.seats[script.base].stage];
        let columns = work::piece_columns(self.plan, stage, self.slice(script.base), unit.number);
        let blocks = (columns.end - columns.start).div_ceil(BLOCK);
        let workers = self.workers();
        let count = workers.end - workers.start;
        let mut made = Vec::new();
        for (i, lane) in (0..).zip(self.worker_lanes(script)) {
            let part = self.share(lane, blocks);
            let hidden = self.part_of(lane, PlaceKind::Hidden, half.micro, half.version, unit.number * count + i);
            let at = At { unit: Some(unit.clone()), ..half.at(part) };
            script.add(half.key(turn, FIRST), lane, Op::Compute(Step::GateUp), at, normed.to_vec(), vec![hidden]);
            made.push(hidden);
        }
        if self.plan.exchange == Exchange::Reduce {
            return made;
        }
        let carrier = self.carrier(script);
        let all = self.part_of(carrier, PlaceKind::HiddenAll, half.micro, half.version, unit.number);
        let group = self.all[self.seats[script.base].stage];
        let at = At { unit: Some(unit.clone()), ..half.at(0..1) };
        let op = Op::AllGather(group, Gathered::Hidden);
        script.add(half.key(turn, FIRST + 1), carrier, op, at, made, vec![all]);
        vec![all]
    }

    /// The down projection of a piece, each worker its share of the rows.
    fn downs(
        &mut self,
        script: &mut Script,
        half: Half,
        unit: &Unit,
        (turn, pieces): (u32, u32),
        hidden: &[BufId],
        sums: &mut [Vec<BufId>],
    ) {
        let gather = self.plan.exchange == Exchange::Gather;
        let last = unit.number + 1 == pieces;
        let late = u32::from(pieces > 1);
        for (lane, sum) in self.worker_lanes(script).into_iter().zip(sums) {
            let part = self.share(lane, self.row_blocks(lane));
            let number = self.seats[lane].number;
            if gather && part.is_empty() {
                continue;
            }
            let mut needs = hidden.to_vec();
            needs.append(sum);
            let made = if gather && last {
                needs.extend(self.residual(script, half.micro, half.version));
                self.part_of(lane, PlaceKind::Residual(half.micro), half.micro, half.version + 1, number)
            } else {
                self.after(lane, PlaceKind::Partial(Summed::Down), half, (number, unit.number))
            };
            let at = At { unit: Some(unit.clone()), ..half.at(part) };
            let key = half.key(turn + late, FIRST + 2);
            script.add(key, lane, Op::Compute(Step::Down), at, needs, vec![made]);
            sum.push(made);
        }
    }

    /// The residual goes on, or becomes logits and a token.
    fn leave(&mut self, script: &mut Script, key: Key, micro: MicroId) {
        let carrier = self.carrier(script);
        let version = self.last_version(script.base);
        if self.seats[script.base].stage + 1 == self.plan.stages.len() {
            return self.logits_units(script, (key.0, key.1), key.2, micro);
        }
        let residual = self.residual(script, micro, version);
        for chan in self.out_of(carrier) {
            script.add(key, carrier, Op::Send(chan), At::new(micro, None, 0..1), residual.clone(), vec![]);
        }
    }

    /// Logits of each worker's vocabulary rows; the sampling lane picks a token.
    fn logits_units(&mut self, script: &mut Script, key: (u32, u32), index: u32, micro: MicroId) {
        let half = Half { micro, layer: 0, version: self.last_version(script.base), index, key };
        let needs = match self.plan.exchange {
            Exchange::Reduce => self.residual(script, micro, half.version),
            Exchange::Gather => {
                let from = script.timed.len();
                let needs = self.norm_units(script, half, NormSite::Output, index);
                script.timed[from..].iter_mut().for_each(|timed| timed.at.layer = None);
                needs
            }
        };
        for lane in self.worker_lanes(script) {
            let at = At::new(micro, None, self.vocab_part(lane));
            let logits = self.own(lane, PlaceKind::Logits, micro, 0);
            let needs = if at.part.is_empty() { vec![] } else { needs.clone() };
            script.add(half.key(index, FIRST), lane, Op::Compute(Step::Logits), at, needs, vec![logits]);
            for chan in self.logits_out_of(lane) {
                let at = At::new(micro, None, 0..1);
                script.add(half.key(index, FIRST + 1), lane, Op::Send(chan), at, vec![logits], vec![]);
            }
        }
        if LaneId(script.base as u32) == self.sampler() {
            for (op, needs, makes) in self.sampling(script.base, micro) {
                script.add(half.key(index, LAST), script.base, op, At::new(micro, None, 0..1), needs, makes);
            }
        }
    }
}

/// A chunk of heads in one half of a layer.
struct Chunk {
    half: Half,
    unit: Unit,
    turn: u32,
    /// It is the layer's last of this micro-batch.
    last: bool,
}

impl Chunk {
    fn at(&self, part: Range<u32>) -> At {
        At { unit: Some(self.unit.clone()), ..self.half.at(part) }
    }
}

/// The lane of a part: where nothing overlaps one does all.
fn part_lane(steps: &HeadSteps, i: usize) -> u32 {
    if steps.overlap == Overlap::None { 0 } else { steps.lanes[i] }
}

/// How many units may enter before a unit comes to part `i`: the most often that its work has left a lane and come back.
fn excursions(steps: &HeadSteps, i: usize) -> u32 {
    if steps.overlap == Overlap::None {
        return 0;
    }
    let returns = |part: usize| {
        let runs = (0..=part).filter(|at| *at == 0 || steps.lanes[*at] != steps.lanes[at - 1]);
        runs.filter(|at| steps.lanes[*at] == steps.lanes[part]).count() as u32 - 1
    };
    (0..=i).map(returns).max().unwrap_or(0)
}
