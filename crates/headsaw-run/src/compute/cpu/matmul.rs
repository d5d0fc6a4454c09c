//! Products: panels of 16 rows times groups of tokens.
//!
//! Tokens are taken in tiles that stay in the cache while all panels pass by. A tile's activations are first laid out as
//! *strips*, one for each group of up to [`GROUP`] tokens, in exactly the order in which the inner loop reads them. That
//! loop unpacks a segment of weights once for the whole group and keeps all sums in registers; the tree of leaves lives
//! in a small stack beside it.

use super::super::matrix::Matrix;
use super::super::{Acts, BLOCK, Leaves, Out, PANEL, Scratch, TREE_DEPTH};
use super::pack::{Panels, Segment, segment_bytes};
use super::simd::{Kernel, Simd};
use headsaw::spec::model::Dtype;
use std::marker::PhantomData;
use std::ops::Range;

/// Tokens that share an unpacked segment.
pub(crate) const GROUP: usize = 8;
/// Tokens of a tile, for integers and for floats.
const TILE: usize = 64;
const FLOAT_TILE: usize = 16;
/// Bytes of one token's segment in a strip: 32 quants, the scale, and what depends on their sum.
const STRIP: usize = BLOCK + 4 + 4;
const FLOAT_STRIP: usize = 4 * BLOCK;

/// Bytes that the strips of a tile take; a block of 32 activations may straddle two blocks of weights.
pub(crate) fn strip_bytes(max_blocks: usize) -> usize {
    (TILE * STRIP * 2 * max_blocks).max(FLOAT_TILE * FLOAT_STRIP * max_blocks)
}

/// One call of [`super::super::Compute::matmul`].
pub(super) struct Matmul<'a> {
    pub(super) job: Job<'a>,
    pub(super) scratch: &'a mut Scratch,
}

/// What is multiplied, and where it goes.
pub(super) struct Job<'a> {
    pub(super) m: &'a Matrix,
    pub(super) packed: &'a Panels,
    pub(super) x: &'a Acts<'a>,
    pub(super) tokens: Range<usize>,
    pub(super) panels: Range<usize>,
    pub(super) leaves: &'a Leaves,
    pub(super) out: Out<'a>,
}

impl Kernel for Matmul<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.job.check();
        match self.job.m.dtype {
            Dtype::F32 => tiles::<S, Floats<F32>>(s, &self.job, self.scratch),
            Dtype::F16 => tiles::<S, Floats<F16>>(s, &self.job, self.scratch),
            Dtype::Bf16 => tiles::<S, Floats<Bf16>>(s, &self.job, self.scratch),
            Dtype::Q8_0 => tiles::<S, Q8>(s, &self.job, self.scratch),
            Dtype::Q4_1 => tiles::<S, Q4>(s, &self.job, self.scratch),
        }
    }
}

impl Job<'_> {
    /// Where a leaf ends (or the first one begins), in segments.
    fn segment(&self, block: u32) -> usize {
        if block == 0 { 0 } else { self.packed.ends[block as usize - 1] as usize }
    }

    /// The segments of all leaves.
    fn segments(&self) -> Range<usize> {
        let start = self.segment(self.leaves.start);
        start..self.leaves.ends.last().map_or(start, |end| self.segment(*end))
    }

    fn check(&self) {
        let (Acts::Int8 { blocks, .. } | Acts::Float { blocks, .. }) = *self.x;
        assert!(self.m.blocks.len() <= blocks, "{} blocks of weights, {blocks} of activations", self.m.blocks.len());
        assert!(self.panels.end <= self.m.panels(), "panels {:?} of {}", self.panels, self.m.panels());
        assert_eq!(self.leaves.ends.len(), self.leaves.merges.len(), "one count of merges for each leaf");
        let last = self.leaves.ends.last().map_or(0, |&end| end as usize);
        assert!(last <= self.m.blocks.len(), "leaves end at {last}, the matrix has {} blocks", self.m.blocks.len());
        let mut depth = 0;
        for (leaf, &merges) in self.leaves.merges.iter().enumerate() {
            let start = if leaf == 0 { self.leaves.start } else { self.leaves.ends[leaf - 1] };
            assert!(start <= self.leaves.ends[leaf], "leaves out of order");
            assert!(usize::from(merges) <= depth && depth < TREE_DEPTH, "{merges} merges of {} values", depth + 1);
            depth = depth + 1 - usize::from(merges);
        }
        assert_eq!(depth, self.leaves.nodes, "nodes left of {:?}", self.leaves);
    }
}

/// Weights of one type.
trait Weights {
    /// Bytes of a segment.
    const BYTES: usize;
    /// Bytes of one token's segment in a strip.
    const STRIP: usize;
    /// Tokens of a tile.
    const TILE: usize;

