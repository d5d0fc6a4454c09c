//! The one place that counts operations and bytes.

use crate::plan::{Exchange, HeadStep, Overlap, Plan, Slice, Stage};
use crate::program::{Carries, Gathered, Step, Unit, Work};
use crate::shard::{self, BLOCK};
use crate::spec::Matrix;
use crate::spec::model::{Dtype, Family, ModelSpec};
use crate::spec::workload::Activations;
use crate::units::{Bytes, Flops};
use std::ops::Range;

/// Bytes of this many elements of a matrix in each of some layers, as the plan stores them.
fn stored(plan: &Plan, weights: Matrix, elements: u64, layers: &Range<u32>) -> Bytes {
    match plan.workload.numerics.activations {
        Activations::Int8 | Activations::F32 => {
            types(plan, weights, layers).map(|(dtype, count)| typed(dtype, elements) * u64::from(count)).sum()
        }
        floats => Bytes(elements.saturating_mul(u64::from(floats.block_bytes())) / 32) * u64::from(part_of(layers)),
    }
}

/// The types of a matrix of some layers, and how many layers have each, in a plan that runs here: `--dtype f32`
/// dequantises them.
fn types(plan: &Plan, weights: Matrix, layers: &Range<u32>) -> impl Iterator<Item = (Dtype, u32)> {
    let dequantises = plan.workload.numerics.activations == Activations::F32;
    plan.model.types(weights, layers).map(move |(dtype, count)| (if dequantises { Dtype::F32 } else { dtype }, count))
}

/// The types that the matrices of a step have over all layers, in a plan that runs here, with each one's share of the
/// step's elements.
pub fn step_types(plan: &Plan, step: Step) -> Vec<(Dtype, f64)> {
    let m = &plan.model;
    let parts = match step {
        Step::Project => vec![(Matrix::Q, m.heads), (Matrix::K, m.kv_heads), (Matrix::V, m.kv_heads)],
        Step::Merge => vec![(Matrix::O, 1)],
        Step::GateUp => vec![(Matrix::Gate, 1), (Matrix::Up, 1)],
        Step::Down => vec![(Matrix::Down, 1)],
        Step::Logits => return vec![(end_type(plan, Matrix::Output), 1.0)],
        _ => vec![],
    };
    let mut counts: Vec<(Dtype, u64)> = Vec::new();
    for (weights, part) in &parts {
        for (dtype, layers) in types(plan, *weights, &(0..m.layers)) {
            let count = u64::from(*part) * u64::from(layers);
            match counts.iter_mut().find(|(known, _)| *known == dtype) {
                Some((_, known)) => *known += count,
                None => counts.push((dtype, count)),
            }
        }
    }
    let all = counts.iter().map(|(_, count)| count).sum::<u64>() as f64;
    counts.into_iter().map(|(dtype, count)| (dtype, count as f64 / all)).collect()
}

/// Bytes of a weight matrix of a type.
fn typed(dtype: Dtype, elements: u64) -> Bytes {
    Bytes(elements / u64::from(dtype.block()) * u64::from(dtype.block_bytes()))
}

/// The type of the embedding or the output matrix: engines on GPUs keep them in 16 bits.
fn end_type(plan: &Plan, weights: Matrix) -> Dtype {
    match plan.workload.numerics.activations {
        Activations::Int8 => plan.model.end_type(weights),
        Activations::F32 => Dtype::F32,
        _ => Dtype::Bf16,
    }
}

/// The types of all matrices that a plan multiplies with here.
pub fn weight_types(plan: &Plan) -> Vec<Dtype> {
    let steps = [Step::Project, Step::Merge, Step::GateUp, Step::Down, Step::Logits];
    let has = |dtype: &Dtype| steps.iter().any(|step| step_types(plan, *step).iter().any(|(other, _)| other == dtype));
    Dtype::ALL.into_iter().filter(has).collect()
}

