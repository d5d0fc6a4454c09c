//! Products with quantised weights: integers times 8-bit activations, then scales.

use super::super::{Acts, BLOCK, PANEL};
use super::matmul::{Sums, Weights};
use super::pack::Segment;
use super::simd::Simd;
use std::marker::PhantomData;

/// Tokens of a tile.
pub(super) const TILE: usize = 64;
/// Bytes of one token's segment in a strip, at most: 32 quants, the scale, and two numbers that depend on their sums.
pub(super) const STRIP_MOST: usize = strip(2);

const fn strip(extras: usize) -> usize {
    BLOCK + 4 + 4 * extras
}

/// One token's segment of 8-bit activations.
struct Quants<'a> {
    /// Those of the segment's columns.
    quants: &'a [i8],
    /// Where the first of them stands in the segment.
    at: usize,
    scale: f32,
    sum: i32,
}

impl Quants<'_> {
    /// The sum of those in the first half of the segment.
    #[inline(always)]
    fn half(&self) -> i32 {
        let half = (BLOCK / 2).saturating_sub(self.at).min(self.quants.len());
        sum(&self.quants[..half])
    }
}

#[inline(always)]
fn sum(quants: &[i8]) -> i32 {
    quants.iter().map(|&q| i32::from(q)).sum()
}

#[inline(always)]
fn quants<'a>(x: &Acts<'a>, token: usize, segment: &Segment, regular: bool) -> Quants<'a> {
    let Acts::Int8 { quants, scales, sums, blocks } = *x else { unreachable!("`Job::check` has seen to it") };
    let at = token * blocks + segment.block;
    // SAFETY: the program writes no activations while a product reads them.
    let (all, scale, total) =
        unsafe { (quants.slice(at * BLOCK..(at + 1) * BLOCK), scales.slice(at..at + 1)[0], sums.slice(at..at + 1)[0]) };
    if regular {
        return Quants { quants: all, at: 0, scale, sum: total };
    }
    let quants = &all[segment.from..segment.from + segment.width];
    Quants { quants, at: segment.at, scale, sum: sum(quants) }
}

/// Writes `T × 32` quants, `T` scales and `N` times `T` numbers that depend on the sums. Straight from where they lie: by
/// way of the stack it takes two to five times as long, and not the same in each process.
#[inline(always)]
fn lay_quants<'a, const T: usize, const N: usize>(
    strip: &mut [u8],
    quants: impl Fn(usize) -> Quants<'a>,
    extras: impl Fn(&Quants) -> [[u8; 4]; N],
) {
    let (bytes, words) = strip.split_at_mut(T * BLOCK);
    let words: &mut [[u8; 4]] = words.as_chunks_mut().0;
    for t in 0..T {
        let (q, to) = (quants(t), &mut bytes[t * BLOCK..(t + 1) * BLOCK]);
        if let Ok(all) = <&[i8; BLOCK]>::try_from(q.quants) {
            // SAFETY: bytes are bytes, with a sign or without.
            to.copy_from_slice(unsafe { &*std::ptr::from_ref(all).cast::<[u8; BLOCK]>() });
        } else {
            to.fill(0);
            to[q.at..].iter_mut().zip(q.quants).for_each(|(to, q)| *to = *q as u8);
        }
        words[t] = q.scale.to_ne_bytes();
        for (i, extra) in extras(&q).into_iter().enumerate() {
            words[(i + 1) * T + t] = extra;
        }
    }
}

/// How integers are read.
pub(super) trait Bits {
    /// Bytes of 16 rows of 32 integers.
    const BYTES: usize;
    /// The integer in the middle.
    const ZERO: i32;
    /// # Safety
    /// As many bytes.
    unsafe fn unpack<S: Simd>(s: S, from: *const u8) -> S::W;
    /// The dots with 32 quants, and `correction` added.
    /// # Safety
    /// 32 quants.
    unsafe fn dot<S: Simd>(s: S, weights: &S::W, quants: *const i8, correction: i32) -> S::F;
}

pub(super) struct Bits4;
pub(super) struct Bits5;
pub(super) struct Bits8;

impl Bits for Bits4 {
    const BYTES: usize = 16 * PANEL;
    const ZERO: i32 = 8;

    #[inline(always)]
    unsafe fn unpack<S: Simd>(s: S, from: *const u8) -> S::W {
        // SAFETY: the caller's promise.
        unsafe { s.unpack_q4(from) }
    }

