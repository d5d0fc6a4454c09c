//! Brings weights into panels: 16 rows side by side, so that each lane of a register adds up one row.
//!
//! A panel is a run of segments of 32 columns, one for each activation block (more where a block straddles runs of 32
//! columns of the file, see [`Segment`]). A segment of a quantised type is its scales, then its integers, unsigned:
//! - scales: 16 (f16), then for Q4_1 and Q5_1 16 minima (f16); for Q4_K and Q5_K 16 scales and 16 minima (u8); for Q6_K 16
//!   steps of the first and 16 of the last 16 columns (i8);
//! - integers of 8 bits: `[8, 16, 4]` bytes; `g, row, c` holds column `4g + c`;
//! - integers of 4 to 6 bits: `[4, 16, 4]` bytes; `g, row, c` holds the low 4 bits of column `4g + c` low and of column
//!   `16 + 4g + c` high; then, with 5 bits, `[16, 4]` bytes whose bit `g` belongs to column `4g + c`; with 6 bits,
//!   `[2, 16, 4]` bytes `h, row, c` whose two bits `g` belong to column `16h + 4g + c`.
//!
//! A segment of floats is `[32, 16]`, column by column. Q4_K, Q5_K and Q6_K have scales of scales, which 256 columns share:
//! 16 (f16), for the first two types also 16 of the minima. These heads stand before the segments of a panel.
//!
//! Missing rows and columns are zeros. So a panel of whole rows takes as many bytes as the file does, except that scales
//! and minima of 6 bits take 8: 2.8 % more for Q4_K, 2.3 % for Q5_K.

use super::super::matrix::{Body, Matrix};
use super::super::{BLOCK, PANEL};
use super::lines::Lines;
use crate::weights::{Q6K_SCALE, RUN, RawRows, integers, k_scales, q6_k_step, zero};
use half::{bf16, f16};
use headsaw::spec::model::Dtype;
use std::ops::Range;

/// Columns of one activation block that lie in one run of 32 columns of the file; to all others a segment gives zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The activation block.
    pub(super) block: usize,
    /// Where the columns start inside the activation block.
    pub(super) from: usize,
    /// Where they start inside the segment: as inside the run of the file.
    pub(super) at: usize,
    /// Number of columns.
    pub(super) width: usize,
    /// The first of them, counted from the start of the file's rows.
    column: usize,
    /// The head of its scales, in bytes from the start of a panel.
    pub(super) head: usize,
}

/// Packed weights.
#[derive(Debug)]
pub(crate) struct Panels {
    /// `[panels]`, each with its heads and then its segments.
    pub(super) lines: Lines,
    /// Left to right.
    pub(super) segments: Vec<Segment>,
    /// Where each activation block's segments end.
    pub(super) ends: Vec<u32>,
    /// Every activation block is one segment, column by column.
    pub(super) regular: bool,
    /// Bytes of the heads of a panel.
    pub(super) heads: usize,
    /// Bytes of a segment.
    pub(super) segment: usize,
}

impl Panels {
    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.lines.len()
    }

    /// Heads and segments of a panel.
    pub(super) fn panel(&self, panel: usize) -> (&[u8], &[u8]) {
        let size = self.heads + self.segments.len() * self.segment;
        self.lines.bytes()[panel * size..][..size].split_at(self.heads)
    }
}

/// Bytes of a segment of 16 rows.
fn segment_bytes(dtype: Dtype) -> usize {
    match dtype {
        Dtype::F32 => 4 * BLOCK * PANEL,
        Dtype::F16 | Dtype::Bf16 => 2 * BLOCK * PANEL,
        _ => (scale_bytes(dtype) + bits(dtype) * BLOCK / 8) * PANEL,
    }
}

/// Bytes of the scales of a run in a segment.
const fn scale_bytes(dtype: Dtype) -> usize {
    if matches!(dtype, Dtype::Q5_1 | Dtype::Q4_1) { 4 } else { 2 }
}

/// Bits of an integer.
fn bits(dtype: Dtype) -> usize {
    match dtype {
        Dtype::Q8_0 => 8,
        Dtype::Q6K => 6,
        Dtype::Q5_1 | Dtype::Q5K | Dtype::Q5_0 => 5,
        Dtype::Q4_1 | Dtype::Q4K | Dtype::Q4_0 => 4,
        Dtype::F32 | Dtype::F16 | Dtype::Bf16 => unreachable!("{} holds no integers", dtype.name()),
    }
}

