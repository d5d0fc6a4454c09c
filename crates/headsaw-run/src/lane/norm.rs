//! Norms: each lane's share of the blocks, and the normalised residual as a product takes it.
//!
//! What `steps` says about `SAFETY` holds here too.

use super::{Stopped, Worker};
use crate::compute::{Acts, BLOCK, math};
use headsaw::program::{Action, NormSite};

impl<'a> Worker<'a, '_> {
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
    pub(super) fn norm_part(&mut self, site: NormSite, action: &Action) {
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
    pub(super) fn normed(&mut self, site: NormSite, action: &Action) -> Result<(Acts<'a>, usize), Stopped> {
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
        math::norm_factor(math::sum_of_blocks(&self.squares), model.width as usize, model.norm_epsilon)
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
