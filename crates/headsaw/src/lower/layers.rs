//! The actions of one layer on one lane, for both exchanges.

use super::work::projected_parts;
use super::{At, Lowering};
use crate::plan::Exchange;
use crate::program::*;
use crate::shard::BLOCK;

impl Lowering<'_> {
    /// One layer: attention, then the MLP. The residual's version counts the halves of layers done.
    pub(super) fn layer(&mut self, lane: usize, micro: MicroId, layer: u32) {
        let version = 2 * (layer - self.plan.stages[self.seats[lane].stage].layers.start);
        self.attention(lane, micro, layer, version);
        self.mlp(lane, micro, layer, version + 1);
    }

    fn attention(&mut self, lane: usize, micro: MicroId, layer: u32, version: u32) {
        let at = |part| At::new(micro, Some(layer), part);
        let normed = self.normed(lane, at(0..0), version, NormSite::Attention);
        let queries = self.own(lane, PlaceKind::Queries, micro, version);
        let part = self.project_part(lane);
        self.act(lane, Op::Compute(Step::Project), at(part), normed, vec![queries]);

        let needs = self.all_of(lane, PlaceKind::Queries, micro, version);
        let attended = self.own(lane, PlaceKind::Attended, micro, version);
        let share = self.seats[lane].number..self.seats[lane].number + 1;
        self.act(lane, Op::Compute(Step::Attend), at(share), needs, vec![attended]);
        let half =
            Half { step: Step::Merge, own: PlaceKind::Attended, all: PlaceKind::AttendedAll, what: Gathered::Attended };
        self.add(lane, at(0..0), version, half);
    }

    fn mlp(&mut self, lane: usize, micro: MicroId, layer: u32, version: u32) {
        let at = |part| At::new(micro, Some(layer), part);
        let normed = self.normed(lane, at(0..0), version, NormSite::Mlp);
        let hidden = self.own(lane, PlaceKind::Hidden, micro, version);
        let held = &self.slice(lane).ffn;
        let part = self.share(lane, (held.end - held.start).div_ceil(BLOCK));
        self.act(lane, Op::Compute(Step::GateUp), at(part), normed, vec![hidden]);
        let half = Half { step: Step::Down, own: PlaceKind::Hidden, all: PlaceKind::HiddenAll, what: Gathered::Hidden };
        self.add(lane, at(0..0), version, half);
    }

    /// The product whose sum crosses the cut, and the sum added to the residual.
    fn add(&mut self, lane: usize, at: At, version: u32, half: Half) {
        let At { micro, .. } = at;
        let part = self.row_part(lane);
        let at = At { part: part.clone(), ..at };
        let before = self.own(lane, PlaceKind::Residual(micro), micro, version);
        let after = self.own(lane, PlaceKind::Residual(micro), micro, version + 1);
        match self.plan.exchange {
            Exchange::Reduce => {
                let needs = self.all_of(lane, half.own, micro, version);
                let sum = if half.step == Step::Down { Summed::Down } else { Summed::Merge };
                let partial = self.own(lane, PlaceKind::Partial(sum), micro, version);
                self.act(lane, Op::Compute(half.step), at.clone(), needs, vec![partial]);
                let seat = self.seats[lane];
                let group = self.ranks[seat.stage][seat.number as usize];
                self.act(lane, Op::AllReduce(group, sum), at, vec![partial, before], vec![after]);
            }
            Exchange::Gather => {
                let mut needs = self.gathered(lane, at.clone(), version, half);
                needs.push(before);
                self.act(lane, Op::Compute(half.step), at, needs, vec![after]);
            }
        }
    }

    /// Offers this lane's part of a value, copies its share of everybody's; gives the copies of all lanes.
    fn gathered(&mut self, lane: usize, at: At, version: u32, half: Half) -> Vec<BufId> {
        let own = self.own(lane, half.own, at.micro, version);
        let copied = self.own(lane, half.all, at.micro, version);
        let share = self.seats[lane].number..self.seats[lane].number + 1;
        let group = self.all[self.seats[lane].stage];
        let micro = at.micro;
        self.act(lane, Op::AllGather(group, half.what), At { part: share, ..at }, vec![own], vec![copied]);
        self.all_of(lane, half.all, micro, version)
    }

    /// What a product needs that takes the normalised residual.
    pub(super) fn normed(&mut self, lane: usize, at: At, version: u32, site: NormSite) -> Vec<BufId> {
        let micro = at.micro;
        match self.plan.exchange {
            // Each lane normalises for itself: a norm is cheaper than waiting for one.
            Exchange::Reduce => self.all_of(lane, PlaceKind::Residual(micro), micro, version),
            Exchange::Gather => {
                let residual = self.own(lane, PlaceKind::Residual(micro), micro, version);
                let normed = self.own(lane, PlaceKind::NormedPart(site), micro, version);
                let part = self.row_part(lane);
                let norm = At { part, ..at.clone() };
                self.act(lane, Op::Compute(Step::Norm(site)), norm, vec![residual], vec![normed]);
                let half = Half {
                    step: Step::Norm(site),
                    own: PlaceKind::NormedPart(site),
                    all: PlaceKind::NormedAll,
                    what: Gathered::Normed(site),
                };
                self.gathered(lane, at, version, half)
            }
        }
    }

    fn project_part(&self, lane: usize) -> std::ops::Range<u32> {
        self.share(lane, projected_parts(&self.plan.model, self.slice(lane)))
    }
}

/// A product over what devices hold in parts.
#[derive(Clone, Copy)]
struct Half {
    step: Step,
    own: PlaceKind,
    all: PlaceKind,
    what: Gathered,
}
