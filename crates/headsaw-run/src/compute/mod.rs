//! Kernels whose bits depend on the model alone: every output element has one fixed order of additions, whatever the
//! instruction set, the cut, the number of lanes, or the tokens computed together.
//!
//! Two bodies: [`reference()`] reads weights as the file holds them and is as plain as can be; it defines the order.
//! [`cpu()`] repacks weights into panels of 16 rows, **one register lane per output row**, so that it needs no horizontal
//! sums and gives the same bits with AVX-512, AVX2 or none of them.

mod cpu;
mod isa;
pub mod math;
mod matrix;
mod reference;
mod scratch;
#[cfg(test)]
mod tests;

pub use isa::{Isa, UnknownIsa, UnsupportedIsa};
pub use matrix::Matrix;
pub use scratch::Scratch;

use crate::weights::RawRows;
use half::{bf16, f16};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

/// Rows of a weight panel: the grain at which lanes share a product.
pub const PANEL: usize = 16;
/// Elements that share one scale when activations are quantised.
pub const BLOCK: usize = 32;
/// Queries that attention takes together: it reads K and V once for them.
pub const QUERIES: usize = 32;
/// Keys that attention adds up before it merges with the keys before them; spans start at multiples of this.
pub const SPAN: usize = 256;

/// Values that wait while a tree is added up: its depth for 2^32 leaves, and one more while two are added.
pub(crate) const TREE_DEPTH: usize = 34;

/// Memory of which several lanes write disjoint parts at the same time.
///
/// The elements that one call writes are touched by nobody else during that call: the program's edges see to it.
#[derive(Debug)]
pub struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    memory: PhantomData<&'a T>,
}

impl<T> Clone for Shared<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Shared<'_, T> {}
// SAFETY: a `Shared` is an address and a length; whoever reads or writes through it keeps to the disjoint parts that the
// program's edges give it (see `Shared::new`), so sending or sharing the address itself does no harm.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    /// Memory that the caller alone holds.
    pub fn from_mut(memory: &'a mut [T]) -> Self {
        Shared { start: memory.as_mut_ptr(), len: memory.len(), memory: PhantomData }
    }

    /// # Safety
    /// `start` points to `len` elements that live for `'a`; no element is written by one thread while another reads or
    /// writes it, which the edges of a program guarantee for the buffers that it names.
    pub unsafe fn new(start: *mut T, len: usize) -> Self {
        Shared { start, len, memory: PhantomData }
    }

    /// Number of elements.
    pub fn len(self) -> usize {
        self.len
    }

    /// True where there is no element.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The address of `len` elements from `offset` on. Panics outside the memory.
    #[inline(always)]
    pub fn at(self, offset: usize, len: usize) -> *mut T {
        assert!(offset <= self.len && len <= self.len - offset, "{offset}+{len} of {}", self.len);
        // SAFETY: checked above.
        unsafe { self.start.add(offset) }
    }

    /// The part from `offset` on, `len` elements long.
    pub fn part(self, offset: usize, len: usize) -> Shared<'a, T> {
        Shared { start: self.at(offset, len), len, memory: PhantomData }
    }

    /// Writes one element. Panics outside the memory.
    ///
    /// # Safety
    /// Nobody else reads or writes this element at the same time.
    #[inline(always)]
    pub unsafe fn set(self, index: usize, value: T) {
        // SAFETY: in bounds (checked by `at`), touched by nobody else (the caller's promise).
        unsafe { self.at(index, 1).write(value) }
    }

    /// # Safety
    /// Nobody writes these elements while the slice lives.
    #[inline(always)]
    pub unsafe fn slice(self, range: Range<usize>) -> &'a [T] {
        let start = self.at(range.start, range.len());
        // SAFETY: in bounds (checked by `at`), alive for 'a, not written meanwhile (the caller's promise).
        unsafe { std::slice::from_raw_parts(start, range.len()) }
    }

    /// # Safety
    /// Nobody else reads or writes these elements while the slice lives.
    #[inline(always)]
    pub unsafe fn slice_mut(self, range: Range<usize>) -> &'a mut [T] {
        let start = self.at(range.start, range.len());
        // SAFETY: in bounds (checked by `at`), alive for 'a, touched by nobody else (the caller's promise).
        unsafe { std::slice::from_raw_parts_mut(start, range.len()) }
    }
}

/// Activations `[rows, blocks, 32]` in the form the next product takes them.
///
/// A block never straddles heads: it restarts at each head, and a short last block is padded with zeros.
#[derive(Debug, Clone, Copy)]
pub enum Acts<'a> {
    /// 8-bit integers, one scale a block: element = `scale · quant`.
    Int8 {
        /// `[rows, blocks, 32]`, each in −127..=127.
        quants: Shared<'a, i8>,
        /// `[rows, blocks]`.
        scales: Shared<'a, f32>,
        /// `[rows, blocks]`: the sum of a block's quants.
        sums: Shared<'a, i32>,
        /// Blocks of a row.
        blocks: usize,
    },
    /// As they are (`--dtype f32`).
    Float {
        /// `[rows, blocks, 32]`.
        values: Shared<'a, f32>,
        /// Blocks of a row.
        blocks: usize,
    },
}

impl Acts<'_> {
    /// Blocks of a row.
    pub fn blocks(&self) -> usize {
        match self {
            Acts::Int8 { blocks, .. } | Acts::Float { blocks, .. } => *blocks,
        }
    }
}

