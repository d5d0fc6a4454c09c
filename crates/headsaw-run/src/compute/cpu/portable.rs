//! No instruction set in particular: plain loops over sixteen lanes.

use super::super::math;
use super::simd::{Kernel, Simd};
use std::array::from_fn;
use std::hint::black_box;

/// Runs everywhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

type F = [f32; 16];

impl Simd for Portable {
    const NAME: &'static str = "portable";
    const WIDE: bool = false;
    type F = F;
    type W = [[i16; 64]; 8];

    type Narrow = Portable;

    #[inline(always)]
    fn narrow(self) -> Portable {
        self
    }

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
    unsafe fn load_u8(self, from: *const u8) -> F {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<[u8; 16]>().read() }.map(f32::from)
    }

    #[inline(always)]
    unsafe fn load_i8(self, from: *const i8) -> F {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<[i8; 16]>().read() }.map(f32::from)
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
        from_fn(|i| fma(a[i], b[i], c[i]))
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
    fn scale(self, x: F, _: F, shifted: F) -> F {
        let n = shifted.map(|x| (x.to_bits() as i32).wrapping_sub(math::ROUND.to_bits() as i32));
        let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
        from_fn(|i| x[i] * power(n[i] >> 1) * power(n[i].wrapping_sub(n[i] >> 1)))
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
        let lanes = black_box(64).min(64);
        let (low, high) = weights.split_at_mut(4);
        for ((bytes, low), high) in bytes.iter().zip(low).zip(high) {
            for ((byte, low), high) in bytes[..lanes].iter().zip(low).zip(high) {
                (*low, *high) = (i16::from(byte & 15), i16::from(byte >> 4));
            }
        }
        weights
    }

    #[inline(always)]
    unsafe fn dot_q4(self, weights: &Self::W, quants: *const i8, correction: i32) -> F {
        // SAFETY: the caller's promise.
        dot(weights, unsafe { &*quants.cast::<[[i8; 4]; 8]>() }, correction)
    }

    #[inline(always)]
    unsafe fn unpack_q5(self, from: *const u8) -> Self::W {
        // SAFETY: the caller's promise.
        let (mut weights, bits) = unsafe { (self.unpack_q4(from), &*from.add(256).cast::<[u8; 64]>()) };
        let lanes = black_box(64).min(64);
        for (g, weights) in weights.iter_mut().enumerate() {
            for (weight, bits) in weights[..lanes].iter_mut().zip(bits) {
                *weight |= i16::from(bits >> g & 1) << 4;
            }
        }
        weights
    }

    #[inline(always)]
    unsafe fn dot_q5(self, weights: &Self::W, quants: *const i8, correction: i32) -> F {
        // SAFETY: the caller's promise.
        dot(weights, unsafe { &*quants.cast::<[[i8; 4]; 8]>() }, correction)
    }

    #[inline(always)]
    unsafe fn unpack_q6(self, from: *const u8) -> Self::W {
        // SAFETY: the caller's promise.
        let (mut weights, bits) = unsafe { (self.unpack_q4(from), &*from.add(256).cast::<[[u8; 64]; 2]>()) };
        let lanes = black_box(64).min(64);
        for (g, weights) in weights.iter_mut().enumerate() {
            for (weight, bits) in weights[..lanes].iter_mut().zip(&bits[g / 4]) {
                *weight |= i16::from(bits >> (2 * (g % 4)) & 3) << 4;
            }
        }
        weights
    }

    #[inline(always)]
    unsafe fn dots_q6(self, weights: &Self::W, quants: *const i8, corrections: [i32; 2]) -> [F; 2] {
        // SAFETY: the caller's promise.
        let quants = unsafe { &*quants.cast::<[[i8; 4]; 8]>() };
        [0, 1].map(|h| dot(&weights[4 * h..4 * h + 4], &quants[4 * h..4 * h + 4], corrections[h]))
    }

    #[inline(always)]
    unsafe fn unpack_q8(self, from: *const u8) -> Self::W {
        // SAFETY: the caller's promise.
        let bytes = unsafe { &*from.cast::<[[u8; 64]; 8]>() };
        let mut weights = [[0; 64]; 8];
        let lanes = black_box(64).min(64);
        for (bytes, weights) in bytes.iter().zip(&mut weights) {
            for (byte, weight) in bytes[..lanes].iter().zip(weights) {
                *weight = i16::from(*byte) - 128;
            }
        }
        weights
    }

    #[inline(always)]
    unsafe fn dot_q8(self, weights: &Self::W, quants: *const i8, _: i32) -> F {
        // SAFETY: the caller's promise.
        dot(weights, unsafe { &*quants.cast::<[[i8; 4]; 8]>() }, 0)
    }
}

/// Two products of a weight and a quant together fit 16 bits (2 · 128 · 127 = 32,512). The four columns of a row are
/// added up at the end.
#[inline(always)]
fn dot(weights: &[[i16; 64]], quants: &[[i8; 4]], correction: i32) -> F {
    let mut sums = [0i32; 64];
    // A count that the compiler cannot see: it would unroll these 64 and then vectorise over groups, with gathers.
    let lanes = black_box(64).min(64);
    for (weights, quants) in weights.chunks_exact(2).zip(quants.chunks_exact(2)) {
        let (first, second) = (repeat(quants[0]), repeat(quants[1]));
        let weights = weights[0][..lanes].iter().zip(&weights[1]);
        let quants = first.iter().zip(&second);
        for ((sum, (w, v)), (a, b)) in sums.iter_mut().zip(weights).zip(quants) {
            *sum += i32::from(w.wrapping_mul(*a).wrapping_add(v.wrapping_mul(*b)));
        }
    }
    let mut dots = [0.0; 16];
    for (dot, sums) in dots.iter_mut().zip(sums.chunks_exact(4)) {
        *dot = (sums[0] + sums[1] + sums[2] + sums[3] + correction) as f32;
    }
    dots
}

/// Four quants, once for each row.
#[inline(always)]
fn repeat(quants: [i8; 4]) -> [i16; 64] {
    let mut repeated = [[0; 4]; 16];
    repeated.fill(quants.map(i16::from));
    let mut lanes = [0; 64];
    lanes.copy_from_slice(repeated.as_flattened());
    lanes
}

/// `a · b + c`, rounded once.
#[inline(always)]
fn fma(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) { a.mul_add(b, c) } else { wide_fma(a, b, c) }
}

/// The same where the processor has no such instruction, faster than a call for each: the product is exact in double
/// precision; the sum is rounded to odd (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008), so
/// that the second rounding is right.
#[inline(always)]
pub(in super::super) fn wide_fma(a: f32, b: f32, c: f32) -> f32 {
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    let part = sum - product;
    let error = (product - (sum - part)) + (c - part);
    let bits = sum.to_bits() as i64;
    // Towards the exact sum: away from zero where the error has the sum's sign. An infinite sum's error is NaN: no step.
    let step = (bits ^ error.to_bits() as i64) >> 63 | 1;
    let inexact = i64::from((error > 0.0) | (error < 0.0));
    let even = !bits & 1;
    f64::from_bits((bits + (step & -(inexact & even))) as u64) as f32
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