    #[inline(always)]
    unsafe fn dot<S: Simd>(s: S, weights: &S::W, quants: *const i8, correction: i32) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.dot_q4(weights, quants, correction) }
    }
}

impl Bits for Bits5 {
    const BYTES: usize = 20 * PANEL;
    const ZERO: i32 = 16;

    #[inline(always)]
    unsafe fn unpack<S: Simd>(s: S, from: *const u8) -> S::W {
        // SAFETY: the caller's promise.
        unsafe { s.unpack_q5(from) }
    }

    #[inline(always)]
    unsafe fn dot<S: Simd>(s: S, weights: &S::W, quants: *const i8, correction: i32) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.dot_q5(weights, quants, correction) }
    }
}

impl Bits for Bits8 {
    const BYTES: usize = 32 * PANEL;
    const ZERO: i32 = 128;

    #[inline(always)]
    unsafe fn unpack<S: Simd>(s: S, from: *const u8) -> S::W {
        // SAFETY: the caller's promise.
        unsafe { s.unpack_q8(from) }
    }

    #[inline(always)]
    unsafe fn dot<S: Simd>(s: S, weights: &S::W, quants: *const i8, correction: i32) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.dot_q8(weights, quants, correction) }
    }
}

/// `w = d · (q − zero)`: Q4_0, Q5_0, Q8_0.
pub(super) struct Centred<B>(PhantomData<B>);

impl<B: Bits> Weights for Centred<B> {
    const BYTES: usize = 2 * PANEL + B::BYTES;
    const STRIP: usize = strip(1);
    const TILE: usize = TILE;

    #[inline(always)]
    fn lay<const T: usize>(x: &Acts, token: usize, segment: &Segment, regular: bool, strip: &mut [u8]) {
        let quants = |t| quants(x, token + t, segment, regular);
        lay_quants::<T, 1>(strip, quants, |q| [(-B::ZERO * q.sum).to_ne_bytes()]);
    }

    #[inline(always)]
    unsafe fn add<S: Simd, const T: usize>(
        s: S,
        _: *const u8,
        segment: *const u8,
        strip: *const u8,
        sums: &mut Sums<S, T>,
    ) {
        // SAFETY: offsets inside a segment of weights and one of a strip.
        unsafe {
            let weights = B::unpack(s, segment.add(2 * PANEL));
            let d = s.load_f16(segment.cast());
            let scales = strip.add(T * BLOCK).cast::<f32>();
            for t in 0..T {
                let correction = scales.add(T + t).cast::<i32>().read();
                let dot = B::dot(s, &weights, strip.add(t * BLOCK).cast(), correction);
                let scale = s.mul(d, s.splat(scales.add(t).read()));
                sums.products[t] = s.add(sums.products[t], s.mul(scale, dot));
            }
        }
    }
}

/// `w = d · q + m`: Q4_1, Q5_1.
pub(super) struct Raised<B>(PhantomData<B>);

impl<B: Bits> Weights for Raised<B> {
    const BYTES: usize = 4 * PANEL + B::BYTES;
    const STRIP: usize = strip(1);
    const TILE: usize = TILE;

    #[inline(always)]
    fn lay<const T: usize>(x: &Acts, token: usize, segment: &Segment, regular: bool, strip: &mut [u8]) {
        let quants = |t| quants(x, token + t, segment, regular);
        lay_quants::<T, 1>(strip, quants, |q| [(q.scale * q.sum as f32).to_ne_bytes()]);
    }

    #[inline(always)]
    unsafe fn add<S: Simd, const T: usize>(
        s: S,
        _: *const u8,
        segment: *const u8,
        strip: *const u8,
        sums: &mut Sums<S, T>,
    ) {
        // SAFETY: offsets inside a segment of weights and one of a strip.
        unsafe {
            let weights = B::unpack(s, segment.add(4 * PANEL));
            let (d, m) = (s.load_f16(segment.cast()), s.load_f16(segment.add(2 * PANEL).cast()));
            add_raised::<S, B, T>(s, &weights, (d, m), strip, sums);
        }
    }

    #[inline(always)]
    fn leaf<S: Simd, const T: usize>(s: S, sums: Sums<S, T>) -> [S::F; T] {
        raised(s, sums)
    }
}

