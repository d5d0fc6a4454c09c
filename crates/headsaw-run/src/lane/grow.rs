//! The two sums that cross the cut, in the order of the model's tree: unit by unit inside a device, then over devices.

use super::steps::add;
use super::{Views, Worker};
use crate::compute::{Acts, BLOCK, Leaves, Matrix, Out, PANEL, Shared, TREE_DEPTH};
use crate::device::{ffn_leaf_blocks, leaves};
use headsaw::lower::work;
use headsaw::plan::{Exchange, Plan, Slice};
use headsaw::program::{Action, MicroId};
use headsaw::shard;
use headsaw::spec::cluster::DeviceId;
use headsaw::spec::model::ModelSpec;
use std::collections::BTreeMap;
use std::ops::Range;

/// How one of the sums is added up on a device.
pub(super) struct Growth<'a> {
    /// For each unit its products: one a slice of whose tree it adds nodes.
    units: Vec<Vec<Product>>,
    /// What makes the whole sum, for each micro-batch that has values of its own.
    sums: Vec<Sum<'a>>,
}

/// The nodes that a unit adds to one slice's part of the tree.
struct Product {
    leaves: Leaves,
    /// Where the slice's vectors begin in the device's partial sums.
    base: usize,
    /// How many there are before this unit.
    height: usize,
    /// Additions after each node.
    merges: Vec<u8>,
}

impl<'a> Growth<'a> {
    /// Of a stage's attention, or (`down`) of its MLP, on one of its devices.
    pub fn new(
        plan: &Plan,
        stage: usize,
        device: DeviceId,
        down: bool,
        views: &BTreeMap<DeviceId, Views<'a>>,
    ) -> Growth<'a> {
        let held = &plan.stages[stage];
        let adds = |slice: &&Slice| plan.exchange == Exchange::Gather || slice.device == device;
        let mut units: Vec<Vec<Product>> = Vec::new();
        let mut base = 0;
        for slice in held.slices.iter().filter(adds) {
            let first = match plan.exchange {
                Exchange::Reduce if down => work::ffn_leaves(&plan.model, slice).start,
                Exchange::Reduce => slice.heads.start,
                Exchange::Gather => 0,
            };
            let nodes = work::unit_nodes(plan, held, slice, down);
            units.resize_with(units.len().max(nodes.len()), Vec::new);
            for (unit, product) in units.iter_mut().zip(products(&plan.model, down, first, base, &nodes)) {
                unit.push(product);
            }
            base += work::sum_height(plan, held, slice, down);
        }
        let slots = views[&device].slots() as u32;
        let sum = |slot| Sum::new(plan, stage, device, down, MicroId(slot), views);
        Growth { units, sums: (0..slots).map(sum).collect() }
    }

    /// Units that add to the sum.
    pub fn units(&self) -> usize {
        self.units.len()
    }

    /// What makes the whole sum of a micro-batch.
    pub fn sum(&self, micro: MicroId) -> &Sum<'a> {
        &self.sums[micro.index() % self.sums.len()]
    }
}

/// The products of a slice's units, whose nodes are given, in a matrix that begins at leaf `first`.
fn products(
    model: &ModelSpec,
    down: bool,
    first: u32,
    base: usize,
    nodes: &[Vec<Range<u32>>],
) -> impl Iterator<Item = Product> {
    let all = if down { shard::mlp_leaves(model) } else { model.heads };
    let blocks = |leaf| if down { ffn_leaf_blocks(model, leaf) } else { model.head_width.div_ceil(BLOCK as u32) };
    let merges = shard::merges(all, &nodes.concat());
    let mut height = 0;
    let mut done = 0;
    let product = move |unit: &Vec<Range<u32>>| {
        let held = match (unit.first(), unit.last()) {
            (Some(first), Some(last)) => first.start..last.end,
            _ => first..first,
        };
        let merges = merges[done..done + unit.len()].to_vec();
        let product = Product { leaves: leaves(all, first, held, blocks), base, height, merges };
        done += unit.len();
        height = product.merges.iter().fold(height, |height, merges| height + 1 - usize::from(*merges));
        product
    };
    nodes.iter().map(product).collect::<Vec<_>>().into_iter()
}

