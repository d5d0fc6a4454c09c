//! Attention over the cache, span by span: K and V of a span are read once for all queries that share them.
//!
//! Every query's bits depend on itself only: its scores are chains over the head's columns, its sums run over spans of
//! keys at fixed positions, and the keys that it does not see are never added.

use super::super::{KvHead, KvParts, PANEL, QUERIES, Query, SPAN, Scratch};
use super::cache::Number;
use super::elementwise::exp;
use super::simd::{Kernel, Simd};
use super::sums::{ask_keys, scores, weigh};

/// Queries whose sums are in registers at the same time.
const GROUP: usize = 16;

/// Columns of a head, rounded up to whole registers.
fn padded(head_width: usize) -> usize {
    head_width.next_multiple_of(PANEL)
}

/// Numbers that attention keeps in its scratch: as many for any number of keys.
pub(crate) fn floats(head_width: usize) -> usize {
    GROUP * (SPAN + padded(head_width)) + 2 * QUERIES * padded(head_width)
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
            KvHead::Bf16(kv) => all(s, kv, self.queries, self.scale, self.scratch),
            KvHead::F32(kv) => all(s, kv, self.queries, self.scale, self.scratch),
        }
    }
}

/// The parts of the scratch.
struct Rooms<'a> {
    /// `[GROUP, SPAN]`: scores of a group, then their exponentials.
    p: &'a mut [f32],
    /// `[GROUP, D padded]`: a group's sums of the span.
    span: &'a mut [f32],
    /// `[QUERIES, D padded]`: the sums of all spans so far.
    sums: &'a mut [f32],
    /// For each group `[D, Q]`: its queries side by side.
    queries: &'a mut [f32],
}

/// What a query has seen so far.
#[derive(Clone, Copy)]
struct Seen {
    largest: f32,
    total: f32,
}

impl Seen {
    const NOTHING: Seen = Seen { largest: 0.0, total: 0.0 };
}

/// Queries that go together, of so many that are left.
fn group_size<S: Simd>(left: usize) -> usize {
    left.min(if S::WIDE { GROUP } else { GROUP / 4 })
}

#[inline(always)]
fn all<S: Simd, N: Number>(s: S, kv: &KvParts<N>, queries: &[Query], scale: f32, scratch: &mut Scratch) {
    let width = kv.head_width;
    assert!(width <= scratch.head_width, "scratch has no room for heads {width} wide");
    let (p, rest) = scratch.attention.floats_mut().split_at_mut(GROUP * SPAN);
    let (span, rest) = rest.split_at_mut(GROUP * padded(width));
    let (sums, queries_room) = rest.split_at_mut(QUERIES * padded(width));
    let mut rooms = Rooms { p, span, sums, queries: queries_room };
    for tile in queries.chunks(QUERIES) {
        spans(s, kv, tile, scale, &mut rooms);
    }
}

/// All spans of up to `QUERIES` queries.
#[inline(always)]
fn spans<S: Simd, N: Number>(s: S, kv: &KvParts<N>, queries: &[Query], scale: f32, rooms: &mut Rooms) {
    let (width, stride) = (kv.head_width, padded(kv.head_width));
    let mut seen = [Seen::NOTHING; QUERIES];
    let longest = queries.iter().map(|query| query.keys).max().unwrap_or(0);
    for start in (0..longest).step_by(SPAN) {
        let mut first = 0;
        while first < queries.len() {
            let group = Group { first, start, scale };
            let n = group_size::<S>(queries.len() - first);
            let (these, seen) = (&queries[first..first + n], &mut seen[first..first + n]);
            match n {
                1 => group.span::<S, N, 1>(s, kv, these, rooms, seen),
                2 => group.span::<S, N, 2>(s, kv, these, rooms, seen),
                3 => group.span::<S, N, 3>(s, kv, these, rooms, seen),
                4 => group.span::<S, N, 4>(s, kv, these, rooms, seen),
                5..=8 => group.span::<S, N, 8>(s, kv, these, rooms, seen),
                _ => group.span::<S, N, 16>(s, kv, these, rooms, seen),
            }
            first += n;
        }
    }
    for (q, (query, seen)) in queries.iter().zip(seen).enumerate() {
        assert!(query.keys > 0, "a query sees at least one key");
        // SAFETY: the program gives this call the query's output.
        let out = unsafe { query.out.slice_mut(0..width) };
        let inverse = 1.0 / seen.total;
        for (out, sum) in out.iter_mut().zip(&rooms.sums[q * stride..]) {
            *out = sum * inverse;
        }
    }
}

/// Some queries of a tile and a span of keys.
struct Group {
    /// The first of the queries.
    first: usize,
    /// The first of the keys.
    start: usize,
    scale: f32,
}

