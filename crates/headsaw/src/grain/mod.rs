//! The grain of a device: how much work it has between two exchanges, what of its time that costs, and whether less or
//! more would be better.
//!
//! "Heads cut over devices in parallel, each head into steps in series: what is then the grain of one GPU?" All numbers
//! are priced work and simulated traces: `layer` plays one layer, `account` says where its time goes, `levels` gathers it,
//! `curve` varies the cut, `overlap` what hides behind what, and `verdict` judges. `arms` are the cuts of these that can be
//! run, and `measured` lays what was measured beside the prediction.

mod account;
mod advice;
mod arms;
mod curve;
mod half;
mod layer;
mod levels;
mod marks;
mod measured;
mod overlap;
mod place;
mod price;
mod slots;
mod verdict;

pub use account::Lost;
pub use advice::{Advice, ROWS_MOST};
pub use arms::{Arm, Spot, arms};
pub use curve::{Curve, HeadPoint, Point};
pub use levels::Level;
pub use marks::Times;
pub use measured::{Beside, Claim, Measured, overlap_number};
pub use overlap::{Flip, OverlapPoint, Overlaps};
pub use slots::{Slots, Speedups, in_slots};
pub use verdict::{Loss, Reason, Verdict, Word};

use crate::cost::Load;
use crate::plan::Plan;
use crate::simulate::{Rounds, Stuck};
use crate::spec::cluster::{Cluster, DeviceId};
use place::Case;
use serde::Serialize;

/// What is asked: a plan on a cluster, and what its micro-batches carry.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The plan; without a step cut it gets the article's: three steps, a head a chunk.
    pub plan: &'a Plan,
    /// What it runs on.
    pub cluster: &'a Cluster,
    /// What each micro-batch carries; of several rounds the first.
    pub rounds: &'a Rounds,
    /// Share of the time that may be lost by a piece that still counts as efficient.
    pub loss: f64,
}

/// The loss that is allowed where nobody says otherwise.
pub const LOSS: f64 = 0.05;

