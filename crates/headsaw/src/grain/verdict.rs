//! Is the grain too fine, too coarse, or right; why; and what to change.

use super::curve::Curves;
use super::half;
use super::levels::Level;
use super::place::Case;
use crate::cost::Load;
use crate::lower::work;

use crate::plan::Plan;
use crate::spec::cluster::Prices;
use serde::Serialize;

/// The verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// In one word, of the heads of a device.
    #[serde(rename = "verdict")]
    pub word: Word,
    /// Of the chunks of heads inside it.
    #[serde(rename = "chunk_verdict")]
    pub chunk: Word,
    /// Why.
    pub reasons: Vec<Reason>,
    /// What would be better.
    pub change: Change,
}

/// In one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// A device could do more heads in hardly more time.
    TooFine,
    /// More devices would still be efficient, and faster.
    TooCoarse,
    /// Neither.
    Fits,
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// Fewer heads than an efficient device has, and what share of the first half's time they lose.
    BelowSmallest {
        /// On the device.
        heads: u32,
        /// Heads of the smallest efficient device.
        smallest: u32,
        /// Share of the time lost against a full device.
        loss: f64,
    },
    /// Attention of one head takes as long as that of so many, within a quarter.
    OneAsLongAs {
        /// The most heads.
        heads: u32,
        /// It is no less: the model has no more.
        all: bool,
    },
    /// What most of a layer's time is lost to.
    Largest {
        /// The loss.
        what: Loss,
        /// Its share.
        share: f64,
    },
    /// The work reads a byte for so few operations that the memory's rate is the limit.
    MemoryBound {
        /// Operations a byte of a layer.
        intensity: f64,
        /// Operations a byte at which products take as long as the memory.
        balance: f64,
    },
    /// Splitting further is efficient, and so many times as fast.
    FasterWith {
        /// Devices.
        tp: u32,
        /// This layer's time ÷ that one's.
        speedup: f64,
    },
    /// Too fine or not, the layer is so many times as fast as on half the devices.
    FasterThan {
        /// Devices.
        tp: u32,
        /// That layer's time ÷ this one's.
        speedup: f64,
    },
    /// Chunks of so many heads cost more than larger ones.
    ChunkTooFine {
        /// Heads of a chunk.
        chunk: u32,
        /// Heads of the smallest efficient chunk.
        smallest: u32,
        /// Share of the first half's time lost against the best chunk.
        loss: f64,
    },
}

/// A loss of `Lost`, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Exchanges.
    Exchange,
    /// Launches.
    Launch,
    /// Idle lanes.
    Bubble,
    /// Unequal devices.
    Imbalance,
    /// KV heads held more than once.
    ReplicatedKv,
    /// Tiles that are not full.
    Alignment,
    /// Lanes in each other's way.
    Sharing,
}

/// What would be better; nothing where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Change {
    /// Devices that share a layer, of those there are.
    pub tp: Option<u32>,
    /// Heads of a chunk.
    pub chunk: Option<u32>,
    /// Tokens of a prompt that go through together.
    pub tokens: Option<u32>,
    /// Sequences that go through together.
    pub sequences: Option<u32>,
}

/// Faster by less than this is not worth more devices.
const WORTH: f64 = 1.1;
/// Differences below this are none.
const SAME: f64 = 0.01;
/// A knee is a quarter more.
const KNEE: f64 = 1.25;

/// Judges.
pub fn verdict(case: &Case, levels: &[Level], curves: &Curves) -> Verdict {
    let device = levels.iter().find(|level| level.level == "device").expect("a device");
    let chunk = if chunk_is_fine(case, curves) { Word::TooFine } else { Word::Fits };
    let split = split(case, curves);
    let (word, mut reasons, mut change) = match split {
        _ if case.heads() < curves.smallest_heads => (Word::TooFine, too_fine(case, curves), coarser(case, curves)),
        Some((tp, speedup)) => {
            (Word::TooCoarse, vec![Reason::FasterWith { tp, speedup }], Change { tp: Some(tp), ..Change::default() })
        }
        None => (Word::Fits, vec![], Change::default()),
    };
    reasons.push(largest(device));
    reasons.extend(memory_bound(case, device));
    reasons.extend(faster_than(case, curves));
    if chunk == Word::TooFine {
        let loss = curves.chunk.choice.map_or(0.0, |at| curves.chunk.points[at].loss);
        reasons.push(Reason::ChunkTooFine { chunk: case.chunk(), smallest: curves.smallest_chunk, loss });
        change.chunk = Some(curves.smallest_chunk);
    }
    Verdict { word, chunk, reasons, change }
}

fn chunk_is_fine(case: &Case, curves: &Curves) -> bool {
    case.chunk() < curves.smallest_chunk
}

fn too_fine(case: &Case, curves: &Curves) -> Vec<Reason> {
    let (heads, smallest) = (case.heads(), curves.smallest_heads);
    let loss = curves.heads.choice.map_or(0.0, |at| curves.heads.points[at].loss);
    let flat = (1..=case.plan.model.heads).take_while(|heads| is_flat(case, *heads)).last().unwrap_or(1);
    let one_as_long = Reason::OneAsLongAs { heads: flat, all: flat == case.plan.model.heads };
    let below = Reason::BelowSmallest { heads, smallest, loss };
    match flat {
        1 => vec![below],
        few if few < heads => vec![below, one_as_long],
        _ => vec![one_as_long, below],
    }
}

