//! The steps: which kernel works on which part of which value.
//!
//! Each reads what its action needs and writes the part that is its lane's; `verify::program` has shown that nobody else
//! touches that part meanwhile, which is what every `SAFETY` note below rests on.

use super::{Row, Stopped, Worker};
use crate::compute::{Acts, BLOCK, KvHead, Leaves, Matrix, Out, PANEL, Query, Shared, math};
use headsaw::lower::work;
use headsaw::plan::Exchange;
use headsaw::program::{Action, NormSite, Step, Unit};
use std::ops::Range;

/// Queries that attention takes together.
pub(super) const TILE: usize = 32;

impl<'a> Worker<'a, '_> {
    pub(super) fn compute(&mut self, step: Step, action: &Action) -> Result<(), Stopped> {
        match step {
            Step::Embed => self.embed(action),
            Step::Norm(site) => self.norm_part(site, action),
            Step::Project => return self.project(action),
            Step::Attend => return self.attend(action),
            Step::Score | Step::Softmax | Step::Context => unreachable!("one kernel: plans that cut it are refused"),
            Step::Merge => self.merge(action),
            Step::GateUp => return self.gate_up(action),
            Step::Down => self.down(action),
            Step::Logits => return self.logits(action),
            Step::Sample => return self.sample(action),
        }
        Ok(())
    }

    pub(super) fn gathers(&self) -> bool {
        self.shared.run.plan.exchange == Exchange::Gather
    }

    /// The layer's place in this stage.
    fn local(&self, action: &Action) -> usize {
        let layers = &self.shared.run.plan.stages[self.stage].layers;
        (action.layer.expect("a step of a layer") - layers.start) as usize
    }

    /// Columns of the residual that this device holds.
    pub(super) fn held(&self) -> Range<usize> {
        match self.gathers() {
            true => self.slice.rows.start as usize..self.slice.rows.end as usize,
            false => 0..self.shared.run.plan.model.width as usize,
        }
    }

    /// Embeds the tokens of this lane's share whose rows this device holds.
    fn embed(&mut self, action: &Action) {
        let header = self.header();
        let matrix = self.weights.embedding.as_ref().expect("the first stage holds the embedding");
        let width = self.shared.run.plan.model.width as usize;
        for t in share(header.rows.len(), &action.part, work::workers(self.shared.run.plan)) {
            let token = header.rows[t].token;
            if self.slice.vocab.contains(&token) {
                // SAFETY: the tokens of this lane's share are its own to write.
                let out = unsafe { self.values().embedded.slice_mut(t * width..(t + 1) * width) };
                self.shared.run.compute.embed(matrix, (token - self.slice.vocab.start) as usize, out);
            }
        }
    }

    /// A token's residual, as far as this device holds it.
    fn residual(&self, action: &Action, token: usize) -> &'a [f32] {
        let held = self.held().len();
        // SAFETY: all parts were made before this action.
        unsafe { self.views.residual[action.micro.index()].slice(token * held..(token + 1) * held) }
    }

    /// Places of the tokens that a norm takes: all, or for the logits those that are sampled.
    fn rows_at(&self, site: NormSite) -> impl Iterator<Item = usize> + use<'a> {
        let header = self.header();
        let all = site != NormSite::Output;
        header.rows.iter().enumerate().filter(move |(_, row)| all || row.sampled).map(|(i, _)| i)
    }

    fn gains(&self, site: NormSite, action: &Action) -> &'a [f32] {
        let weights = self.weights;
        match site {
            NormSite::Attention => &weights.layers[self.local(action)].attn_norm,
            NormSite::Mlp => &weights.layers[self.local(action)].ffn_norm,
            NormSite::Output => &weights.output_norm,
        }
    }

    /// This lane's blocks of the device's rows: for everybody (gather), or for the device's other lanes.
    fn norm_part(&mut self, site: NormSite, action: &Action) {
        let (values, gains) = (self.values(), self.gains(site, action));
        let part = if self.gathers() { &values.normed_part[site as usize] } else { &values.normed_all };
        let held = self.held();
        let (from, to) = (action.part.start as usize, action.part.end as usize);
        for (t, row) in self.rows_at(site).enumerate() {
            let columns = from * BLOCK..(to * BLOCK).min(held.len());
            let x = &self.residual(action, row)[columns.clone()];
            let gain = &gains[held.start + columns.start..held.start + columns.end];
            // SAFETY: these blocks are this lane's own to write.
            let squares = unsafe { part.squares.slice_mut(t * part.blocks + from..t * part.blocks + to) };
            self.shared.run.compute.norm_blocks(x, gain, &part.acts, t, from, squares);
        }
    }

    /// The normalised residual as a product takes it, and how many tokens it has.
    fn normed(&mut self, site: NormSite, action: &Action) -> Result<(Acts<'a>, usize), Stopped> {
        let values = self.values();
        let own = self.views.lanes[self.number as usize].normed;
        let gains = self.gains(site, action);
        let compute = self.shared.run.compute;
        let mut count = 0;
        let normed = self.gathers() || (self.shared.run.plan.steps.is_some() && site != NormSite::Output);
        let acts = if normed { with_own_scales(values.normed_all.acts, own) } else { own };
        for (t, row) in self.rows_at(site).enumerate() {
            if normed {
                copy_scales(&values.normed_all.acts, &own, t);
                let blocks = values.normed_all.blocks;
                // SAFETY: all lanes have copied their share before this action.
                self.squares.copy_from_slice(unsafe { values.normed_all.squares.slice(t * blocks..(t + 1) * blocks) });
            } else {
                let x = self.residual(action, row);
                compute.norm_blocks(x, gains, &own, t, 0, &mut self.squares);
            }
            let factor = self.norm_factor();
            if !factor.is_finite() {
                let step = match site {
                    NormSite::Attention => "the residual before attention",
                    NormSite::Mlp => "the attention",
                    NormSite::Output => "the last layer",
                };
                return Err(self.not_finite(action, step));
            }
            compute.rescale(&acts, t, factor);
            count = t + 1;
        }
        Ok((acts, count))
    }

    /// `1 / √(mean square + ε)` from the blocks' sums of squares; not finite where one of them is not.
    fn norm_factor(&self) -> f32 {
        let model = &self.shared.run.plan.model;
        let sum = math::sum_of_blocks(&self.squares);
        if !sum.is_finite() {
            return f32::NAN;
        }
        1.0 / (sum / model.width as f32 + model.norm_epsilon).sqrt()
    }

    /// Q, K and V: of this lane's panels, or of a chunk of heads.
    fn project(&mut self, action: &Action) -> Result<(), Stopped> {
        let layer = &self.weights.layers[self.local(action)];
        let (x, tokens) = self.normed(NormSite::Attention, action)?;
        if tokens == 0 {
            return Ok(());
        }
        let (q, k) = (layer.q.rows(), layer.k.rows());
        let [queries, keys, values] = match &action.unit {
            Some(unit) => self.rows_of(unit),
            None => {
                let part = action.part.start as usize..action.part.end as usize;
                let (q_panels, kv_panels) = (layer.q.panels(), layer.k.panels());
                let rows = |panels: Range<usize>, rows| panels.start * PANEL..(panels.end * PANEL).min(rows);
                [
                    rows(within(&part, 0, q_panels), q),
                    rows(within(&part, q_panels, kv_panels), k),
                    rows(within(&part, q_panels + kv_panels, kv_panels), k),
                ]
            }
        };
        let biases = layer.biases.as_ref();
        let queries = Projected { matrix: &layer.q, rows: queries, biases: biases.map(|b| &b.q[..]), to: To::Queries };
        let keys = Projected { matrix: &layer.k, rows: keys, biases: biases.map(|b| &b.k[..]), to: To::Keys };
        let values = Projected { matrix: &layer.v, rows: values, biases: biases.map(|b| &b.v[..]), to: To::Values };
        for what in [queries, keys, values] {
            self.project_rows(action, &x, tokens, what);
        }
        Ok(())
    }

    /// Rows of Q, K and V of a chunk of heads: of KV heads those that no chunk before it has projected.
    fn rows_of(&self, unit: &Unit) -> [Range<usize>; 3] {
        let model = &self.shared.run.plan.model;
        let width = model.head_width as usize;
        let rows = |heads: Range<u32>, first: u32| {
            (heads.start - first) as usize * width..(heads.end - first) as usize * width
        };
        let kv = work::projected_kv_heads(model, self.slice, unit);
        let kv = rows(kv, self.slice.kv_heads(model).start);
        [rows(unit.heads.clone(), self.slice.heads.start), kv.clone(), kv]
    }

    /// One of the three products. Whole panels of queries go where they belong; all else goes by way of the lane's
    /// working memory: into the cache, or because a panel's other rows are another chunk's.
    fn project_rows(&mut self, action: &Action, x: &Acts, tokens: usize, what: Projected) {
        if what.rows.is_empty() {
            return;
        }
        let (panels, held) = (what.rows.start / PANEL..what.rows.end.div_ceil(PANEL), what.matrix.rows());
        let whole =
            what.rows.start.is_multiple_of(PANEL) && (what.rows.end.is_multiple_of(PANEL) || what.rows.end == held);
        let queries = self.values().queries;
        let floats = self.views.lanes[self.number as usize].floats;
        let (data, token_stride, first_row) = match what.to == To::Queries && whole {
            true => (queries, held, 0),
            false => (floats, panels.len() * PANEL, panels.start * PANEL),
        };
        self.matmul(what.matrix, x, tokens, panels, Out { data, node_stride: 0, token_stride, first_row });
        for (t, row) in self.header().rows.iter().enumerate() {
            let start = t * token_stride + what.rows.start - first_row;
            // SAFETY: these rows, or the lane's working memory, are this action's own to write.
            let x = unsafe { data.slice_mut(start..start + what.rows.len()) };
            if let Some(biases) = what.biases {
                add(x, &biases[what.rows.clone()]);
            }
            if what.to != To::Values {
                self.rotate(x, what.rows.start, row.position);
            }
            match what.to {
                To::Queries if whole => {}
                To::Queries => {
                    let to = t * held + what.rows.start..t * held + what.rows.end;
                    // SAFETY: as above.
                    unsafe { queries.slice_mut(to) }.copy_from_slice(x);
                }
                To::Keys | To::Values => self.cache(action, row, &what, x),
            }
        }
    }

    /// Rows of K or V of one token, into the cache, head by head.
    fn cache(&self, action: &Action, row: &Row, what: &Projected, x: &[f32]) {
        let compute = self.shared.run.compute;
        let head_width = self.shared.run.plan.model.head_width as usize;
        let (layer, position) = (self.local(action), row.position as usize);
        let mut first = what.rows.start;
        while first < what.rows.end {
            let end = what.rows.end.min((first / head_width + 1) * head_width);
            let kv = self.views.kv(layer, row.slot as usize, first / head_width);
            let part = &x[first - what.rows.start..end - what.rows.start];
            match what.to {
                To::Keys => compute.write_keys(&kv, position, first % head_width, part),
                _ => compute.write_values(&kv, position, first % head_width, part),
            }
            first = end;
        }
    }

    /// Rotates rows `first..` of Q or K; a head's rotation begins anew at each head.
    fn rotate(&self, x: &mut [f32], first: usize, position: u32) {
        let run = self.shared.run;
        let head_width = run.plan.model.head_width as usize;
        let mut rest = x;
        let mut at = first % head_width;
        while !rest.is_empty() {
            let (head, after) = rest.split_at_mut(rest.len().min(head_width - at));
            let (cos, sin) = run.rotations.at(position, at / 2, head.len() / 2);
            run.compute.rotate(head, cos, sin);
            rest = after;
            at = 0;
        }
    }

    fn matmul(&mut self, matrix: &Matrix, x: &Acts, tokens: usize, panels: Range<usize>, out: Out) {
        let leaves = &self.weights.width_leaves;
        self.shared.run.compute.matmul(matrix, x, 0..tokens, panels, leaves, out, &mut self.scratch);
    }

    /// This lane's share of the (head, token) pairs, head by head, or those of a chunk of heads.
    fn attend(&mut self, action: &Action) -> Result<(), Stopped> {
        let tokens = self.header().rows.len();
        let first = self.slice.heads.start;
        let pairs = match &action.unit {
            Some(unit) => (unit.heads.start - first) as usize * tokens..(unit.heads.end - first) as usize * tokens,
            None => share(self.slice.heads.len() * tokens, &action.part, self.shared.run.plan.lanes),
        };
        let mut at = pairs.start;
        while at < pairs.end {
            at += self.attend_tile(action, at..pairs.end)?;
        }
        Ok(())
    }

    /// Pairs from the first on that share K and V, as many as a tile holds; gives how many they were.
    fn attend_tile(&mut self, action: &Action, pairs: Range<usize>) -> Result<usize, Stopped> {
        let (views, values, run) = (self.views, self.values(), self.shared.run);
        let model = &run.plan.model;
        let rows = &self.header().rows;
        let (tokens, width) = (rows.len(), model.head_width as usize);
        let heads = self.slice.heads.len();
        let group = (model.heads / model.kv_heads) as usize;
        let first_head = self.slice.heads.start as usize;
        let kv_head = |pair: usize| (first_head + pair / tokens) / group - first_head / group;
        let same = |pair: &usize| {
            kv_head(*pair) == kv_head(pairs.start) && rows[pair % tokens].slot == rows[pairs.start % tokens].slot
        };
        let count = pairs.clone().take(TILE).take_while(same).count();
        let kv: KvHead = views.kv(self.local(action), rows[pairs.start % tokens].slot as usize, kv_head(pairs.start));
        let tile = Shared::from_mut(&mut self.tile);
        let query = |i: usize| {
            let (head, t) = ((pairs.start + i) / tokens, (pairs.start + i) % tokens);
            let start = (t * heads + head) * width;
            // SAFETY: all lanes have made their queries before this action.
            let query = unsafe { values.queries.slice(start..start + width) };
            Query { query, keys: rows[t].position as usize + 1, out: tile.part(i * width, width) }
        };
        let queries: [Query; TILE] = std::array::from_fn(|i| query(i.min(count - 1)));
        let scale = 1.0 / (width as f32).sqrt();
        run.compute.attend(&kv, &queries[..count], scale, &mut self.scratch);
        let blocks = width.div_ceil(BLOCK);
        let mut finite = true;
        for i in 0..count {
            let (head, t) = ((pairs.start + i) / tokens, (pairs.start + i) % tokens);
            let out = &self.tile[i * width..(i + 1) * width];
            finite &= run.compute.quantise(out, &values.attended, t, head * blocks).is_ok();
        }
        if finite { Ok(count) } else { Err(self.not_finite(action, "attend")) }
    }

    fn merge(&mut self, action: &Action) {
        let weights = self.weights;
        let x = if self.gathers() { self.values().attended_all } else { self.values().attended };
        self.product(&weights.layers[self.local(action)].merge, &weights.head_leaves, &x, action, false);
    }

    fn down(&mut self, action: &Action) {
        let weights = self.weights;
        let x = if self.gathers() { self.values().hidden_all } else { self.values().hidden };
        self.product(&weights.layers[self.local(action)].down, &weights.ffn_leaves, &x, action, true);
    }

    /// A product whose sum crosses the cut: partial sums for the others, or (gather) straight to the residual.
    fn product(&mut self, matrix: &Matrix, leaves: &Leaves, x: &Acts, action: &Action, down: bool) {
        let tokens = self.header().rows.len();
        let panels = action.part.start as usize * 2..(action.part.end as usize * 2).min(matrix.panels());
        if panels.is_empty() || tokens == 0 {
            return;
        }
        if let Some(unit) = action.unit.as_ref().filter(|_| self.growth[usize::from(down)].units() > 1) {
            return self.grow(matrix, x, action, (down, unit.number), panels);
        }
        let partial = self.values().partial[usize::from(down)];
        let gathers = self.gathers();
        let stride = self.held().len();
        let data = if gathers { self.views.lanes[self.number as usize].floats } else { partial };
        let out = Out {
            data,
            node_stride: self.shared.run.plan.workload.rows() as usize * stride,
            token_stride: stride,
            first_row: 0,
        };
        self.shared.run.compute.matmul(matrix, x, 0..tokens, panels.clone(), leaves, out, &mut self.scratch);
        if !gathers {
            return;
        }
        let columns = panels.start * PANEL..(panels.end * PANEL).min(stride);
        for t in 0..tokens {
            let range = t * stride + columns.start..t * stride + columns.end;
            // SAFETY: a lane's working memory and its columns of the residual are its own.
            let (sum, residual) =
                unsafe { (data.slice(range.clone()), self.views.residual[action.micro.index()].slice_mut(range)) };
            add(residual, sum);
        }
    }

    /// Gate, up and activation, a few blocks of columns at a time so that they stay in the cache.
    fn gate_up(&mut self, action: &Action) -> Result<(), Stopped> {
        let layer = &self.weights.layers[self.local(action)];
        let (x, tokens) = self.normed(NormSite::Mlp, action)?;
        if tokens == 0 {
            return Ok(());
        }
        let floats = self.views.lanes[self.number as usize].floats;
        let at_once = (floats.len() / (2 * BLOCK * tokens)).max(1);
        let first = self.first_block(action);
        let (mut start, last) = (first + action.part.start as usize, first + action.part.end as usize);
        while start < last {
            let end = (start + at_once).min(last);
            self.gate_up_blocks(action, layer, (&x, tokens), start..end)?;
            start = end;
        }
        Ok(())
    }

    /// Where a piece of the MLP begins, in blocks of the device's columns.
    fn first_block(&self, action: &Action) -> usize {
        let Some(unit) = &action.unit else { return 0 };
        let plan = self.shared.run.plan;
        let columns = work::piece_columns(plan, &plan.stages[self.stage], self.slice, unit.number);
        (columns.start - self.slice.ffn.start) as usize / BLOCK
    }

    fn gate_up_blocks(
        &mut self,
        action: &Action,
        layer: &crate::device::Layer,
        (x, tokens): (&Acts, usize),
        blocks: Range<usize>,
    ) -> Result<(), Stopped> {
        let compute = self.shared.run.compute;
        let floats = self.views.lanes[self.number as usize].floats;
        let stride = blocks.len() * BLOCK;
        let first = blocks.start * BLOCK;
        let panels = blocks.start * 2..(blocks.end * 2).min(layer.gate.panels());
        let columns = (panels.end * PANEL).min(layer.gate.rows()) - first;
        let halves = [floats.part(0, tokens * stride), floats.part(tokens * stride, tokens * stride)];
        for (matrix, data) in [&layer.gate, &layer.up].into_iter().zip(halves) {
            self.matmul(
                matrix,
                x,
                tokens,
                panels.clone(),
                Out { data, node_stride: 0, token_stride: stride, first_row: first },
            );
        }
        for t in 0..tokens {
            let range = t * stride..t * stride + columns;
            // SAFETY: a lane's working memory is its own.
            let (gate, up) = unsafe { (halves[0].slice_mut(range.clone()), halves[1].slice(range)) };
            compute.silu_mul(gate, up);
            if compute.quantise(gate, &self.values().hidden, t, blocks.start).is_err() {
                return Err(self.not_finite(action, "the MLP's activation"));
            }
        }
        Ok(())
    }

    fn logits(&mut self, action: &Action) -> Result<(), Stopped> {
        let matrix = self.weights.output();
        let panels = action.part.start as usize..(action.part.end as usize).min(matrix.panels());
        if panels.is_empty() {
            return Ok(()); // and reads nothing: it waits for nobody
        }
        let (x, sampled) = self.normed(NormSite::Output, action)?;
        if sampled == 0 {
            return Ok(());
        }
        let (stride, first) = self.logits_at();
        let data = self.values().logits.part(first, self.values().logits.len() - first);
        self.matmul(matrix, &x, sampled, panels, Out { data, node_stride: 0, token_stride: stride, first_row: 0 });
        Ok(())
    }

    /// How a token's logits lie on this device: elements between tokens, and where the device's rows begin. The
    /// sampling device has room for the whole vocabulary.
    pub(super) fn logits_at(&self) -> (usize, usize) {
        let run = self.shared.run;
        let last = run.plan.stages.last().expect("a stage");
        match last.slices[0].device == self.device {
            true => (run.plan.model.vocab as usize, self.slice.vocab.start as usize),
            false => (self.slice.vocab.len(), 0),
        }
    }

    fn sample(&mut self, action: &Action) -> Result<(), Stopped> {
        let header = self.header();
        let sampled = header.sampled().count();
        let vocab = self.shared.run.plan.model.vocab as usize;
        // SAFETY: all lanes and devices have made their parts before this action.
        let logits = unsafe { self.values().logits.slice(0..sampled * vocab) };
        if !logits.iter().all(|x| x.is_finite()) {
            return Err(self.not_finite(action, "logits"));
        }
        let control = self.control.as_mut().expect("the sampling lane has the control");
        control.sample(header, logits);
        Ok(())
    }
}

