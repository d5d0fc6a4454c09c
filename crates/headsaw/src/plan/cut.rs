//! The default cut of a request: heads, MLP columns, rows and vocabulary in proportion to the devices' weights.

use super::{Exchange, FORMAT, Order, Plan, Slice, Stage};
use crate::shard;
use crate::spec::cluster::{Device, DeviceId};
use crate::spec::model::ModelSpec;
use crate::spec::workload::Workload;
use std::ops::Range;

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
        steps: None,
        cluster: None,
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
