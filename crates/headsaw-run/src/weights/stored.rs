//! Where a tensor lies, and how rows and columns of it are read.

use super::RawRows;
use super::error::Error;
use super::read::Source;
use headsaw::spec::model::Dtype;
use std::ops::Range;

/// Bytes that are read at once where only parts of them are kept.
const CHUNK: u64 = 1 << 20;

/// A place in one of a model's files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) file: usize,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// A tensor in a file: rows of whole blocks, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    /// Outermost dimension first.
    pub(crate) shape: Vec<u64>,
    pub(crate) place: Place,
}

impl Stored {
    /// Length of a row.
    pub(crate) fn cols(&self) -> u64 {
        self.shape.last().copied().unwrap_or(1)
    }

    fn row_bytes(&self) -> u64 {
        self.cols() / u64::from(self.dtype.block()) * u64::from(self.dtype.block_bytes())
    }
}

/// Rotary halves `(i, i + D/2)` brought side by side `(2i, 2i+1)`; `D` = `head_width`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interleave {
    pub(crate) head_width: u32,
}

impl Interleave {
    /// Where element `index` of the interleaved order comes from.
    fn source(self, index: u64) -> u64 {
        let width = u64::from(self.head_width);
        let (head, within) = (index / width, index % width);
        head * width + within / 2 + (within % 2) * (width / 2)
    }
}

/// Rows and columns to read, both in the order of the result.
pub(crate) struct Part {
    pub(crate) rows: Range<u32>,
    pub(crate) cols: Range<u32>,
    pub(crate) interleave: Option<Interleave>,
}

/// Reads `part` of a matrix, columns widened to whole blocks.
pub(crate) fn read_rows(source: &Source, tensor: &Stored, part: &Part) -> Result<RawRows, Error> {
    let block = tensor.dtype.block();
    let blocks = part.cols.start / block..part.cols.end.div_ceil(block);
    let block_bytes = tensor.dtype.block_bytes() as usize;
    let keep = blocks.start as usize * block_bytes..blocks.end as usize * block_bytes;
    let rows = part.rows.len();
    let mut bytes = vec![0; rows * keep.len()];
    let most = (CHUNK / tensor.row_bytes().max(1)).clamp(1, 1 << 16) as u32;
    let step = part.interleave.map_or(most, |i| i.head_width);
    let mut start = part.rows.start;
    while start < part.rows.end {
        let end = (start / step + 1).saturating_mul(step).min(part.rows.end);
        let first = (start - part.rows.start) as usize;
        for run in runs(start..end, first, part.interleave, most) {
            read_run(source, tensor, &run, &keep, &mut bytes)?;
        }
        start = end;
    }
    Ok(RawRows { dtype: tensor.dtype, rows, blocks: blocks.len(), bytes })
}

/// Rows that stand together in the file: the first of them, and where in the result each goes.
struct Run {
    first: u64,
    into: Vec<usize>,
}

/// `rows` of the result, the first of which goes to `into`, as runs of at most `most`.
fn runs(rows: Range<u32>, into: usize, interleave: Option<Interleave>, most: u32) -> Vec<Run> {
    let place = |row: u32| interleave.map_or(u64::from(row), |i| i.source(u64::from(row)));
    let mut rows: Vec<(u64, usize)> = rows.map(place).zip(into..).collect();
    rows.sort_unstable();
    let mut runs: Vec<Run> = vec![];
    for (row, into) in rows {
        match runs.last_mut() {
            Some(run) if run.first + run.into.len() as u64 == row && run.into.len() < most as usize => {
                run.into.push(into)
            }
            _ => runs.push(Run { first: row, into: vec![into] }),
        }
    }
    runs
}

/// Reads the rows of `run` and keeps the bytes `keep` of each.
fn read_run(source: &Source, tensor: &Stored, run: &Run, keep: &Range<usize>, out: &mut [u8]) -> Result<(), Error> {
    let row_bytes = tensor.row_bytes();
    let start = tensor.place.offset + run.first * row_bytes;
    let width = keep.len();
    if let [into] = run.into[..] {
        let row = &mut out[into * width..][..width];
        return source.read(row, start + keep.start as u64, &tensor.name);
    }
    let contiguous = run.into.windows(2).all(|pair| pair[1] == pair[0] + 1);
    if contiguous && width as u64 == row_bytes {
        let rows = &mut out[run.into[0] * width..][..width * run.into.len()];
        return source.read(rows, start, &tensor.name);
    }
    let mut chunk = vec![0; run.into.len() * row_bytes as usize];
    source.read(&mut chunk, start, &tensor.name)?;
    for (row, &into) in chunk.chunks_exact(row_bytes as usize).zip(&run.into) {
        out[into * width..][..width].copy_from_slice(&row[keep.clone()]);
    }
    Ok(())
}

/// Reads columns `cols` of a vector as one row, in interleaved order where asked.
pub(crate) fn read_vector(source: &Source, tensor: &Stored, part: &Part) -> Result<RawRows, Error> {
    let Some(interleave) = part.interleave.filter(|_| !part.rows.is_empty()) else {
        return read_rows(source, tensor, part);
    };
    let whole = Part { rows: 0..1, cols: 0..tensor.cols() as u32, interleave: None };
    let all = read_rows(source, tensor, &whole)?;
    let size = tensor.dtype.block_bytes() as usize;
    let pick = |col: u32| {
        let from = interleave.source(u64::from(col)) as usize * size;
        &all.bytes[from..from + size]
    };
    let bytes: Vec<u8> = part.cols.clone().flat_map(pick).copied().collect();
    Ok(RawRows { dtype: tensor.dtype, rows: 1, blocks: part.cols.len(), bytes })
}
