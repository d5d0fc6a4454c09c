//! Reads the weights a device needs, and no others.

use headsaw::spec::model::Dtype;

/// Rows of a weight matrix as the file holds them.
#[derive(Debug, Clone, PartialEq)]
pub struct RawRows {
    /// How the numbers are stored.
    pub dtype: Dtype,
    /// Number of rows.
    pub rows: usize,
    /// Blocks of `dtype` in a row (numbers, for types whose block is one number).
    pub blocks: usize,
    /// `[rows, blocks]` blocks.
    pub bytes: Vec<u8>,
}