/// # Safety
/// A segment of a strip.
#[inline(always)]
unsafe fn add_raised<S: Simd, B: Bits, const T: usize>(
    s: S,
    weights: &S::W,
    (d, m): (S::F, S::F),
    strip: *const u8,
    sums: &mut Sums<S, T>,
) {
    // SAFETY: offsets inside a segment of a strip.
    unsafe {
        let scales = strip.add(T * BLOCK).cast::<f32>();
        for t in 0..T {
            let dot = B::dot(s, weights, strip.add(t * BLOCK).cast(), 0);
            let scale = s.mul(d, s.splat(scales.add(t).read()));
            sums.products[t] = s.add(sums.products[t], s.mul(scale, dot));
            sums.minima[t] = s.add(sums.minima[t], s.mul(m, s.splat(scales.add(T + t).read())));
        }
    }
}

/// Products and minima together.
#[inline(always)]
fn raised<S: Simd, const T: usize>(s: S, sums: Sums<S, T>) -> [S::F; T] {
    let mut values = sums.products;
    for t in 0..T {
        values[t] = s.add(values[t], sums.minima[t]);
    }
    values
}

/// `w = (d · s) · q − e · m`, where `d` and `e` are in the head and their products are exact: Q4_K, Q5_K.
pub(super) struct Nested<B>(PhantomData<B>);

impl<B: Bits> Weights for Nested<B> {
    const BYTES: usize = 2 * PANEL + B::BYTES;
    const STRIP: usize = strip(1);
    const TILE: usize = TILE;
    const HEADS: bool = true;

    #[inline(always)]
    fn lay<const T: usize>(x: &Acts, token: usize, segment: &Segment, regular: bool, strip: &mut [u8]) {
        let quants = |t| quants(x, token + t, segment, regular);
        lay_quants::<T, 1>(strip, quants, |q| [(-(q.scale * q.sum as f32)).to_ne_bytes()]);
    }

    #[inline(always)]
    unsafe fn add<S: Simd, const T: usize>(
        s: S,
        head: *const u8,
        segment: *const u8,
        strip: *const u8,
        sums: &mut Sums<S, T>,
    ) {
        // SAFETY: offsets inside a head, a segment of weights and one of a strip.
        unsafe {
            let weights = B::unpack(s, segment.add(2 * PANEL));
            let d = s.mul(s.load_f16(head.cast()), s.load_u8(segment));
            let m = s.mul(s.load_f16(head.add(2 * PANEL).cast()), s.load_u8(segment.add(PANEL)));
            add_raised::<S, B, T>(s, &weights, (d, m), strip, sums);
        }
    }

    #[inline(always)]
    fn leaf<S: Simd, const T: usize>(s: S, sums: Sums<S, T>) -> [S::F; T] {
        raised(s, sums)
    }
}

/// `w = d · (s · (q − 32))`, where `d` is in the head and 16 columns share `s`: Q6_K. All but `d` are integers, and so is
/// their sum, below 2^24: it is exact in f32.
pub(super) struct Stepped;

impl Weights for Stepped {
    const BYTES: usize = 26 * PANEL;
    const STRIP: usize = strip(2);
    const TILE: usize = TILE;
    const HEADS: bool = true;

    #[inline(always)]
    fn lay<const T: usize>(x: &Acts, token: usize, segment: &Segment, regular: bool, strip: &mut [u8]) {
        let quants = |t| quants(x, token + t, segment, regular);
        lay_quants::<T, 2>(strip, quants, |q| {
            let first = q.half();
            [first, q.sum - first].map(|sum| (-32 * sum).to_ne_bytes())
        });
    }

    #[inline(always)]
    unsafe fn add<S: Simd, const T: usize>(
        s: S,
        head: *const u8,
        segment: *const u8,
        strip: *const u8,
        sums: &mut Sums<S, T>,
    ) {
        // SAFETY: offsets inside a head, a segment of weights and one of a strip.
        unsafe {
            let weights = s.unpack_q6(segment.add(2 * PANEL));
            let d = s.load_f16(head.cast());
            let steps = [s.load_i8(segment.cast()), s.load_i8(segment.add(PANEL).cast())];
            let scales = strip.add(T * BLOCK).cast::<f32>();
            for t in 0..T {
                let corrections = scales.add(T + t).cast::<i32>();
                let corrections = [corrections.read(), corrections.add(T).read()];
                let dots = s.dots_q6(&weights, strip.add(t * BLOCK).cast(), corrections);
                let dot = s.add(s.mul(steps[0], dots[0]), s.mul(steps[1], dots[1]));
                let scale = s.mul(d, s.splat(scales.add(t).read()));
                sums.products[t] = s.add(sums.products[t], s.mul(scale, dot));
            }
        }
    }
}