/// Bytes of what 16 rows of a block of 256 columns share.
const fn head_bytes(dtype: Dtype) -> usize {
    match dtype {
        Dtype::Q5K | Dtype::Q4K => 4 * PANEL,
        Dtype::Q6K => 2 * PANEL,
        _ => 0,
    }
}

/// Packs a matrix.
pub(super) fn pack(raw: RawRows, blocks: &[Range<u32>]) -> Matrix {
    Matrix::check(&raw, blocks);
    let (segments, ends) = segments(raw.dtype, blocks);
    let regular = segments.len() == blocks.len() && segments.iter().all(|segment| segment.at == segment.from);
    let heads = segments.last().map_or(0, |last| last.head + head_bytes(raw.dtype)).next_multiple_of(Lines::WIDTH);
    let segment = segment_bytes(raw.dtype);
    let size = heads + segments.len() * segment;
    let mut lines = Lines::new(raw.rows.div_ceil(PANEL) * size);
    for (panel, place) in lines.bytes_mut().chunks_exact_mut(size.max(1)).enumerate() {
        let (heads, body) = place.split_at_mut(heads);
        for (segment, place) in segments.iter().zip(body.chunks_exact_mut(segment)) {
            for row in 0..PANEL.min(raw.rows.saturating_sub(panel * PANEL)) {
                let source = Source::new(&raw, panel * PANEL + row, segment);
                source.pack(row, segment, &mut heads[segment.head..], place);
            }
        }
    }
    let panels = Panels { lines, segments, ends, regular, heads, segment };
    Matrix { dtype: raw.dtype, rows: raw.rows, blocks: blocks.to_vec(), body: Body::Panels(panels) }
}

/// Splits activation blocks where a run of 32 columns of the file ends inside them.
fn segments(dtype: Dtype, blocks: &[Range<u32>]) -> (Vec<Segment>, Vec<u32>) {
    let mut segments: Vec<Segment> = Vec::new();
    let mut ends = Vec::new();
    let floats = dtype.block() == 1;
    let first = blocks.first().map_or(0, |first| first.start / dtype.block());
    for (block, columns) in blocks.iter().enumerate() {
        let (start, end) = (columns.start as usize, columns.end as usize);
        let mut column = start;
        while column < end {
            // Floats have no runs to straddle.
            let stop = if floats { end } else { (column / RUN + 1) * RUN }.min(end);
            let (from, at) = (column - start, if floats { 0 } else { column % RUN });
            let head = (column / dtype.block() as usize - first as usize) * head_bytes(dtype);
            segments.push(Segment { block, from, at, width: stop - column, column, head });
            column = stop;
        }
        ends.push(segments.len() as u32);
    }
    (segments, ends)
}

/// The block of the file that holds a row's segment, and those after it.
struct Source<'a> {
    dtype: Dtype,
    bytes: &'a [u8],
    /// Which run of the block.
    run: usize,
}

impl Source<'_> {
    fn new<'a>(raw: &'a RawRows, row: usize, segment: &Segment) -> Source<'a> {
        let width = raw.dtype.block() as usize;
        let block = row * raw.blocks + segment.column / width;
        let bytes = &raw.bytes[block * raw.dtype.block_bytes() as usize..];
        Source { dtype: raw.dtype, bytes, run: segment.column % width / RUN }
    }

    fn pack(&self, row: usize, segment: &Segment, head: &mut [u8], place: &mut [u8]) {
        match self.dtype {
            Dtype::F32 => self.pack_floats::<4>(row, segment, place),
            Dtype::F16 | Dtype::Bf16 => self.pack_floats::<2>(row, segment, place),
            _ => {
                let (scales, groups) = place.split_at_mut(scale_bytes(self.dtype) * PANEL);
                self.pack_scales(row, head, scales);
                // Columns outside the segment come along: they are multiplied by zeros.
                pack_integers(bits(self.dtype), row, &integers(self.dtype, self.bytes, self.run), groups);
            }
        }
    }

    fn pack_floats<const N: usize>(&self, row: usize, segment: &Segment, place: &mut [u8]) {
        for (column, number) in self.bytes.chunks_exact(N).take(segment.width).enumerate() {
            place[(column * PANEL + row) * N..][..N].copy_from_slice(number);
        }
    }

    fn pack_scales(&self, row: usize, head: &mut [u8], scales: &mut [u8]) {
        let put = |to: &mut [u8], at: usize, from: usize| {
            to[2 * (at + row)..][..2].copy_from_slice(&self.bytes[from..from + 2]);
        };
        match self.dtype {
            Dtype::Q5_1 | Dtype::Q4_1 => (0..2).for_each(|i| put(scales, i * PANEL, 2 * i)),
            Dtype::Q5K | Dtype::Q4K => {
                (0..2).for_each(|i| put(head, i * PANEL, 2 * i));
                let [scale, minimum] = k_scales(self.bytes, self.run);
                (scales[row], scales[PANEL + row]) = (scale, minimum);
            }
            Dtype::Q6K => {
                put(head, 0, Q6K_SCALE);
                (0..2).for_each(|i| scales[i * PANEL + row] = q6_k_step(self.bytes, self.run, i) as u8);
            }
            _ => put(scales, 0, 0),
        }
    }
}

