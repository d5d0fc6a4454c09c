//! The MLP up to its activation.
//!
//! What `steps` says about `SAFETY` holds here too.

use super::{Stopped, Worker};
use crate::compute::{Acts, BLOCK, Out, PANEL};
use crate::device::Layer;
use headsaw::lower::work;
use headsaw::program::{Action, NormSite};
use std::ops::Range;

impl<'a> Worker<'a, '_> {
    /// Gate, up and activation, a few blocks of columns at a time so that they stay in the cache.
    pub(super) fn gate_up(&mut self, action: &Action) -> Result<(), Stopped> {
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
        layer: &Layer,
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
}
