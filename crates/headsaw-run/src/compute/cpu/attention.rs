//! Attention over the cache: several queries at a time, so that K and V are read and widened once for all of them.
//!
//! Every query's bits depend on itself only: its scores are chains over the head's columns, its sums run over spans of
//! keys at fixed positions, and the keys that it does not see are never added.

use super::super::{KvHead, KvParts, PANEL, Query, SPAN, Scratch};
use super::elementwise::exp;
use super::simd::{Kernel, Simd};
use std::ops::Range;

/// Queries that go together.
const GROUP: usize = 8;

/// Columns of a head, rounded up to whole registers.
fn padded(head_width: usize) -> usize {
    head_width.next_multiple_of(PANEL)
}

/// Numbers that attention keeps in its scratch.
pub(crate) fn floats(head_width: usize) -> usize {
    GROUP * (SPAN + 3 * padded(head_width))
}

/// See [`super::super::Compute::attend`].
pub(super) struct Attend<'a> {
    pub(super) kv: &'a KvHead<'a>,
    pub(super) queries: &'a [Query<'a>],
    pub(super) scale: f32,
    pub(super) scratch: &'a mut Scratch,
}

impl Kernel for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.kv {
            KvHead::F16(kv) => all(s, kv, self.queries, self.scale, self.scratch),
            KvHead::F32(kv) => all(s, kv, self.queries, self.scale, self.scratch),
        }
    }
}

/// A number of the cache.
trait Number: Copy {
    /// # Safety
    /// `n` numbers.
    unsafe fn load<S: Simd>(s: S, from: *const Self, n: usize) -> S::F;
}

impl Number for u16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const u16, n: usize) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { if n == PANEL { s.load_f16(from) } else { s.load_f16_part(from, n) } }
    }
}

impl Number for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const f32, n: usize) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { if n == PANEL { s.load(from) } else { s.load_part(from, n) } }
    }
}

/// The parts of the scratch, for one group of queries.
struct Rooms<'a> {
    /// `[D, Q]`: the queries side by side.
    queries: &'a mut [f32],
    /// `[Q, SPAN]`: scores, then their exponentials.
    p: &'a mut [f32],
    /// `[Q, D padded]`: the sums of the span.
    span: &'a mut [f32],
    /// `[Q, D padded]`: the sums of all spans so far.
    sums: &'a mut [f32],
}

/// What a query has seen so far.
#[derive(Clone, Copy)]
struct Seen {
    largest: f32,
    total: f32,
}

#[inline(always)]
fn all<S: Simd, N: Number>(s: S, kv: &KvParts<N>, queries: &[Query], scale: f32, scratch: &mut Scratch) {
    let width = kv.head_width;
    assert!(width <= scratch.head_width, "scratch has no room for heads {width} wide");
    let (p, rest) = scratch.attention.floats_mut().split_at_mut(GROUP * SPAN);
    let (span, rest) = rest.split_at_mut(GROUP * padded(width));
    let (sums, rest) = rest.split_at_mut(GROUP * padded(width));
    let mut rooms = Rooms { queries: &mut rest[..GROUP * padded(width)], p, span, sums };
    let mut left = queries;
    while !left.is_empty() {
        let now = left.len().min(if S::WIDE { GROUP } else { GROUP / 2 });
        let (these, others) = left.split_at(now);
        match now {
            1 => group::<S, N, 1>(s, kv, these, scale, &mut rooms),
            2 => group::<S, N, 2>(s, kv, these, scale, &mut rooms),
            3 | 4 => group::<S, N, 4>(s, kv, these, scale, &mut rooms),
            _ => group::<S, N, 8>(s, kv, these, scale, &mut rooms),
        }
        left = others;
    }
}

