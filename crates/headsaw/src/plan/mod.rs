//! A plan says what lies where. It is a file that people keep and edit.

mod cut;
mod steps;

pub use cut::{CutRequest, NoCut, cut};
pub use steps::{Flow, HeadStep, HeadSteps, Overlap, StepCut};

use crate::spec::cluster::{Device, DeviceId};
use crate::spec::model::ModelSpec;
use crate::spec::span;
use crate::spec::workload::Workload;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The format of plan files that this version writes and reads.
pub const FORMAT: u32 = 1;

/// What lies where, and how the parts are brought together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// 1.
    pub format: u32,
    /// The model that is cut.
    pub model: ModelSpec,
    /// BLAKE3 of the model file's header, where a file was at hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_hash: Option<String>,
    /// What there is to run on.
    pub devices: Vec<Device>,
    /// What goes through together.
    pub workload: Workload,
    /// Runs of layers, in order.
    pub stages: Vec<Stage>,
    /// How partial results of a stage's devices are brought together.
    pub exchange: Exchange,
    /// Which micro-batch a device takes next.
    pub order: Order,
    /// Compute lanes of a device; without `steps` all work's output rows are split over them.
    pub lanes: u32,
    /// The small pipeline inside a device; none where all lanes do each step together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<HeadSteps>,
    /// The cluster that the plan was made for, as named to headsaw: `h100x16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

impl Plan {
    /// Every device's slice, with the number of its stage.
    pub fn slices(&self) -> impl Iterator<Item = (usize, &Slice)> {
        self.stages.iter().enumerate().flat_map(|(i, stage)| stage.slices.iter().map(move |slice| (i, slice)))
    }
}

/// A run of layers on the devices of one pipeline rank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The layers.
    #[serde(with = "span")]
    pub layers: Range<u32>,
    /// What each device holds, in the order of the heads.
    pub slices: Vec<Slice>,
}

/// What a device holds of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// Who holds it.
    pub device: DeviceId,
    /// Q heads; the KV heads they need come with them.
    #[serde(with = "span")]
    pub heads: Range<u32>,
    /// MLP columns.
    #[serde(with = "span")]
    pub ffn: Range<u32>,
    /// Rows of the residual (used by the gather exchange).
    #[serde(with = "span")]
    pub rows: Range<u32>,
    /// Vocabulary rows (of the embedding in the first stage, of the output in the last).
    #[serde(with = "span")]
    pub vocab: Range<u32>,
}

impl Slice {
    /// The KV heads that the slice's Q heads use.
    pub fn kv_heads(&self, model: &ModelSpec) -> Range<u32> {
        let group = model.heads / model.kv_heads;
        if self.heads.is_empty() {
            let at = self.heads.start / group;
            return at..at;
        }
        self.heads.start / group..self.heads.end.div_ceil(group)
    }
}

/// How partial results of a stage's devices are brought together. Both give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exchange {
    /// Devices hold columns of W_o and W_down; partial sums are added in the fixed tree: two exchanges a layer.
    Reduce,
    /// Devices hold rows of W_o and W_down; quantised parts of vectors are gathered: four exchanges a layer.
    Gather,
}

impl Exchange {
    /// Its name in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            Exchange::Reduce => "reduce",
            Exchange::Gather => "gather",
        }
    }
}

/// Which micro-batch a device takes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// A micro-batch enters the first stage when the one before has left the last.
    Sequential,
    /// Micro-batches follow each other through the stages (GPipe's forward order, arXiv 1811.06965): prompts, chunks of
    /// one prompt, or one token each of the sequences that a micro-batch generates.
    Pipelined,
}
