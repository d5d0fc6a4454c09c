//! AVX2 with FMA and F16C: two registers for sixteen lanes.

use super::super::math;
use super::simd::{Kernel, Simd};
use std::arch::x86_64::*;

/// Proof that the processor has AVX2, FMA and F16C.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The processor has them.
    pub(super) unsafe fn new() -> Avx2 {
        Avx2(())
    }
}

type F = [__m256; 2];
type I = [__m256i; 2];

/// Applies an instruction to both halves. (A closure would not do: it would be compiled without the instruction set.)
macro_rules! both {
    ($op:path, $($x:expr),+) => { [$op($($x[0]),+), $op($($x[1]),+)] };
}

/// `2ⁿ`.
#[inline(always)]
unsafe fn power(n: __m256i, bias: __m256i) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n, bias))) }
}

/// Folds eight integers with an instruction.
macro_rules! fold_integers {
    ($op:path, $x:expr) => {{
        let x = $op(_mm256_castsi256_si128($x), _mm256_extracti128_si256::<1>($x));
        let x = $op(x, _mm_shuffle_epi32::<0b_01_00_11_10>(x));
        _mm_cvtsi128_si32($op(x, _mm_shuffle_epi32::<0b_10_11_00_01>(x)))
    }};
}

/// Eight bytes.
#[inline(always)]
unsafe fn eight(from: *const u8) -> __m128i {
    // SAFETY: the caller's promises.
    unsafe { _mm_loadl_epi64(from.cast()) }
}

/// Four quants in all lanes.
#[inline(always)]
unsafe fn four(quants: *const i8, g: usize) -> __m256i {
    // SAFETY: the caller's promises.
    unsafe { _mm256_set1_epi32(quants.add(4 * g).cast::<i32>().read_unaligned()) }
}

/// Integer dots of unsigned weights with four quants a register, whose pairs' sums all fit into 16 bits.
#[inline(always)]
unsafe fn dot(weights: &[I], quants: *const i8) -> I {
    // SAFETY: the caller's promises.
    unsafe {
        let mut sum = [_mm256_setzero_si256(); 2];
        for g in 0..weights.len() {
            let pairs = both!(_mm256_maddubs_epi16, weights[g], [four(quants, g); 2]);
            sum = both!(_mm256_add_epi16, sum, pairs);
        }
        both!(_mm256_madd_epi16, sum, [_mm256_set1_epi16(1); 2])
    }
}

