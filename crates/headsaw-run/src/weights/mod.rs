//! Reads the weights a device needs, and no others.
//!
//! [`ModelFile::open`] checks everything that can be checked without reading weights: after it, only the disk can fail.

mod blocks;
mod dequant;
mod error;
mod folder;
mod gguf;
mod gguf_spec;
mod names;
mod open;
mod parts;
mod place;
mod read;
mod safetensors;
mod stored;

pub use error::Error;
pub use names::{LayerWeight, Weight};
pub use read::ReadAt;

pub(crate) use blocks::{Q6K_SCALE, RUN, Run, integers, k_scales, q6_k_step, zero};
pub(crate) use error::show;
pub(crate) use gguf::{Array, Gguf, Value, brief, kind};
pub(crate) use read::{Cursor, Source};
pub(crate) use safetensors::parse as parse_safetensors;

use headsaw::spec::model::{Dtype, ModelSpec};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use stored::{Interleave, Part, Stored};

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

/// What a file says of one tensor, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// Its name in the file.
    pub name: String,
    /// How its numbers are stored.
    pub dtype: Dtype,
    /// Outermost dimension first.
    pub shape: Vec<u64>,
    /// Its size in the file.
    pub bytes: u64,
}

/// A model on disk (or in memory): its shape, and its weights on demand.
#[derive(Debug)]
pub struct ModelFile {
    name: String,
    spec: ModelSpec,
    /// The files that hold weights.
    sources: Vec<Source>,
    tensors: Vec<Stored>,
    /// Which of `tensors` a weight is.
    places: BTreeMap<Weight, usize>,
    /// Q and K rows stand as two halves in the file.
    halves: bool,
    rope_divisors: Vec<f32>,
    hash: [u8; 32],
    origin: Origin,
}

/// Where the tokenizer comes from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// The keys of a GGUF file, the first one of the model.
    Gguf(Gguf),
    /// A Hugging Face folder.
    Folder(PathBuf),
    /// Nowhere: only the shape is known.
    Shape,
}

impl ModelFile {
    /// Opens a GGUF file (of a model in several files any one), or a Hugging Face folder, or a `config.json` (then only the shape is known).
    pub fn open(path: &Path) -> Result<ModelFile, Error> {
        let has_extension = |wanted: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(wanted));
        if path.is_dir() {
            folder::open(path)
        } else if has_extension("json") {
            folder::shape(path)
        } else {
            open::gguf(parts::open(path)?)
        }
    }

    /// A GGUF file that is in memory.
    pub fn from_bytes(bytes: &'static [u8]) -> Result<ModelFile, Error> {
        ModelFile::from_reader("embedded model", bytes)
    }

    /// A GGUF file in any other place that can be read from; `name` is what errors call it.
    pub fn from_reader(name: &str, bytes: impl ReadAt + 'static) -> Result<ModelFile, Error> {
        open::gguf(parts::whole(Source::from_bytes(name, bytes))?)
    }

    /// The model's shape.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The file or folder, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// BLAKE3 over all that is read at opening (shape, tokenizer, names, types and places of tensors) and the files'
    /// sizes. The weights themselves are not read for it, so it is cheap: it tells files apart, it does not seal them.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// Size of the files.
    pub fn bytes(&self) -> u64 {
        self.sources.iter().map(Source::size).sum()
    }

    /// All tensors that the files hold.
    pub fn tensors(&self) -> impl Iterator<Item = TensorInfo> {
        self.tensors.iter().map(|t| TensorInfo {
            name: t.name.clone(),
            dtype: t.dtype,
            shape: t.shape.clone(),
            bytes: t.place.bytes,
        })
    }

    /// What the rotary frequency of each pair is divided by: `[D/2]`, all 1 where nothing is stretched. This, not
    /// `spec().rope.scaling`, is what the file holds: Llama 3 in GGUF comes with these numbers as a tensor.
    pub fn rope_divisors(&self) -> &[f32] {
        &self.rope_divisors
    }

    /// How a weight is stored.
    pub fn dtype(&self, weight: Weight) -> Result<Dtype, Error> {
        Ok(self.stored(weight)?.dtype)
    }

    /// Rows `rows` of a weight, columns `cols` widened outwards to whole blocks of its type; reads no other bytes than
    /// these, or those rows. A vector is one row.
    ///
    /// Rows of Q and K, and elements of their biases and gains, always come in the order in which adjacent pairs `(2i, 2i+1)` of a
    /// head rotate together, whatever the file's order; `rows` counts in that order.
    pub fn rows(&self, weight: Weight, rows: Range<u32>, cols: Range<u32>) -> Result<RawRows, Error> {
        let tensor = self.stored(weight)?;
        let [row_max, col_max] = weight.shape(&self.spec);
        let inside = rows.start <= rows.end && rows.end <= row_max && cols.start <= cols.end && cols.end <= col_max;
        if !inside {
            let found = format!("rows {rows:?} and columns {cols:?} asked for");
            return Err(Error::tensor(self.name(), &tensor.name, found, format!("within [{row_max}, {col_max}]")));
        }
        let rotates = matches!(weight, Weight::Layer(_, w) if w.rotates());
        let interleave = (self.halves && rotates).then_some(Interleave { head_width: self.spec.head_width });
        let source = &self.sources[tensor.place.file];
        let part = Part { rows, cols, interleave };
        if weight.is_vector() {
            stored::read_vector(source, tensor, &part)
        } else {
            stored::read_rows(source, tensor, &part)
        }
    }

    fn stored(&self, weight: Weight) -> Result<&Stored, Error> {
        let weight = if weight == Weight::Output && self.spec.tied { Weight::Embedding } else { weight };
        match self.places.get(&weight) {
            Some(&at) => Ok(&self.tensors[at]),
            None if self.sources.is_empty() => {
                Err(Error::absent(self.name(), "only the shape is known; give a GGUF file or a whole folder"))
            }
            None => Err(Error::absent(self.name(), format!("the model has no weight {weight:?}"))),
        }
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn source(&self) -> Option<&Source> {
        self.sources.first()
    }
}
