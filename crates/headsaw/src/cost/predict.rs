//! The time of a plan in closed form, without lowering and playing it.
//!
//! A stage's devices meet after each half of a layer, so a half takes as long as its slowest device, and then the
//! exchange. Stages that equal micro-batches go through take `Σ t + (m − 1) · max t` (a permutation flow shop; GPipe,
//! arXiv 1811.06965, section 2.3, counts its bubble the same way); chunks of heads through the parts of a step cut on
//! lanes of their own likewise. `simulate` gives the same times where slices are equal; `tests/closed_form.rs` holds that.

use super::Load;
use super::model::{Collective, CostModel, HandOver};
use crate::lower::work::{self, Counter, part_of as len};
use crate::plan::{Exchange, HeadSteps, Order, Overlap, Plan, Slice, Stage};
use crate::program::{Gathered, NormSite, Step, Unit, Work};
use crate::shard::BLOCK;
use crate::spec::cluster::DeviceId;
use crate::units::{Bytes, Seconds};
use std::ops::Range;

/// Seconds from the first start to the last end of one round of equal micro-batches; none where only a simulation can
/// tell: lanes that share work, overlap by tokens, the gather exchange with units in flight.
pub fn predict(plan: &Plan, cost: &dyn CostModel, load: Load) -> Option<Seconds> {
    StageTimes::of(plan, cost, load).map(|times| times.seconds(plan.workload.micros, plan.order))
}

/// What one micro-batch takes in each stage: a search that changes only the number of micro-batches, or moves layers
/// between equal stages, need not price anything again.
#[derive(Debug, Clone, PartialEq)]
pub struct StageTimes {
    /// Layers of each stage, and seconds of one of them.
    pub layers: Vec<(u32, f64)>,
    /// The first stage's embedding.
    pub enter: f64,
    /// What each stage but the last sends to the next.
    pub hand_on: Vec<f64>,
    /// The last stage's logits and sampling.
    pub finish: f64,
}

impl StageTimes {
    /// None where there is no closed form.
    pub fn of(plan: &Plan, cost: &dyn CostModel, load: Load) -> Option<StageTimes> {
        if !has_closed_form(plan, cost) {
            return None;
        }
        let stages: Vec<Timed> = plan.stages.iter().map(|stage| Timed::new(plan, cost, load, stage)).collect();
        let mut layers: Vec<(u32, f64)> = Vec::with_capacity(stages.len());
        for (i, stage) in stages.iter().enumerate() {
            let known = stages[..i].iter().position(|other| other.layers_take_the_same(stage));
            let seconds = known.map_or_else(|| stage.layer(), |known| layers[known].1);
            layers.push((stage.layers(), seconds));
        }
        Some(StageTimes {
            layers,
            enter: stages[0].enter(),
            hand_on: plan.stages[1..].iter().zip(&stages).map(|(next, stage)| stage.hand_on(next)).collect(),
            finish: stages[stages.len() - 1].finish(),
        })
    }

    /// The time of so many equal micro-batches.
    pub fn seconds(&self, micros: u32, order: Order) -> Seconds {
        let last = self.layers.len() - 1;
        let (mut sum, mut longest) = (0.0, 0.0f64);
        for (stage, (layers, seconds)) in self.layers.iter().enumerate() {
            let enter = if stage == 0 { self.enter } else { 0.0 };
            let leave = if stage == last { self.finish } else { self.hand_on[stage] };
            let seconds = enter + f64::from(*layers) * seconds + leave;
            sum += seconds;
            longest = longest.max(seconds);
        }
        let period = if order == Order::Sequential { sum } else { longest };
        Seconds(sum + f64::from(micros.saturating_sub(1)) * period)
    }
}

fn has_closed_form(plan: &Plan, cost: &dyn CostModel) -> bool {
    let device = plan.stages[0].slices[0].device;
    let last = plan.slices().map(|(_, slice)| slice.device).max().unwrap_or(device);
    if cost.link(device, last).is_some() {
        return false; // who comes through a port first decides
    }
    let lanes = plan.devices.len() as u32 * work::lanes(plan);
    if lanes > 1 && cost.hand_over(device) != HandOver::default() {
        return false; // who waits for whom decides
    }
    match &plan.steps {
        None => plan.lanes == 1,
        Some(steps) if steps.overlap == Overlap::None => true,
        Some(steps) => {
            let distinct = (1..steps.lanes.len()).all(|i| !steps.lanes[..i].contains(&steps.lanes[i]));
            let workers_alone = steps.others.is_some() || plan.lanes == 1;
            let capacity = cost.domain(device).capacity;
            let undisturbed = capacity.speed(2, 1) >= 1.0;
            undisturbed
                && distinct
                && workers_alone
                && steps.overlap == Overlap::Heads
                && steps.interleave == 1
                && plan.exchange == Exchange::Reduce
                && plan.workload.micros == 1
        }
    }
}

/// One stage with one load.
struct Timed<'a> {
    plan: &'a Plan,
    cost: &'a dyn CostModel,
    load: Load,
    stage: &'a Stage,
    devices: Vec<DeviceId>,
}