/// Bytes that `blocks` of 32 activations of `rows` tokens take, as the next product takes them.
pub fn activation_bytes(plan: &Plan, blocks: u32, rows: u32) -> Bytes {
    Bytes(u64::from(plan.workload.numerics.activations.block_bytes()) * u64::from(blocks) * u64::from(rows))
}

/// Bytes that blocks of activations take on a link.
fn sent_blocks(plan: &Plan, blocks: u32) -> Bytes {
    Bytes(u64::from(plan.workload.numerics.activations.sent_block_bytes()) * u64::from(blocks))
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

    /// A product with so many rows of each of some matrices. Where layers differ in types the bytes are their mean.
    fn product(&self, parts: &[(Matrix, u64)], cols: u64) -> Work {
        let layers = 0..self.model().layers;
        let bytes =
            parts.iter().map(|(weights, rows)| stored(self.plan, *weights, rows * cols, &layers)).sum::<Bytes>();
        let rows = parts.iter().map(|(_, rows)| rows).sum::<u64>();
        let product = [rows, cols].map(|n| n.min(u64::from(u32::MAX)) as u32);
        let weights = Bytes(bytes.0 / u64::from(self.model().layers));
        Work { flops: Flops(2 * rows * cols), weights, product, ..Work::default() }
    }

    /// Elements of the norm that a product does for itself: with the reduce exchange and no step cut each lane
    /// normalises the whole residual.
    fn own_norm(&self) -> u32 {
        match (self.plan.exchange, &self.plan.steps) {
            (Exchange::Reduce, None) => self.model().width,
            _ => 0,
        }
    }

    /// Work of `part` of a step, of one unit where the device's work is cut into units.
    pub fn step(&self, step: Step, part: &Range<u32>, unit: Option<&Unit>) -> Work {
        let m = self.model();
        let width = u64::from(m.width);
        let units = u64::from(part.end - part.start);
        let heads = unit.map_or(&self.slice.heads, |unit| &unit.heads);
        let normed = self.own_norm();
        match step {
            Step::Embed => Work { elements: m.width * part_of(part) / workers(self.plan), ..Work::default() },
            Step::Sample => Work { elements: m.vocab, ..Work::default() },
            Step::Norm(_) => Work { normed: BLOCK * part_of(part), ..Work::default() },
            Step::Project => {
                let normed = normed + self.normed_heads(part, unit) * m.head_width;
                let product = self.product(&self.projected(part, unit), width);
                Work { normed, elements: product.product[0], ..product }
            }
            Step::Attend | Step::Score | Step::Softmax | Step::Context => self.attention(step, heads, part, unit),
            Step::Merge => self.merge(units, heads, unit),
            Step::GateUp => {
                let ways = mlp_inputs(m);
                let active = ((ways.len() as u64 + 1) * units * 32) as u32 / 2; // reads gate and up, writes one
                let parts: Vec<_> = ways.iter().map(|way| (*way, units * 32)).collect();
                Work { normed, elements: active, ..self.product(&parts, width) }
            }
            Step::Down => self.down(units, unit),
            Step::Logits => {
                let product = self.product(&[(Matrix::Output, units * 16)], width);
                let weights = typed(end_type(self.plan, Matrix::Output), units * 16 * width);
                Work { weights, normed: m.width, ..product }
            }
        }
    }

    /// Rows of Q, K and V that a part, or a chunk, projects.
    fn projected(&self, part: &Range<u32>, unit: Option<&Unit>) -> [(Matrix, u64); 3] {
        let m = self.model();
        let rows = match unit {
            Some(unit) => {
                let kv_heads = part_of(&projected_kv_heads(m, self.slice, unit));
                [part_of(&unit.heads), kv_heads, kv_heads].map(|heads| u64::from(heads) * u64::from(m.head_width))
            }
            None => {
                let [q, kv] = [&self.slice.heads, &self.slice.kv_heads(m)].map(|heads| projected_parts_of(m, heads));
                let within = |end: u32| part.end.min(end) - part.start.min(end);
                let [q, k, v] = [within(q), within(q + kv) - within(q), part_of(part) - within(q + kv)];
                [q, k, v].map(|parts| u64::from(parts) * u64::from(projected_rows(m)))
            }
        };
        [(Matrix::Q, rows[0]), (Matrix::K, rows[1]), (Matrix::V, rows[2])]
    }

    /// (Qwen3) Heads of Q and K that a part, or a chunk, projects and so norms.
    fn normed_heads(&self, part: &Range<u32>, unit: Option<&Unit>) -> u32 {
        let m = self.model();
        if !m.family.norms_heads() {
            return 0;
        }
        match unit {
            Some(unit) => part_of(&unit.heads) + part_of(&projected_kv_heads(m, self.slice, unit)),
            None => {
                let all = part_of(&self.slice.heads) + part_of(&self.slice.kv_heads(m));
                part.end.min(all) - part.start.min(all)
            }
        }
    }

    fn attention(&self, step: Step, heads: &Range<u32>, part: &Range<u32>, unit: Option<&Unit>) -> Work {
        let m = self.model();
        let share = part_of(part);
        let lanes = if unit.is_some() { 1 } else { self.plan.lanes };
        let all = (heads.end - heads.start) * share;
        let per_key = match step {
            Step::Attend => 4,
            Step::Score | Step::Context => 2,
            _ => 0, // exponentials are counted apart
        };
        // A lane's pairs of heads and tokens follow each other: so do their KV heads.
        let touched = all.div_ceil(lanes).div_ceil(m.heads / m.kv_heads);
        let kv_heads = kv_heads(m, heads);
        Work {
            flops_per_key: Flops(per_key * u64::from(all * m.head_width) / u64::from(lanes)),
            heads: [all.div_ceil(lanes), if lanes == 1 { part_of(&kv_heads) } else { touched.min(part_of(&kv_heads)) }],
            ..Work::default()
        }
    }

    /// The output projection's columns of some heads.
    fn merge(&self, blocks: u64, heads: &Range<u32>, unit: Option<&Unit>) -> Work {
        let m = self.model();
        let heads = match (self.plan.exchange, unit) {
            (Exchange::Reduce, _) => part_of(heads),
            (Exchange::Gather, Some(unit)) => self.gathered_heads(unit.number),
            (Exchange::Gather, None) => m.heads,
        };
        self.product(&[(Matrix::O, blocks * 32)], u64::from(heads * m.head_width))
    }

    /// (gather) Heads of all devices that come with a chunk.
    fn gathered_heads(&self, number: u32) -> u32 {
        self.stage.slices.iter().map(|slice| part_of(&unit_heads(self.plan, slice, number))).sum()
    }

    fn down(&self, blocks: u64, unit: Option<&Unit>) -> Work {
        let columns = match (self.plan.exchange, unit) {
            (Exchange::Reduce, _) => part_of(&self.slice.ffn),
            (Exchange::Gather, Some(unit)) => {
                self.stage.slices.iter().map(|slice| self.piece_columns(slice, unit.number)).sum()
            }
            (Exchange::Gather, None) => self.model().ffn,
        };
        self.product(&[(Matrix::Down, blocks * 32)], u64::from(columns))
    }

    /// (gather) Columns of the `number`th piece of a slice's MLP.
    fn piece_columns(&self, slice: &Slice, number: u32) -> u32 {
        part_of(&piece_columns(self.plan, self.stage, slice, number))
    }

    /// What a device offers to a sum of attention's heads or the MLP's columns, and adds to these blocks of its
    /// residual: here each node of the tree travels in single precision; GPUs send one vector.
    pub fn reduce(&self, part: &Range<u32>, mlp: bool) -> Work {
        let activations = self.plan.workload.numerics.activations;
        let pieces = if mlp { ffn_pieces(self.model(), self.slice) } else { head_pieces(self.model(), self.slice) };
        let vectors = if activations.run_here() { pieces.len() as u64 } else { 1 };
        let elements = BLOCK * part_of(part);
        let sent = match self.stage.slices.len() {
            1 => Bytes(0),
            _ => Bytes(u64::from(activations.element_bytes()) * u64::from(elements) * vectors),
        };
        Work { sent, elements, ..Work::default() }
    }

    /// The device's part of one embedded token. Here the device that holds the token's row gives it to the others; GPUs
    /// add up vectors that are zero on all devices but one, twice the bytes.
    fn embedded_bytes(&self) -> Bytes {
        let activations = self.plan.workload.numerics.activations;
        let vectors = if activations.run_here() { 1 } else { 2 };
        let bytes = vectors * u64::from(activations.element_bytes()) * u64::from(self.model().width);
        Bytes(bytes.div_ceil(self.stage.slices.len() as u64))
    }

    /// What a device offers in a gather, per token.
    pub fn gather(&self, what: Gathered, unit: Option<&Unit>) -> Work {
        let m = self.model();
        let sent = match what {
            _ if self.stage.slices.len() == 1 => Bytes(0),
            Gathered::Embedded => self.embedded_bytes(),
            Gathered::Normed(_) => {
                let blocks = part_of(&self.slice.rows).div_ceil(BLOCK);
                sent_blocks(self.plan, blocks) + Bytes(4 * u64::from(blocks)) // and a sum of squares each
            }
            Gathered::Attended => {
                let heads = unit.map_or(&self.slice.heads, |unit| &unit.heads);
                sent_blocks(self.plan, part_of(heads) * m.head_width.div_ceil(BLOCK))
            }
            Gathered::Hidden => {
                let columns = unit.map_or(part_of(&self.slice.ffn), |unit| self.piece_columns(self.slice, unit.number));
                sent_blocks(self.plan, columns.div_ceil(BLOCK))
            }
        };
        Work { sent, ..Work::default() }
    }
}

