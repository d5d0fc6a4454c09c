//! The first half of a layer for any number of heads on a device: its three kernels, each for all heads at once.

use super::place::Case;
use crate::cost::{Collective, CostModel, Load, Priced};
use crate::lower::work::Counter;
use crate::plan::Exchange;
use crate::program::{Gathered, Step, Unit};
use crate::shard::BLOCK;
use crate::spec::cluster::DeviceId;

/// Seconds of the first half's steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Half {
    /// Q, K, V, rotary, cache.
    pub project: f64,
    /// Scores, softmax and context in one.
    pub attend: f64,
    /// The heads' part of the output projection.
    pub merge: f64,
}

impl Half {
    /// The three, one after the other.
    pub fn seconds(&self) -> f64 {
        self.project + self.attend + self.merge
    }
}

/// Of so many heads on a device like this one.
pub fn half(case: &Case, heads: u32, load: Load) -> Half {
    let plan = case.alone(heads);
    let (stage, slice) = (&plan.stages[0], &plan.stages[0].slices[0]);
    let priced = Priced::new(&plan, case.cluster);
    let counter = Counter { plan: &plan, stage, slice };
    let unit = Unit { number: 0, heads: 0..heads };
    let seconds = |step: Step| {
        let rows = if step == Step::Merge { 0..plan.model.width.div_ceil(BLOCK) } else { 0..1 };
        priced.compute(slice.device, step, &counter.step(step, &rows, Some(&unit)), load).seconds.0
    };
    Half { project: seconds(Step::Project), attend: seconds(Step::Attend), merge: seconds(Step::Merge) }
}

/// Seconds of the exchange behind the first half, where so many devices share the heads.
pub fn exchange(case: &Case, tp: u32, load: Load) -> f64 {
    let plan = case.with_tp(tp);
    let stage = &plan.stages[0];
    let priced = Priced::new(&plan, &case.roomy);
    let counter = Counter { plan: &plan, stage, slice: &stage.slices[0] };
    let devices: Vec<DeviceId> = stage.slices.iter().map(|slice| slice.device).collect();
    let (what, work) = match plan.exchange {
        Exchange::Reduce => (Collective::AllReduce, counter.reduce(&(0..plan.model.width.div_ceil(BLOCK)), false)),
        Exchange::Gather => (Collective::AllGather, counter.gather(Gathered::Attended, None)),
    };
    if tp < 2 {
        return 0.0;
    }
    let bytes = work.sent * u64::from(load.rows()) * u64::from(tp - 1);
    let link = priced.link(devices[0], devices[devices.len() - 1]);
    link.map_or(0.0, |link| link.seconds(bytes).0) + priced.collective(what, &devices, &work, load).0
}

/// The first half by heads of a device, up to a thousand.
pub struct Range {
    /// Heads, and seconds of the half.
    counts: Vec<(u32, f64)>,
    /// The fewest seconds a head: those of a device full of heads.
    best: f64,
}

impl Range {
    /// With this load.
    pub fn of(case: &Case, load: Load) -> Range {
        let counts: Vec<(u32, f64)> = counts().map(|heads| (heads, half(case, heads, load).seconds())).collect();
        let best = counts.iter().map(|(heads, seconds)| seconds / f64::from(*heads)).fold(f64::INFINITY, f64::min);
        Range { counts, best }
    }

    /// The fewest heads whose time a head is within the allowed loss of the best.
    pub fn smallest(&self, loss: f64) -> u32 {
        let good = |(heads, seconds): &&(u32, f64)| self.loss(*heads, *seconds) <= loss;
        self.counts.iter().find(good).map_or(MOST, |(heads, _)| *heads)
    }

    /// The same, of heads with this load.
    pub fn loss_of(&self, case: &Case, heads: u32, load: Load) -> f64 {
        self.loss(heads, half(case, heads, load).seconds())
    }

    /// Share of the half's time that so many heads lose against a device full of heads.
    pub fn loss(&self, heads: u32, seconds: f64) -> f64 {
        if seconds > 0.0 { (1.0 - self.best * f64::from(heads) / seconds).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// Heads beyond which nothing is looked for.
const MOST: u32 = 1024;

/// Every count up to 32, then in steps of a thirty-second to a sixteenth.
fn counts() -> impl Iterator<Item = u32> {
    let next = |heads: &u32| Some(heads + (heads.next_power_of_two() / 32).max(1)).filter(|next| *next <= MOST);
    std::iter::successors(Some(1), next)
}