    /// Lays out one segment of the activations of `T` tokens.
    fn lay<const T: usize>(x: &Acts, token: usize, segment: &Segment, regular: bool, strip: &mut [u8]);

    /// Adds one segment to the sums of `T` tokens.
    /// # Safety
    /// A segment of weights and one of a strip are readable.
    unsafe fn add<S: Simd, const T: usize>(s: S, panel: *const u8, strip: *const u8, sums: &mut Sums<S, T>);

    /// The values of a leaf.
    fn leaf<S: Simd, const T: usize>(s: S, sums: Sums<S, T>) -> [S::F; T];
}

/// What a leaf adds up.
struct Sums<S: Simd, const T: usize> {
    products: [S::F; T],
    minima: [S::F; T],
}

#[inline(always)]
fn tiles<S: Simd, W: Weights>(s: S, job: &Job, scratch: &mut Scratch) {
    debug_assert_eq!(W::BYTES, segment_bytes(job.m.dtype));
    let segments = job.segments().len();
    let stack = scratch.stack.floats_mut();
    let strips = scratch.strips.bytes_mut();
    assert!(
        W::TILE * W::STRIP * segments <= strips.len(),
        "scratch has no room for {} blocks of activations",
        job.m.blocks.len()
    );
    for start in job.tokens.clone().step_by(W::TILE) {
        let end = job.tokens.end.min(start + W::TILE);
        lay_tile::<S, W>(job, start..end, strips);
        for panel in job.panels.clone() {
            let mut token = start;
            while token < end {
                let strip = &strips[(token - start) * segments * W::STRIP..];
                token += match end - token {
                    8.. if S::WIDE => group::<S, W, 8>(s, job, panel, token, strip, stack),
                    4.. => group::<S, W, 4>(s, job, panel, token, strip, stack),
                    2.. => group::<S, W, 2>(s, job, panel, token, strip, stack),
                    _ => group::<S, W, 1>(s, job, panel, token, strip, stack),
                };
            }
        }
    }
}

/// Lays out the activations of a tile in the groups that `tiles` takes.
#[inline(always)]
fn lay_tile<S: Simd, W: Weights>(job: &Job, tokens: Range<usize>, strips: &mut [u8]) {
    let segments = job.segments().len();
    let mut token = tokens.start;
    while token < tokens.end {
        let strip = &mut strips[(token - tokens.start) * segments * W::STRIP..];
        token += match tokens.end - token {
            8.. if S::WIDE => lay_group::<W, 8>(job, token, strip),
            4.. => lay_group::<W, 4>(job, token, strip),
            2.. => lay_group::<W, 2>(job, token, strip),
            _ => lay_group::<W, 1>(job, token, strip),
        };
    }
}

#[inline(always)]
fn lay_group<W: Weights, const T: usize>(job: &Job, token: usize, strip: &mut [u8]) -> usize {
    let pieces = strip.chunks_exact_mut(T * W::STRIP);
    for (segment, piece) in job.packed.segments[job.segments()].iter().zip(pieces) {
        W::lay::<T>(job.x, token, segment, job.packed.regular, piece);
    }
    T
}

/// One panel times `T` tokens from `token` on. Returns `T`.
///
/// With one token it reads the weights as fast as plain reading does: prefetching by hand, or two panels at once, made it
/// slower where that was tried (Zen 4).
#[inline(always)]
fn group<S: Simd, W: Weights, const T: usize>(
    s: S,
    job: &Job,
    panel: usize,
    token: usize,
    strip: &[u8],
    stack: &mut [f32],
) -> usize {
    let Range { start: first, end: last } = job.segments();
    let (all, segments) = (job.packed.segments.len(), last - first);
    let weights = &job.packed.lines.bytes()[(panel * all + first) * W::BYTES..][..segments * W::BYTES];
    assert!(stack.len() >= TREE_DEPTH * T * PANEL && strip.len() >= segments * T * W::STRIP);
    let at = |depth: usize, t: usize| (depth * T + t) * PANEL;
    let (mut depth, mut segment) = (0, 0);
    for (&end, &merges) in job.leaves.ends.iter().zip(&job.leaves.merges) {
        let end = job.segment(end) - first;
        let mut sums = Sums { products: [s.splat(0.0); T], minima: [s.splat(0.0); T] };
        while segment < end {
            // SAFETY: `segment < segments`, for which both slices have room (asserted above).
            unsafe {
                let weights = weights.as_ptr().add(segment * W::BYTES);
                W::add(s, weights, strip.as_ptr().add(segment * T * W::STRIP), &mut sums);
            }
            segment += 1;
        }
        let mut values = W::leaf(s, sums);
        for _ in 0..merges {
            depth -= 1;
            for t in 0..T {
                // SAFETY: `depth < TREE_DEPTH` (checked for all leaves by `check`), for which the stack has room.
                values[t] = s.add(unsafe { s.load(stack.as_ptr().add(at(depth, t))) }, values[t]);
            }
        }
        for t in 0..T {
            // SAFETY: as above.
            unsafe { s.store(stack.as_mut_ptr().add(at(depth, t)), values[t]) };
        }
        depth += 1;
    }
    for node in 0..depth {
        for t in 0..T {
            // SAFETY: as above.
            let value = unsafe { s.load(stack.as_ptr().add(at(node, t))) };
            write(s, job, node, token + t, panel, value);
        }
    }
    T
}

