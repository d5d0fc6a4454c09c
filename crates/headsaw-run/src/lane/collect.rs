//! Exchanges: what devices hold in parts is brought together. Who waits for whom is the transport's business; here is
//! what is then read, and in which order it is added.

use super::steps::share;
use super::{Stopped, Values, Worker};
use crate::compute::{Acts, BLOCK, Shared};
use crate::transport::Transport;
use headsaw::lower::work;
use headsaw::plan::Slice;
use headsaw::program::{Action, Carries, ChanId, Gathered, GroupId, MicroId, NormSite, Summed};
use std::ops::Range;

impl<'a> Worker<'a, '_> {
    /// The stage's devices, in the order of what they hold, with their values of the micro-batch in hand.
    fn peers(&self) -> impl Iterator<Item = (&'a Slice, &'a Values<'a>)> + use<'a> {
        let (shared, micro) = (self.shared, self.micro);
        let slices = &shared.run.plan.stages[self.stage].slices;
        slices.iter().map(move |slice| (slice, shared.views[&slice.device].values(micro)))
    }

    /// Which of `total` blocks this lane copies: all, where one lane copies for its device.
    fn copies(&self, total: usize, action: &Action) -> Range<usize> {
        let plan = self.shared.run.plan;
        share(total, &action.part, if plan.steps.is_some() { 1 } else { plan.lanes })
    }

    pub(super) fn all_reduce(&mut self, group: GroupId, sum: Summed, action: &Action) -> Result<(), Stopped> {
        let rows = self.header().rows.len();
        self.began = self.shared.transport.meet(group, self.id, offered(action, rows))?;
        let width = self.shared.run.plan.model.width as usize;
        let columns = action.part.start as usize * BLOCK..(action.part.end as usize * BLOCK).min(width);
        let residual = self.views.residual[action.micro.index()];
        let sum = self.growth[sum as usize].sum(action.micro);
        for t in 0..self.header().rows.len() {
            let range = t * width + columns.start..t * width + columns.end;
            // SAFETY: these columns are this lane's own to write.
            let to = unsafe { residual.slice_mut(range.clone()) };
            sum.add_to(to, range.start);
        }
        Ok(())
    }

    pub(super) fn all_gather(&mut self, group: GroupId, what: Gathered, action: &Action) -> Result<(), Stopped> {
        let plan = self.shared.run.plan;
        let sampled = what == Gathered::Normed(NormSite::Output);
        let tokens = if sampled { self.header().sampled().count() } else { self.header().rows.len() };
        self.began = self.shared.transport.meet(group, self.id, offered(action, tokens))?;
        match what {
            Gathered::Embedded => self.gather_embedded(action),
            Gathered::Normed(site) => {
                let all = &self.values().normed_all;
                for (slice, values) in self.peers() {
                    let part = &values.normed_part[site as usize];
                    let at = slice.rows.start as usize / BLOCK;
                    let Some(share) = overlap(&self.copies(all.blocks, action), at, part.blocks) else { continue };
                    copy_blocks(&part.acts, &all.acts, tokens, at, &share);
                    for t in 0..tokens {
                        let from = t * part.blocks + share.start - at..t * part.blocks + share.end - at;
                        copy(part.squares, from, all.squares, t * all.blocks + share.start);
                    }
                }
            }
            Gathered::Attended => {
                let per_head = plan.model.head_width.div_ceil(BLOCK as u32);
                let blocks = |heads: Range<u32>| (heads.start * per_head) as usize..(heads.end * per_head) as usize;
                let share = self.copies(self.values().attended_all.blocks(), action);
                let wanted = |slice: &Slice| match &action.unit {
                    Some(unit) => blocks(work::unit_heads(plan, slice, unit.number)),
                    None => share.clone(),
                };
                let first = |slice: &Slice| blocks(slice.heads.clone()).start;
                self.gather_acts(|values| (values.attended, values.attended_all), first, wanted);
            }
            Gathered::Hidden => {
                let blocks =
                    |columns: Range<u32>| (columns.start as usize / BLOCK)..(columns.end as usize).div_ceil(BLOCK);
                let share = self.copies(self.values().hidden_all.blocks(), action);
                let wanted = |slice: &Slice| match &action.unit {
                    Some(unit) => blocks(work::piece_columns(plan, &plan.stages[self.stage], slice, unit.number)),
                    None => share.clone(),
                };
                let first = |slice: &Slice| blocks(slice.ffn.clone()).start;
                self.gather_acts(|values| (values.hidden, values.hidden_all), first, wanted);
            }
        }
        Ok(())
    }

    /// Each token's row from the device that holds it.
    fn gather_embedded(&mut self, action: &Action) {
        let width = self.shared.run.plan.model.width as usize;
        let held = self.held();
        let part = action.part.start as usize * BLOCK..(action.part.end as usize * BLOCK).min(held.len());
        let residual = self.views.residual[action.micro.index()];
        for (t, row) in self.header().rows.iter().enumerate() {
            let owner = self.peers().find(|(slice, _)| slice.vocab.contains(&row.token));
            let (_, values) = owner.expect("tokens are checked against the vocabulary");
            let from = t * width + held.start + part.start..t * width + held.start + part.end;
            copy(values.embedded, from, residual, t * held.len() + part.start);
        }
    }

    /// Copies of each device's blocks (whose first is `first`) those that are `wanted`.
    fn gather_acts(
        &self,
        of: impl Fn(&'a Values<'a>) -> (Acts<'a>, Acts<'a>),
        first: impl Fn(&Slice) -> usize,
        wanted: impl Fn(&Slice) -> Range<usize>,
    ) {
        let tokens = self.header().rows.len();
        let (_, all) = of(self.values());
        for (slice, values) in self.peers() {
            let (part, _) = of(values);
            let at = first(slice);
            if let Some(range) = overlap(&wanted(slice), at, part.blocks()) {
                copy_blocks(&part, &all, tokens, at, &range);
            }
        }
    }

    pub(super) fn send(&mut self, chan: ChanId, action: &Action) -> Result<(), Stopped> {
        let shared = self.shared;
        match shared.run.program.chans[chan.index()].carries {
            Carries::Header(micro) => {
                self.ask_next(micro);
                shared.transport.send(chan, &mut |slot| self.next.write(slot))
            }
            Carries::Residual { start, end } => {
                let held = self.held();
                let tokens = self.header().rows.len();
                let residual = self.views.residual[action.micro.index()];
                let columns = columns_within(start, end, &held);
                shared.transport.send(chan, &mut |slot| put(residual, tokens, held.len(), &columns, slot))
            }
            Carries::Logits { start, end } => {
                let (stride, first) = self.logits_at();
                let sampled = self.header().sampled().count();
                let begin = first + (start - self.slice.vocab.start) as usize;
                let columns = begin..begin + (end - start) as usize;
                shared.transport.send(chan, &mut |slot| put(self.values().logits, sampled, stride, &columns, slot))
            }
        }
    }

    /// The next header of a slot: made once, sent to every device.
    fn ask_next(&mut self, micro: MicroId) {
        if self.next_for != Some((self.round, micro)) {
            let control = self.control.as_mut().expect("the sampling lane has the control");
            control.next(micro, &mut self.next);
            self.next_for = Some((self.round, micro));
        }
    }

    pub(super) fn receive(&mut self, chan: ChanId, action: &Action) -> Result<(), Stopped> {
        let shared = self.shared;
        match shared.run.program.chans[chan.index()].carries {
            Carries::Header(micro) => {
                let views = self.views;
                self.began = shared.transport.recv(chan, &mut |slot| {
                    // SAFETY: only this lane receives headers, and the message is here: it was sent when the last one
                    // had left the model, and lanes read copies of their own.
                    unsafe { views.header_mut(micro) }.read(slot);
                })?;
            }
            Carries::Residual { start, end } => {
                let held = self.held();
                let tokens = self.header().rows.len();
                let residual = self.views.residual[action.micro.index()];
                let columns = columns_within(start, end, &held);
                let mut take = |slot: &[u8]| take(slot, residual, tokens, held.len(), &columns);
                self.began = shared.transport.recv(chan, &mut take)?;
            }
            Carries::Logits { start, end } => {
                let vocab = shared.run.plan.model.vocab as usize;
                let sampled = self.header().sampled().count();
                let columns = start as usize..end as usize;
                let logits = self.values().logits;
                let mut take = |slot: &[u8]| take(slot, logits, sampled, vocab, &columns);
                self.began = shared.transport.recv(chan, &mut take)?;
            }
        }
        Ok(())
    }
}