/// Rows of Q, K or V in one part of the projection: a panel, or a head where the one who projects it also norms it.
pub fn projected_rows(model: &ModelSpec) -> u32 {
    if model.family.norms_heads() { model.head_width } else { 16 }
}

/// Parts of a slice's projection, Q first, then K, then V.
pub fn projected_parts(model: &ModelSpec, slice: &Slice) -> u32 {
    projected_parts_of(model, &slice.heads) + 2 * projected_parts_of(model, &slice.kv_heads(model))
}

fn projected_parts_of(model: &ModelSpec, heads: &Range<u32>) -> u32 {
    (part_of(heads) * model.head_width).div_ceil(projected_rows(model))
}

/// Length of a range.
pub(crate) fn part_of(range: &Range<u32>) -> u32 {
    range.end - range.start
}

/// KV heads that some Q heads use.
fn kv_heads(model: &ModelSpec, heads: &Range<u32>) -> Range<u32> {
    let group = model.heads / model.kv_heads;
    heads.start / group..heads.end.div_ceil(group)
}

/// KV heads that a chunk of a slice's heads projects: of those it needs the ones that no chunk before it needed.
pub fn projected_kv_heads(model: &ModelSpec, slice: &Slice, unit: &Unit) -> Range<u32> {
    let group = model.heads / model.kv_heads;
    let heads = &unit.heads;
    let known = if heads.start > slice.heads.start { heads.start.div_ceil(group) } else { heads.start / group };
    known..heads.end.div_ceil(group).max(known)
}

