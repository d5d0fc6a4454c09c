//! What a device holds: the weights of its slice, packed into memory of its own.

use crate::compute::{BLOCK, Compute, Leaves, Matrix};
use crate::weights::{Error, LayerWeight, ModelFile, RawRows, Weight};
use headsaw::lower::work;
use headsaw::plan::{Exchange, Plan, Slice};
use headsaw::shard;
use headsaw::spec::model::{Family, ModelSpec};
use headsaw::spec::workload::Activations;
use headsaw::units::Bytes;
use std::ops::Range;

/// The weights of one slice.
pub(crate) struct DeviceWeights {
    /// Vocabulary rows of the embedding (first stage).
    pub embedding: Option<Matrix>,
    /// Vocabulary rows of the output (last stage); none where the embedding serves.
    pub output: Option<Matrix>,
    /// Gains of the last norm (last stage).
    pub output_norm: Vec<f32>,
    pub layers: Vec<Layer>,
    /// Trees of the two sums that cross the cut, as far as this device adds them.
    pub head_leaves: Leaves,
    pub ffn_leaves: Leaves,
    /// One leaf over the width of the residual.
    pub width_leaves: Leaves,
}

/// The weights of one layer.
pub(crate) struct Layer {
    pub attn_norm: Vec<f32>,
    pub q: Matrix,
    pub k: Matrix,
    pub v: Matrix,
    pub biases: Option<Biases>,
    pub head_norms: Option<HeadNorms>,
    pub merge: Matrix,
    pub ffn_norm: Vec<f32>,
    pub gate: Matrix,
    pub up: Matrix,
    pub down: Matrix,
}

/// Biases on Q, K and V (Qwen2).
pub(crate) struct Biases {
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
}

/// Gains of the norms of each head's Q and K (Qwen3), `[D]` each.
pub(crate) struct HeadNorms {
    pub q: Vec<f32>,
    pub k: Vec<f32>,
}

/// Reads what a slice holds, and nothing else.
pub(crate) struct Loader<'a> {
    pub file: &'a ModelFile,
    pub plan: &'a Plan,
    pub compute: &'a dyn Compute,
    pub loaded: &'a (dyn Fn(Bytes) + Sync),
}

impl Loader<'_> {
    /// All but the layers.
    pub fn ends(&self, stage: usize, slice: &Slice) -> Result<DeviceWeights, Error> {
        let plan = self.plan;
        let model = &plan.model;
        let (first, last) = (stage == 0, stage + 1 == plan.stages.len());
        let width = 0..model.width;
        let embedding = match first {
            true => Some(self.matrix(Weight::Embedding, &slice.vocab, &blocks(&width))?),
            false => None,
        };
        let output = match last && !(first && model.tied) {
            true => Some(self.matrix(Weight::Output, &slice.vocab, &blocks(&width))?),
            false => None,
        };
        let output_norm = if last { self.vector(Weight::OutputNorm, width)? } else { Vec::new() };
        Ok(DeviceWeights {
            embedding,
            output,
            output_norm,
            layers: Vec::new(),
            head_leaves: self.head_leaves(slice),
            ffn_leaves: self.ffn_leaves(slice),
            width_leaves: Leaves::single(model.width.div_ceil(BLOCK as u32) as usize),
        })
    }

    /// A layer of a slice.
    pub fn layer(&self, layer: u32, slice: &Slice) -> Result<Layer, Error> {
        let model = &self.plan.model;
        let weight = |what| Weight::Layer(layer, what);
        let width = blocks(&(0..model.width));
        let q_rows = scale(&slice.heads, model.head_width);
        let kv_rows = scale(&slice.kv_heads(model), model.head_width);
        let (merge_rows, heads, down_rows, columns) = match self.plan.exchange {
            Exchange::Reduce => (0..model.width, slice.heads.clone(), 0..model.width, slice.ffn.clone()),
            Exchange::Gather => (slice.rows.clone(), 0..model.heads, slice.rows.clone(), 0..model.ffn),
        };
        let biases = match model.family == Family::Qwen2 {
            true => Some(Biases {
                q: self.vector(weight(LayerWeight::QBias), q_rows.clone())?,
                k: self.vector(weight(LayerWeight::KBias), kv_rows.clone())?,
                v: self.vector(weight(LayerWeight::VBias), kv_rows.clone())?,
            }),
            false => None,
        };
        let head_norms = match model.family.norms_heads() {
            true => Some(HeadNorms {
                q: self.vector(weight(LayerWeight::QNorm), 0..model.head_width)?,
                k: self.vector(weight(LayerWeight::KNorm), 0..model.head_width)?,
            }),
            false => None,
        };
        Ok(Layer {
            attn_norm: self.vector(weight(LayerWeight::AttnNorm), 0..model.width)?,
            q: self.matrix(weight(LayerWeight::Q), &q_rows, &width)?,
            k: self.matrix(weight(LayerWeight::K), &kv_rows, &width)?,
            v: self.matrix(weight(LayerWeight::V), &kv_rows, &width)?,
            biases,
            head_norms,
            merge: self.matrix(weight(LayerWeight::O), &merge_rows, &head_blocks(model, &heads))?,
            ffn_norm: self.vector(weight(LayerWeight::FfnNorm), 0..model.width)?,
            gate: self.matrix(weight(LayerWeight::Gate), &slice.ffn, &width)?,
            up: self.matrix(weight(LayerWeight::Up), &slice.ffn, &width)?,
            down: self.matrix(weight(LayerWeight::Down), &down_rows, &blocks(&columns))?,
        })
    }

    fn matrix(&self, weight: Weight, rows: &Range<u32>, blocks: &[Range<u32>]) -> Result<Matrix, Error> {
        let cols = blocks.first().map_or(0..0, |first| first.start..blocks[blocks.len() - 1].end);
        let raw = if rows.is_empty() || cols.is_empty() {
            RawRows { dtype: self.file.dtype(weight)?, rows: 0, blocks: 0, bytes: Vec::new() }
        } else {
            self.file.rows(weight, rows.clone(), cols.clone())?
        };
        // The file's blocks are read whole: the first one may begin before our first column.
        let begin = cols.start - cols.start % raw.dtype.block();
        let blocks: Vec<Range<u32>> = match raw.rows {
            0 => Vec::new(),
            _ => blocks.iter().map(|block| block.start - begin..block.end - begin).collect(),
        };
        let raw = match self.plan.workload.numerics.activations {
            Activations::F32 => raw.dequantise(),
            _ => raw, // only Int8 comes here: `check` refuses what does not run
        };
        (self.loaded)(Bytes(raw.bytes.len() as u64));
        Ok(self.compute.pack(raw, &blocks))
    }

    fn vector(&self, weight: Weight, cols: Range<u32>) -> Result<Vec<f32>, Error> {
        let raw = self.file.rows(weight, 0..1, cols.clone())?;
        let begin = (cols.start % raw.dtype.block()) as usize;
        Ok(raw.to_f32()[begin..begin + cols.len()].to_vec())
    }

    fn head_leaves(&self, slice: &Slice) -> Leaves {
        let model = &self.plan.model;
        let heads = match self.plan.exchange {
            Exchange::Reduce => slice.heads.clone(),
            Exchange::Gather => 0..model.heads,
        };
        leaves(model.heads, heads.start, heads, |_| model.head_width.div_ceil(BLOCK as u32))
    }

    fn ffn_leaves(&self, slice: &Slice) -> Leaves {
        let model = &self.plan.model;
        let held = match self.plan.exchange {
            Exchange::Reduce => work::ffn_leaves(model, slice),
            Exchange::Gather => 0..shard::mlp_leaves(model),
        };
        leaves(shard::mlp_leaves(model), held.start, held, |leaf| ffn_leaf_blocks(model, leaf))
    }
}