// SAFETY of all blocks below: `self` proves that the processor has the instructions; the caller vouches for addresses.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Avx2 {
    const NAME: &'static str = "avx2";
    const WIDE: bool = false;
    type F = F;
    type W = [I; 8];

    type Narrow = Avx2;

    #[inline(always)]
    fn narrow(self) -> Avx2 {
        self
    }

    #[inline(always)]
    fn with<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn inside<K: Kernel>(s: Avx2, kernel: K) -> K::Output {
            kernel.run(s)
        }
        unsafe { inside(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> F {
        unsafe { [_mm256_set1_ps(x); 2] }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> F {
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: F) {
        unsafe {
            _mm256_storeu_ps(to, x[0]);
            _mm256_storeu_ps(to.add(8), x[1]);
        }
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const u16) -> F {
        unsafe {
            let from = from.cast::<__m128i>();
            [_mm256_cvtph_ps(_mm_loadu_si128(from)), _mm256_cvtph_ps(_mm_loadu_si128(from.add(1)))]
        }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> F {
        unsafe {
            let from = from.cast::<__m128i>();
            let wide =
                [_mm256_cvtepu16_epi32(_mm_loadu_si128(from)), _mm256_cvtepu16_epi32(_mm_loadu_si128(from.add(1)))];
            let shifted = both!(_mm256_slli_epi32::<16>, wide);
            both!(_mm256_castsi256_ps, shifted)
        }
    }

    #[inline(always)]
    unsafe fn load_u8(self, from: *const u8) -> F {
        unsafe {
            let wide = [_mm256_cvtepu8_epi32(eight(from)), _mm256_cvtepu8_epi32(eight(from.add(8)))];
            both!(_mm256_cvtepi32_ps, wide)
        }
    }

    #[inline(always)]
    unsafe fn load_i8(self, from: *const i8) -> F {
        unsafe {
            let from = from.cast::<u8>();
            let wide = [_mm256_cvtepi8_epi32(eight(from)), _mm256_cvtepi8_epi32(eight(from.add(8)))];
            both!(_mm256_cvtepi32_ps, wide)
        }
    }

    #[inline(always)]
    fn add(self, a: F, b: F) -> F {
        unsafe { both!(_mm256_add_ps, a, b) }
    }

    #[inline(always)]
    fn sub(self, a: F, b: F) -> F {
        unsafe { both!(_mm256_sub_ps, a, b) }
    }

    #[inline(always)]
    fn mul(self, a: F, b: F) -> F {
        unsafe { both!(_mm256_mul_ps, a, b) }
    }

    #[inline(always)]
    fn div(self, a: F, b: F) -> F {
        unsafe { both!(_mm256_div_ps, a, b) }
    }

    #[inline(always)]
    fn fma(self, a: F, b: F, c: F) -> F {
        unsafe { both!(_mm256_fmadd_ps, a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: F, b: F) -> F {
        unsafe { both!(_mm256_max_ps, a, b) }
    }

    #[inline(always)]
    fn min(self, a: F, b: F) -> F {
        unsafe { both!(_mm256_min_ps, a, b) }
    }

    #[inline(always)]
    fn zero_below(self, a: F, b: F, x: F) -> F {
        unsafe {
            let below = both!(_mm256_cmp_ps::<_CMP_LT_OQ>, a, b);
            both!(_mm256_andnot_ps, below, x)
        }
    }

    #[inline(always)]
    fn scale(self, x: F, _: F, shifted: F) -> F {
        unsafe {
            let (bias, round) = (_mm256_set1_epi32(127), _mm256_set1_epi32(math::ROUND.to_bits() as i32));
            let bits = both!(_mm256_castps_si256, shifted);
            let n = both!(_mm256_sub_epi32, bits, [round; 2]);
            let half = both!(_mm256_srai_epi32::<1>, n);
            let rest = both!(_mm256_sub_epi32, n, half);
            let (a, b) = (both!(power, half, [bias; 2]), both!(power, rest, [bias; 2]));
            self.mul(self.mul(x, a), b)
        }
    }

    #[inline(always)]
    fn largest(self, x: F) -> f32 {
        unsafe {
            let x = _mm256_max_ps(x[0], x[1]);
            let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ps(x, _mm_movehdup_ps(x)))
        }
    }

    #[inline(always)]
    fn largest_bits(self, a: F, b: F) -> u32 {
        unsafe {
            let magnitude = [_mm256_set1_epi32(0x7fff_ffff); 2];
            let (a, b) = (both!(_mm256_castps_si256, a), both!(_mm256_castps_si256, b));
            let (a, b) = (both!(_mm256_and_si256, a, magnitude), both!(_mm256_and_si256, b, magnitude));
            let x = both!(_mm256_max_epi32, a, b);
            fold_integers!(_mm_max_epi32, _mm256_max_epi32(x[0], x[1])) as u32
        }
    }

    #[inline(always)]
    fn fold(self, x: F) -> f32 {
        unsafe {
            let x = _mm256_add_ps(x[0], x[1]);
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        }
    }

    #[inline(always)]
    unsafe fn store_i8(self, to: *mut i8, x: F) -> i32 {
        unsafe {
            let q = both!(_mm256_cvtps_epi32, x);
            let q = both!(_mm256_min_epi32, q, [_mm256_set1_epi32(127); 2]);
            let q = both!(_mm256_max_epi32, q, [_mm256_set1_epi32(-127); 2]);
            // Packing interleaves the 128-bit halves: 0 2 1 3.
            let words = _mm256_permute4x64_epi64::<0b_11_01_10_00>(_mm256_packs_epi32(q[0], q[1]));
            let bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(to.cast(), bytes);
            fold_integers!(_mm_add_epi32, _mm256_add_epi32(q[0], q[1]))
        }
    }

    #[inline(always)]
    fn prefetch<T>(self, at: *const T) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    unsafe fn unpack_q4(self, from: *const u8) -> [I; 8] {
        unsafe {
            let low = _mm256_set1_epi8(15);
            let mut weights = [[_mm256_setzero_si256(); 2]; 8];
            for g in 0..4 {
                for h in 0..2 {
                    let bytes = _mm256_loadu_si256(from.add(64 * g + 32 * h).cast());
                    weights[g][h] = _mm256_and_si256(bytes, low);
                    weights[g + 4][h] = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low);
                }
            }
            weights
        }
    }

    // A pair's sum is at most 2 · 15 · 127 = 3,810 and eight of them 30,480, so that 16 bits hold a whole block.
    #[inline(always)]
    unsafe fn dot_q4(self, weights: &[I; 8], quants: *const i8, correction: i32) -> F {
        unsafe {
            let sum = both!(_mm256_add_epi32, dot(weights, quants), [_mm256_set1_epi32(correction); 2]);
            both!(_mm256_cvtepi32_ps, sum)
        }
    }

    #[inline(always)]
    unsafe fn unpack_q5(self, from: *const u8) -> [I; 8] {
        unsafe {
            let mut weights = self.unpack_q4(from);
            let fifth = _mm256_set1_epi8(16);
            for h in 0..2 {
                let bits = _mm256_loadu_si256(from.add(256 + 32 * h).cast());
                let shifted = [
                    _mm256_slli_epi16::<4>(bits),
                    _mm256_slli_epi16::<3>(bits),
                    _mm256_slli_epi16::<2>(bits),
                    _mm256_slli_epi16::<1>(bits),
                    bits,
                    _mm256_srli_epi16::<1>(bits),
                    _mm256_srli_epi16::<2>(bits),
                    _mm256_srli_epi16::<3>(bits),
                ];
                for g in 0..8 {
                    weights[g][h] = _mm256_or_si256(weights[g][h], _mm256_and_si256(shifted[g], fifth));
                }
            }
            weights
        }
    }

    // A pair's sum is at most 2 · 31 · 127 = 7,874 and four of them 31,496: 16 bits hold half a block.
    #[inline(always)]
    unsafe fn dot_q5(self, weights: &[I; 8], quants: *const i8, correction: i32) -> F {
        unsafe {
            let (first, last) = (dot(&weights[..4], quants), dot(&weights[4..], quants.add(16)));
            let sum = both!(_mm256_add_epi32, first, last);
            let sum = both!(_mm256_add_epi32, sum, [_mm256_set1_epi32(correction); 2]);
            both!(_mm256_cvtepi32_ps, sum)
        }
    }

    #[inline(always)]
    unsafe fn unpack_q6(self, from: *const u8) -> [I; 8] {
        unsafe {
            let mut weights = self.unpack_q4(from);
            let high = _mm256_set1_epi8(48);
            for h in 0..4 {
                let bits = _mm256_loadu_si256(from.add(256 + 32 * h).cast());
                let shifted =
                    [_mm256_slli_epi16::<4>(bits), _mm256_slli_epi16::<2>(bits), bits, _mm256_srli_epi16::<2>(bits)];
                for g in 0..4 {
                    let weight = &mut weights[h / 2 * 4 + g][h % 2];
                    *weight = _mm256_or_si256(*weight, _mm256_and_si256(shifted[g], high));
                }
            }
            weights
        }
    }

    // A pair's sum is at most 2 · 63 · 127 = 16,002 and two of them 32,004: 16 bits hold a quarter of a block.
    #[inline(always)]
    unsafe fn dots_q6(self, weights: &[I; 8], quants: *const i8, corrections: [i32; 2]) -> [F; 2] {
        unsafe {
            let mut sums = [[_mm256_setzero_si256(); 2]; 2];
            for h in 0..2 {
                let [a, b] = [4 * h, 4 * h + 2];
                let [first, last] =
                    [dot(&weights[a..b], quants.add(4 * a)), dot(&weights[b..b + 2], quants.add(4 * b))];
                let sum = both!(_mm256_add_epi32, first, last);
                sums[h] = both!(_mm256_add_epi32, sum, [_mm256_set1_epi32(corrections[h]); 2]);
            }
            let [first, last] = sums;
            [both!(_mm256_cvtepi32_ps, first), both!(_mm256_cvtepi32_ps, last)]
        }
    }

    #[inline(always)]
    unsafe fn unpack_q8(self, from: *const u8) -> [I; 8] {
        unsafe {
            let offset = _mm256_set1_epi8(-128);
            let mut weights = [[_mm256_setzero_si256(); 2]; 8];
            for g in 0..8 {
                for h in 0..2 {
                    let bytes = _mm256_loadu_si256(from.add(64 * g + 32 * h).cast());
                    weights[g][h] = _mm256_xor_si256(bytes, offset);
                }
            }
            weights
        }
    }

    // |w| ≤ 128 as unsigned and the sign on the quant: a pair's sum is at most 2 · 128 · 127 = 32,512.
    #[inline(always)]
    unsafe fn dot_q8(self, weights: &[I; 8], quants: *const i8, _: i32) -> F {
        unsafe {
            let ones = [_mm256_set1_epi16(1); 2];
            let mut sum = [_mm256_setzero_si256(); 2];
            for g in 0..8 {
                let four = four(quants, g);
                let size = both!(_mm256_abs_epi8, weights[g]);
                let signed = both!(_mm256_sign_epi8, [four; 2], weights[g]);
                let pairs = both!(_mm256_maddubs_epi16, size, signed);
                let fours = both!(_mm256_madd_epi16, pairs, ones);
                sum = both!(_mm256_add_epi32, sum, fours);
            }
            both!(_mm256_cvtepi32_ps, sum)
        }
    }
}