/// Heads that go through the steps together; without steps all.
pub fn chunk_size(plan: &Plan) -> u32 {
    plan.steps.as_ref().map_or(u32::MAX, |steps| steps.chunk.max(1))
}

/// The `number`th chunk of a slice's heads; empty behind the last.
pub fn unit_heads(plan: &Plan, slice: &Slice, number: u32) -> Range<u32> {
    let (heads, size) = (&slice.heads, chunk_size(plan));
    let at = |i: u32| heads.start.saturating_add(i.saturating_mul(size)).min(heads.end);
    at(number)..at(number + 1)
}

/// The program's steps of a part of the step cut: the three of attention in one where they are together.
pub fn steps_of(part: &[HeadStep]) -> impl Iterator<Item = Step> + '_ {
    let middle = [HeadStep::Score, HeadStep::Softmax, HeadStep::Context];
    let fused = middle.iter().all(|step| part.contains(step));
    part.iter().filter_map(move |step| match step {
        HeadStep::Project => Some(Step::Project),
        HeadStep::Merge => Some(Step::Merge),
        HeadStep::Score if fused => Some(Step::Attend),
        _ if fused => None,
        HeadStep::Score => Some(Step::Score),
        HeadStep::Softmax => Some(Step::Softmax),
        HeadStep::Context => Some(Step::Context),
    })
}