/// Up to `Q` queries; the places of missing ones are computed and dropped.
#[inline(always)]
fn group<S: Simd, N: Number, const Q: usize>(s: S, kv: &KvParts<N>, queries: &[Query], scale: f32, rooms: &mut Rooms) {
    let (width, stride) = (kv.head_width, padded(kv.head_width));
    let longest = queries.iter().map(|query| query.keys).max().unwrap_or(0);
    lay_queries::<Q>(queries, width, rooms.queries);
    let mut seen = [Seen { largest: 0.0, total: 0.0 }; Q];
    for start in (0..longest).step_by(SPAN) {
        let visible = |query: &Query| query.keys.saturating_sub(start).min(SPAN);
        let most = SPAN.min(longest - start);
        scores::<S, N, Q>(s, kv, start, most.div_ceil(PANEL), scale, rooms);
        let common = queries.iter().map(visible).filter(|&n| n > 0).min().unwrap_or(0);
        let mut now = [Seen { largest: 0.0, total: 0.0 }; Q];
        for (q, query) in queries.iter().enumerate().filter(|(_, query)| visible(query) > 0) {
            now[q] = softmax(s, &mut rooms.p[q * SPAN..(q + 1) * SPAN], visible(query));
        }
        rooms.span[..Q * stride].fill(0.0);
        weigh::<S, N, Q>(s, kv, start, 0..common, rooms.p, rooms.span);
        for (q, query) in queries.iter().enumerate().filter(|(_, query)| visible(query) > 0) {
            let (p, span) = (&rooms.p[q * SPAN..], &mut rooms.span[q * stride..(q + 1) * stride]);
            weigh::<S, N, 1>(s, kv, start, common..visible(query), p, span);
            let sums = &mut rooms.sums[q * stride..(q + 1) * stride];
            seen[q] = if start == 0 { first(now[q], span, sums) } else { merge(s, seen[q], now[q], span, sums) };
        }
    }
    for (q, query) in queries.iter().enumerate() {
        assert!(query.keys > 0, "a query sees at least one key");
        // SAFETY: the program gives this call the query's output.
        let out = unsafe { query.out.slice_mut(0..width) };
        let inverse = 1.0 / seen[q].total;
        for (out, sum) in out.iter_mut().zip(&rooms.sums[q * stride..]) {
            *out = sum * inverse;
        }
    }
}

/// `[Q, D] → [D, Q]`, zeros for missing queries.
#[inline(always)]
fn lay_queries<const Q: usize>(queries: &[Query], width: usize, to: &mut [f32]) {
    for q in 0..Q {
        for d in 0..width {
            to[d * Q + q] = queries.get(q).map_or(0.0, |query| query.query[d]);
        }
    }
}

/// The scores of `Q` queries for `groups · 16` keys from `start` on.
#[inline(always)]
fn scores<S: Simd, N: Number, const Q: usize>(
    s: S,
    kv: &KvParts<N>,
    start: usize,
    groups: usize,
    scale: f32,
    rooms: &mut Rooms,
) {
    let width = kv.head_width;
    let keys = kv.keys.at(start * width, groups * PANEL * width);
    assert!(rooms.queries.len() >= width * Q && rooms.p.len() >= Q * SPAN && groups * PANEL <= SPAN);
    let queries = rooms.queries.as_ptr();
    for g in 0..groups {
        let mut sums = [s.splat(0.0); Q];
        for d in 0..width {
            // SAFETY: in bounds, asserted above; the program writes none of the keys that a query sees meanwhile, and
            // what stands in the places of others is overwritten by `softmax`.
            unsafe {
                let key = N::load(s, keys.add((g * width + d) * PANEL), PANEL);
                for q in 0..Q {
                    sums[q] = s.fma(s.splat(queries.add(d * Q + q).read()), key, sums[q]);
                }
            }
        }
        for q in 0..Q {
            // SAFETY: in bounds, asserted above.
            unsafe { s.store(rooms.p.as_mut_ptr().add(q * SPAN + g * PANEL), s.mul(sums[q], s.splat(scale))) };
        }
    }
}

