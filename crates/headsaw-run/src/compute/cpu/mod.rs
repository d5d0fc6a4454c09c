//! The fast kernels: written once over sixteen lanes, compiled for each instruction set.

// Loops over lanes and tokens walk several arrays of a constant size at once; an index says so best.
#![allow(clippy::needless_range_loop)]

pub(super) mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod cache;
mod elementwise;
mod floats;
pub(super) mod lines;
pub(super) mod matmul;
mod pack;
mod portable;
mod quantised;
mod simd;
mod sums;

pub(super) use pack::Panels;
#[cfg(test)]
pub(super) use portable::wide_fma;

use super::matrix::{Body, Matrix};
use super::{Acts, Compute, Isa, KvHead, Leaves, NotFinite, Out, Query, Scratch, UnsupportedIsa};
use crate::weights::RawRows;
use headsaw::spec::model::Dtype;
use simd::Simd;
use std::ops::Range;
use std::sync::Arc;

/// The kernels of one instruction set.
struct Cpu<S>(S);

/// See [`super::cpu()`].
pub(super) fn new(isa: Isa) -> Result<Arc<dyn Compute>, UnsupportedIsa> {
    if !isa.here() {
        return Err(UnsupportedIsa(isa));
    }
    Ok(match isa {
        Isa::Portable => Arc::new(Cpu(portable::Portable)),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `here` has asked the processor.
        Isa::Avx2 => Arc::new(Cpu(unsafe { avx2::Avx2::new() })),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `here` has asked the processor.
        Isa::Avx512 => Arc::new(Cpu(unsafe { avx512::Avx512::new() })),
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2 | Isa::Avx512 => unreachable!("only x86-64 processors have {isa}"),
    })
}

fn panels(m: &Matrix) -> &Panels {
    match &m.body {
        Body::Panels(panels) => panels,
        Body::File(_) => panic!("this matrix was packed by the reference kernels"),
    }
}

impl<S: Simd> Compute for Cpu<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn pack(&self, raw: RawRows, blocks: &[Range<u32>]) -> Matrix {
        pack::pack(raw, blocks)
    }

    fn matmul(
        &self,
        m: &Matrix,
        x: &Acts,
        tokens: Range<usize>,
        of: Range<usize>,
        leaves: &Leaves,
        out: Out,
        scratch: &mut Scratch,
    ) {
        let single = tokens.len() == 1 && m.dtype == Dtype::Q8_0;
        let job = matmul::Job { m, packed: panels(m), x, tokens, panels: of, leaves, out };
        let product = matmul::Matmul { job, scratch };
        if single { self.0.narrow().with(product) } else { self.0.with(product) }
    }

    fn embed(&self, m: &Matrix, row: usize, out: &mut [f32]) {
        elementwise::embed(m, panels(m), row, out);
    }

    fn norm_blocks(&self, x: &[f32], gain: &[f32], acts: &Acts, token: usize, first_block: usize, squares: &mut [f32]) {
        self.0.with(elementwise::NormBlocks { x, gain, acts, token, first_block, squares });
    }

    fn rescale(&self, acts: &Acts, token: usize, factor: f32) {
        elementwise::rescale(acts, token, factor);
    }

    fn norm(&self, x: &mut [f32], gain: &[f32], epsilon: f32) {
        self.0.with(elementwise::Norm { x, gain, epsilon });
    }

    fn quantise(&self, x: &[f32], acts: &Acts, token: usize, first_block: usize) -> Result<(), NotFinite> {
        self.0.with(elementwise::Quantise { x, acts, token, first_block })
    }

    fn silu_mul(&self, gate: &mut [f32], up: &[f32]) {
        self.0.with(elementwise::SiluMul { gate, up });
    }

    fn rotate(&self, x: &mut [f32], cos: &[f32], sin: &[f32]) {
        self.0.with(elementwise::Rotate { x, cos, sin });
    }

    fn write_keys(&self, kv: &KvHead, position: usize, first: usize, k: &[f32]) {
        match kv {
            KvHead::F16(kv) => cache::write_keys(kv, position, first, k),
            KvHead::Bf16(kv) => cache::write_keys(kv, position, first, k),
            KvHead::F32(kv) => cache::write_keys(kv, position, first, k),
        }
    }

    fn write_values(&self, kv: &KvHead, position: usize, first: usize, v: &[f32]) {
        match kv {
            KvHead::F16(kv) => cache::write_values(kv, position, first, v),
            KvHead::Bf16(kv) => cache::write_values(kv, position, first, v),
            KvHead::F32(kv) => cache::write_values(kv, position, first, v),
        }
    }

    fn attend(&self, kv: &KvHead, queries: &[Query], scale: f32, scratch: &mut Scratch) {
        self.0.with(attention::Attend { kv, queries, scale, scratch });
    }
}
