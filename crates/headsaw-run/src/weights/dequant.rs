//! Weights as single-precision numbers.

use super::RawRows;
use super::blocks::{RUN, Run};
use half::{bf16, f16};
use headsaw::spec::model::Dtype;

impl RawRows {
    /// All numbers, row after row, as the type's definition gives them in single precision: `d · q`, `d · q + m`, and
    /// for the types whose scales are integers too `(d · s) · q` and `(d · s) · q − e · m`.
    pub fn to_f32(&self) -> Vec<f32> {
        match self.dtype {
            Dtype::F32 => self.bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Dtype::F16 => self.bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Dtype::Bf16 => self.bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            quantised => {
                let blocks = self.bytes.chunks_exact(quantised.block_bytes() as usize);
                let runs = 0..quantised.block() as usize / RUN;
                let runs = blocks.flat_map(|block| runs.clone().map(move |run| Run::read(quantised, block, run)));
                runs.flat_map(|run| (0..RUN).map(move |i| run.number(i))).collect()
            }
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
