//! Attention: Q, K and V of heads, rotated and cached; and the heads' outputs.
//!
//! What `steps` says about `SAFETY` holds here too.

use super::queries::Queries;
use super::steps::add;
use super::{Row, Stopped, Worker};
use crate::compute::{Acts, BLOCK, KvHead, Matrix, Out, PANEL, QUERIES, Query, Shared};
use headsaw::lower::work;
use headsaw::program::{Action, NormSite, Unit};
use std::ops::Range;

impl<'a> Worker<'a, '_> {
    /// Q, K and V: of this lane's panels (or heads, where these are normed), or of a chunk of heads.
    pub(super) fn project(&mut self, action: &Action) -> Result<(), Stopped> {
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
                let size = work::projected_rows(&self.shared.run.plan.model) as usize;
                let (q_parts, kv_parts) = (q.div_ceil(size), k.div_ceil(size));
                let rows = |parts: Range<usize>, rows| parts.start * size..(parts.end * size).min(rows);
                [
                    rows(within(&part, 0, q_parts), q),
                    rows(within(&part, q_parts, kv_parts), k),
                    rows(within(&part, q_parts + kv_parts, kv_parts), k),
                ]
            }
        };
        let (biases, gains) = (layer.biases.as_ref(), layer.head_norms.as_ref());
        let queries = Projected {
            matrix: &layer.q,
            rows: queries,
            biases: biases.map(|b| &b.q[..]),
            gains: gains.map(|g| &g.q[..]),
            to: To::Queries,
        };
        let keys = Projected {
            matrix: &layer.k,
            rows: keys,
            biases: biases.map(|b| &b.k[..]),
            gains: gains.map(|g| &g.k[..]),
            to: To::Keys,
        };
        let values =
            Projected { matrix: &layer.v, rows: values, biases: biases.map(|b| &b.v[..]), gains: None, to: To::Values };
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
            if let Some(gains) = what.gains {
                let epsilon = self.shared.run.plan.model.norm_epsilon;
                x.chunks_exact_mut(gains.len()).for_each(|head| self.shared.run.compute.norm(head, gains, epsilon));
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

    /// This lane's share of the queries, or those of a chunk of heads.
    pub(super) fn attend(&mut self, action: &Action) -> Result<(), Stopped> {
        let plan = self.shared.run.plan;
        let heads = action.unit.as_ref().map_or(&self.slice.heads, |unit| &unit.heads);
        let queries = Queries {
            rows: &self.header().rows,
            heads: heads.start as usize..heads.end as usize,
            group: (plan.model.heads / plan.model.kv_heads) as usize,
        };
        let part = &action.part;
        let share = match &action.unit {
            Some(_) => 0..queries.len(),
            None => queries.share(part.start, plan.lanes)..queries.share(part.end, plan.lanes),
        };
        // Every second lane goes backwards: so neighbours come at the same time to the KV head that both look at, and
        // only one of them waits for memory.
        let backwards = action.unit.is_none() && !part.start.is_multiple_of(2);
        let kv_heads = queries.kv_heads();
        for i in 0..kv_heads.len() {
            let kv_head = if backwards { kv_heads.end - 1 - i } else { kv_heads.start + i };
            let of = queries.of(kv_head);
            let (mut at, end) = (of.start.max(share.start), of.end.min(share.end));
            while at < end {
                at += self.attend_tile(action, &queries, kv_head, at..end)?;
            }
        }
        Ok(())
    }

    /// Queries from the first of `places` on that share K and V, as many as a tile holds; gives how many they were.
    fn attend_tile(
        &mut self,
        action: &Action,
        queries: &Queries,
        kv_head: usize,
        places: Range<usize>,
    ) -> Result<usize, Stopped> {
        let (views, values, run) = (self.views, self.values(), self.shared.run);
        let (first_head, heads) = (self.slice.heads.start as usize, self.slice.heads.len());
        let width = run.plan.model.head_width as usize;
        let at = |i: usize| queries.at(places.start + i, kv_head);
        let slot = |i: usize| queries.rows[at(i).0].slot;
        let count = (0..places.len().min(QUERIES)).take_while(|i| slot(*i) == slot(0)).count();
        let kv: KvHead = views.kv(self.local(action), slot(0) as usize, kv_head - first_head / queries.group);
        let tile = Shared::from_mut(&mut self.tile);
        let query = |i: usize| {
            let (t, head) = at(i);
            let start = (t * heads + head - first_head) * width;
            // SAFETY: all lanes have made their queries before this action.
            let query = unsafe { values.queries.slice(start..start + width) };
            Query { query, keys: queries.rows[t].position as usize + 1, out: tile.part(i * width, width) }
        };
        let asked: [Query; QUERIES] = std::array::from_fn(|i| query(i.min(count - 1)));
        let scale = 1.0 / (width as f32).sqrt();
        run.compute.attend(&kv, &asked[..count], scale, &mut self.scratch);
        let blocks = width.div_ceil(BLOCK);
        let mut finite = true;
        for i in 0..count {
            let (t, head) = at(i);
            let out = &self.tile[i * width..(i + 1) * width];
            finite &= run.compute.quantise(out, &values.attended, t, (head - first_head) * blocks).is_ok();
        }
        if finite { Ok(count) } else { Err(self.not_finite(action, "attend")) }
    }
}

/// One of the three products of `project`.
struct Projected<'m> {
    matrix: &'m Matrix,
    rows: Range<usize>,
    biases: Option<&'m [f32]>,
    /// Of the norm of each head.
    gains: Option<&'m [f32]>,
    to: To,
}

/// Where it goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Queries,
    Keys,
    Values,
}

/// The part of `part` that lies in `start..start + len`, counted from `start`.
fn within(part: &Range<usize>, start: usize, len: usize) -> Range<usize> {
    let clamp = |at: usize| at.saturating_sub(start).min(len);
    clamp(part.start)..clamp(part.end)
}