#[inline(always)]
fn write<S: Simd>(s: S, job: &Job, node: usize, token: usize, panel: usize, value: S::F) {
    let (out, row) = (&job.out, panel * PANEL);
    let rows = PANEL.min(job.m.rows - row);
    let to = out.data.at(node * out.node_stride + token * out.token_stride + row - out.first_row, rows);
    // SAFETY: in bounds (checked by `at`); the program gives this call the outputs of its tokens and panels.
    unsafe {
        if rows == PANEL {
            s.store(to, value);
        } else {
            s.store_part(to, rows, value);
        }
    }
}

/// One token's segment of 8-bit activations.
struct Quants<'a> {
    /// Those of the segment's columns.
    quants: &'a [i8],
    /// Where the first of them stands in the block.
    at: usize,
    scale: f32,
    sum: i32,
}

#[inline(always)]
fn quants<'a>(x: &Acts<'a>, token: usize, segment: &Segment, regular: bool, dtype: Dtype) -> Quants<'a> {
    let Acts::Int8 { quants, scales, sums, blocks } = *x else {
        panic!("{} weights take 8-bit activations: dequantise them at load for f32 ones", dtype.name())
    };
    let at = token * blocks + segment.block;
    // SAFETY: the program writes no activations while a product reads them.
    let (all, scale, sum) =
        unsafe { (quants.slice(at * BLOCK..(at + 1) * BLOCK), scales.slice(at..at + 1)[0], sums.slice(at..at + 1)[0]) };
    if regular {
        return Quants { quants: all, at: 0, scale, sum };
    }
    let quants = &all[segment.at..segment.at + segment.width];
    Quants { quants, at: segment.at, scale, sum: quants.iter().map(|&q| i32::from(q)).sum() }
}

/// Writes `T × 32` quants, `T` scales and `T` numbers that depend on the sums. Straight from where they lie: by way of
/// the stack it takes two to five times as long, and not the same in each process.
#[inline(always)]
fn lay_quants<'a, const T: usize>(
    strip: &mut [u8],
    quants: impl Fn(usize) -> Quants<'a>,
    extra: impl Fn(&Quants) -> [u8; 4],
) {
    let (bytes, scales) = strip.split_at_mut(T * BLOCK);
    let (scales, extras) = scales.split_at_mut(T * 4);
    for t in 0..T {
        let (q, to) = (quants(t), &mut bytes[t * BLOCK..(t + 1) * BLOCK]);
        if let Ok(all) = <&[i8; BLOCK]>::try_from(q.quants) {
            // SAFETY: bytes are bytes, with a sign or without.
            to.copy_from_slice(unsafe { &*std::ptr::from_ref(all).cast::<[u8; BLOCK]>() });
        } else {
            to.fill(0);
            to[q.at..].iter_mut().zip(q.quants).for_each(|(to, q)| *to = *q as u8);
        }
        scales[4 * t..4 * t + 4].copy_from_slice(&q.scale.to_ne_bytes());
        extras[4 * t..4 * t + 4].copy_from_slice(&extra(&q));
    }
}

/// `w = d · q + m`.
struct Q4;

impl Weights for Q4 {
    const BYTES: usize = 20 * PANEL;
    const STRIP: usize = STRIP;
    const TILE: usize = TILE;

    #[inline(always)]
    fn lay<const T: usize>(x: &Acts, token: usize, segment: &Segment, regular: bool, strip: &mut [u8]) {
        let quants = |t| quants(x, token + t, segment, regular, Dtype::Q4_1);
        lay_quants::<T>(strip, quants, |q| (q.scale * q.sum as f32).to_ne_bytes());
    }

    #[inline(always)]
    unsafe fn add<S: Simd, const T: usize>(s: S, panel: *const u8, strip: *const u8, sums: &mut Sums<S, T>) {
        // SAFETY: offsets inside a segment of weights and one of a strip.
        unsafe {
            let weights = s.unpack_q4(panel.add(64));
            let (d, m) = (s.load_f16(panel.cast()), s.load_f16(panel.add(32).cast()));
            let scales = strip.add(T * BLOCK).cast::<f32>();
            for t in 0..T {
                let dot = s.dot_q4(&weights, strip.add(t * BLOCK).cast());
                let scale = s.mul(d, s.splat(scales.add(t).read()));
                sums.products[t] = s.add(sums.products[t], s.mul(scale, dot));
                sums.minima[t] = s.add(sums.minima[t], s.mul(m, s.splat(scales.add(T + t).read())));
            }
        }
    }

