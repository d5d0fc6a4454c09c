//! Rotary position embedding: cosines and sines for every position, computed once.

use headsaw::spec::model::Rope;

/// `cos` and `sin` for positions `0..context`, `[context, D/2]` each.
pub(crate) struct Rotations {
    pairs: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rotations {
    /// Angles `position · theta^(−2i/D) / divisor[i]`, in double precision by functions that are the same everywhere.
    pub fn new(rope: &Rope, divisors: &[f32], context: u32) -> Rotations {
        let pairs = divisors.len();
        let frequency =
            |i: usize| libm::pow(f64::from(rope.theta), -(i as f64) / pairs as f64) / f64::from(divisors[i]);
        let frequencies: Vec<f64> = (0..pairs).map(frequency).collect();
        let angles = || (0..context).flat_map(|position| frequencies.iter().map(move |f| f64::from(position) * f));
        let table = |of: fn(f64) -> f64| {
            let mut table = Vec::with_capacity(context as usize * pairs); // no more than is promised
            table.extend(angles().map(|angle| of(angle) as f32));
            table
        };
        Rotations { pairs, cos: table(libm::cos), sin: table(libm::sin) }
    }

    /// `cos` and `sin` of the pairs `first..first + count` at a position.
    pub fn at(&self, position: u32, first: usize, count: usize) -> (&[f32], &[f32]) {
        let start = position as usize * self.pairs + first;
        (&self.cos[start..start + count], &self.sin[start..start + count])
    }
}