/// Bytes that an action offers to each of the other devices.
fn offered(action: &Action, tokens: usize) -> u64 {
    (action.work.sent * tokens as u64).0
}

/// Blocks of `share` that a device holds whose blocks are `at..at + len`.
fn overlap(share: &Range<usize>, at: usize, len: usize) -> Option<Range<usize>> {
    let range = share.start.max(at)..share.end.min(at + len);
    (!range.is_empty()).then_some(range)
}

/// Blocks `share` (counted over all devices) of each token, from a part whose first block is `at`.
fn copy_blocks(part: &Acts, all: &Acts, tokens: usize, at: usize, share: &Range<usize>) {
    let (held, total) = (part.blocks(), all.blocks());
    for t in 0..tokens {
        let from = t * held + share.start - at..t * held + share.end - at;
        let to = t * total + share.start;
        let wide = BLOCK * from.start..BLOCK * from.end;
        match (part, all) {
            (Acts::Int8 { quants: q, scales: d, sums: s, .. }, Acts::Int8 { quants, scales, sums, .. }) => {
                copy(*q, wide, *quants, BLOCK * to);
                copy(*d, from.clone(), *scales, to);
                copy(*s, from, *sums, to);
            }
            (Acts::Float { values: v, .. }, Acts::Float { values, .. }) => copy(*v, wide, *values, BLOCK * to),
            _ => unreachable!("one workload has one kind of activations"),
        }
    }
}