impl Group {
    /// Up to `Q` queries; the places of missing ones are computed and dropped.
    #[inline(always)]
    fn span<S: Simd, N: Number, const Q: usize>(
        &self,
        s: S,
        kv: &KvParts<N>,
        queries: &[Query],
        rooms: &mut Rooms,
        seen: &mut [Seen],
    ) {
        let (start, stride) = (self.start, padded(kv.head_width));
        let visible = |query: &Query| query.keys.saturating_sub(start).min(SPAN);
        let most = queries.iter().map(visible).max().unwrap_or(0);
        if most == 0 {
            return;
        }
        let laid = &mut rooms.queries[self.first * stride..][..Q * stride];
        if start == 0 {
            lay_queries::<Q>(queries, kv.head_width, laid);
        }
        let panels = most.div_ceil(PANEL);
        scores::<S, N, Q>(s, kv, start, panels, self.scale, laid, rooms.p);
        for (q, query) in queries.iter().enumerate() {
            rooms.p[q * SPAN..][visible(query)..panels * PANEL].fill(f32::NEG_INFINITY);
        }
        let now = softmax::<S, Q>(s, rooms.p, panels, |panel| ask_keys::<S, N, Q>(s, kv, start, panel));
        let common = queries.iter().map(visible).filter(|&n| n > 0).min().unwrap_or(0);
        rooms.span[..Q * stride].fill(0.0);
        weigh::<S, N, Q>(s, kv, start, 0..common, rooms.p, rooms.span);
        for (q, query) in queries.iter().enumerate().filter(|(_, query)| visible(query) > common) {
            let (p, span) = (&rooms.p[q * SPAN..], &mut rooms.span[q * stride..(q + 1) * stride]);
            weigh::<S, N, 1>(s, kv, start, common..visible(query), p, span);
        }
        let sums = &mut rooms.sums[self.first * stride..][..queries.len() * stride];
        if start == 0 {
            sums.copy_from_slice(&rooms.span[..queries.len() * stride]);
            seen.copy_from_slice(&now[..queries.len()]);
            return;
        }
        let factors = merge::<S, Q>(s, seen, &now);
        for (q, _) in queries.iter().enumerate().filter(|(_, query)| visible(query) > 0) {
            let (before, new) = (factors[q], factors[GROUP + q]);
            let sums = sums[q * stride..(q + 1) * stride].chunks_exact_mut(PANEL);
            for (sum, span) in sums.zip(rooms.span[q * stride..].chunks_exact(PANEL)) {
                // SAFETY: sixteen numbers.
                unsafe {
                    let old = s.mul(s.load(sum.as_ptr()), s.splat(before));
                    s.store(sum.as_mut_ptr(), s.add(old, s.mul(s.load(span.as_ptr()), s.splat(new))));
                }
            }
            seen[q] = Seen {
                largest: larger(now[q].largest, seen[q].largest),
                total: seen[q].total * before + now[q].total * new,
            };
        }
    }
}

fn larger(now: f32, before: f32) -> f32 {
    if now > before { now } else { before }
}

/// What the sums before a span and the span's own are multiplied by: for query `q` at `q` and at `GROUP + q`.
#[inline(always)]
fn merge<S: Simd, const Q: usize>(s: S, seen: &[Seen], now: &[Seen; Q]) -> [f32; 2 * GROUP] {
    let mut factors = [0.0; 2 * GROUP];
    for (q, (seen, now)) in seen.iter().zip(now).enumerate() {
        let largest = larger(now.largest, seen.largest);
        factors[q] = seen.largest - largest;
        factors[GROUP + q] = now.largest - largest;
    }
    for half in factors.chunks_exact_mut(GROUP) {
        // SAFETY: sixteen numbers.
        unsafe { s.store(half.as_mut_ptr(), exp(s, s.load(half.as_ptr()))) };
    }
    factors
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

/// Turns the scores of `Q` queries for `panels · 16` keys into `exp(score − largest)`; calls `between` once a panel.
#[inline(always)]
fn softmax<S: Simd, const Q: usize>(s: S, p: &mut [f32], panels: usize, between: impl Fn(usize)) -> [Seen; Q] {
    assert!(p.len() >= Q * SPAN && panels * PANEL <= SPAN);
    let p = p.as_mut_ptr();
    let mut seen = [Seen::NOTHING; Q];
    // SAFETY: in bounds, asserted above.
    unsafe {
        let mut largest = [s.splat(f32::NEG_INFINITY); Q];
        for i in 0..panels {
            for q in 0..Q {
                largest[q] = s.max(s.load(p.add(q * SPAN + i * PANEL)), largest[q]);
            }
        }
        for q in 0..Q {
            seen[q].largest = s.largest(largest[q]);
            largest[q] = s.splat(seen[q].largest);
        }
        let mut total = [s.splat(0.0); Q];
        for i in 0..panels {
            between(i);
            for q in 0..Q {
                let at = p.add(q * SPAN + i * PANEL);
                let e = exp(s, s.sub(s.load(at), largest[q]));
                s.store(at, e);
                total[q] = s.add(total[q], e);
            }
        }
        for q in 0..Q {
            seen[q].total = s.fold(total[q]);
        }
    }
    seen
}
