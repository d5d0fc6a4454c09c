//! The two sums of attention: scores over a head's columns, outputs over a span's keys.

use super::super::{KvParts, PANEL, SPAN};
use super::cache::Number;
use super::lines::Lines;
use super::simd::Simd;
use std::ops::Range;

/// So few queries leave registers for four of keys or of columns, and wait for memory rather than for arithmetic: they
/// ask for it early. While a span's scores are made its values come, later the next span's keys.
const FEW: usize = 4;
/// Keys of the next span that come while the exponentials are made.
const EARLY: usize = 32;

/// Asks for `n` numbers from `at` on.
#[inline(always)]
fn ask<S: Simd, N>(s: S, at: *const N, n: usize) {
    for byte in (0..n * size_of::<N>()).step_by(Lines::WIDTH) {
        s.prefetch(at.cast::<u8>().wrapping_add(byte));
    }
}

/// Where the keys of the span after that at `start` lie, if there are any.
#[inline(always)]
fn next_keys<N>(kv: &KvParts<N>, start: usize) -> *const N {
    kv.keys.at(0, 0).cast_const().wrapping_add((start + SPAN) * kv.head_width)
}

/// Asks for a part of the first keys of the span after that at `start`: the `panel`th of as many as a span has.
#[inline(always)]
pub(super) fn ask_keys<S: Simd, N, const Q: usize>(s: S, kv: &KvParts<N>, start: usize, panel: usize) {
    if S::WIDE && Q <= FEW {
        let n = EARLY * kv.head_width / (SPAN / PANEL);
        ask(s, next_keys(kv, start).wrapping_add(panel * n), n);
    }
}

/// The scores of `Q` queries (`[D, Q]`) for `panels · 16` keys from `start` on, to `p` `[Q, SPAN]`.
#[inline(always)]
pub(super) fn scores<S: Simd, N: Number, const Q: usize>(
    s: S,
    kv: &KvParts<N>,
    start: usize,
    panels: usize,
    scale: f32,
    queries: &[f32],
    p: &mut [f32],
) {
    let width = kv.head_width;
    let keys = kv.keys.at(start * width, panels * PANEL * width);
    let values = kv.values.at(start * width, panels * PANEL * width);
    assert!(queries.len() >= width * Q && p.len() >= Q * SPAN && panels * PANEL <= SPAN);
    let job = Scores { keys, values, width, scale, queries: queries.as_ptr(), p: p.as_mut_ptr() };
    let mut panel = 0;
    // SAFETY: in bounds, asserted above; the program writes none of the keys that a query sees meanwhile, and what stands
    // in the places of others is overwritten before the exponentials are made.
    unsafe {
        while S::WIDE && Q <= FEW && panel + 4 <= panels {
            job.panels::<S, Q, 4>(s, panel);
            panel += 4;
        }
        for panel in panel..panels {
            job.panels::<S, Q, 1>(s, panel);
        }
    }
}

/// Scores of a span.
struct Scores<N> {
    keys: *const N,
    values: *const N,
    width: usize,
    scale: f32,
    queries: *const f32,
    p: *mut f32,
}

impl<N: Number> Scores<N> {
    /// Those for `P` panels of keys.
    ///
    /// # Safety
    /// The span has these panels, `width` wide; there are `[width, Q]` queries and `Q` rows of `p`.
    #[inline(always)]
    unsafe fn panels<S: Simd, const Q: usize, const P: usize>(&self, s: S, first: usize) {
        let start = first * PANEL * self.width;
        let mut sums = [[s.splat(0.0); P]; Q];
        // SAFETY: the caller's promise.
        unsafe {
            let keys = self.keys.add(start);
            for d in 0..self.width {
                let mut key = [s.splat(0.0); P];
                for i in 0..P {
                    key[i] = N::load(s, keys.add((i * self.width + d) * PANEL), PANEL);
                }
                if P > 1 {
                    ask(s, self.values.wrapping_add(start + d * P * PANEL), P * PANEL);
                }
                for q in 0..Q {
                    let query = s.splat(self.queries.add(d * Q + q).read());
                    for i in 0..P {
                        sums[q][i] = s.fma(query, key[i], sums[q][i]);
                    }
                }
            }
            for q in 0..Q {
                for i in 0..P {
                    let score = s.mul(sums[q][i], s.splat(self.scale));
                    s.store(self.p.add(q * SPAN + (first + i) * PANEL), score);
                }
            }
        }
    }
}

/// Adds `p · V` over `keys` (counted from `start`) to the sums `[Q, D padded]` of `Q` queries.
#[inline(always)]
pub(super) fn weigh<S: Simd, N: Number, const Q: usize>(
    s: S,
    kv: &KvParts<N>,
    start: usize,
    keys: Range<usize>,
    p: &[f32],
    sums: &mut [f32],
) {
    if keys.is_empty() {
        return;
    }
    let (width, stride) = (kv.head_width, kv.head_width.next_multiple_of(PANEL));
    assert!(p.len() >= (Q - 1) * SPAN + keys.end && sums.len() >= Q * stride);
    let values = kv.values.at((start + keys.start) * width, keys.len() * width);
    let p = p[keys.start..].as_ptr();
    let job = Weigh { values, next: next_keys(kv, start), width, n: keys.len(), p, sums: sums.as_mut_ptr(), stride };
    let mut d = 0;
    while d < width {
        // SAFETY: `keys.len()` rows of `width` numbers, `Q` rows of p and sums: asserted above.
        unsafe {
            d += match width - d {
                64.. if S::WIDE && Q <= FEW => job.columns::<S, Q, 4>(s, d, PANEL),
                32.. if S::WIDE && Q <= 2 * FEW => job.columns::<S, Q, 2>(s, d, PANEL),
                n => job.columns::<S, Q, 1>(s, d, n.min(PANEL)),
            };
        }
    }
}

/// A weighted sum of `n` rows of V.
struct Weigh<N> {
    values: *const N,
    /// The next span's keys.
    next: *const N,
    width: usize,
    n: usize,
    p: *const f32,
    sums: *mut f32,
    stride: usize,
}

impl<N: Number> Weigh<N> {
    /// `C` registers of columns from `d` on, the last of them `part` wide. Returns the number of columns.
    ///
    /// # Safety
    /// `n` rows of values `width` apart, `Q` rows of `p` and of `sums`.
    #[inline(always)]
    unsafe fn columns<S: Simd, const Q: usize, const C: usize>(&self, s: S, d: usize, part: usize) -> usize {
        // SAFETY: the caller's promise.
        unsafe {
            let (values, sums) = (self.values.add(d), self.sums.add(d));
            let mut total = [[s.splat(0.0); C]; Q];
            for q in 0..Q {
                for c in 0..C {
                    total[q][c] = s.load(sums.add(q * self.stride + c * PANEL));
                }
            }
            for j in 0..self.n {
                let mut row = [s.splat(0.0); C];
                for c in 0..C {
                    row[c] = N::load(s, values.add(j * self.width + c * PANEL), if C == 1 { part } else { PANEL });
                }
                if C == 4 && j + EARLY < self.n {
                    ask(s, self.next.wrapping_add((j + EARLY) * self.width + d), C * PANEL);
                }
                for q in 0..Q {
                    let p = s.splat(self.p.add(q * SPAN + j).read());
                    for c in 0..C {
                        total[q][c] = s.fma(p, row[c], total[q][c]);
                    }
                }
            }
            for q in 0..Q {
                for c in 0..C {
                    s.store(sums.add(q * self.stride + c * PANEL), total[q][c]);
                }
            }
        }
        C * PANEL
    }
}
