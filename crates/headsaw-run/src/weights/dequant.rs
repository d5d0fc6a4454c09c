//! Weights as single-precision numbers.

use super::RawRows;
use half::{bf16, f16};
use headsaw::spec::model::Dtype;

impl RawRows {
    /// All numbers, row after row: `Q8_0` is `d · q`, `Q4_1` is `d · q` and then `+ m`.
    pub fn to_f32(&self) -> Vec<f32> {
        match self.dtype {
            Dtype::F32 => self.bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Dtype::F16 => self.bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Dtype::Bf16 => self.bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            Dtype::Q8_0 => self.bytes.as_chunks().0.iter().flat_map(q8_0).collect(),
            Dtype::Q4_1 => self.bytes.as_chunks().0.iter().flat_map(q4_1).collect(),
        }
    }

    /// The same rows with every number in single precision.
    pub fn dequantise(self) -> RawRows {
        if self.dtype == Dtype::F32 {
            return self;
        }
        let bytes = self.to_f32().iter().flat_map(|x| x.to_le_bytes()).collect();
        RawRows { dtype: Dtype::F32, rows: self.rows, blocks: self.blocks * self.dtype.block() as usize, bytes }
    }
}

fn half(low: u8, high: u8) -> f32 {
    f16::from_le_bytes([low, high]).to_f32()
}

fn q8_0(block: &[u8; 34]) -> [f32; 32] {
    let scale = half(block[0], block[1]);
    std::array::from_fn(|i| scale * f32::from(block[2 + i] as i8))
}

/// Number `i` is the low half of byte `i`, number `16 + i` the high half.
fn q4_1(block: &[u8; 20]) -> [f32; 32] {
    let (scale, min) = (half(block[0], block[1]), half(block[2], block[3]));
    std::array::from_fn(|i| {
        let byte = block[4 + i % 16];
        let quant = if i < 16 { byte & 15 } else { byte >> 4 };
        scale * f32::from(quant) + min
    })
}
