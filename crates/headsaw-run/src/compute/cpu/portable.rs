//! No instruction set in particular: plain loops over sixteen lanes.

use super::super::math;
use super::simd::{Kernel, Simd};
use half::f16;
use std::array::from_fn;

/// Runs everywhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

type F = [f32; 16];

impl Simd for Portable {
    const NAME: &'static str = "portable";
    type F = F;
    type W = [[i8; 64]; 8];

    #[inline(always)]
    fn with<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> F {
        [x; 16]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> F {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<F>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: F) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<F>().write_unaligned(x) }
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const u16) -> F {
        // SAFETY: the caller's promise.
        let halves = unsafe { from.cast::<[u16; 16]>().read_unaligned() };
        halves.map(widen)
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> F {
        // SAFETY: the caller's promise.
        let halves = unsafe { from.cast::<[u16; 16]>().read_unaligned() };
        halves.map(|half| f32::from_bits(u32::from(half) << 16))
    }

    #[inline(always)]
    fn add(self, a: F, b: F) -> F {
        from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: F, b: F) -> F {
        from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: F, b: F) -> F {
        from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn div(self, a: F, b: F) -> F {
        from_fn(|i| a[i] / b[i])
    }

    #[inline(always)]
    fn fma(self, a: F, b: F, c: F) -> F {
        from_fn(|i| a[i].mul_add(b[i], c[i]))
    }

    #[inline(always)]
    fn max(self, a: F, b: F) -> F {
        from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn min(self, a: F, b: F) -> F {
        from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn zero_below(self, a: F, b: F, x: F) -> F {
        from_fn(|i| if a[i] < b[i] { 0.0 } else { x[i] })
    }

    #[inline(always)]
    fn power_of_two(self, shifted: F) -> (F, F) {
        let n = shifted.map(|x| (x.to_bits() as i32).wrapping_sub(math::ROUND.to_bits() as i32));
        let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
        (n.map(|n| power(n >> 1)), n.map(|n| power(n.wrapping_sub(n >> 1))))
    }

    #[inline(always)]
    fn largest(self, x: F) -> f32 {
        x.into_iter().fold(f32::NEG_INFINITY, |a, x| if x > a { x } else { a })
    }

    #[inline(always)]
    fn largest_bits(self, a: F, b: F) -> u32 {
        let bits = |x: f32| x.to_bits() & 0x7fff_ffff;
        (0..16).fold(0, |largest, i| largest.max(bits(a[i])).max(bits(b[i])))
    }

    #[inline(always)]
    fn fold(self, x: F) -> f32 {
        math::fold(x)
    }

    #[inline(always)]
    unsafe fn store_i8(self, to: *mut i8, x: F) -> i32 {
        let q =
            x.map(|x| ((x + math::ROUND).to_bits() as i32).wrapping_sub(math::ROUND.to_bits() as i32).clamp(-127, 127));
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[i8; 16]>().write(q.map(|q| q as i8)) };
        q.into_iter().sum()
    }

    #[inline(always)]
    unsafe fn unpack_q4(self, from: *const u8) -> Self::W {
        // SAFETY: the caller's promise.
        let bytes = unsafe { &*from.cast::<[[u8; 64]; 4]>() };
        let mut weights = [[0; 64]; 8];
        for g in 0..4 {
            for i in 0..64 {
                weights[g][i] = (bytes[g][i] & 15) as i8;
                weights[g + 4][i] = (bytes[g][i] >> 4) as i8;
            }
        }
        weights
    }

    #[inline(always)]
    unsafe fn dot_q4(self, weights: &Self::W, quants: *const i8) -> F {
        // SAFETY: the caller's promise.
        dot(weights, unsafe { &*quants.cast() })
    }

    #[inline(always)]
    unsafe fn unpack_q8(self, from: *const u8) -> Self::W {
        // SAFETY: the caller's promise.
        let bytes = unsafe { &*from.cast::<[[u8; 64]; 8]>() };
        from_fn(|g| from_fn(|i| (bytes[g][i] ^ 0x80) as i8))
    }

    #[inline(always)]
    unsafe fn dot_q8(self, weights: &Self::W, quants: *const i8, _: i32) -> F {
        // SAFETY: the caller's promise.
        dot(weights, unsafe { &*quants.cast() })
    }
}

#[inline(always)]
fn dot(weights: &[[i8; 64]; 8], quants: &[[i8; 4]; 8]) -> F {
    let mut sums = [0i32; 16];
    for (weights, quants) in weights.iter().zip(quants) {
        for (row, sum) in sums.iter_mut().enumerate() {
            for c in 0..4 {
                *sum += i32::from(weights[row * 4 + c]) * i32::from(quants[c]);
            }
        }
    }
    sums.map(|sum| sum as f32)
}

/// Half to single precision without branches, so that it can be vectorised: moves the fields to their places and scales
/// by 2¹¹², which is exact for subnormal numbers too.
#[inline(always)]
fn widen(half: u16) -> f32 {
    let magnitude = u32::from(half & 0x7fff) << 13;
    let scaled = (f32::from_bits(magnitude) * f32::from_bits(0x7780_0000)).to_bits();
    let special = if half & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(scaled | special | u32::from(half & 0x8000) << 16)
}

/// The value of half precision nearest to `x`, as bits.
#[inline(always)]
pub(super) fn narrow(x: f32) -> u16 {
    f16::from_f32(x).to_bits()
}