/// Lanes of a device that compute: where nothing overlaps one does all.
pub fn compute_lanes(plan: &Plan) -> u32 {
    match &plan.steps {
        Some(steps) if steps.overlap == Overlap::None => 1,
        _ => plan.lanes,
    }
}

/// Lanes of a device in all: with an overlap there is one more, for exchanges.
pub fn lanes(plan: &Plan) -> u32 {
    let overlaps = plan.steps.as_ref().is_some_and(|steps| steps.overlap != Overlap::None);
    compute_lanes(plan) + u32::from(overlaps)
}

/// Lanes of a device that do what is no head's work.
pub fn workers(plan: &Plan) -> u32 {
    match &plan.steps {
        Some(steps) if steps.others.is_some() || steps.overlap == Overlap::None => 1,
        _ => plan.lanes,
    }
}

/// Heads that a device holds at most.
pub fn heads_most(plan: &Plan) -> u32 {
    plan.slices().map(|(_, slice)| slice.heads.end.saturating_sub(slice.heads.start)).max().unwrap_or(1).max(1)
}

/// Chunks of heads that each device of a stage goes through in a layer: as many as the largest slice has.
pub fn chunks(plan: &Plan, stage: &Stage) -> u32 {
    let size = chunk_size(plan);
    stage.slices.iter().map(|slice| part_of(&slice.heads).div_ceil(size)).max().unwrap_or(1)
}

/// Pieces of the MLP: as many as chunks where blocks leave as they are done (gather, overlap by heads), else one.
pub fn pieces(plan: &Plan, stage: &Stage) -> u32 {
    match (&plan.steps, plan.exchange) {
        (Some(steps), Exchange::Gather) if steps.overlap == Overlap::Heads => chunks(plan, stage),
        _ => 1,
    }
}

/// Columns of the `number`th piece of a slice's MLP: whole leaves of the tree, so that its sum is made of nodes.
pub fn piece_columns(plan: &Plan, stage: &Stage, slice: &Slice, number: u32) -> Range<u32> {
    let leaves = ffn_leaves(&plan.model, slice);
    let held = piece(part_of(&leaves), pieces(plan, stage), number);
    let column = |leaf: u32| (leaf * shard::mlp_leaf(&plan.model)).clamp(slice.ffn.start, slice.ffn.end);
    column(leaves.start + held.start)..column(leaves.start + held.end)
}

/// For each unit of a slice the nodes of the tree that it adds to the output projection's sum (`down`: to the down
/// projection's).
pub fn unit_nodes(plan: &Plan, stage: &Stage, slice: &Slice, down: bool) -> Vec<Vec<Range<u32>>> {
    let model = &plan.model;
    let leaves = |number: u32| {
        let columns = piece_columns(plan, stage, slice, number);
        let leaf = shard::mlp_leaf(model);
        shard::nodes(shard::mlp_leaves(model), columns.start.div_ceil(leaf)..columns.end.div_ceil(leaf))
    };
    let heads = |number: u32| shard::nodes(model.heads, unit_heads(plan, slice, number));
    match down {
        true => (0..pieces(plan, stage)).map(leaves).collect(),
        false => (0..chunks(plan, stage)).map(heads).collect(),
    }
}