/// The leaves of the fixed tree that a product adds over, see `headsaw::shard`.
///
/// Leaf `i` covers the activation blocks `ends[i-1]..ends[i]` (from `start` for the first). After leaf `i` the two topmost
/// values are added `merges[i]` times; what is left, bottom to top, are the product's `nodes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaves {
    /// Where the first leaf begins, in activation blocks of the slice.
    pub start: u32,
    /// Where each leaf ends, in activation blocks of the slice.
    pub ends: Vec<u32>,
    /// Additions after each leaf.
    pub merges: Vec<u8>,
    /// Values that are left at the end.
    pub nodes: usize,
}

impl Leaves {
    /// One leaf over all blocks: a product whose sum crosses no cut.
    pub fn single(blocks: usize) -> Leaves {
        Leaves { start: 0, ends: vec![blocks as u32], merges: vec![0], nodes: 1 }
    }
}

/// Where a product goes: element of `node`, `token`, `row` at
/// `node · node_stride + token · token_stride + row - first_row`.
#[derive(Debug, Clone, Copy)]
pub struct Out<'a> {
    /// The memory.
    pub data: Shared<'a, f32>,
    /// Elements between nodes.
    pub node_stride: usize,
    /// Elements between tokens.
    pub token_stride: usize,
    /// The row that comes first.
    pub first_row: usize,
}

/// K and V of one layer, one sequence and one KV head, rounded to the cache's type.
#[derive(Debug, Clone, Copy)]
pub enum KvHead<'a> {
    /// IEEE half precision.
    F16(KvParts<'a, f16>),
    /// bfloat16.
    Bf16(KvParts<'a, bf16>),
    /// Single precision.
    F32(KvParts<'a, f32>),
}

/// The two parts of a KV head.
#[derive(Debug, Clone, Copy)]
pub struct KvParts<'a, T> {
    /// `[capacity / 16, D, 16]`: sixteen keys side by side, so that one register lane adds up one key's score.
    pub keys: Shared<'a, T>,
    /// `[capacity, D]`.
    pub values: Shared<'a, T>,
    /// `D`.
    pub head_width: usize,
}

/// One query of attention: a token and a Q head.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// `[D]`, rotated.
    pub query: &'a [f32],
    /// It sees the keys `0..keys`.
    pub keys: usize,
    /// `[D]`: where the weighted sum of V goes.
    pub out: Shared<'a, f32>,
}

/// A number that is not finite turned up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFinite;

/// The plain kernels: they define the order of additions.
pub fn reference() -> Arc<dyn Compute> {
    Arc::new(reference::Reference)
}

/// The fast kernels, for one instruction set or, with none named, for the best that this processor has.
pub fn cpu(isa: Option<Isa>) -> Result<Arc<dyn Compute>, UnsupportedIsa> {
    cpu::new(isa.unwrap_or_else(Isa::best))
}

/// The kernels of one instruction set (or of none).
///
/// Each method computes only the elements that its arguments name, and never allocates after [`Compute::pack`].
pub trait Compute: Send + Sync {
    /// `reference`, `portable`, `avx2`, `avx512`.
    fn name(&self) -> &'static str;

    /// Brings weights into the layout the kernels want. `blocks` are the columns of each activation block, relative to
    /// the first column that `raw` holds; at most 32 wide each, in order, not overlapping.
    fn pack(&self, raw: RawRows, blocks: &[Range<u32>]) -> Matrix;

    /// `x [tokens, blocks] · mᵀ [rows, blocks] → out [nodes, tokens, rows]`, for the rows of `panels` only.
    #[allow(clippy::too_many_arguments)]
    fn matmul(
        &self,
        m: &Matrix,
        x: &Acts,
        tokens: Range<usize>,
        panels: Range<usize>,
        leaves: &Leaves,
        out: Out,
        scratch: &mut Scratch,
    );

    /// Row `row` of the matrix, dequantised: `out [cols]`.
    fn embed(&self, m: &Matrix, row: usize, out: &mut [f32]);

    /// First half of an RMS norm, on whole blocks of a token's residual: writes `quantise(x · gain)` to blocks
    /// `first_block..` of `token` in `acts`, and each block's sum of squares of `x` to `squares`. Whatever is not finite
    /// shows up in `squares`.
    fn norm_blocks(&self, x: &[f32], gain: &[f32], acts: &Acts, token: usize, first_block: usize, squares: &mut [f32]);

    /// Second half: multiplies the scales (or the values) of `token` by `factor`, which is `1 / √(mean square + ε)`.
    fn rescale(&self, acts: &Acts, token: usize, factor: f32);

    /// An RMS norm in place: `x ← x / √(mean square + ε) · gain`; NaN where the sum of squares is not finite.
    fn norm(&self, x: &mut [f32], gain: &[f32], epsilon: f32);

    /// Quantises `x` (one head, or a run of MLP columns) to blocks `first_block..` of `token`.
    fn quantise(&self, x: &[f32], acts: &Acts, token: usize, first_block: usize) -> Result<(), NotFinite>;

    /// `gate ← silu(gate) · up`.
    fn silu_mul(&self, gate: &mut [f32], up: &[f32]);

    /// Rotates adjacent pairs `(2i, 2i+1)` by the angles whose `cos` and `sin` are given, one per pair.
    fn rotate(&self, x: &mut [f32], cos: &[f32], sin: &[f32]);

    /// Rounds `k` into the cache: columns `first..` of the key at `position`.
    fn write_keys(&self, kv: &KvHead, position: usize, first: usize, k: &[f32]);

    /// Rounds `v` into the cache: columns `first..` of the value at `position`.
    fn write_values(&self, kv: &KvHead, position: usize, first: usize, v: &[f32]);

    /// `softmax(q · kᵀ · scale) · v` for each query; queries share this KV head. Each sees at least one key.
    fn attend(&self, kv: &KvHead, queries: &[Query], scale: f32, scratch: &mut Scratch);
}
