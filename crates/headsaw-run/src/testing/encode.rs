//! Numbers as files store them: the plainest rounding of each type.

use half::{bf16, f16};
use headsaw::spec::model::Dtype;

/// Whole blocks of numbers in `dtype`.
pub fn encode(values: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Dtype::F16 => values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
        Dtype::Bf16 => values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
        Dtype::Q8_0 => values.as_chunks().0.iter().flat_map(q8_0).collect(),
        Dtype::Q4_0 => values.as_chunks().0.iter().flat_map(|x| centred(x, 8)).collect(),
        Dtype::Q5_0 => values.as_chunks().0.iter().flat_map(|x| centred(x, 16)).collect(),
        Dtype::Q4_1 => values.as_chunks().0.iter().flat_map(|x| raised(x, 15)).collect(),
        Dtype::Q5_1 => values.as_chunks().0.iter().flat_map(|x| raised(x, 31)).collect(),
        Dtype::Q4K => values.as_chunks().0.iter().flat_map(|x| nested(x, 15)).collect(),
        Dtype::Q5K => values.as_chunks().0.iter().flat_map(|x| nested(x, 31)).collect(),
        Dtype::Q6K => values.as_chunks().0.iter().flat_map(q6_k).collect(),
    }
}

/// The type's number in GGUF.
pub(super) fn gguf_type(dtype: Dtype) -> u32 {
    match dtype {
        Dtype::F32 => 0,
        Dtype::F16 => 1,
        Dtype::Q4_0 => 2,
        Dtype::Q4_1 => 3,
        Dtype::Q5_0 => 6,
        Dtype::Q5_1 => 7,
        Dtype::Q8_0 => 8,
        Dtype::Q4K => 12,
        Dtype::Q5K => 13,
        Dtype::Q6K => 14,
        Dtype::Bf16 => 30,
    }
}

fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |m, v| m.max(v.abs()))
}

fn bounds(x: &[f32]) -> (f32, f32) {
    x.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)))
}

/// The nearest of `0..=most` steps.
fn steps(x: f32, step: f32, most: u8) -> u8 {
    if step == 0.0 { 0 } else { (x / step).round().clamp(0.0, f32::from(most)) as u8 }
}

fn q8_0(x: &[f32; 32]) -> Vec<u8> {
    let most = largest(x);
    let scale = f16::from_f32(most / 127.0);
    let inverse = if most == 0.0 { 0.0 } else { 127.0 / most };
    let quants = x.iter().map(|v| (v * inverse).round().clamp(-127.0, 127.0) as i8 as u8);
    scale.to_le_bytes().into_iter().chain(quants).collect()
}

/// Q4_0, Q5_0: integers of `2 · zero`, the middle one is 0.
fn centred(x: &[f32; 32], zero: u8) -> Vec<u8> {
    let step = largest(x) / f32::from(zero - 1);
    let quants = x.map(|v| steps(v + step * f32::from(zero), step, 2 * zero - 1));
    [&f16::from_f32(step).to_le_bytes()[..], &packed(&quants, zero == 16)].concat()
}

/// Q4_1, Q5_1: integers up to `most`, 0 is the smallest number.
fn raised(x: &[f32; 32], most: u8) -> Vec<u8> {
    let (low, high) = bounds(x);
    let step = (high - low) / f32::from(most);
    let quants = x.map(|v| steps(v - low, step, most));
    let head = [f16::from_f32(step), f16::from_f32(low)].map(f16::to_le_bytes);
    [&head.concat()[..], &packed(&quants, most == 31)].concat()
}

/// The fifth bits, if there are any, then integers `i` and `16 + i` in a byte.
fn packed(quants: &[u8; 32], fifth: bool) -> Vec<u8> {
    let bits = quants.iter().enumerate().fold(0u32, |bits, (i, q)| bits | u32::from(q >> 4 & 1) << i);
    let nibbles = (0..16).map(|i| quants[i] & 15 | quants[i + 16] << 4);
    let bits = bits.to_le_bytes().into_iter().filter(|_| fifth);
    bits.chain(nibbles).collect()
}

/// Q4_K, Q5_K: eight runs of 32, whose steps and (negative) lows are 6-bit multiples of what the block has in f16.
fn nested(x: &[f32; 256], most: u8) -> Vec<u8> {
    let runs: &[[f32; 32]] = x.as_chunks().0;
    let fits: Vec<[f32; 2]> = runs
        .iter()
        .map(|run| {
            let (low, high) = bounds(run);
            [(high - low.min(0.0)) / f32::from(most), -low.min(0.0)]
        })
        .collect();
    let heads = [0, 1].map(|i| f16::from_f32(fits.iter().fold(0.0f32, |m, fit| m.max(fit[i])) / 63.0));
    let units = heads.map(f16::to_f32);
    let scales: Vec<[u8; 2]> = fits.iter().map(|fit| [0, 1].map(|i| steps(fit[i], units[i], 63))).collect();
    let quants: Vec<u8> = runs
        .iter()
        .zip(&scales)
        .flat_map(|(run, scale)| {
            let [step, low] = [0, 1].map(|i| units[i] * f32::from(scale[i]));
            run.map(|v| steps(v + low, step, most))
        })
        .collect();
    let mut six = [0; 12];
    for (run, [scale, minimum]) in scales.into_iter().enumerate() {
        if run < 4 {
            six[run] |= scale;
            six[run + 4] |= minimum;
        } else {
            six[run + 4] = scale & 15 | minimum << 4;
            six[run - 4] |= scale >> 4 << 6;
            six[run] |= minimum >> 4 << 6;
        }
    }
    let fifth = (0..32).map(|i| (0..8).fold(0, |bits, run| bits | (quants[32 * run + i] >> 4 & 1) << run));
    let fifth: Vec<u8> = fifth.filter(|_| most == 31).collect();
    let nibbles: Vec<u8> =
        (0..128).map(|i| quants[i / 32 * 64 + i % 32] & 15 | quants[i / 32 * 64 + 32 + i % 32] << 4).collect();
    [&heads.map(f16::to_le_bytes).concat()[..], &six, &fifth, &nibbles].concat()
}

/// Sixteen runs of 16, whose steps are 8-bit multiples of what the block has in f16.
fn q6_k(x: &[f32; 256]) -> Vec<u8> {
    let runs: &[[f32; 16]] = x.as_chunks().0;
    let head = f16::from_f32(largest(x) / 31.0 / 127.0);
    let scales: Vec<u8> = runs.iter().map(|run| steps(largest(run) / 31.0, head.to_f32(), 127)).collect();
    let quants: Vec<u8> = runs
        .iter()
        .zip(&scales)
        .flat_map(|(run, scale)| {
            let step = head.to_f32() * f32::from(*scale);
            run.map(|v| steps(v + 32.0 * step, step, 63))
        })
        .collect();
    // Two halves of 128; in each four runs of 32: two of them are low halves of bytes, two high ones.
    let low = (0..128).map(|i| {
        let at = i / 64 * 128 + i % 64;
        quants[at] & 15 | quants[at + 64] << 4
    });
    let high = (0..64).map(|i| {
        let at = i / 32 * 128 + i % 32;
        (0..4).fold(0, |bits, run| bits | quants[at + 32 * run] >> 4 << (2 * run))
    });
    low.chain(high).chain(scales.iter().copied()).chain(head.to_le_bytes()).collect()
}