impl<'a> Timed<'a> {
    fn new(plan: &'a Plan, cost: &'a dyn CostModel, load: Load, stage: &'a Stage) -> Timed<'a> {
        Timed { plan, cost, load, stage, devices: stage.slices.iter().map(|slice| slice.device).collect() }
    }

    /// Equal slices on equal devices: then their layers take the same time, as long as the links between them do.
    fn layers_take_the_same(&self, other: &Timed) -> bool {
        let same = |(a, b): (&Slice, &Slice)| {
            self.shape(a) == self.shape(b) && self.cost.kind(a.device) == self.cost.kind(b.device)
        };
        let (mine, theirs) = (&self.stage.slices, &other.stage.slices);
        mine.len() == theirs.len() && mine.iter().zip(theirs).all(same) && self.links() == other.links()
    }

    /// What tells the links of two stages apart: how long one of their exchanges takes.
    fn links(&self) -> f64 {
        if self.gathers() { self.gather(Gathered::Normed(NormSite::Attention), None) } else { self.reduce(false) }
    }

    fn layers(&self) -> u32 {
        self.stage.layers.end - self.stage.layers.start
    }

    fn gathers(&self) -> bool {
        self.plan.exchange == Exchange::Gather
    }

    fn counter<'b>(&'b self, slice: &'b Slice) -> Counter<'b> {
        Counter { plan: self.plan, stage: self.stage, slice }
    }

    /// The slowest of the stage's devices; equal slices are counted once.
    fn slowest(&self, seconds: impl Fn(&Slice) -> f64) -> f64 {
        self.slowest_of(&self.stage.slices, seconds)
    }

    fn slowest_of(&self, slices: &[Slice], seconds: impl Fn(&Slice) -> f64) -> f64 {
        let mut seen = None;
        let mut most = 0.0f64;
        for slice in slices {
            let shape = (self.shape(slice), self.cost.kind(slice.device));
            if seen != Some(shape) {
                most = most.max(seconds(slice));
                seen = Some(shape);
            }
        }
        most
    }

    /// What makes two slices take the same time.
    fn shape(&self, slice: &Slice) -> [u32; 5] {
        let kv_heads = slice.kv_heads(&self.plan.model);
        let rows = if self.gathers() { len(&slice.rows) } else { 0 };
        [len(&slice.heads), len(&kv_heads), len(&slice.ffn), rows, len(&slice.vocab)]
    }

    fn step(&self, slice: &Slice, step: Step, part: Range<u32>, unit: Option<&Unit>) -> f64 {
        let work = self.counter(slice).step(step, &part, unit);
        self.cost.compute(slice.device, step, &work, self.load).seconds.0
    }

    /// Blocks of the residual that a device adds up.
    fn row_blocks(&self, slice: &Slice) -> u32 {
        if self.gathers() { len(&slice.rows).div_ceil(BLOCK) } else { self.plan.model.width.div_ceil(BLOCK) }
    }

    fn collective(&self, what: Collective, work: impl Fn(&Slice) -> Work) -> f64 {
        let mut most = work(&self.stage.slices[0]);
        most.sent = self.stage.slices.iter().map(|slice| work(slice).sent).max().unwrap_or(Bytes(0));
        self.cost.collective(what, &self.devices, &most, self.load).0
    }

    fn reduce(&self, mlp: bool) -> f64 {
        self.collective(Collective::AllReduce, |slice| self.counter(slice).reduce(&(0..self.row_blocks(slice)), mlp))
    }

    fn gather(&self, what: Gathered, unit: Option<&Unit>) -> f64 {
        self.collective(Collective::AllGather, |slice| self.counter(slice).gather(what, unit))
    }

    /// Normalising as a step of its own, and with gather the exchange of it.
    fn norm(&self, site: NormSite) -> f64 {
        if self.plan.steps.is_none() && !self.gathers() {
            return 0.0; // a part of the product's step
        }
        let own = self.slowest(|slice| self.step(slice, Step::Norm(site), 0..self.row_blocks(slice), None));
        own + if self.gathers() { self.gather(Gathered::Normed(site), None) } else { 0.0 }
    }

    fn layer(&self) -> f64 {
        self.norm(NormSite::Attention) + self.attention() + self.norm(NormSite::Mlp) + self.mlp()
    }

    fn attention(&self) -> f64 {
        match &self.plan.steps {
            None => self.whole_attention(),
            Some(steps) if self.gathers() => self.gathered_chunks(steps),
            Some(steps) => self.slowest(|slice| self.chunks(steps, slice)) + self.reduce(false),
        }
    }

    /// All heads at once.
    fn whole_attention(&self) -> f64 {
        let heads = |slice: &Slice| {
            let projected = work::projected_parts(&self.plan.model, slice);
            self.step(slice, Step::Project, 0..projected, None) + self.step(slice, Step::Attend, 0..1, None)
        };
        let merge = |slice: &Slice| self.step(slice, Step::Merge, 0..self.row_blocks(slice), None);
        if self.gathers() {
            return self.slowest(heads) + self.gather(Gathered::Attended, None) + self.slowest(merge);
        }
        self.slowest(|slice| heads(slice) + merge(slice)) + self.reduce(false)
    }

    /// Chunks of heads through the parts of the step cut: one after another, or each part on its own lane.
    fn chunks(&self, steps: &HeadSteps, slice: &Slice) -> f64 {
        let count = work::chunks(self.plan, self.stage);
        let mut done = [0.0f64; 5]; // when each part is through with the chunks so far
        for number in 0..count {
            let heads = work::unit_heads(self.plan, slice, number);
            if heads.is_empty() {
                break;
            }
            let unit = Unit { number, heads };
            let mut before = if steps.overlap == Overlap::None { done[0] } else { 0.0 };
            for (i, part) in steps.cut.parts().iter().enumerate() {
                let seconds: f64 = work::steps_of(part).map(|step| self.unit(slice, step, &unit)).sum();
                before = before.max(done[i]) + seconds;
                done[i] = before;
            }
            if steps.overlap == Overlap::None {
                done = [before; 5];
            }
        }
        done[steps.cut.parts().len() - 1]
    }

    fn unit(&self, slice: &Slice, step: Step, unit: &Unit) -> f64 {
        let part = if step == Step::Merge { 0..self.row_blocks(slice) } else { 0..1 };
        if unit.heads.is_empty() && step != Step::Merge { 0.0 } else { self.step(slice, step, part, Some(unit)) }
    }

    /// (gather, nothing overlaps) Each chunk is gathered and merged before the next begins.
    fn gathered_chunks(&self, steps: &HeadSteps) -> f64 {
        let mut seconds = 0.0;
        for number in 0..work::chunks(self.plan, self.stage) {
            let unit = |slice: &Slice| Unit { number, heads: work::unit_heads(self.plan, slice, number) };
            let heads = |slice: &Slice| -> f64 {
                let all = steps.cut.parts().iter().flat_map(|part| work::steps_of(part));
                all.filter(|step| *step != Step::Merge).map(|step| self.unit(slice, step, &unit(slice))).sum()
            };
            let attended = |slice: &Slice| self.counter(slice).gather(Gathered::Attended, Some(&unit(slice)));
            seconds += self.slowest(heads)
                + self.collective(Collective::AllGather, attended)
                + self.slowest(|slice| self.unit(slice, Step::Merge, &unit(slice)));
        }
        seconds
    }

    fn mlp(&self) -> f64 {
        let unit = Unit { number: 0, heads: 0..0 };
        let unit = self.plan.steps.as_ref().map(|_| &unit);
        let blocks = |slice: &Slice| len(&slice.ffn).div_ceil(BLOCK);
        let up = |slice: &Slice| self.step(slice, Step::GateUp, 0..blocks(slice), unit);
        let down = |slice: &Slice| self.step(slice, Step::Down, 0..self.row_blocks(slice), unit);
        if self.gathers() {
            return self.slowest(up) + self.gather(Gathered::Hidden, unit) + self.slowest(down);
        }
        self.slowest(|slice| up(slice) + down(slice)) + self.reduce(true)
    }

    fn enter(&self) -> f64 {
        self.slowest(|slice| self.step(slice, Step::Embed, 0..1, None)) + self.gather(Gathered::Embedded, None)
    }

    /// To the next stage: what each device sends, one message after another.
    fn hand_on(&self, next: &Stage) -> f64 {
        let element = u64::from(self.plan.workload.numerics.activations.element_bytes());
        let bytes = Bytes(element * u64::from(self.plan.model.width)) * u64::from(self.load.rows());
        let width = u64::from(self.plan.model.width);
        let from = |i: usize| &self.stage.slices[i % self.stage.slices.len()];
        let sent = |(i, to): (usize, &Slice)| {
            let share = if self.gathers() { u64::from(len(&to.rows)) } else { width };
            self.cost.transfer(from(i).device, to.device, Bytes(bytes.0 / width * share)).0
        };
        next.slices.iter().enumerate().map(sent).fold(0.0, f64::max)
    }

    /// Logits, brought to the device that samples.
    fn finish(&self) -> f64 {
        let normed = if self.gathers() { self.norm(NormSite::Output) } else { 0.0 };
        let element = u64::from(self.plan.workload.numerics.activations.element_bytes());
        let home = self.stage.slices[0].device;
        let arrives = |slice: &Slice| {
            let logits = self.step(slice, Step::Logits, 0..len(&slice.vocab).div_ceil(16), None);
            let bytes = Bytes(element * u64::from(len(&slice.vocab))) * u64::from(self.load.sequences);
            let sent = if slice.device == home { 0.0 } else { self.cost.transfer(slice.device, home, bytes).0 };
            logits + sent
        };
        let logits = arrives(&self.stage.slices[0]).max(self.slowest_of(&self.stage.slices[1..], arrives));
        normed + logits + self.step(&self.stage.slices[0], Step::Sample, 0..1, None)
    }
}
