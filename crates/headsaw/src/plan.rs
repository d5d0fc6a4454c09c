//! A plan says what lies where. It is a file that people keep and edit.

use crate::shard;
use crate::spec::cluster::{Device, DeviceId};
use crate::spec::model::ModelSpec;
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
    /// Compute lanes of a device; every unit's output rows are split over them.
    pub lanes: u32,
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

/// Which micro-batch a device takes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// A micro-batch enters the first stage when the one before has left the last.
    Sequential,
    /// Micro-batches follow each other through the stages (GPipe's forward order, arXiv 1811.06965).
    Pipelined,
}

/// What a user asks of a cut; [`cut`] makes a plan of it.
#[derive(Debug, Clone, PartialEq)]
pub struct CutRequest {
    /// Devices that share the heads of a stage.
    pub tp: u32,
    /// Stages.
    pub pp: u32,
    /// Relative speeds, one per device of a stage; empty for equal ones.
    pub device_weights: Vec<f64>,
    /// Compute lanes of a device.
    pub lanes: u32,
    /// How parts are brought together.
    pub exchange: Exchange,
    /// Which micro-batch is next.
    pub order: Order,
}

/// A cut that cannot be made, with what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoCut(pub String);

/// The default plan for a request: heads, MLP columns, rows and vocabulary in proportion to the weights.
///
/// # Errors
/// Names the number that does not fit the model and the range that does.
pub fn cut(model: &ModelSpec, workload: Workload, request: &CutRequest) -> Result<Plan, NoCut> {
    let weights = weights(model, request)?;
    let heads = shard::cut_heads(model, &weights);
    let ffn = shard::cut_units(shard::mlp_leaves(model), &weights);
    let rows = shard::cut_units(model.width.div_ceil(shard::BLOCK), &weights);
    let vocab = shard::cut_units(model.vocab.div_ceil(shard::BLOCK), &weights);
    let leaf = shard::mlp_leaf(model);
    let stages = (0..request.pp).map(|stage| Stage {
        layers: even(model.layers, request.pp, stage),
        slices: (0..request.tp as usize)
            .map(|i| Slice {
                device: DeviceId(stage * request.tp + i as u32),
                heads: heads[i].clone(),
                ffn: scale(&ffn[i], leaf, model.ffn),
                rows: scale(&rows[i], shard::BLOCK, model.width),
                vocab: scale(&vocab[i], shard::BLOCK, model.vocab),
            })
            .collect(),
    });
    let mut devices = Device::equal(request.tp * request.pp);
    for (i, device) in devices.iter_mut().enumerate() {
        device.weight = weights[i % weights.len()];
    }
    Ok(Plan {
        format: FORMAT,
        model: model.clone(),
        model_hash: None,
        devices,
        workload,
        stages: stages.collect(),
        exchange: request.exchange,
        order: request.order,
        lanes: request.lanes,
    })
}

fn weights(model: &ModelSpec, request: &CutRequest) -> Result<Vec<f64>, NoCut> {
    let within = |what: &str, value: u32, most: u32, unit: &str| {
        if (1..=most).contains(&value) {
            return Ok(());
        }
        Err(NoCut(format!("{what} {value} of {most} {unit}: {} takes {what} 1 to {most}", model.name)))
    };
    within("--tp", request.tp, model.heads, "heads")?;
    within("--pp", request.pp, model.layers, "layers")?;
    within("--lanes", request.lanes, 256, "lanes")?;
    if request.device_weights.is_empty() {
        return Ok(vec![1.0; request.tp as usize]);
    }
    if request.device_weights.len() != request.tp as usize {
        return Err(NoCut(format!(
            "--device-weights names {} devices and --tp {} has {}: give one weight a device",
            request.device_weights.len(),
            request.tp,
            request.tp
        )));
    }
    if let Some(bad) = request.device_weights.iter().find(|w| !(w.is_finite() && (1e-3..=1e3).contains(*w))) {
        return Err(NoCut(format!("--device-weights {bad}: a weight is a number from 0.001 to 1000")));
    }
    Ok(request.device_weights.clone())
}

fn even(total: u32, parts: u32, part: u32) -> Range<u32> {
    // The first parts take what is left over, as the tree's ⌈n/2⌉ does.
    let start = |i: u32| i * (total / parts) + i.min(total % parts);
    start(part)..start(part + 1)
}

fn scale(units: &Range<u32>, unit: u32, most: u32) -> Range<u32> {
    (units.start * unit).min(most)..(units.end * unit).min(most)
}

/// Ranges as people write them: `"0..5"`.
mod span {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::ops::Range;

    pub fn serialize<S: Serializer>(range: &Range<u32>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{}..{}", range.start, range.end))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Range<u32>, D::Error> {
        let text = String::deserialize(from)?;
        let ends = text.split_once("..").and_then(|(a, b)| Some(a.trim().parse().ok()?..b.trim().parse().ok()?));
        ends.filter(|range| range.start <= range.end)
            .ok_or_else(|| D::Error::custom(format!("{text:?} is no range; write it as \"0..5\"")))
    }
}