/// Turns the first `n` scores into `exp(score − largest)`.
#[inline(always)]
fn softmax<S: Simd>(s: S, p: &mut [f32], n: usize) -> Seen {
    let p = &mut p[..n.next_multiple_of(PANEL)];
    p[n..].fill(f32::NEG_INFINITY);
    let mut largest = s.splat(f32::NEG_INFINITY);
    for p in p.chunks_exact(PANEL) {
        // SAFETY: sixteen numbers.
        largest = s.max(unsafe { s.load(p.as_ptr()) }, largest);
    }
    let largest = s.largest(largest);
    let mut total = s.splat(0.0);
    for p in p.chunks_exact_mut(PANEL) {
        // SAFETY: sixteen numbers.
        unsafe {
            let e = exp(s, s.sub(s.load(p.as_ptr()), s.splat(largest)));
            s.store(p.as_mut_ptr(), e);
            total = s.add(total, e);
        }
    }
    Seen { largest, total: s.fold(total) }
}

/// Adds `p · V` over `keys` (counted from `start`) to the sums of `Q` queries.
#[inline(always)]
fn weigh<S: Simd, N: Number, const Q: usize>(
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
    let (width, stride) = (kv.head_width, padded(kv.head_width));
    assert!(p.len() >= (Q - 1) * SPAN + keys.end && sums.len() >= Q * stride);
    let values = kv.values.at((start + keys.start) * width, keys.len() * width);
    let p = p[keys.start..].as_ptr();
    let mut d = 0;
    while d < width {
        // SAFETY: `keys.len()` rows of `width` numbers, `Q` rows of p and sums: asserted above.
        unsafe {
            let (values, sums) = (values.add(d), sums.as_mut_ptr().add(d));
            d += match width - d {
                32.. if S::WIDE => columns::<S, N, Q, 2>(s, values, width, PANEL, keys.len(), p, sums, stride),
                n => columns::<S, N, Q, 1>(s, values, width, n.min(PANEL), keys.len(), p, sums, stride),
            };
        }
    }
}

/// `C` registers of columns, the last of them `part` wide. Returns the number of columns.
///
/// # Safety
/// `n` rows of values `width` apart, `Q` rows of `p` and of `sums`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn columns<S: Simd, N: Number, const Q: usize, const C: usize>(
    s: S,
    values: *const N,
    width: usize,
    part: usize,
    n: usize,
    p: *const f32,
    sums: *mut f32,
    stride: usize,
) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        let mut total = [[s.splat(0.0); C]; Q];
        for q in 0..Q {
            for c in 0..C {
                total[q][c] = s.load(sums.add(q * stride + c * PANEL));
            }
        }
        for j in 0..n {
            let mut row = [s.splat(0.0); C];
            for c in 0..C {
                row[c] = N::load(s, values.add(j * width + c * PANEL), if C == 1 { part } else { PANEL });
            }
            for q in 0..Q {
                let p = s.splat(p.add(q * SPAN + j).read());
                for c in 0..C {
                    total[q][c] = s.fma(p, row[c], total[q][c]);
                }
            }
        }
        for q in 0..Q {
            for c in 0..C {
                s.store(sums.add(q * stride + c * PANEL), total[q][c]);
            }
        }
    }
    C * PANEL
}

/// The first span of a query.
#[inline(always)]
fn first(now: Seen, span: &[f32], sums: &mut [f32]) -> Seen {
    sums.copy_from_slice(span);
    now
}

/// Merges a span into those before it.
#[inline(always)]
fn merge<S: Simd>(s: S, seen: Seen, now: Seen, span: &[f32], sums: &mut [f32]) -> Seen {
    let largest = if now.largest > seen.largest { now.largest } else { seen.largest };
    let a = super::super::math::exp(seen.largest - largest);
    let b = super::super::math::exp(now.largest - largest);
    for (sum, span) in sums.chunks_exact_mut(PANEL).zip(span.chunks_exact(PANEL)) {
        // SAFETY: sixteen numbers.
        unsafe {
            let old = s.mul(s.load(sum.as_ptr()), s.splat(a));
            s.store(sum.as_mut_ptr(), s.add(old, s.mul(s.load(span.as_ptr()), s.splat(b))));
        }
    }
    Seen { largest, total: seen.total * a + now.total * b }
}
