//! Reads the weights a device needs, and no others.
//!
//! [`ModelFile::open`] checks everything that can be checked without reading weights: after it, only the disk can fail.

mod dequant;
mod error;
mod gguf;
mod gguf_spec;
mod names;
mod read;
mod stored;

pub use error::Error;
pub use names::{LayerWeight, Weight};
pub use read::ReadAt;

pub(crate) use error::show;
pub(crate) use gguf::{Array, Gguf, Value, brief, kind};
pub(crate) use read::{Cursor, Source};

use headsaw::spec::model::{Dtype, Family, ModelSpec, RopeScaling};
use names::Naming;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
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
    spec: ModelSpec,
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
    /// The keys of a GGUF file.
    Gguf(Gguf),
}

impl ModelFile {
    /// Opens a GGUF file.
    pub fn open(path: &Path) -> Result<ModelFile, Error> {
        ModelFile::from_gguf(Source::open(path)?)
    }

    /// A GGUF file that is in memory.
    pub fn from_bytes(bytes: &'static [u8]) -> Result<ModelFile, Error> {
        ModelFile::from_gguf(Source::from_bytes("embedded model", bytes))
    }

    fn from_gguf(source: Source) -> Result<ModelFile, Error> {
        let mut gguf = gguf::parse(&source)?;
        let mut spec = gguf_spec::read(&source.name, &gguf)?;
        let tensors = std::mem::take(&mut gguf.tensors);
        let places = place(&source.name, &spec, &tensors, Naming::Gguf)?;
        spec.dtype = main_dtype(&tensors, &places);
        let hash = hash(&source, gguf.data_start)?;
        let halves = spec.family == Family::Qwen2;
        let origin = Origin::Gguf(gguf);
        let mut model =
            ModelFile { spec, sources: vec![source], tensors, places, halves, rope_divisors: vec![], hash, origin };
        model.read_divisors()?;
        Ok(model)
    }

    /// The model's shape.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The file or folder, for messages.
    pub fn name(&self) -> &str {
        self.sources.first().map_or("model", |s| &s.name)
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
    /// Rows of Q and K, and elements of their biases, always come in the order in which adjacent pairs `(2i, 2i+1)` of a
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
            None => Err(Error::absent(self.name(), format!("the model has no weight {weight:?}"))),
        }
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn source(&self) -> Option<&Source> {
        self.sources.first()
    }

    /// From the tensor `rope_freqs.weight` if there is one, else from the shape.
    fn read_divisors(&mut self) -> Result<(), Error> {
        let Some(mut rope) = self.spec.rope else { return Ok(()) };
        self.rope_divisors = rope.divisors(self.spec.head_width);
        let Some(tensor) = self.tensors.iter().find(|t| t.name == ROPE_DIVISORS) else { return Ok(()) };
        let pairs = self.spec.head_width / 2;
        if tensor.dtype != Dtype::F32 || tensor.shape != [u64::from(pairs)] {
            let found = format!("{} {:?}", tensor.dtype.name(), tensor.shape);
            return Err(Error::tensor(self.name(), ROPE_DIVISORS, found, format!("F32 [{pairs}]")));
        }
        let part = Part { rows: 0..1, cols: 0..pairs, interleave: None };
        let divisors = stored::read_rows(&self.sources[tensor.place.file], tensor, &part)?.to_f32();
        if !divisors.iter().all(|x| x.is_finite() && *x > 0.0) {
            return Err(Error::tensor(self.name(), ROPE_DIVISORS, "zero, negative or no numbers", "positive numbers"));
        }
        rope.scaling = llama3(&divisors, rope, self.spec.head_width).or(rope.scaling);
        self.spec.rope = Some(rope);
        self.rope_divisors = divisors;
        Ok(())
    }
}

const ROPE_DIVISORS: &str = "rope_freqs.weight";

