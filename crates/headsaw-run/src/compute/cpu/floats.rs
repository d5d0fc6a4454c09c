//! Products with float weights.

use super::super::{Acts, BLOCK, PANEL};
use super::matmul::{Sums, Weights};
use super::pack::Segment;
use super::simd::Simd;
use std::marker::PhantomData;

/// Tokens of a tile.
pub(super) const TILE: usize = 16;
/// Bytes of one token's segment in a strip.
pub(super) const STRIP: usize = 4 * BLOCK;

/// Numbers as they are.
pub(super) struct Floats<N>(PhantomData<N>);

/// How a float type is read.
pub(super) trait Number {
    /// Bytes of a number.
    const BYTES: usize;
    /// # Safety
    /// Sixteen numbers.
    unsafe fn load<S: Simd>(s: S, from: *const u8) -> S::F;
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct Bf16;

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
    const STRIP: usize = STRIP;
    const TILE: usize = TILE;

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
    unsafe fn add<S: Simd, const T: usize>(
        s: S,
        _: *const u8,
        segment: *const u8,
        strip: *const u8,
        sums: &mut Sums<S, T>,
    ) {
        let activations = strip.cast::<f32>();
        for column in 0..BLOCK {
            // SAFETY: offsets inside a segment of weights and one of a strip.
            unsafe {
                let weights = N::load(s, segment.add(column * N::BYTES * PANEL));
                for t in 0..T {
                    let activation = s.splat(activations.add(column * T + t).read());
                    sums.products[t] = s.fma(weights, activation, sums.products[t]);
                }
            }
        }
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
