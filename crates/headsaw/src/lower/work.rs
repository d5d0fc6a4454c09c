//! The one place that counts operations and bytes.

use crate::plan::{Exchange, Plan, Slice, Stage};
use crate::program::{Gathered, Step, Work};
use crate::shard::{self, BLOCK};
use crate::spec::model::{Dtype, Family, ModelSpec};
use crate::spec::workload::Activations;
use crate::units::{Bytes, Flops};
use std::ops::Range;

/// Bytes of a weight matrix of this many elements, stored as the model's main type.
fn stored(dtype: Dtype, elements: u64) -> Bytes {
    Bytes(elements / u64::from(dtype.block()) * u64::from(dtype.block_bytes()))
}

/// How a plan stores weights: `--dtype f32` dequantises them.
pub fn weight_dtype(plan: &Plan) -> Dtype {
    match plan.workload.numerics.activations {
        Activations::Int8 => plan.model.dtype,
        Activations::F32 => Dtype::F32,
    }
}

/// Bytes that `elements` activations of `rows` tokens take, as the next product takes them: 8-bit integers with a scale
/// and a sum per block, or single precision.
pub fn activation_bytes(plan: &Plan, blocks: u32, rows: u32) -> Bytes {
    let block = match plan.workload.numerics.activations {
        Activations::Int8 => 32 + 4 + 4,
        Activations::F32 => 4 * 32,
    };
    Bytes(block * u64::from(blocks) * u64::from(rows))
}

/// Bytes that blocks of activations take on a link; the sums are made again by the receiver.
fn sent_blocks(plan: &Plan, blocks: u32) -> Bytes {
    match plan.workload.numerics.activations {
        Activations::Int8 => Bytes(36 * u64::from(blocks)),
        Activations::F32 => Bytes(128 * u64::from(blocks)),
    }
}

/// What a device holds and does, seen from one lane's part.
pub struct Counter<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The stage.
    pub stage: &'a Stage,
    /// The slice.
    pub slice: &'a Slice,
}

impl Counter<'_> {
    fn model(&self) -> &ModelSpec {
        &self.plan.model
    }

    fn product(&self, rows: u64, cols: u64) -> Work {
        let elements = rows * cols;
        Work { flops: Flops(2 * elements), weights: stored(weight_dtype(self.plan), elements), ..Work::default() }
    }

    /// Work of `part` of a step.
    pub fn step(&self, step: Step, part: &Range<u32>, nodes: u32) -> Work {
        let m = self.model();
        let width = u64::from(m.width);
        let units = u64::from(part.end - part.start);
        match step {
            Step::Embed | Step::Norm(_) | Step::Sample => Work::default(),
            Step::Project => self.product(units * 16, width),
            Step::Attend => {
                let share = units * u64::from((self.slice.heads.end - self.slice.heads.start) * m.head_width)
                    / u64::from(self.plan.lanes);
                Work { flops_per_key: Flops(4 * share), ..Work::default() }
            }
            Step::Merge => {
                let heads = match self.plan.exchange {
                    Exchange::Reduce => self.slice.heads.end - self.slice.heads.start,
                    Exchange::Gather => m.heads,
                };
                self.partial(units, u64::from(heads * m.head_width), nodes)
            }
            Step::GateUp => self.product(mlp_inputs(m) * units * 32, width),
            Step::Down => {
                let columns = match self.plan.exchange {
                    Exchange::Reduce => self.slice.ffn.end - self.slice.ffn.start,
                    Exchange::Gather => m.ffn,
                };
                self.partial(units, u64::from(columns), nodes)
            }
            Step::Logits => self.product(units * 16, width),
        }
    }

    fn partial(&self, blocks: u64, columns: u64, nodes: u32) -> Work {
        let sent = match self.plan.exchange {
            Exchange::Reduce if self.stage.slices.len() > 1 => Bytes(4 * 32 * blocks * u64::from(nodes)),
            _ => Bytes(0),
        };
        Work { sent, ..self.product(blocks * 32, columns) }
    }

    /// What a device offers in a gather, per token.
    pub fn gather(&self, what: Gathered) -> Work {
        let m = self.model();
        let span = |range: &Range<u32>| range.end - range.start;
        let sent = match what {
            _ if self.stage.slices.len() == 1 => Bytes(0),
            Gathered::Embedded => Bytes(4 * u64::from(m.width)),
            Gathered::Normed(_) => {
                let blocks = span(&self.slice.rows).div_ceil(BLOCK);
                sent_blocks(self.plan, blocks) + Bytes(4 * u64::from(blocks)) // and a sum of squares each
            }
            Gathered::Attended => sent_blocks(self.plan, span(&self.slice.heads) * m.head_width.div_ceil(BLOCK)),
            Gathered::Hidden => sent_blocks(self.plan, span(&self.slice.ffn).div_ceil(BLOCK)),
        };
        Work { sent, ..Work::default() }
    }
}

/// Matrices that lead into the MLP: gate and up, or one where it has no gate.
fn mlp_inputs(model: &ModelSpec) -> u64 {
    match model.family {
        Family::Llama | Family::Qwen2 | Family::Qwen3 => 2,
        Family::Gpt => 1,
    }
}

