//! The numbers of the KV cache: how they are rounded, where they lie, how sixteen of them are read.

use super::super::{KvParts, PANEL};
use super::simd::Simd;
use half::{bf16, f16};

/// A number of the cache.
pub(super) trait Number: Copy {
    /// The nearest to `x`.
    fn round(x: f32) -> Self;
    /// `n` numbers as they are, then zeros.
    /// # Safety
    /// `n` numbers, at most sixteen.
    unsafe fn load<S: Simd>(s: S, from: *const Self, n: usize) -> S::F;
}

impl Number for f16 {
    #[inline(always)]
    fn round(x: f32) -> f16 {
        f16::from_f32(x)
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const f16, n: usize) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { if n == PANEL { s.load_f16(from.cast()) } else { s.load_f16_part(from.cast(), n) } }
    }
}

impl Number for bf16 {
    #[inline(always)]
    fn round(x: f32) -> bf16 {
        bf16::from_f32(x)
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const bf16, n: usize) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { if n == PANEL { s.load_bf16(from.cast()) } else { s.load_bf16_part(from.cast(), n) } }
    }
}

impl Number for f32 {
    #[inline(always)]
    fn round(x: f32) -> f32 {
        x
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const f32, n: usize) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { if n == PANEL { s.load(from) } else { s.load_part(from, n) } }
    }
}

/// See [`super::super::Compute::write_keys`].
pub(super) fn write_keys<N: Number>(kv: &KvParts<N>, position: usize, first: usize, k: &[f32]) {
    let row = position / PANEL * kv.head_width + first;
    for (d, &k) in k.iter().enumerate() {
        // SAFETY: the program gives this call these columns of this key.
        unsafe { kv.keys.set((row + d) * PANEL + position % PANEL, N::round(k)) };
    }
}

/// See [`super::super::Compute::write_values`].
pub(super) fn write_values<N: Number>(kv: &KvParts<N>, position: usize, first: usize, v: &[f32]) {
    let start = position * kv.head_width + first;
    // SAFETY: the program gives this call these columns of this value.
    let to = unsafe { kv.values.slice_mut(start..start + v.len()) };
    for (to, &v) in to.iter_mut().zip(v) {
        *to = N::round(v);
    }
}