/// One of the three products of `project`.
struct Projected<'m> {
    matrix: &'m Matrix,
    rows: Range<usize>,
    biases: Option<&'m [f32]>,
    to: To,
}

/// Where it goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Queries,
    Keys,
    Values,
}

/// The `part` (in 1/parts) of `total` things.
pub(super) fn share(total: usize, part: &Range<u32>, parts: u32) -> Range<usize> {
    total * part.start as usize / parts as usize..total * part.end as usize / parts as usize
}

/// The part of `part` that lies in `start..start + len`, counted from `start`.
fn within(part: &Range<usize>, start: usize, len: usize) -> Range<usize> {
    let clamp = |at: usize| at.saturating_sub(start).min(len);
    clamp(part.start)..clamp(part.end)
}

pub(super) fn add(to: &mut [f32], what: &[f32]) {
    for (to, what) in to.iter_mut().zip(what) {
        *to += what;
    }
}

/// The shared quants with scales (or values) of the lane's own, which may be rescaled.
fn with_own_scales<'a>(shared: Acts<'a>, own: Acts<'a>) -> Acts<'a> {
    match (shared, own) {
        (Acts::Int8 { quants, sums, blocks, .. }, Acts::Int8 { scales, .. }) => {
            Acts::Int8 { quants, scales, sums, blocks }
        }
        _ => own,
    }
}

fn copy_scales(from: &Acts, to: &Acts, token: usize) {
    let (from, to, len) = match (from, to) {
        (Acts::Int8 { scales: from, blocks, .. }, Acts::Int8 { scales: to, .. }) => (from, to, *blocks),
        (Acts::Float { values: from, blocks }, Acts::Float { values: to, .. }) => (from, to, blocks * BLOCK),
        _ => unreachable!("one workload has one kind of activations"),
    };
    let range = token * len..(token + 1) * len;
    // SAFETY: what is read was made before this action; what is written is the lane's own.
    unsafe { to.slice_mut(range.clone()).copy_from_slice(from.slice(range)) };
}