/// Vectors that a slice's units need while their sum grows.
pub fn sum_height(plan: &Plan, stage: &Stage, slice: &Slice, down: bool) -> usize {
    let leaves = if down { shard::mlp_leaves(&plan.model) } else { plan.model.heads };
    shard::height(leaves, &unit_nodes(plan, stage, slice, down).concat())
}

/// Tokens that a unit's product takes at once before it is added to the sum.
const SUM_TOKENS: u64 = 64;

/// Floats of working memory that a unit's product takes on its way to the sum.
fn unit_floats(plan: &Plan, own_rows: u64) -> u64 {
    let nodes = |stage: &Stage, slice: &Slice| {
        let of = |down| unit_nodes(plan, stage, slice, down).iter().map(Vec::len).max().unwrap_or(0);
        of(false).max(of(true))
    };
    let most = plan.stages.iter().flat_map(|stage| stage.slices.iter().map(|slice| nodes(stage, slice))).max();
    most.unwrap_or(0) as u64 * own_rows.next_multiple_of(16) * u64::from(plan.workload.rows()).min(SUM_TOKENS)
}

/// The `number`th of `count` pieces of some things.
pub fn piece(blocks: u32, count: u32, number: u32) -> Range<u32> {
    let at = |i: u32| (u64::from(blocks) * u64::from(i) / u64::from(count)) as u32;
    at(number)..at(number + 1)
}

/// Matrices that lead into the MLP: gate and up, or one where it has no gate.
fn mlp_inputs(model: &ModelSpec) -> &'static [Matrix] {
    match model.family {
        Family::Llama | Family::Qwen2 | Family::Qwen3 => &[Matrix::Gate, Matrix::Up],
        Family::Gpt => &[Matrix::Up],
    }
}

