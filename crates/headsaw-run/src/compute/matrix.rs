//! A weight matrix in the layout that its kernels want.

use super::PANEL;
use super::cpu::Panels;
use crate::weights::RawRows;
use headsaw::spec::model::Dtype;
use std::ops::Range;

/// Weights `[rows, blocks]` that [`super::Compute::pack`] made; only the kernels that packed them can read them.
#[derive(Debug)]
pub struct Matrix {
    pub(super) dtype: Dtype,
    pub(super) rows: usize,
    pub(super) blocks: Vec<Range<u32>>,
    pub(super) body: Body,
}

/// Where the numbers are.
#[derive(Debug)]
pub(super) enum Body {
    /// As in the file: the reference kernels.
    File(RawRows),
    /// Panels of 16 rows: the fast kernels.
    Panels(Panels),
}

impl Matrix {
    /// Refuses what no kernel could read: blocks wider than 32, out of order, or beyond the columns that `raw` holds.
    pub(super) fn check(raw: &RawRows, blocks: &[Range<u32>]) {
        let columns = raw.blocks as u32 * raw.dtype.block();
        let mut end = 0;
        for block in blocks {
            assert!(end <= block.start && block.start < block.end, "block {block:?} follows {end}");
            assert!(block.end - block.start <= super::BLOCK as u32, "block {block:?} is wider than {}", super::BLOCK);
            end = block.end;
        }
        assert!(end <= columns, "blocks end at {end}, the rows hold {columns} columns");
        let bytes = raw.rows * raw.blocks * raw.dtype.block_bytes() as usize;
        assert_eq!(raw.bytes.len(), bytes, "bytes of {} rows of {} {} blocks", raw.rows, raw.blocks, raw.dtype.name());
    }

    /// How the numbers are stored.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of activation blocks that a row is multiplied with.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Number of columns inside the activation blocks.
    pub fn columns(&self) -> usize {
        self.blocks.iter().map(|block| block.len()).sum()
    }

    /// Number of panels of 16 rows; the last may be shorter.
    pub fn panels(&self) -> usize {
        self.rows.div_ceil(PANEL)
    }

    /// Bytes that the numbers take in memory.
    pub fn bytes(&self) -> usize {
        match &self.body {
            Body::File(raw) => raw.bytes.len(),
            Body::Panels(panels) => panels.bytes(),
        }
    }
}