fn is_flat(case: &Case, heads: u32) -> bool {
    let attend = |heads| half::half(case, heads, case.load).attend;
    attend(heads) < KNEE * attend(1)
}

fn largest(device: &Level) -> Reason {
    let lost = &device.lost;
    let each = [
        (Loss::Exchange, lost.exchange),
        (Loss::Launch, lost.launch),
        (Loss::Bubble, lost.bubble),
        (Loss::Imbalance, lost.imbalance),
        (Loss::ReplicatedKv, lost.replicated_kv),
        (Loss::Alignment, lost.alignment),
        (Loss::Sharing, lost.sharing),
    ];
    let (what, share) = each.into_iter().rev().max_by(|a, b| a.1.total_cmp(&b.1)).expect("losses");
    Reason::Largest { what, share }
}

/// Below the balance of the device even perfect products wait for memory (the roofline's ridge, Williams et al. 2009).
fn memory_bound(case: &Case, device: &Level) -> Option<Reason> {
    let Prices::Gpu(gpu) = &case.kind().prices else { return None };
    let peak = gpu.tensor(case.plan.workload.numerics.activations.precision())?;
    let balance = peak.0 / gpu.memory_bytes_per_second.0;
    let intensity = device.intensity;
    (intensity < balance).then_some(Reason::MemoryBound { intensity, balance })
}

fn faster_than(case: &Case, curves: &Curves) -> Option<Reason> {
    let tp = case.tp() / 2;
    let at = |tp: u32| curves.tp.points.iter().find(|point| point.size == tp).map(|point| point.seconds);
    let speedup = at(tp)? / at(case.tp())?;
    ((speedup - 1.0).abs() >= SAME).then_some(Reason::FasterThan { tp, speedup })
}

/// The most devices of those there are that still are efficient, where they are worth it.
fn split(case: &Case, curves: &Curves) -> Option<(u32, f64)> {
    let there = case.cluster.devices() / case.plan.stages.len() as u32;
    let now = curves.tp.points.iter().find(|point| point.size == case.tp())?.seconds;
    let heads = case.plan.model.heads;
    let efficient = |tp: u32| heads.div_ceil(tp) >= curves.smallest_heads;
    let more = curves.tp.points.iter().filter(|point| point.size > case.tp() && point.size <= there);
    let best = more.filter(|point| efficient(point.size)).min_by(|a, b| a.seconds.total_cmp(&b.seconds))?;
    (now / best.seconds >= WORTH).then_some((best.size, now / best.seconds))
}

/// Fewer devices, where the model fits; or more tokens at once, until these heads are enough.
fn coarser(case: &Case, curves: &Curves) -> Change {
    let heads = case.plan.model.heads;
    let enough = |tp: &u32| heads / tp >= curves.smallest_heads && has_room(case, &case.with_tp(*tp));
    let tp = (1..case.tp()).rev().find(enough).or_else(|| faster_with_fewer(case, curves));
    let efficient = |load: &Load| case.heads() >= half::Range::of(case, *load).smallest(case.loss);
    let grown = grown(case.load).find(efficient).filter(|load| has_room_for(case, *load));
    let tokens = grown.filter(|load| load.tokens != case.load.tokens).map(|load| load.tokens);
    let sequences = grown.filter(|load| load.sequences != case.load.sequences).map(|load| load.sequences);
    Change { tp, chunk: None, tokens, sequences }
}

/// Fewer devices on which a layer is faster, though they are not few enough to be efficient.
fn faster_with_fewer(case: &Case, curves: &Curves) -> Option<u32> {
    let points =
        curves.tp.points.iter().filter(|point| point.size <= case.tp() && has_room(case, &case.with_tp(point.size)));
    let best = points.min_by(|a, b| a.seconds.total_cmp(&b.seconds))?.size;
    (best < case.tp()).then_some(best)
}

/// Loads twice, four, … times as large: more tokens of a prompt, more sequences that generate.
fn grown(load: Load) -> impl Iterator<Item = Load> {
    (1..=10).filter_map(move |power| match load.tokens {
        1 => Some(Load { sequences: load.sequences.checked_mul(1 << power)?, ..load }),
        tokens => Some(Load { tokens: tokens.checked_mul(1 << power)?, ..load }),
    })
}

/// Would the caches of so many sequences, in each micro-batch, fit on these devices?
fn has_room_for(case: &Case, load: Load) -> bool {
    let mut plan = Plan::clone(&case.with_tp(case.tp()));
    let sequences = load.sequences.saturating_mul(case.rounds.len() as u32);
    plan.workload.sequences = plan.workload.sequences.max(sequences);
    has_room(case, &plan)
}

/// Do weights and cache of an equal part of the layers fit into the memory of each device?
fn has_room(case: &Case, plan: &Plan) -> bool {
    let (cluster, stages) = (&case.roomy, case.plan.stages.len() as u64);
    plan.slices().all(|(stage, slice)| {
        let held = work::slice_weights(plan, stage, slice) + work::slice_cache(plan, stage, slice);
        let room = cluster.kind(slice.device).map_or(0, |kind| kind.memory_bytes.0);
        held.0 / stages <= room
    })
}