/// Integers of a row at their places among those of sixteen.
fn pack_integers(bits: usize, row: usize, quants: &[u8; RUN], groups: &mut [u8]) {
    let mut put = |at: usize, bytes: [u8; 4]| groups[at * 64 + row * 4..][..4].copy_from_slice(&bytes);
    // Columns `4g` to `4g + 3`.
    let four = |g: usize| [0, 1, 2, 3].map(|c| quants[4 * g + c]);
    if bits == 8 {
        (0..8).for_each(|g| put(g, four(g)));
        return;
    }
    for g in 0..4 {
        let (low, high) = (four(g), four(g + 4));
        put(g, std::array::from_fn(|c| low[c] & 15 | high[c] << 4));
    }
    let mut plane = |at: usize, groups: Range<usize>, bits: usize| {
        let shifted = |g: usize| four(g).map(|q| q >> 4 << (bits * (g - groups.start)));
        let planes = groups.clone().map(shifted).reduce(|a, b| std::array::from_fn(|c| a[c] | b[c]));
        put(at, planes.unwrap_or_default());
    };
    match bits {
        5 => plane(4, 0..8, 1),
        6 => {
            plane(4, 0..4, 2);
            plane(5, 4..8, 2);
        }
        _ => {}
    }
}

/// One number of a packed segment, whose head is `head`.
pub(super) fn element(dtype: Dtype, head: &[u8], segment: &[u8], row: usize, column: usize) -> f32 {
    let half = |bytes: &[u8], at: usize| f16::from_le_bytes([bytes[2 * at], bytes[2 * at + 1]]).to_f32();
    let at = column * PANEL + row;
    match dtype {
        Dtype::F32 => f32::from_le_bytes([0, 1, 2, 3].map(|i| segment[4 * at + i])),
        Dtype::F16 => half(segment, at),
        Dtype::Bf16 => bf16::from_le_bytes([segment[2 * at], segment[2 * at + 1]]).to_f32(),
        _ => {
            let (scales, groups) = segment.split_at(scale_bytes(dtype) * PANEL);
            let quant = (i32::from(integer(bits(dtype), groups, row, column)) - zero(dtype)) as f32;
            match dtype {
                Dtype::Q5_1 | Dtype::Q4_1 => half(scales, row) * quant + half(scales, PANEL + row),
                Dtype::Q5K | Dtype::Q4K => {
                    let [scale, minimum] = [0, PANEL].map(|i| half(head, i + row) * f32::from(scales[i + row]));
                    scale * quant - minimum
                }
                Dtype::Q6K => half(head, row) * f32::from(scales[column / 16 * PANEL + row] as i8) * quant,
                _ => half(scales, row) * quant,
            }
        }
    }
}

/// Where [`pack_integers`] has put it.
fn integer(bits: usize, groups: &[u8], row: usize, column: usize) -> u8 {
    let byte = |at: usize| groups[at * 64 + row * 4 + column % 4];
    let (g, half) = (column / 4, column / 16);
    match bits {
        8 => byte(g),
        4 => byte(g % 4) >> (4 * half) & 15,
        5 => byte(g % 4) >> (4 * half) & 15 | (byte(4) >> g & 1) << 4,
        _ => byte(g % 4) >> (4 * half) & 15 | (byte(4 + half) >> (2 * (g % 4)) & 3) << 4,
    }
}
