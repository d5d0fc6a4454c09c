//! How fast memory and the cache are read, by one lane and by all cores: as generation reads them, by products of one
//! token with many matrices, each of which is a piece of memory of its own.

use super::kernels::{Activations, matrix};
use super::rounds::Rounds;
use super::threads::together;
use crate::compute::{Compute, Leaves, Matrix, Out, Scratch, Shared};
use headsaw::spec::model::Dtype;
use headsaw::units::{Bytes, BytesPerSecond};
use std::time::Instant;

/// What one lane reads, doubled from the first to the last: the first fits in a cache, the last should not.
const MIB: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// A matrix of 8-bit weights that takes a little less than half a MiB.
const ROWS: usize = 480;
const DEPTH: usize = 1024;
const A_MIB: usize = 2;

pub(super) const MEASUREMENTS: u64 = MIB.len() as u64 + 1;

/// Rates of reading.
pub(super) struct Reading {
    pub cache: Bytes,
    pub cached: BytesPerSecond,
    pub lane: BytesPerSecond,
    pub all: BytesPerSecond,
}

/// The cache is as large as the most that is read faster than halfway (of their logarithms) between the rates of little
/// and of all.
pub(super) fn measure(compute: &dyn Compute, cores: u32, rounds: &mut Rounds) -> Reading {
    // What all cores read at once must not fit in what caches they have in common.
    let own = (2 * MIB[MIB.len() - 1] / cores as usize).max(16);
    let weights: Vec<Vec<Matrix>> = (0..cores)
        .map(|lane| if lane == 0 { own.max(MIB[MIB.len() - 1]) } else { own })
        .map(|mib| (0..mib * A_MIB).map(|_| matrix(compute, Dtype::Q8_0, ROWS, DEPTH)).collect())
        .collect();
    let mut reader = Reader::new(compute);
    let rates = MIB.map(|mib| reader.rate(&weights[0][..mib * A_MIB], rounds));
    let (cached, lane) = (rates[1], rates[MIB.len() - 1]);
    let largest = MIB.iter().zip(rates).filter(|(_, rate)| *rate >= (cached * lane).sqrt()).map(|(mib, _)| *mib).max();
    let all = all(compute, &weights, own * A_MIB, rounds);
    Reading {
        cache: Bytes((largest.unwrap_or(MIB[0]) << 20) as u64),
        cached: BytesPerSecond(cached.max(lane)),
        lane: BytesPerSecond(lane),
        all: BytesPerSecond(all.max(lane)),
    }
}

/// Bytes a second of all cores, each of which reads weights of its own.
fn all(compute: &dyn Compute, weights: &[Vec<Matrix>], count: usize, rounds: &mut Rounds) -> f64 {
    let seconds = together(weights.len() as u32, rounds, |lane| {
        let mut reader = Reader::new(compute);
        lane.meet()?;
        let begun = Instant::now();
        reader.read(&weights[lane.number as usize][..count]);
        lane.meet()?;
        Ok(begun.elapsed().as_secs_f64())
    });
    (weights.len() * bytes(&weights[0][..count])) as f64 / seconds
}

fn bytes(weights: &[Matrix]) -> usize {
    weights.iter().map(Matrix::bytes).sum()
}

/// A lane that reads.
struct Reader<'a> {
    compute: &'a dyn Compute,
    x: Activations,
    out: Vec<f32>,
    scratch: Scratch,
}

impl Reader<'_> {
    fn new(compute: &dyn Compute) -> Reader<'_> {
        let blocks = DEPTH / crate::compute::BLOCK;
        Reader {
            compute,
            x: Activations::new(compute, 1, DEPTH),
            out: vec![0.0; ROWS],
            scratch: Scratch::new(blocks, 1),
        }
    }

    /// Bytes a second, again and again.
    fn rate(&mut self, weights: &[Matrix], rounds: &mut Rounds) -> f64 {
        bytes(weights) as f64 / rounds.of(|| self.read(weights))
    }

    fn read(&mut self, weights: &[Matrix]) {
        for m in weights {
            let out = Out { data: Shared::from_mut(&mut self.out), node_stride: 0, token_stride: ROWS, first_row: 0 };
            let leaves = Leaves::single(m.blocks());
            self.compute.matmul(m, &self.x.acts(), 0..1, 0..m.panels(), &leaves, out, &mut self.scratch);
        }
    }
}