impl Worker<'_, '_> {
    /// The product of one unit: its nodes are added to what the units before it have left; (gather) the last one adds
    /// the whole sum to the residual.
    pub(super) fn grow(
        &mut self,
        matrix: &Matrix,
        x: &Acts,
        action: &Action,
        (down, unit): (bool, u32),
        panels: Range<usize>,
    ) {
        let (tokens, stride) = (self.header().rows.len(), self.held().len());
        let floats = self.views.lanes[self.number as usize].floats;
        let partial = self.values().partial[usize::from(down)];
        let residual = self.views.residual[action.micro.index()];
        let into = Partial { data: partial, size: self.shared.run.plan.workload.rows() as usize * stride, stride };
        let columns = panels.start * PANEL..(panels.end * PANEL).min(stride);
        let width = panels.len() * PANEL;
        let gathers = self.gathers();
        let growth = &self.growth[usize::from(down)];
        for product in growth.units[unit as usize].iter().filter(|product| product.leaves.nodes > 0) {
            let (compute, leaves) = (self.shared.run.compute, &product.leaves);
            if product.merges.iter().all(|merges| *merges == 0) {
                let out = into.nodes(product, columns.start);
                compute.matmul(matrix, x, 0..tokens, panels.clone(), leaves, out, &mut self.scratch);
                continue;
            }
            let at_once = (floats.len() / (leaves.nodes * width)).clamp(1, tokens);
            for start in (0..tokens).step_by(at_once) {
                let some = start..tokens.min(start + at_once);
                let node_stride = at_once * width;
                let first_row = start * width + columns.start;
                let out = Out { data: floats, node_stride, token_stride: width, first_row };
                compute.matmul(matrix, x, some.clone(), panels.clone(), leaves, out, &mut self.scratch);
                for t in some {
                    let node = |i: usize| floats.part(i * node_stride + (t - start) * width, columns.len());
                    into.add(product, t * stride + columns.start, columns.len(), node);
                }
            }
        }
        if gathers && unit as usize + 1 == growth.units.len() {
            let sum = growth.sum(action.micro);
            for t in 0..tokens {
                let range = t * stride + columns.start..t * stride + columns.end;
                // SAFETY: these columns are this lane's own to write.
                sum.add_to(unsafe { residual.slice_mut(range.clone()) }, range.start);
            }
        }
    }
}

/// Elements that are added up at once.
const SUM_BLOCK: usize = 64;

/// Vectors `[size]` of partial sums, one after the other, each `[T, stride]`.
struct Partial<'a> {
    data: Shared<'a, f32>,
    size: usize,
    stride: usize,
}

impl<'a> Partial<'a> {
    /// Where a product's nodes go that are added to nothing yet.
    fn nodes(&self, product: &Product, first_row: usize) -> Out<'a> {
        let start = (product.base + product.height) * self.size;
        let data = self.data.part(start + first_row, self.data.len() - start - first_row);
        Out { data, node_stride: self.size, token_stride: self.stride, first_row }
    }

    /// Adds a product's nodes, of one token and `len` columns from element `at` of a vector on.
    fn add(&self, product: &Product, at: usize, len: usize, node: impl Fn(usize) -> Shared<'a, f32>) {
        debug_assert!(len <= self.stride);
        // SAFETY: these columns of the vectors are this lane's own; a lane's working memory too.
        let vector = |i: usize| unsafe {
            let start = (product.base + i) * self.size + at;
            self.data.slice_mut(start..start + len)
        };
        let mut height = product.height;
        for (i, merges) in product.merges.iter().enumerate() {
            // SAFETY: as above.
            let node = unsafe { node(i).slice(0..len) };
            if *merges == 0 {
                vector(height).copy_from_slice(node);
                height += 1;
                continue;
            }
            add(vector(height - 1), node);
            for _ in 1..*merges {
                height -= 1;
                add(vector(height - 1), vector(height));
            }
        }
    }
}

