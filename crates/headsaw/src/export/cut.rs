//! What engines can say of a plan: so many stages of so many layers, each over as many devices.

use crate::plan::{Plan, Slice};
use crate::shard;
use crate::spec::cluster::DeviceId;

/// A plan, and what of it an engine can be told.
pub struct Cut<'a> {
    pub plan: &'a Plan,
    /// Devices of a stage: those of the first.
    pub tp: u32,
    /// Layers of each stage.
    pub layers: Vec<u32>,
}

/// What a device holds a share of.
#[derive(Clone, Copy)]
pub struct Share {
    pub what: &'static str,
    /// Of the model.
    pub total: u32,
    /// The piece in which headsaw cuts it.
    pub unit: u32,
    pub held: fn(&Slice) -> u32,
}

impl<'a> Cut<'a> {
    pub fn of(plan: &'a Plan) -> Cut<'a> {
        let tp = plan.stages.first().map_or(1, |stage| stage.slices.len() as u32);
        Cut { plan, tp, layers: plan.stages.iter().map(|stage| stage.layers.len() as u32).collect() }
    }

    pub fn pp(&self) -> u32 {
        self.layers.len() as u32
    }

    pub fn devices(&self) -> u32 {
        self.tp * self.pp()
    }

    /// Are the stages as equal as they can be, the first ones taking what is left over?
    pub fn is_even(&self) -> bool {
        let (least, more) = (self.plan.model.layers / self.pp(), self.plan.model.layers % self.pp());
        self.layers.iter().enumerate().all(|(i, layers)| *layers == least + u32::from((i as u32) < more))
    }

    /// The devices in the order of an engine's ranks: those of a stage next to each other.
    pub fn ranks(&self) -> impl Iterator<Item = DeviceId> {
        self.plan.slices().map(|(_, slice)| slice.device)
    }

    pub fn columns(&self) -> Share {
        let model = &self.plan.model;
        let unit = shard::mlp_leaf(model);
        Share { what: "MLP columns", total: model.ffn, unit, held: |slice| slice.ffn.len() as u32 }
    }

    pub fn vocabulary(&self) -> Share {
        let held = |slice: &Slice| slice.vocab.len() as u32;
        Share { what: "vocabulary rows", total: self.plan.model.vocab, unit: shard::BLOCK, held }
    }
}