    #[inline(always)]
    fn leaf<S: Simd, const T: usize>(s: S, sums: Sums<S, T>) -> [S::F; T] {
        let mut values = sums.products;
        for t in 0..T {
            values[t] = s.add(values[t], sums.minima[t]);
        }
        values
    }
}

/// `w = d · q`.
struct Q8;

impl Weights for Q8 {
    const BYTES: usize = 34 * PANEL;
    const STRIP: usize = STRIP;
    const TILE: usize = TILE;

    #[inline(always)]
    fn lay<const T: usize>(x: &Acts, token: usize, segment: &Segment, regular: bool, strip: &mut [u8]) {
        let quants = |t| quants(x, token + t, segment, regular, Dtype::Q8_0);
        lay_quants::<T>(strip, quants, |q| (-128 * q.sum).to_ne_bytes());
    }

    #[inline(always)]
    unsafe fn add<S: Simd, const T: usize>(s: S, panel: *const u8, strip: *const u8, sums: &mut Sums<S, T>) {
        // SAFETY: offsets inside a segment of weights and one of a strip.
        unsafe {
            let weights = s.unpack_q8(panel.add(32));
            let d = s.load_f16(panel.cast());
            let scales = strip.add(T * BLOCK).cast::<f32>();
            for t in 0..T {
                let correction = scales.add(T + t).cast::<i32>().read();
                let dot = s.dot_q8(&weights, strip.add(t * BLOCK).cast(), correction);
                let scale = s.mul(d, s.splat(scales.add(t).read()));
                sums.products[t] = s.add(sums.products[t], s.mul(scale, dot));
            }
        }
    }

    #[inline(always)]
    fn leaf<S: Simd, const T: usize>(_: S, sums: Sums<S, T>) -> [S::F; T] {
        sums.products
    }
}

/// Numbers as they are.
struct Floats<N>(PhantomData<N>);

/// How a float type is read.
trait Number {
    /// Bytes of a number.
    const BYTES: usize;
    /// # Safety
    /// Sixteen numbers.
    unsafe fn load<S: Simd>(s: S, from: *const u8) -> S::F;
}

struct F32;
struct F16;
struct Bf16;

impl Number for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const u8) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.load(from.cast()) }
    }
}

impl Number for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const u8) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.load_f16(from.cast()) }
    }
}

impl Number for Bf16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const u8) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.load_bf16(from.cast()) }
    }
}

impl<N: Number> Weights for Floats<N> {
    const BYTES: usize = N::BYTES * BLOCK * PANEL;
    const STRIP: usize = FLOAT_STRIP;
    const TILE: usize = FLOAT_TILE;

    #[inline(always)]
    fn lay<const T: usize>(x: &Acts, token: usize, segment: &Segment, _: bool, strip: &mut [u8]) {
        for t in 0..T {
            let values = floats(x, token + t, segment.block);
            for (column, value) in strip.chunks_exact_mut(4 * T).zip(values) {
                column[4 * t..4 * t + 4].copy_from_slice(&value.to_ne_bytes());
            }
        }
    }

    #[inline(always)]
    unsafe fn add<S: Simd, const T: usize>(s: S, panel: *const u8, strip: *const u8, sums: &mut Sums<S, T>) {
        let activations = strip.cast::<f32>();
        for column in 0..BLOCK {
            // SAFETY: offsets inside a segment of weights and one of a strip.
            unsafe {
                let weights = N::load(s, panel.add(column * N::BYTES * PANEL));
                for t in 0..T {
                    let activation = s.splat(activations.add(column * T + t).read());
                    sums.products[t] = s.fma(weights, activation, sums.products[t]);
                }
            }
        }
    }

    #[inline(always)]
    fn leaf<S: Simd, const T: usize>(_: S, sums: Sums<S, T>) -> [S::F; T] {
        sums.products
    }
}

/// One block of activations as f32.
#[inline(always)]
fn floats(x: &Acts, token: usize, block: usize) -> [f32; BLOCK] {
    // SAFETY: the program writes no activations while a product reads them.
    unsafe {
        match *x {
            Acts::Int8 { quants, scales, blocks, .. } => {
                let at = token * blocks + block;
                let scale = scales.slice(at..at + 1)[0];
                let quants = quants.slice(at * BLOCK..(at + 1) * BLOCK);
                std::array::from_fn(|i| scale * f32::from(quants[i]))
            }
            Acts::Float { values, blocks } => {
                let at = (token * blocks + block) * BLOCK;
                let values = values.slice(at..at + BLOCK);
                std::array::from_fn(|i| values[i])
            }
        }
    }
}