/// Bytes of the weights that a slice holds, stored as the plan says.
pub fn slice_weights(plan: &Plan, stage: usize, slice: &Slice) -> Bytes {
    let m = &plan.model;
    let span = |range: &Range<u32>| u64::from(range.end - range.start);
    let width = u64::from(m.width);
    let head_width = u64::from(m.head_width);
    let q = span(&slice.heads) * head_width * width;
    let kv = span(&slice.kv_heads(m)) * head_width * width;
    let (merge, down) = match plan.exchange {
        Exchange::Reduce => (q, span(&slice.ffn) * width),
        Exchange::Gather => (span(&slice.rows) * u64::from(m.heads) * head_width, span(&slice.rows) * u64::from(m.ffn)),
    };
    let way_in = span(&slice.ffn) * width;
    let fixed = [(Matrix::Q, q), (Matrix::K, kv), (Matrix::V, kv), (Matrix::O, merge), (Matrix::Down, down)];
    let matrices = fixed.into_iter().chain(mlp_inputs(m).iter().map(|way| (*way, way_in)));
    let layers = &plan.stages[stage].layers;
    let stored = matrices.map(|(weights, elements)| stored(plan, weights, elements, layers)).sum::<Bytes>();
    let extra = match m.family {
        Family::Qwen2 => (span(&slice.heads) + 2 * span(&slice.kv_heads(m))) * head_width,
        Family::Qwen3 => 2 * head_width,
        Family::Llama | Family::Gpt => 0,
    };
    let vectors = Bytes(4 * (2 * width + extra));
    let (first, last) = (stage == 0, stage + 1 == plan.stages.len());
    let end = |held: bool, weights| match held {
        true => typed(end_type(plan, weights), span(&slice.vocab) * width),
        false => Bytes(0),
    };
    let ends = end(first, Matrix::Embedding) + end(last && !(first && m.tied), Matrix::Output);
    stored + vectors * span(layers) + ends
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

/// Bytes of the table of angles by which heads are rotated, cosine and sine of each pair at each position, on a device
/// that runs here. Devices of one process share it.
pub fn rotation_bytes(plan: &Plan) -> Bytes {
    let m = &plan.model;
    match m.rope {
        Some(_) if plan.workload.numerics.activations.run_here() => {
            Bytes(8 * u64::from(m.head_width / 2)) * u64::from(plan.workload.context)
        }
        _ => Bytes(0),
    }
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

/// Floats of gate and up that a lane keeps before the activation takes them: the more, the fewer times a prompt's
/// activations are laid out for the product; but they should stay in the cache.
const MLP_FLOATS: u64 = 1 << 18;

/// Floats of working memory that one lane of a slice's device uses, beside what it normalises for itself: products on
/// their way to the cache, to the activation, or (gather) to the residual.
pub fn lane_floats(plan: &Plan, slice: &Slice) -> u64 {
    let m = &plan.model;
    let span = |range: &Range<u32>| u64::from(range.end - range.start);
    let rows = u64::from(plan.workload.rows());
    let panels = |heads: u64| (heads * u64::from(m.head_width)).next_multiple_of(16);
    let kv = panels(span(&slice.kv_heads(m)));
    let own_rows = match plan.exchange {
        Exchange::Reduce => 0,
        Exchange::Gather => span(&slice.rows),
    };
    let mlp_blocks = span(&slice.ffn).div_ceil(u64::from(BLOCK)).div_ceil(u64::from(plan.lanes));
    let mlp = 2 * u64::from(BLOCK) * mlp_blocks * rows;
    // Panels of a chunk's queries, or of single heads', that begin or end inside other heads go through here too.
    let by_heads = plan.steps.is_some() || m.family.norms_heads();
    let aligned = !by_heads || m.head_width.is_multiple_of(16);
    let queries = if aligned { 0 } else { rows * panels(span(&slice.heads)) };
    let whole = (rows * kv.max(own_rows).max(2 * u64::from(BLOCK))).max(mlp.min(MLP_FLOATS)).max(queries);
    if plan.steps.is_none() {
        return whole;
    }
    let sums = unit_floats(plan, if plan.exchange == Exchange::Reduce { u64::from(m.width) } else { own_rows });
    whole.max(sums)
}

/// Bytes of a header: for each of a micro-batch's tokens what it is, whose, where, and whether its logits are wanted.
pub fn header_bytes(plan: &Plan) -> Bytes {
    Bytes(16) * u64::from(plan.workload.rows())
}

/// The largest message that a channel carries, in bytes: a header has two words more than its tokens.
pub fn message_bytes(carries: Carries, tokens: u32, batch: u32) -> Bytes {
    let floats = |rows: u32, start: u32, end: u32| Bytes(4 * u64::from(end - start)) * u64::from(rows);
    match carries {
        Carries::Header(_) => Bytes(8) + Bytes(16) * u64::from(tokens),
        Carries::Residual { start, end } => floats(tokens, start, end),
        Carries::Logits { start, end } => floats(batch, start, end),
    }
}

/// Bytes of a channel, on its receiver's device: room for one message that is read while the next is written. On GPUs what
/// comes in goes straight to its place.
pub fn channel_bytes(plan: &Plan, carries: Carries) -> Bytes {
    let workload = &plan.workload;
    match workload.numerics.activations.run_here() {
        true => message_bytes(carries, workload.rows(), workload.batch) * 2,
        false => Bytes(0),
    }
}

/// Bytes of working memory of a slice's device beside its places. Here each lane has its own, and a copy of each header
/// to work by; on GPUs gate and up leave all their columns for the activation.
pub fn working_bytes(plan: &Plan, slice: &Slice) -> Bytes {
    let normed = activation_bytes(plan, plan.model.width.div_ceil(BLOCK), plan.workload.rows());
    let activations = plan.workload.numerics.activations;
    if activations.run_here() {
        let headers = header_bytes(plan) * u64::from(plan.workload.micros) * u64::from(lanes(plan));
        return (normed + Bytes(4 * lane_floats(plan, slice))) * u64::from(compute_lanes(plan)) + headers;
    }
    let columns = mlp_inputs(&plan.model).len() as u64 * u64::from(part_of(&slice.ffn));
    normed + Bytes(u64::from(activations.element_bytes()) * columns) * u64::from(plan.workload.rows())
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
