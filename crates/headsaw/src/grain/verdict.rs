//! Is the grain too fine, too coarse, or right; why; and what to change.

use super::advice::{Advice, Adviser, ROWS_MOST};
use super::curve::Curves;
use super::half;
use super::levels::Level;
use super::overlap::Overlaps;
use super::place::Case;
use crate::simulate::Stuck;
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
    /// What would be better, each for itself; nothing where nothing is.
    pub change: Vec<Advice>,
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
    /// No number of tokens makes these heads enough.
    NeverEnough {
        /// The most that was tried, in tokens of all sequences.
        rows: u32,
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

/// Faster by less than this is not worth more devices.
const WORTH: f64 = 1.1;
/// Differences below this are none.
const SAME: f64 = 0.01;
/// A knee is a quarter more.
const KNEE: f64 = 1.25;

/// Judges.
pub fn verdict(case: &Case, levels: &[Level], curves: &Curves, overlaps: &Overlaps) -> Result<Verdict, Stuck> {
    let device = levels.iter().find(|level| level.level == "device").expect("a device");
    let adviser = Adviser { case, curves, now: device.seconds };
    let chunk = if chunk_is_fine(case, curves) { Word::TooFine } else { Word::Fits };
    let (word, mut reasons, mut change) = match split(case, curves) {
        _ if case.heads() < curves.smallest_heads => {
            let (never, change) = coarser(&adviser)?;
            (Word::TooFine, [too_fine(case, curves), never].concat(), change)
        }
        Some((tp, speedup)) => (Word::TooCoarse, vec![Reason::FasterWith { tp, speedup }], vec![adviser.devices(tp)?]),
        None => (Word::Fits, vec![], vec![]),
    };
    reasons.push(largest(device));
    reasons.extend(memory_bound(case, device));
    reasons.extend(faster_than(case, curves));
    if chunk == Word::TooFine {
        let loss = curves.chunk.choice.map_or(0.0, |at| curves.chunk.points[at].loss);
        reasons.push(Reason::ChunkTooFine { chunk: case.chunk(), smallest: curves.smallest_chunk, loss });
        change.push(adviser.chunk(curves.smallest_chunk)?);
    }
    change.extend(adviser.overlap(overlaps)?);
    Ok(Verdict { word, chunk, reasons, change })
}

/// Fewer devices, or more tokens; or why not.
fn coarser(adviser: &Adviser) -> Result<(Vec<Reason>, Vec<Advice>), Stuck> {
    let mut change = Vec::new();
    if let Some(tp) = adviser.fewer_devices() {
        change.push(adviser.devices(tp)?);
    }
    match adviser.enough_tokens() {
        Some(load) => change.push(adviser.load(load)?),
        None => return Ok((vec![Reason::NeverEnough { rows: ROWS_MOST }], change)),
    }
    Ok((vec![], change))
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
