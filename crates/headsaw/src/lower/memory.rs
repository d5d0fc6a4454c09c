//! How much memory each place takes.

use super::Lowering;
use super::work::{self, activation_bytes};
use crate::plan::{Exchange, Slice};
use crate::program::{PlaceKind, Summed};
use crate::shard::BLOCK;
use crate::units::Bytes;
use std::ops::Range;

impl Lowering<'_> {
    /// Vectors that a device keeps of a sum that crosses the cut: the nodes that it offers, and while the sum grows unit
    /// by unit those that wait; with the gather exchange it adds up all devices' parts.
    fn vectors(&self, lane: usize, down: bool) -> u32 {
        let stage = &self.plan.stages[self.seats[lane].stage];
        let height = |slice: &Slice| work::sum_height(self.plan, stage, slice, down) as u32;
        match self.plan.exchange {
            Exchange::Reduce => height(self.slice(lane)),
            Exchange::Gather => stage.slices.iter().map(height).sum(),
        }
    }

    pub(super) fn place_bytes(&self, lane: usize, kind: PlaceKind) -> Bytes {
        let (plan, model) = (self.plan, &self.plan.model);
        let slice = self.slice(lane);
        let rows = plan.workload.rows();
        let span = |range: &Range<u32>| range.end - range.start;
        let activations = plan.workload.numerics.activations;
        let element = u64::from(activations.element_bytes());
        let floats = |per_row: u32| Bytes(element * u64::from(per_row) * u64::from(rows));
        let acts = |elements: u32| activation_bytes(plan, elements.div_ceil(BLOCK), rows);
        let squares = |elements: u32| floats(elements.div_ceil(BLOCK));
        let head_blocks = model.head_width.div_ceil(BLOCK) * BLOCK;
        match kind {
            PlaceKind::Header(_) => work::header_bytes(plan),
            PlaceKind::Residual(_) => floats(span(&self.rows(lane))),
            PlaceKind::Embedded => floats(model.width),
            PlaceKind::NormedPart(_) => acts(span(&slice.rows)) + squares(span(&slice.rows)),
            PlaceKind::NormedAll => acts(model.width) + squares(model.width),
            PlaceKind::Queries => floats(span(&slice.heads) * model.head_width),
            PlaceKind::Scores => {
                let scores = u64::from(span(&slice.heads)) * u64::from(rows) * u64::from(plan.workload.context);
                Bytes(scores * element)
            }
            PlaceKind::Attended => acts(span(&slice.heads) * head_blocks),
            PlaceKind::AttendedAll => acts(model.heads * head_blocks),
            PlaceKind::Partial(sum) => {
                let vectors = if activations.run_here() { self.vectors(lane, sum == Summed::Down) } else { 1 };
                floats(span(&self.rows(lane)) * vectors)
            }
            PlaceKind::Hidden => acts(span(&slice.ffn)),
            PlaceKind::HiddenAll => acts(model.ffn),
            PlaceKind::Logits => {
                let samples = slice.device == self.program.lanes[self.sampler().index()].device;
                let sampled = if samples { model.vocab } else { span(&slice.vocab) };
                Bytes(4 * u64::from(plan.workload.batch) * u64::from(sampled))
            }
        }
    }
}