fn copy<T: Copy>(from: Shared<T>, range: Range<usize>, to: Shared<T>, at: usize) {
    let len = range.len();
    // SAFETY: what is read was offered before (`meet`); what is written is this lane's share.
    unsafe { to.slice_mut(at..at + len).copy_from_slice(from.slice(range)) };
}

/// Columns of the residual, counted from the first that is held; an empty message may come from anywhere.
fn columns_within(start: u32, end: u32, held: &Range<usize>) -> Range<usize> {
    if start == end { 0..0 } else { start as usize - held.start..end as usize - held.start }
}

/// Columns of the first `rows` rows, as a message.
fn put(from: Shared<f32>, rows: usize, stride: usize, columns: &Range<usize>, slot: &mut [u8]) -> usize {
    let row_bytes = 4 * columns.len();
    for row in 0..rows {
        // SAFETY: made before this action.
        let values = unsafe { from.slice(row * stride + columns.start..row * stride + columns.end) };
        for (value, bytes) in values.iter().zip(slot[row * row_bytes..].chunks_exact_mut(4)) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
    }
    rows * row_bytes
}

fn take(slot: &[u8], to: Shared<f32>, rows: usize, stride: usize, columns: &Range<usize>) {
    let row_bytes = 4 * columns.len();
    for row in 0..rows {
        // SAFETY: these columns are this lane's own to write.
        let values = unsafe { to.slice_mut(row * stride + columns.start..row * stride + columns.end) };
        for (value, bytes) in values.iter_mut().zip(slot[row * row_bytes..].chunks_exact(4)) {
            *value = f32::from_le_bytes(bytes.try_into().expect("four bytes"));
        }
    }
}
