//! Brings weights into panels: 16 rows side by side, so that each lane of a register adds up one row.
//!
//! A panel is a run of segments of 32 columns, one for each activation block (more where a block straddles blocks of
//! the file, see [`Segment`]). A segment is
//! - Q4_1, 320 bytes: 16 scales and 16 minima (f16), then `[4, 16, 4]` bytes; byte `g, row, c` holds column `4g + c` low
//!   and column `16 + 4g + c` high, as the file pairs them;
//! - Q8_0, 544 bytes: 16 scales (f16), then `[8, 16, 4]` bytes: `g, row, c` holds column `4g + c`, plus 128;
//! - floats: `[32, 16]`, column by column.
//!
//! Missing rows and columns are zeros, so a panel of whole rows takes as many bytes as the file does.

use super::super::matrix::{Body, Matrix};
use super::super::{BLOCK, PANEL};
use super::lines::Lines;
use crate::weights::RawRows;
use headsaw::spec::model::Dtype;
use std::ops::Range;

/// Columns of one activation block that lie in one block of the file; the others of its 32 columns are zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The activation block.
    pub(super) block: usize,
    /// Where the columns start inside the activation block.
    pub(super) at: usize,
    /// The first column of the rows, counted from the start of the file's rows.
    pub(super) column: usize,
    /// Number of columns.
    pub(super) width: usize,
}

/// Packed weights.
#[derive(Debug)]
pub(crate) struct Panels {
    /// `[panels, segments]` segments.
    pub(super) lines: Lines,
    /// Left to right.
    pub(super) segments: Vec<Segment>,
    /// Where each activation block's segments end.
    pub(super) ends: Vec<u32>,
    /// Every activation block is one segment.
    pub(super) regular: bool,
}

impl Panels {
    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.lines.len()
    }
}

/// Bytes of a segment of 16 rows.
pub(super) fn segment_bytes(dtype: Dtype) -> usize {
    match dtype {
        Dtype::F32 => 4 * BLOCK * PANEL,
        Dtype::F16 | Dtype::Bf16 => 2 * BLOCK * PANEL,
        Dtype::Q8_0 => 34 * PANEL,
        Dtype::Q4_1 => 20 * PANEL,
    }
}

/// Packs a matrix.
pub(super) fn pack(raw: RawRows, blocks: &[Range<u32>]) -> Matrix {
    Matrix::check(&raw, blocks);
    let (segments, ends) = segments(raw.dtype, blocks);
    let size = segment_bytes(raw.dtype);
    let mut lines = Lines::new(raw.rows.div_ceil(PANEL) * segments.len() * size);
    let mut place = lines.bytes_mut().chunks_exact_mut(size);
    for first_row in (0..raw.rows).step_by(PANEL) {
        for segment in &segments {
            pack_segment(&raw, first_row, segment, place.next().expect("as many places as segments"));
        }
    }
    let regular = segments.len() == blocks.len();
    let panels = Panels { lines, segments, ends, regular };
    Matrix { dtype: raw.dtype, rows: raw.rows, blocks: blocks.to_vec(), body: Body::Panels(panels) }
}

/// Splits activation blocks where a block of the file ends inside them.
fn segments(dtype: Dtype, blocks: &[Range<u32>]) -> (Vec<Segment>, Vec<u32>) {
    let mut segments = Vec::new();
    let mut ends = Vec::new();
    // Floats have no blocks to straddle.
    let grain = if dtype.block() == 1 { usize::MAX } else { dtype.block() as usize };
    for (block, columns) in blocks.iter().enumerate() {
        let (start, end) = (columns.start as usize, columns.end as usize);
        let mut column = start;
        while column < end {
            let stop = (column / grain + 1).saturating_mul(grain).min(end);
            segments.push(Segment { block, at: column - start, column, width: stop - column });
            column = stop;
        }
        ends.push(segments.len() as u32);
    }
    (segments, ends)
}

fn pack_segment(raw: &RawRows, first_row: usize, segment: &Segment, place: &mut [u8]) {
    match raw.dtype {
        Dtype::F32 => pack_floats::<4>(raw, first_row, segment, place),
        Dtype::F16 | Dtype::Bf16 => pack_floats::<2>(raw, first_row, segment, place),
        Dtype::Q8_0 => pack_q8(raw, first_row, segment, place),
        Dtype::Q4_1 => pack_q4(raw, first_row, segment, place),
    }
}

/// The bytes from the block that holds the segment's first column on.
fn source<'a>(raw: &'a RawRows, row: usize, segment: &Segment) -> &'a [u8] {
    let block = row * raw.blocks + segment.column / raw.dtype.block() as usize;
    &raw.bytes[block * raw.dtype.block_bytes() as usize..]
}

fn pack_floats<const N: usize>(raw: &RawRows, first_row: usize, segment: &Segment, place: &mut [u8]) {
    for row in 0..PANEL.min(raw.rows - first_row) {
        let numbers = source(raw, first_row + row, segment).chunks_exact(N);
        for (c, number) in numbers.take(segment.width).enumerate() {
            place[((segment.at + c) * PANEL + row) * N..][..N].copy_from_slice(number);
        }
    }
}

fn pack_q8(raw: &RawRows, first_row: usize, segment: &Segment, place: &mut [u8]) {
    let (scales, groups) = place.split_at_mut(2 * PANEL);
    groups.fill(0x80);
    for row in 0..PANEL.min(raw.rows - first_row) {
        let block = &source(raw, first_row + row, segment)[..34];
        scales[2 * row..2 * row + 2].copy_from_slice(&block[..2]);
        let from = 2 + segment.column % BLOCK;
        for (c, q) in block[from..from + segment.width].iter().enumerate() {
            let column = segment.at + c;
            groups[column / 4 * 64 + row * 4 + column % 4] = q ^ 0x80;
        }
    }
}

fn pack_q4(raw: &RawRows, first_row: usize, segment: &Segment, place: &mut [u8]) {
    let (scales, groups) = place.split_at_mut(4 * PANEL);
    let (scales, minima) = scales.split_at_mut(2 * PANEL);
    for row in 0..PANEL.min(raw.rows - first_row) {
        let block = &source(raw, first_row + row, segment)[..20];
        scales[2 * row..2 * row + 2].copy_from_slice(&block[..2]);
        minima[2 * row..2 * row + 2].copy_from_slice(&block[2..4]);
        if segment.width == BLOCK {
            for g in 0..4 {
                groups[g * 64 + row * 4..][..4].copy_from_slice(&block[4 + 4 * g..][..4]);
            }
            continue;
        }
        for c in 0..segment.width {
            let (from, column) = (segment.column % BLOCK + c, segment.at + c);
            let q = block[4 + from % 16] >> (from / 16 * 4) & 15;
            groups[column % 16 / 4 * 64 + row * 4 + column % 4] |= q << (column / 16 * 4);
        }
    }
}
