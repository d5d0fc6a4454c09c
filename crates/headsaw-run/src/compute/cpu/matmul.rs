//! Products: panels of 16 rows times groups of tokens.
//!
//! Tokens are taken in tiles that stay in the cache while all panels pass by. A tile's activations are first laid out as
//! *strips*, one for each group of up to [`GROUP`] tokens, in exactly the order in which the inner loop reads them. That
//! loop unpacks a segment of weights once for the whole group and keeps all sums in registers; the tree of leaves lives
//! in a small stack beside it.

use super::super::matrix::Matrix;
use super::super::{Acts, Leaves, Out, PANEL, Scratch, TREE_DEPTH};
use super::floats::{self, Bf16, F16, F32, Floats};
use super::pack::{Panels, Segment};
use super::quantised::{self, Bits4, Bits5, Bits8, Centred, Nested, Raised, Stepped};
use super::simd::{Kernel, Simd};
use headsaw::spec::model::Dtype;
use std::ops::Range;

/// Tokens that share an unpacked segment.
pub(crate) const GROUP: usize = 8;

/// Bytes that the strips of a tile take; a block of 32 activations may straddle two runs of weights.
pub(crate) fn strip_bytes(max_blocks: usize) -> usize {
    (quantised::TILE * quantised::STRIP_MOST * 2 * max_blocks).max(floats::TILE * floats::STRIP * max_blocks)
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
            Dtype::Q8_0 => tiles::<S, Centred<Bits8>>(s, &self.job, self.scratch),
            Dtype::Q5_0 => tiles::<S, Centred<Bits5>>(s, &self.job, self.scratch),
            Dtype::Q4_0 => tiles::<S, Centred<Bits4>>(s, &self.job, self.scratch),
            Dtype::Q5_1 => tiles::<S, Raised<Bits5>>(s, &self.job, self.scratch),
            Dtype::Q4_1 => tiles::<S, Raised<Bits4>>(s, &self.job, self.scratch),
            Dtype::Q5K => tiles::<S, Nested<Bits5>>(s, &self.job, self.scratch),
            Dtype::Q4K => tiles::<S, Nested<Bits4>>(s, &self.job, self.scratch),
            Dtype::Q6K => tiles::<S, Stepped>(s, &self.job, self.scratch),
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
        let blocks = match *self.x {
            Acts::Float { .. } if self.m.dtype.block() > 1 => {
                panic!("{} weights take 8-bit activations: dequantise them at load for f32 ones", self.m.dtype.name())
            }
            Acts::Int8 { blocks, .. } | Acts::Float { blocks, .. } => blocks,
        };
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
pub(super) trait Weights {
    /// Bytes of a segment.
    const BYTES: usize;
    /// Bytes of one token's segment in a strip.
    const STRIP: usize;
    /// Tokens of a tile.
    const TILE: usize;
    /// A segment's scales have scales in a head.
    const HEADS: bool = false;

    /// Lays out one segment of the activations of `T` tokens.
    fn lay<const T: usize>(x: &Acts, token: usize, segment: &Segment, regular: bool, strip: &mut [u8]);

    /// Adds one segment to the sums of `T` tokens.
    /// # Safety
    /// A segment of weights and one of a strip are readable, and a head where there are heads.
    unsafe fn add<S: Simd, const T: usize>(
        s: S,
        head: *const u8,
        segment: *const u8,
        strip: *const u8,
        sums: &mut Sums<S, T>,
    );

    /// The values of a leaf.
    #[inline(always)]
    fn leaf<S: Simd, const T: usize>(_: S, sums: Sums<S, T>) -> [S::F; T] {
        sums.products
    }
}

/// What a leaf adds up.
pub(super) struct Sums<S: Simd, const T: usize> {
    pub(super) products: [S::F; T],
    pub(super) minima: [S::F; T],
}

#[inline(always)]
fn tiles<S: Simd, W: Weights>(s: S, job: &Job, scratch: &mut Scratch) {
    assert_eq!(W::BYTES, job.packed.segment, "a segment of {}", job.m.dtype.name());
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
    let (heads, weights) = job.packed.panel(panel);
    let (weights, segments) = (&weights[first * W::BYTES..last * W::BYTES], last - first);
    assert!(stack.len() >= TREE_DEPTH * T * PANEL && strip.len() >= segments * T * W::STRIP);
    let at = |depth: usize, t: usize| (depth * T + t) * PANEL;
    let push = |stack: &mut [f32], depth: &mut usize, values: [S::F; T]| {
        for t in 0..T {
            // SAFETY: `depth < TREE_DEPTH` (checked for all leaves by `check`), for which the stack has room.
            unsafe { s.store(stack.as_mut_ptr().add(at(*depth, t)), values[t]) };
        }
        *depth += 1;
    };
    // The newest value of a single token stays in a register, those before it wait on the stack.
    let (mut top, mut held) = ([s.splat(0.0); T], false);
    let (mut depth, mut segment) = (0, 0);
    for (&end, &merges) in job.leaves.ends.iter().zip(&job.leaves.merges) {
        let end = job.segment(end) - first;
        let mut sums = Sums { products: [s.splat(0.0); T], minima: [s.splat(0.0); T] };
        while segment < end {
            let head = if W::HEADS { &heads[job.packed.segments[first + segment].head..] } else { heads };
            // SAFETY: `segment < segments`, for which both slices have room (asserted above); heads are whole.
            unsafe {
                let weights = weights.as_ptr().add(segment * W::BYTES);
                W::add(s, head.as_ptr(), weights, strip.as_ptr().add(segment * T * W::STRIP), &mut sums);
            }
            segment += 1;
        }
        let mut values = W::leaf(s, sums);
        for merge in 0..merges {
            let left = if T == 1 && merge == 0 {
                top
            } else {
                depth -= 1;
                // SAFETY: `depth < TREE_DEPTH` (checked for all leaves by `check`), for which the stack has room.
                std::array::from_fn(|t| unsafe { s.load(stack.as_ptr().add(at(depth, t))) })
            };
            for t in 0..T {
                values[t] = s.add(left[t], values[t]);
            }
        }
        if T > 1 {
            push(stack, &mut depth, values);
            continue;
        }
        if merges == 0 && held {
            push(stack, &mut depth, top);
        }
        (top, held) = (values, true);
    }
    if held {
        push(stack, &mut depth, top);
    }
    for node in 0..depth {
        for t in 0..T {
            // SAFETY: pushed above.
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