/// Blocks of activations of a leaf of the MLP.
pub(crate) fn ffn_leaf_blocks(model: &ModelSpec, leaf: u32) -> u32 {
    let per_leaf = shard::mlp_leaf(model) / BLOCK as u32;
    per_leaf.min(model.ffn.div_ceil(BLOCK as u32) - leaf * per_leaf)
}

/// The leaves `held` of a tree over `all`, in a matrix whose first block begins leaf `first`.
pub(crate) fn leaves(all: u32, first: u32, held: Range<u32>, blocks: impl Fn(u32) -> u32) -> Leaves {
    let pieces: Vec<Range<u32>> = held.clone().map(|leaf| leaf..leaf + 1).collect();
    let start = (first..held.start).map(&blocks).sum();
    let mut end = start;
    let ends = held.clone().map(|leaf| {
        end += blocks(leaf);
        end
    });
    Leaves { start, ends: ends.collect(), merges: shard::merges(all, &pieces), nodes: shard::nodes(all, held).len() }
}

/// Blocks of activations over columns that no head divides.
fn blocks(columns: &Range<u32>) -> Vec<Range<u32>> {
    let block = BLOCK as u32;
    columns.clone().step_by(BLOCK).map(|start| start..(start + block).min(columns.end)).collect()
}

/// Blocks of activations over heads: they restart at each head.
fn head_blocks(model: &ModelSpec, heads: &Range<u32>) -> Vec<Range<u32>> {
    heads.clone().flat_map(|head| blocks(&(head * model.head_width..(head + 1) * model.head_width))).collect()
}

fn scale(units: &Range<u32>, unit: u32) -> Range<u32> {
    units.start * unit..units.end * unit
}

impl DeviceWeights {
    /// The matrix whose rows are the vocabulary, for the logits.
    pub fn output(&self) -> &Matrix {
        self.output.as_ref().or(self.embedding.as_ref()).expect("the last stage holds an output matrix")
    }

    /// Bytes of all weights, as packed.
    pub fn bytes(&self) -> Bytes {
        let ends = [&self.embedding, &self.output].into_iter().flatten().map(Matrix::bytes).sum::<usize>();
        let layers = self.layers.iter().map(Layer::bytes).sum::<usize>();
        Bytes((ends + layers + 4 * self.output_norm.len()) as u64)
    }
}

impl Layer {
    fn bytes(&self) -> usize {
        let matrices = [&self.q, &self.k, &self.v, &self.merge, &self.gate, &self.up, &self.down];
        let biases = self.biases.as_ref().map_or(0, |b| b.q.len() + b.k.len() + b.v.len());
        let head_norms = self.head_norms.as_ref().map_or(0, |n| n.q.len() + n.k.len());
        matrices.into_iter().map(Matrix::bytes).sum::<usize>()
            + 4 * (self.attn_norm.len() + self.ffn_norm.len() + biases + head_norms)
    }
}