/// Llama 3's scaling with its usual constants, if that is what gives these divisors.
fn llama3(divisors: &[f32], rope: headsaw::spec::model::Rope, head_width: u32) -> Option<RopeScaling> {
    let factor = divisors.iter().copied().fold(1.0, f32::max);
    let scaling = RopeScaling::Llama3 { factor, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 };
    let guess = headsaw::spec::model::Rope { scaling: Some(scaling), ..rope }.divisors(head_width);
    let same = guess.iter().zip(divisors).all(|(a, b)| (a - b).abs() <= 1e-3 * b);
    same.then_some(scaling)
}

/// Finds every weight the model needs; all that is missing, misshapen or unknown is one error.
fn place(file: &str, spec: &ModelSpec, tensors: &[Stored], naming: Naming) -> Result<BTreeMap<Weight, usize>, Error> {
    let mut left: BTreeMap<&str, usize> = tensors.iter().enumerate().map(|(i, t)| (t.name.as_str(), i)).collect();
    let mut places = BTreeMap::new();
    let mut problems = vec![];
    for weight in Weight::all(spec) {
        let name = weight.name(naming);
        match left.remove(name.as_str()) {
            None => problems.push(format!("tensor `{name}` is missing")),
            Some(at) => {
                problems.extend(misfit(&tensors[at], weight, spec));
                places.insert(weight, at);
            }
        }
        if problems.len() > 1000 {
            break;
        }
    }
    let unknown = left.keys().filter(|name| !harmless(name, spec));
    problems.extend(unknown.map(|name| format!("tensor `{}` is not one that headsaw runs", show(name))));
    Error::problems(file, problems)?;
    Ok(places)
}

/// Tensors that change nothing: their numbers are in the shape, or they double others.
fn harmless(name: &str, spec: &ModelSpec) -> bool {
    name == ROPE_DIVISORS || name.ends_with("rotary_emb.inv_freq") || (name == "lm_head.weight" && spec.tied)
}

fn misfit(tensor: &Stored, weight: Weight, spec: &ModelSpec) -> Option<String> {
    let [rows, cols] = weight.shape(spec).map(u64::from);
    let fits = if weight.is_vector() { tensor.shape == [cols] } else { tensor.shape == [rows, cols] };
    if !fits {
        let expected = if weight.is_vector() { format!("[{cols}]") } else { format!("[{rows}, {cols}]") };
        return Some(format!("tensor `{}` has shape {:?}; expected {expected}", show(&tensor.name), tensor.shape));
    }
    let blocked = weight.is_vector() && tensor.dtype.block() != 1;
    blocked.then(|| format!("tensor `{}` is {}; expected F32, F16 or BF16", show(&tensor.name), tensor.dtype.name()))
}

/// The type that most bytes of the layers have.
fn main_dtype(tensors: &[Stored], places: &BTreeMap<Weight, usize>) -> Dtype {
    let types = [Dtype::F32, Dtype::F16, Dtype::Bf16, Dtype::Q8_0, Dtype::Q4_1];
    let layers = places.iter().filter(|(w, _)| matches!(w, Weight::Layer(..)) && !w.is_vector());
    let mut numbers = [0u64; 5];
    for tensor in layers.map(|(_, &at)| &tensors[at]) {
        let slot = types.iter().position(|t| *t == tensor.dtype).unwrap_or(0);
        numbers[slot] += tensor.shape.iter().product::<u64>();
    }
    let most = (0..5).max_by_key(|&i| numbers[i]).unwrap_or(0);
    types[most]
}

/// BLAKE3 of the first `header` bytes and the size.
fn hash(source: &Source, header: u64) -> Result<[u8; 32], Error> {
    let mut hasher = blake3::Hasher::new();
    let end = header.min(source.size());
    let mut at = 0;
    let mut chunk = vec![0; 64 << 10];
    while at < end {
        let len = (end - at).min(chunk.len() as u64);
        source.read(&mut chunk[..len as usize], at, "the header")?;
        hasher.update(&chunk[..len as usize]);
        at += len;
    }
    hasher.update(&source.size().to_le_bytes());
    Ok(*hasher.finalize().as_bytes())
}