/// A question without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoGrain {
    /// A plan for more devices than there are.
    #[error("a plan of {needed} devices on a cluster of {there}")]
    Devices {
        /// Of the plan.
        needed: u64,
        /// Of the cluster.
        there: u64,
    },
    /// The rounds do not say what each micro-batch carries, or that it carries nothing.
    #[error("a load of at least one token for each of the {0} micro-batches")]
    Loads(u32),
    /// The loss is no share.
    #[error("a loss above 0 % and below 100 %")]
    Loss,
    /// The program does not come to its end.
    #[error(transparent)]
    Stuck(#[from] Stuck),
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Grain {
    /// Q heads on a device (the largest slice), KV heads with them.
    pub heads: u32,
    /// KV heads of that device.
    pub kv_heads: u32,
    /// Heads of a chunk, chunks of a device.
    pub chunk: u32,
    /// Chunks of a device.
    pub chunks: u32,
    /// Parts of the step cut.
    pub steps: u32,
    /// Units of a layer on a device: chunks × parts.
    pub units: u32,
    /// Mean seconds of a unit that has the device to itself.
    pub seconds_per_unit: f64,
    /// What a micro-batch carries that these numbers are of: the one in the middle.
    #[serde(skip)]
    pub load: Load,
    /// Replica, device, head chunk, and the parts of the step cut.
    pub levels: Vec<Level>,
    /// Slots of a layer's units.
    pub slots: Slots,
    /// Idle share of lane-slots, for equal steps on lanes of their own: `(S − 1) / (n + S − 1)`.
    pub bubble: f64,
    /// What overlapping gains, four times.
    pub speedups: Speedups,
    /// The smallest pieces that still are efficient.
    pub smallest_efficient: Smallest,
    /// Seconds of attention, and of its half of the layer, by heads on a device.
    pub curve: Curve<HeadPoint>,
    /// Seconds of the layer's first half by heads of a chunk.
    pub chunk_curve: Curve<Point>,
    /// Seconds of the layer's first half by parts of the step cut.
    pub steps_curve: Curve<Point>,
    /// Seconds of a layer by devices that share it.
    pub tp_curve: Curve<Point>,
    /// What hides behind what.
    pub overlaps: Overlaps,
    /// What was measured, where it was: see [`Grain::lay`].
    pub measured: Option<Measured>,
    /// Too coarse, too fine, or neither.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// The smallest pieces whose time a head is within the allowed loss of the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Smallest {
    /// Heads of a device; more than the model has where even all of them are too few.
    pub heads: u32,
    /// Heads of a chunk, on this device.
    pub chunk: u32,
}

/// Answers the question.
///
/// # Errors
/// Where plan, cluster and rounds do not fit together. The plan is one that `verify::plan` accepts.
///
/// ```
/// use headsaw::grain::{LOSS, Question, grain};
/// use headsaw::plan::{CutRequest, Exchange, Order, cut};
/// use headsaw::simulate::Rounds;
/// use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
/// use headsaw::spec::{cluster, presets};
///
/// // The article's example: 8 heads, 4 devices, 3 steps.
/// let model = presets::find("eight-heads").unwrap();
/// let numerics = Numerics { activations: Activations::Bf16, kv: KvDtype::F16 };
/// let workload = Workload { batch: 1, tokens: 128, micros: 1, context: 512, sequences: 1, numerics };
/// let (exchange, order) = (Exchange::Reduce, Order::Pipelined);
/// let request = CutRequest { tp: 4, pp: 1, device_weights: vec![], lanes: 1, exchange, order };
/// let plan = cut(&model, workload, &request).unwrap();
/// let cluster = cluster::presets::parse("h100x4").unwrap();
/// let rounds = Rounds::prompt_chunks(1, 128, 1, 0);
/// let grain = grain(&Question { plan: &plan, cluster: &cluster, rounds: &rounds, loss: LOSS }).unwrap();
/// assert_eq!((grain.units, grain.slots.serial, grain.slots.pipelined), (6, 6, 4));
/// assert_eq!((grain.bubble, grain.speedups.ideal), (0.5, 1.5));
/// ```
pub fn grain(question: &Question) -> Result<Grain, NoGrain> {
    check(question)?;
    let case = Case::of(question);
    let here = layer::play(&case)?;
    let curves = curve::Curves::of(&case)?;
    let smallest = Smallest { heads: curves.smallest_heads, chunk: curves.smallest_chunk };
    let overlaps = overlap::overlaps(&case)?;
    let levels = levels::levels(&case, &here)?;
    let slots = slots::slots(&case)?;
    let verdict = verdict::verdict(&case, &levels, &curves, &overlaps)?;
    let (heads, chunk, chunks) = (case.heads(), case.chunk(), case.chunks());
    let steps = case.steps().cut.parts().len() as u32;
    Ok(Grain {
        heads,
        kv_heads: case.kv_heads(),
        chunk,
        chunks,
        steps,
        units: chunks * steps,
        seconds_per_unit: levels[0].seconds_per_unit,
        load: case.load,
        bubble: f64::from(steps - 1) / f64::from(chunks + steps - 1),
        speedups: slots::speedups(&slots, &here, advice::uncut(&case)?, advice::shared(&case)?),
        slots,
        levels,
        smallest_efficient: smallest,
        curve: curves.heads,
        chunk_curve: curves.chunk,
        steps_curve: curves.steps,
        tp_curve: curves.tp,
        overlaps,
        measured: None,
        verdict,
    })
}

fn check(question: &Question) -> Result<(), NoGrain> {
    let (plan, cluster) = (question.plan, question.cluster);
    let needed = plan.devices.len() as u64;
    let last = plan.slices().map(|(_, slice)| slice.device).max().unwrap_or(DeviceId(0));
    let there = u64::from(cluster.devices());
    if needed > there || u64::from(last.0) >= there {
        return Err(NoGrain::Devices { needed: needed.max(u64::from(last.0) + 1), there });
    }
    let loads = question.rounds.0.first().map_or(&[][..], |loads| loads);
    if loads.len() != plan.workload.micros as usize || loads.iter().any(|load| load.rows() == 0) || loads.is_empty() {
        return Err(NoGrain::Loads(plan.workload.micros));
    }
    if question.loss > 0.0 && question.loss < 1.0 { Ok(()) } else { Err(NoGrain::Loss) }
}
