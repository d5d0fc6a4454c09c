//! What the blocks of quantised weights say, 32 numbers at a time.
//!
//! Every quantised type is `w = scale · (step · quant) + minimum`: `quant` is an integer of few bits, `step` an integer
//! that 16 numbers share (1 but for Q6_K), the two others are f32 that 32 numbers share. Types whose block is 256 numbers
//! keep their scales as integers of few bits times one f16; the products of these are exact in f32.

use half::f16;
use headsaw::spec::model::Dtype;

/// Numbers that are read together.
pub(crate) const RUN: usize = 32;

/// 32 numbers of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Run {
    pub(crate) scale: f32,
    /// Of the first and of the last 16 numbers.
    pub(crate) steps: [i32; 2],
    pub(crate) quants: [i32; RUN],
    /// None for types that have none.
    pub(crate) minimum: Option<f32>,
}

impl Run {
    /// Run `run` of a block; blocks of 32 numbers have one, those of 256 have eight.
    pub(crate) fn read(dtype: Dtype, block: &[u8], run: usize) -> Run {
        let (scale, minimum) = scales(dtype, block, run);
        let steps = if dtype == Dtype::Q6K { [0, 1].map(|i| i32::from(q6_k_step(block, run, i))) } else { [1; 2] };
        let quants = integers(dtype, block, run).map(|q| i32::from(q) - zero(dtype));
        Run { scale, steps, quants, minimum }
    }

    /// Number `i`, rounded once where there is a minimum.
    pub(crate) fn number(&self, i: usize) -> f32 {
        let product = self.scale * self.steps[i / 16] as f32 * self.quants[i] as f32;
        self.minimum.map_or(product, |minimum| product + minimum)
    }
}

/// The integer that stands for zero.
pub(crate) const fn zero(dtype: Dtype) -> i32 {
    match dtype {
        Dtype::Q8_0 => 128,
        Dtype::Q6K => 32,
        Dtype::Q5_0 => 16,
        Dtype::Q4_0 => 8,
        _ => 0,
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn scales(dtype: Dtype, block: &[u8], run: usize) -> (f32, Option<f32>) {
    match dtype {
        Dtype::Q8_0 | Dtype::Q5_0 | Dtype::Q4_0 => (half_at(block, 0), None),
        Dtype::Q5_1 | Dtype::Q4_1 => (half_at(block, 0), Some(half_at(block, 2))),
        Dtype::Q5K | Dtype::Q4K => {
            let [scale, minimum] = k_scales(block, run).map(f32::from);
            (half_at(block, 0) * scale, Some(-(half_at(block, 2) * minimum)))
        }
        Dtype::Q6K => (half_at(block, Q6K_SCALE), None),
        Dtype::F32 | Dtype::F16 | Dtype::Bf16 => unreachable!("{} has no scales", dtype.name()),
    }
}

/// Where a Q6_K block has its f16 scale, and before it 16 steps.
pub(crate) const Q6K_SCALE: usize = 208;
const Q6K_STEPS: usize = 192;

/// Step of the first or last 16 numbers of a run of Q6_K.
pub(crate) fn q6_k_step(block: &[u8], run: usize, half: usize) -> i8 {
    block[Q6K_STEPS + 2 * run + half] as i8
}

/// Scale and minimum of a run of Q4_K or Q5_K, of 6 bits each. Twelve bytes hold sixteen of them: those of the first four
/// runs in the low bits of eight bytes; of the others four bits in the last four bytes and two on top of the eight.
pub(crate) fn k_scales(block: &[u8], run: usize) -> [u8; 2] {
    let bytes = &block[4..16];
    if run < 4 {
        return [bytes[run] & 63, bytes[run + 4] & 63];
    }
    let low = bytes[run + 4];
    [low & 15 | bytes[run - 4] >> 6 << 4, low >> 4 | bytes[run] >> 6 << 4]
}

/// The integers of a run, unsigned: see [`zero`].
pub(crate) fn integers(dtype: Dtype, block: &[u8], run: usize) -> [u8; RUN] {
    match dtype {
        Dtype::Q8_0 => std::array::from_fn(|i| block[2 + i] ^ 0x80),
        Dtype::Q4_0 => nibbles(&block[2..18]),
        Dtype::Q4_1 => nibbles(&block[4..20]),
        Dtype::Q5_0 => with_bits(nibbles(&block[6..22]), &block[2..6]),
        Dtype::Q5_1 => with_bits(nibbles(&block[8..24]), &block[4..8]),
        Dtype::Q4K => k_nibbles(&block[16..144], run),
        Dtype::Q5K => {
            let (low, high) = (k_nibbles(&block[48..176], run), &block[16..48]);
            std::array::from_fn(|i| low[i] | (high[i] >> run & 1) << 4)
        }
        Dtype::Q6K => q6_k(block, run),
        Dtype::F32 | Dtype::F16 | Dtype::Bf16 => unreachable!("{} holds no integers", dtype.name()),
    }
}

/// Number `i` is the low half of byte `i`, number `16 + i` the high half.
fn nibbles(bytes: &[u8]) -> [u8; RUN] {
    std::array::from_fn(|i| bytes[i % 16] >> (i / 16 * 4) & 15)
}

/// Adds the fifth bits, one of each number.
fn with_bits(low: [u8; RUN], bits: &[u8]) -> [u8; RUN] {
    std::array::from_fn(|i| low[i] | (bits[i / 8] >> (i % 8) & 1) << 4)
}

/// 64 numbers in 32 bytes: a run is all the low halves, the next one all the high halves.
fn k_nibbles(bytes: &[u8], run: usize) -> [u8; RUN] {
    std::array::from_fn(|i| bytes[run / 2 * RUN + i] >> (run % 2 * 4) & 15)
}

/// 128 numbers in 64 bytes of low halves (two runs), 64 of high halves (the next two) and 32 of two bits a run.
fn q6_k(block: &[u8], run: usize) -> [u8; RUN] {
    let (half, run) = (run / 4, run % 4);
    let low = &block[64 * half + run % 2 * RUN..][..RUN];
    let high = &block[128 + 32 * half..][..RUN];
    std::array::from_fn(|i| low[i] >> (run / 2 * 4) & 15 | (high[i] >> (2 * run) & 3) << 4)
}
