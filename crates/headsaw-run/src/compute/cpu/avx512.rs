//! AVX-512 with VNNI: one register for sixteen lanes, four columns of a product in one instruction.

use super::avx2::Avx2;
use super::simd::{Kernel, Simd};
use std::arch::x86_64::*;

/// Proof that the processor has AVX-512 F, BW, VL, DQ and VNNI, and what [`Avx2`] needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    /// # Safety
    /// The processor has them.
    pub(super) unsafe fn new() -> Avx512 {
        Avx512(())
    }
}

/// The first `n` of sixteen lanes.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    debug_assert!(n <= 16);
    ((1u32 << n) - 1) as __mmask16
}

/// `a | b & c`
const OR_AND: i32 = 0xf8;

/// Integer dots of unsigned weights with four quants a register, and `correction` added.
#[inline(always)]
unsafe fn dot(weights: &[__m512i], quants: *const i8, correction: i32) -> __m512 {
    // SAFETY: the caller's promises.
    unsafe {
        let mut sum = _mm512_set1_epi32(correction);
        for g in 0..weights.len() {
            let four = _mm512_set1_epi32(quants.add(4 * g).cast::<i32>().read_unaligned());
            sum = _mm512_dpbusd_epi32(sum, weights[g], four);
        }
        _mm512_cvtepi32_ps(sum)
    }
}

// SAFETY of all blocks below: `self` proves that the processor has the instructions; the caller vouches for addresses.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Avx512 {
    const NAME: &'static str = "avx512";
    const WIDE: bool = true;
    type F = __m512;
    type W = [__m512i; 8];

    type Narrow = Avx2;

    #[inline(always)]
    fn narrow(self) -> Avx2 {
        unsafe { Avx2::new() }
    }

    #[inline(always)]
    fn with<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
        fn inside<K: Kernel>(s: Avx512, kernel: K) -> K::Output {
            kernel.run(s)
        }
        unsafe { inside(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: __m512) {
        unsafe { _mm512_storeu_ps(to, x) }
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const u16) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> __m512 {
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast())))) }
    }

    #[inline(always)]
    unsafe fn load_u8(self, from: *const u8) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_i8(self, from: *const i8) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn zero_below(self, a: __m512, b: __m512, x: __m512) -> __m512 {
        unsafe { _mm512_maskz_mov_ps(!_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), x) }
    }

    #[inline(always)]
    fn scale(self, x: __m512, n: __m512, _: __m512) -> __m512 {
        unsafe { _mm512_scalef_ps(x, n) }
    }

    #[inline(always)]
    fn largest(self, x: __m512) -> f32 {
        unsafe {
            let x = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
            let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ps(x, _mm_movehdup_ps(x)))
        }
    }

    #[inline(always)]
    fn largest_bits(self, a: __m512, b: __m512) -> u32 {
        unsafe {
            let magnitude = _mm512_set1_epi32(0x7fff_ffff);
            let a = _mm512_and_si512(_mm512_castps_si512(a), magnitude);
            let b = _mm512_and_si512(_mm512_castps_si512(b), magnitude);
            _mm512_reduce_max_epi32(_mm512_max_epi32(a, b)) as u32
        }
    }

    #[inline(always)]
    fn fold(self, x: __m512) -> f32 {
        unsafe {
            let x = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        }
    }

    #[inline(always)]
    unsafe fn store_i8(self, to: *mut i8, x: __m512) -> i32 {
        unsafe {
            let q = _mm512_cvtps_epi32(x);
            let q = _mm512_max_epi32(_mm512_min_epi32(q, _mm512_set1_epi32(127)), _mm512_set1_epi32(-127));
            _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(q));
            _mm512_reduce_add_epi32(q)
        }
    }

    #[inline(always)]
    unsafe fn unpack_q4(self, from: *const u8) -> [__m512i; 8] {
        unsafe {
            let low = _mm512_set1_epi8(15);
            let mut weights = [_mm512_setzero_si512(); 8];
            for g in 0..4 {
                let bytes = _mm512_loadu_si512(from.add(64 * g).cast());
                weights[g] = _mm512_and_si512(bytes, low);
                weights[g + 4] = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), low);
            }
            weights
        }
    }

    #[inline(always)]
    unsafe fn dot_q4(self, weights: &[__m512i; 8], quants: *const i8, correction: i32) -> __m512 {
        unsafe { dot(weights, quants, correction) }
    }

    #[inline(always)]
    unsafe fn unpack_q5(self, from: *const u8) -> [__m512i; 8] {
        unsafe {
            let mut weights = self.unpack_q4(from);
            let fifth = _mm512_set1_epi8(16);
            let bits = _mm512_loadu_si512(from.add(256).cast());
            let shifted = [
                _mm512_slli_epi16::<4>(bits),
                _mm512_slli_epi16::<3>(bits),
                _mm512_slli_epi16::<2>(bits),
                _mm512_slli_epi16::<1>(bits),
                bits,
                _mm512_srli_epi16::<1>(bits),
                _mm512_srli_epi16::<2>(bits),
                _mm512_srli_epi16::<3>(bits),
            ];
            for g in 0..8 {
                weights[g] = _mm512_ternarylogic_epi32::<OR_AND>(weights[g], shifted[g], fifth);
            }
            weights
        }
    }

    #[inline(always)]
    unsafe fn dot_q5(self, weights: &[__m512i; 8], quants: *const i8, correction: i32) -> __m512 {
        unsafe { dot(weights, quants, correction) }
    }

    #[inline(always)]
    unsafe fn unpack_q6(self, from: *const u8) -> [__m512i; 8] {
        unsafe {
            let mut weights = self.unpack_q4(from);
            let high = _mm512_set1_epi8(48);
            for h in 0..2 {
                let bits = _mm512_loadu_si512(from.add(256 + 64 * h).cast());
                let shifted =
                    [_mm512_slli_epi16::<4>(bits), _mm512_slli_epi16::<2>(bits), bits, _mm512_srli_epi16::<2>(bits)];
                for g in 0..4 {
                    weights[4 * h + g] = _mm512_ternarylogic_epi32::<OR_AND>(weights[4 * h + g], shifted[g], high);
                }
            }
            weights
        }
    }

    #[inline(always)]
    unsafe fn dots_q6(self, weights: &[__m512i; 8], quants: *const i8, corrections: [i32; 2]) -> [__m512; 2] {
        unsafe {
            let [first, last] = [&weights[..4], &weights[4..]];
            [dot(first, quants, corrections[0]), dot(last, quants.add(16), corrections[1])]
        }
    }

    #[inline(always)]
    unsafe fn unpack_q8(self, from: *const u8) -> [__m512i; 8] {
        unsafe {
            let mut weights = [_mm512_setzero_si512(); 8];
            for g in 0..8 {
                weights[g] = _mm512_loadu_si512(from.add(64 * g).cast());
            }
            weights
        }
    }

    #[inline(always)]
    unsafe fn dot_q8(self, weights: &[__m512i; 8], quants: *const i8, correction: i32) -> __m512 {
        unsafe { dot(weights, quants, correction) }
    }

    #[inline(always)]
    fn prefetch<T>(self, at: *const T) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, n: usize) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(first(n), from) }
    }

    #[inline(always)]
    unsafe fn load_f16_part(self, from: *const u16, n: usize) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(n), from.cast())) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, n: usize, x: __m512) {
        unsafe { _mm512_mask_storeu_ps(to, first(n), x) }
    }
}