/// How vectors make one sum.
pub(super) struct Sum<'a> {
    /// `[T, rows]` each: the nodes of the tree, in the order of what they add up.
    pieces: Vec<Shared<'a, f32>>,
    /// Additions after each.
    merges: Vec<u8>,
    /// How many wait for their right neighbour at most.
    height: usize,
}

impl<'a> Sum<'a> {
    /// Over the heads (attention) or the MLP's leaves of a stage's slices: of what all devices offer, or (gather) of what
    /// the device has added up for each of them.
    fn new(
        plan: &Plan,
        stage: usize,
        device: DeviceId,
        down: bool,
        micro: MicroId,
        views: &BTreeMap<DeviceId, Views<'a>>,
    ) -> Sum<'a> {
        let (model, held) = (&plan.model, &plan.stages[stage]);
        let partial = |of: DeviceId| views[&of].values(micro).partial[usize::from(down)];
        let own = held.slices.iter().find(|slice| slice.device == device).expect("a device of the stage");
        let width = if plan.exchange == Exchange::Gather { own.rows.len() } else { model.width as usize };
        let size = plan.workload.rows() as usize * width;
        let (mut ranges, mut pieces, mut base) = (Vec::new(), Vec::new(), 0);
        for slice in &held.slices {
            let nodes = if down { work::ffn_pieces(model, slice) } else { work::head_pieces(model, slice) };
            let (from, first) = match plan.exchange {
                Exchange::Reduce => (partial(slice.device), 0),
                Exchange::Gather => (partial(device), base),
            };
            if !from.is_empty() {
                pieces.extend((0..nodes.len()).map(|node| from.part((first + node) * size, size)));
            }
            base += work::sum_height(plan, held, slice, down);
            ranges.extend(nodes);
        }
        let leaves = if down { shard::mlp_leaves(model) } else { model.heads };
        Sum { pieces, merges: shard::merges(leaves, &ranges), height: shard::height(leaves, &ranges) }
    }

    /// Adds the tree's sum to `to`, whose first element is element `start` of the pieces.
    pub fn add_to(&self, to: &mut [f32], start: usize) {
        // SAFETY: their devices have offered them (`meet`), and write them again only after the next exchange.
        let piece = |i: usize, at: usize, len: usize| unsafe { self.pieces[i].slice(start + at..start + at + len) };
        let len = to.len();
        match self.pieces.len() {
            1 => add(to, piece(0, 0, len)),
            2 => {
                let (a, b) = (piece(0, 0, len), piece(1, 0, len));
                for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
                    *to += a + b;
                }
            }
            // A short stack is made in no time; few trees need a tall one.
            _ if self.height < 4 => self.add_tree::<4>(to, piece),
            _ => self.add_tree::<TREE_DEPTH>(to, piece),
        }
    }

    /// The same, block by block over a stack of `N` values that wait for their right neighbour.
    fn add_tree<'p, const N: usize>(&self, to: &mut [f32], piece: impl Fn(usize, usize, usize) -> &'p [f32]) {
        for (block, to) in to.chunks_mut(SUM_BLOCK).enumerate() {
            let mut stack = [[0.0f32; SUM_BLOCK]; N];
            let mut height = 0;
            for (i, merges) in self.merges.iter().enumerate() {
                let x = piece(i, block * SUM_BLOCK, to.len());
                stack[height][..x.len()].copy_from_slice(x);
                height += 1;
                for _ in 0..*merges {
                    height -= 1;
                    let (low, high) = stack.split_at_mut(height);
                    add(&mut low[height - 1], &high[0]);
                }
            }
            add(to, &stack[0]);
        }
    }
}