/// Bytes of the weights that a slice holds, stored as the plan says.
pub fn slice_weights(plan: &Plan, stage: usize, slice: &Slice) -> Bytes {
    let m = &plan.model;
    let span = |range: &Range<u32>| u64::from(range.end - range.start);
    let width = u64::from(m.width);
    let head_width = u64::from(m.head_width);
    let q = span(&slice.heads) * head_width * width;
    let kv = 2 * span(&slice.kv_heads(m)) * head_width * width;
    let (merge, down) = match plan.exchange {
        Exchange::Reduce => (q, span(&slice.ffn) * width),
        Exchange::Gather => (span(&slice.rows) * u64::from(m.heads) * head_width, span(&slice.rows) * u64::from(m.ffn)),
    };
    let layer = q + kv + merge + mlp_inputs(m) * span(&slice.ffn) * width + down;
    let norms = Bytes(4 * 2 * width);
    let layers = span(&plan.stages[stage].layers);
    let first = stage == 0;
    let last = stage + 1 == plan.stages.len();
    let vocab = span(&slice.vocab) * width;
    let ends = match (first, last) {
        (false, false) => 0,
        (true, true) if !m.tied => 2 * vocab,
        _ => vocab,
    };
    let dtype = weight_dtype(plan);
    let ends_dtype = if dtype.block() == 1 { dtype } else { Dtype::Q8_0 };
    (stored(dtype, layer) + norms) * layers + stored(ends_dtype, ends)
}

/// Bytes of a slice's KV cache, all sequences.
pub fn slice_cache(plan: &Plan, stage: usize, slice: &Slice) -> Bytes {
    let m = &plan.model;
    let kv_heads = slice.kv_heads(m);
    let layers = &plan.stages[stage].layers;
    let positions = u64::from(plan.workload.context.next_multiple_of(16)) * u64::from(plan.workload.sequences);
    let element = u64::from(plan.workload.numerics.kv.bytes());
    Bytes(2 * element * u64::from(m.head_width) * positions)
        * u64::from(kv_heads.end - kv_heads.start)
        * u64::from(layers.end - layers.start)
}

/// Pieces of the tree that a slice's heads (or MLP leaves) make.
pub fn head_pieces(model: &ModelSpec, slice: &Slice) -> Vec<Range<u32>> {
    shard::nodes(model.heads, slice.heads.clone())
}

/// The same for MLP columns.
pub fn ffn_pieces(model: &ModelSpec, slice: &Slice) -> Vec<Range<u32>> {
    shard::nodes(shard::mlp_leaves(model), ffn_leaves(model, slice))
}

/// The leaves of the down projection's tree that a slice's columns are.
pub fn ffn_leaves(model: &ModelSpec, slice: &Slice) -> Range<u32> {
    let leaf = shard::mlp_leaf(model);
    slice.ffn.start.div_ceil(leaf)..slice.ffn.end.div_ceil(leaf)
}

/// Floats of working memory that one lane of a slice's device uses, beside what it normalises for itself: products on
/// their way to the cache, to the activation, or (gather) to the residual.
pub fn lane_floats(plan: &Plan, slice: &Slice) -> u64 {
    let m = &plan.model;
    let span = |range: &Range<u32>| u64::from(range.end - range.start);
    let rows = u64::from(plan.workload.rows());
    let kv = span(&slice.kv_heads(m)) * u64::from(m.head_width);
    let own_rows = match plan.exchange {
        Exchange::Reduce => 0,
        Exchange::Gather => span(&slice.rows),
    };
    let mlp_blocks = span(&slice.ffn).div_ceil(u64::from(BLOCK)).div_ceil(u64::from(plan.lanes));
    (rows * kv.max(own_rows).max(2 * u64::from(BLOCK))).max(2 * u64::from(BLOCK) * mlp_blocks)
}

/// Bytes of working memory that one lane of a slice's device uses.
pub fn lane_bytes(plan: &Plan, slice: &Slice) -> Bytes {
    let normed = activation_bytes(plan, plan.model.width.div_ceil(BLOCK), plan.workload.rows());
    normed + Bytes(4 * lane_floats(plan, slice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{CutRequest, Order, cut};
    use crate::spec::presets;
    use crate::spec::workload::{KvDtype, Numerics, Workload};

    /// Two roads: the bytes of an uncut slice, and the model's parameters at two bytes each.
    #[test]
    fn an_uncut_slice_holds_all_parameters() {
        for name in presets::names() {
            let model = presets::find(name).unwrap();
            if model.dtype.block() > 1 {
                continue;
            }
            let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
            let workload = Workload { batch: 1, tokens: 1, micros: 1, context: 16, sequences: 1, numerics };
            let (exchange, order) = (Exchange::Reduce, Order::Pipelined);
            let request = CutRequest { tp: 1, pp: 1, device_weights: vec![], lanes: 1, exchange, order };
            let plan = cut(&model, workload, &request).unwrap();
            let held = slice_weights(&plan, 0, &plan.stages[0].slices[0]).0 as f64;
            let expected = model.parameters() as f64 * f64::from(model.dtype.block_bytes());
            assert!((held / expected - 1.0).abs() < 0.002, "{name}: {held} against {expected}");
        }
    }
}
