//! What the kernels ask of an instruction set: sixteen lanes side by side, one output row (or key, or column) each.

/// Sixteen lanes of one instruction set. A value of the type is the proof that the processor has the set.
///
/// Every operation rounds as IEEE says, so that all sets give the same bits.
///
/// # Safety of the methods that take addresses
/// As many elements as the method names, from the address on, must be readable (or writable, and then touched by
/// nobody else). No alignment is asked for.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// Name of the set.
    const NAME: &'static str;
    /// Sixteen lanes are one register and there are 32 of them: eight tokens fit, where others take four.
    const WIDE: bool;
    /// Sixteen f32.
    type F: Copy;
    /// The integers of a 32-column block of 16 rows, unpacked.
    type W: Copy;

    /// A set with registers of at most 32 bytes, for what those of 64 read across lines of the cache.
    type Narrow: Simd;
    /// Proof that the processor has that one too.
    fn narrow(self) -> Self::Narrow;

    /// Runs a kernel compiled for this set.
    fn with<K: Kernel>(self, kernel: K) -> K::Output;

    /// The same number in all lanes.
    fn splat(self, x: f32) -> Self::F;
    /// # Safety
    /// Sixteen f32.
    unsafe fn load(self, from: *const f32) -> Self::F;
    /// # Safety
    /// Sixteen f32.
    unsafe fn store(self, to: *mut f32, x: Self::F);
    /// Sixteen numbers of half precision.
    /// # Safety
    /// Sixteen u16.
    unsafe fn load_f16(self, from: *const u16) -> Self::F;
    /// Sixteen bfloat16.
    /// # Safety
    /// Sixteen u16.
    unsafe fn load_bf16(self, from: *const u16) -> Self::F;

    /// Sixteen integers.
    /// # Safety
    /// Sixteen u8.
    unsafe fn load_u8(self, from: *const u8) -> Self::F;
    /// Sixteen integers.
    /// # Safety
    /// Sixteen i8.
    unsafe fn load_i8(self, from: *const i8) -> Self::F;

    /// `a + b`
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a − b`
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a · b`
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a · b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `a > b ? a : b`
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a < b ? a : b`
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a < b ? 0 : x`
    fn zero_below(self, a: Self::F, b: Self::F, x: Self::F) -> Self::F;
    /// `x · 2^n` for a whole `n`, where `shifted = n + ROUND`.
    fn scale(self, x: Self::F, n: Self::F, shifted: Self::F) -> Self::F;

    /// The largest lane; for NaN see [`Simd::max`].
    fn largest(self, x: Self::F) -> f32;
    /// The largest `bits & 0x7fff_ffff` of both.
    fn largest_bits(self, a: Self::F, b: Self::F) -> u32;
    /// The sum, folding the upper half onto the lower four times.
    fn fold(self, x: Self::F) -> f32;
    /// Rounds to the nearest integers (ties to even), clamps them to ±127, stores them and returns their sum.
    /// # Safety
    /// Sixteen i8.
    unsafe fn store_i8(self, to: *mut i8, x: Self::F) -> i32;

    /// Unpacks 4-bit integers: byte `64 g + 4 row + c` holds column `4 g + c` low and column `16 + 4 g + c` high.
    /// # Safety
    /// 256 bytes.
    unsafe fn unpack_q4(self, from: *const u8) -> Self::W;
    /// The rows' integer dots with 32 quants, and `correction` added.
    /// # Safety
    /// 32 i8.
    unsafe fn dot_q4(self, weights: &Self::W, quants: *const i8, correction: i32) -> Self::F;
    /// Unpacks 5-bit integers: after the low 4 bits, bit `g` of byte `4 row + c` belongs to column `4 g + c`.
    /// # Safety
    /// 320 bytes.
    unsafe fn unpack_q5(self, from: *const u8) -> Self::W;
    /// The rows' integer dots with 32 quants, and `correction` added.
    /// # Safety
    /// 32 i8.
    unsafe fn dot_q5(self, weights: &Self::W, quants: *const i8, correction: i32) -> Self::F;
    /// Unpacks 6-bit integers: after the low 4 bits, bits `2 g` of byte `64 h + 4 row + c` belong to column
    /// `16 h + 4 g + c`.
    /// # Safety
    /// 384 bytes.
    unsafe fn unpack_q6(self, from: *const u8) -> Self::W;
    /// The rows' integer dots with the first and the last 16 of 32 quants, and `corrections` added.
    /// # Safety
    /// 32 i8.
    unsafe fn dots_q6(self, weights: &Self::W, quants: *const i8, corrections: [i32; 2]) -> [Self::F; 2];
    /// Reads 8-bit integers: byte `64 g + 4 row + c` holds column `4 g + c`, plus 128.
    /// # Safety
    /// 512 bytes.
    unsafe fn unpack_q8(self, from: *const u8) -> Self::W;
    /// The rows' integer dots with 32 quants; `correction` is −128 times the sum of the quants.
    /// # Safety
    /// 32 i8.
    unsafe fn dot_q8(self, weights: &Self::W, quants: *const i8, correction: i32) -> Self::F;

    /// Asks for a cache line that will be read soon. The address may lie anywhere: nothing is read.
    #[inline(always)]
    fn prefetch<T>(self, _: *const T) {}

    /// Up to sixteen f32, then zeros.
    /// # Safety
    /// `n` f32.
    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, n: usize) -> Self::F {
        let mut lanes = [0.0; 16];
        // SAFETY: the caller's promise; `n` is checked to fit.
        unsafe {
            lanes[..n].as_mut_ptr().copy_from_nonoverlapping(from, n);
            self.load(lanes.as_ptr())
        }
    }

    /// Up to sixteen f16, then zeros.
    /// # Safety
    /// `n` u16.
    #[inline(always)]
    unsafe fn load_f16_part(self, from: *const u16, n: usize) -> Self::F {
        let mut lanes = [0; 16];
        // SAFETY: the caller's promise; `n` is checked to fit.
        unsafe {
            lanes[..n].as_mut_ptr().copy_from_nonoverlapping(from, n);
            self.load_f16(lanes.as_ptr())
        }
    }

    /// Up to sixteen bfloat16, then zeros.
    /// # Safety
    /// `n` u16.
    #[inline(always)]
    unsafe fn load_bf16_part(self, from: *const u16, n: usize) -> Self::F {
        let mut lanes = [0; 16];
        // SAFETY: the caller's promise; `n` is checked to fit.
        unsafe {
            lanes[..n].as_mut_ptr().copy_from_nonoverlapping(from, n);
            self.load_bf16(lanes.as_ptr())
        }
    }

    /// The first `n` lanes.
    /// # Safety
    /// `n` f32.
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, n: usize, x: Self::F) {
        let mut lanes = [0.0; 16];
        // SAFETY: the caller's promise; `n` is checked to fit.
        unsafe {
            self.store(lanes.as_mut_ptr(), x);
            to.copy_from_nonoverlapping(lanes[..n].as_ptr(), n);
        }
    }
}

/// Code that is written once and compiled for each instruction set. Mark `run` with `#[inline(always)]`: it takes on the
/// instruction set of the function that it is inlined into.
pub(crate) trait Kernel {
    /// What it returns.
    type Output;
    /// Does the work.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}
