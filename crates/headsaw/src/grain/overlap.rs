//! What hides behind what: nothing, heads behind heads, tokens behind tokens; and where the better one changes.

use super::layer::{times, times_of};
use super::place::Case;
use crate::cost::Load;
use crate::plan::{Flow, Overlap};
use crate::simulate::Stuck;
use serde::Serialize;

/// A layer under each overlap, and the crossings over larger and smaller loads.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overlaps {
    /// At this load.
    pub here: OverlapPoint,
    /// At loads of other sizes, doubled from one to the next.
    pub scan: Vec<OverlapPoint>,
    /// Where the fastest changes along the scan.
    pub flips: Vec<Flip>,
}

/// Seconds of a layer for the same tokens, three ways.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OverlapPoint {
    /// Tokens of all sequences.
    pub rows: u32,
    /// All heads of a device at once, nothing hidden.
    pub none: f64,
    /// Chunks of heads, the best of one, two, four, … chunks and the plan's own.
    pub heads: f64,
    /// Heads of a chunk then.
    pub chunk: u32,
    /// Two halves of the tokens, all heads at once; none where there is only one.
    pub tokens: Option<f64>,
}

/// From so many tokens on another overlap is the fastest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Flip {
    /// The first size of the scan at which it is.
    pub rows: u32,
    /// The fastest below.
    pub from: Overlap,
    /// And from there on.
    pub to: Overlap,
}

/// Differences below this share are none.
pub const SAME: f64 = 0.02;
/// The largest load that is looked at, in tokens.
const ROWS_MOST: u32 = 65_536;

impl OverlapPoint {
    /// Of one of them.
    fn seconds(&self, overlap: Overlap) -> f64 {
        match overlap {
            Overlap::None => self.none,
            Overlap::Heads => self.heads,
            Overlap::Tokens => self.tokens.unwrap_or(f64::INFINITY),
        }
    }

    /// The fastest; of equally fast ones the plainest.
    pub fn fastest(&self) -> Overlap {
        let mut best = (Overlap::None, self.none);
        for (overlap, seconds) in [(Overlap::Heads, Some(self.heads)), (Overlap::Tokens, self.tokens)] {
            if let Some(seconds) = seconds.filter(|seconds| *seconds < best.1 * (1.0 - SAME)) {
                best = (overlap, seconds);
            }
        }
        best.0
    }
}

/// Compares them.
pub fn overlaps(case: &Case) -> Result<Overlaps, Stuck> {
    let here = point(case, case.load)?;
    let scan: Vec<OverlapPoint> =
        loads(case.load).into_iter().map(|load| point(case, load)).collect::<Result<_, _>>()?;
    let flips = flips(&scan);
    Ok(Overlaps { here, scan, flips })
}

/// Where another is faster than the one so far, by more than nothing.
fn flips(scan: &[OverlapPoint]) -> Vec<Flip> {
    let (mut flips, mut from) = (Vec::new(), scan.first().map_or(Overlap::None, OverlapPoint::fastest));
    for point in scan {
        let to = point.fastest();
        if point.seconds(to) < point.seconds(from) * (1.0 - SAME) {
            flips.push(Flip { rows: point.rows, from, to });
            from = to;
        }
    }
    flips
}

/// Generation with more and more sequences, or prompts of more and more tokens.
fn loads(load: Load) -> Vec<Load> {
    let sizes = std::iter::successors(Some(1u32), |size| Some(size * 2));
    if load.tokens == 1 {
        return sizes.take_while(|size| *size <= 4096).map(|sequences| Load { sequences, ..load }).collect();
    }
    let most = (ROWS_MOST / load.sequences.max(1)).max(64);
    sizes.skip(6).take_while(|size| *size <= most).map(|tokens| Load { tokens, ..load }).collect()
}

fn point(case: &Case, load: Load) -> Result<OverlapPoint, Stuck> {
    let none = times(&case.with_flow(case.whole()), case.stage, case.cluster, load)?.seconds;
    let (heads, chunk) = by_heads(case, load)?;
    Ok(OverlapPoint { rows: load.rows(), none, heads, chunk, tokens: by_tokens(case, load)? })
}

fn by_heads(case: &Case, load: Load) -> Result<(f64, u32), Stuck> {
    let all = case.heads().max(1);
    let halved = std::iter::successors(Some(all), |chunk| (*chunk > 1).then(|| chunk.div_ceil(2)));
    let mut best = (f64::INFINITY, all);
    for chunk in halved.chain([case.chunk()]) {
        let flow = Flow { chunk, interleave: 1, overlap: Overlap::Heads, ..case.flow() };
        let seconds = times(&case.with_flow(flow), case.stage, case.cluster, load)?.seconds;
        if seconds < best.0 {
            best = (seconds, chunk);
        }
    }
    Ok(best)
}

fn by_tokens(case: &Case, load: Load) -> Result<Option<f64>, Stuck> {
    let Some(halves) = halved(load) else { return Ok(None) };
    let flow = Flow { overlap: Overlap::Tokens, interleave: 2, ..case.whole() };
    let times = times_of(&case.with_flow(flow), case.stage, case.cluster, &halves)?;
    Ok(Some(times.seconds))
}

/// The same tokens as two micro-batches: the second half of a prompt sees the first.
pub fn halved(load: Load) -> Option<[Load; 2]> {
    if load.tokens == 1 && load.sequences > 1 {
        let first = load.sequences.div_ceil(2);
        return Some([first, load.sequences - first].map(|sequences| Load { sequences, ..load }));
    }
    let first = load.tokens.div_ceil(2);
    let second = Load { tokens: load.tokens - first, past: load.past.saturating_add(first), ..load };
    (load.tokens > 1).then_some([Load { tokens: first, ..load }, second])
}
