//! The steps: which kernel works on which part of which value.
//!
//! Each reads what its action needs and writes the part that is its lane's; `verify::program` has shown that nobody else
//! touches that part meanwhile, which is what every `SAFETY` note below rests on.

use super::{Stopped, Worker};
use crate::compute::{Acts, Leaves, Matrix, Out, PANEL};
use headsaw::lower::work;
use headsaw::plan::Exchange;
use headsaw::program::{Action, NormSite, Step};
use std::ops::Range;

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
    pub(super) fn local(&self, action: &Action) -> usize {
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
    pub(super) fn residual(&self, action: &Action, token: usize) -> &'a [f32] {
        let held = self.held().len();
        // SAFETY: all parts were made before this action.
        unsafe { self.views.residual[action.micro.index()].slice(token * held..(token + 1) * held) }
    }

    pub(super) fn matmul(&mut self, matrix: &Matrix, x: &Acts, tokens: usize, panels: Range<usize>, out: Out) {
        let leaves = &self.weights.width_leaves;
        self.shared.run.compute.matmul(matrix, x, 0..tokens, panels, leaves, out, &mut self.scratch);
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

/// The `part` (in 1/parts) of `total` things.
pub(super) fn share(total: usize, part: &Range<u32>, parts: u32) -> Range<usize> {
    total * part.start as usize / parts as usize..total * part.end as usize / parts as usize
}

pub(super) fn add(to: &mut [f32], what: &[f32]) {
    for (to, what) in to.iter_mut().zip(what) {
        *to += what;
    }
}
