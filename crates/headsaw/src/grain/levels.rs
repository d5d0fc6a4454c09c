//! The levels: what a replica, a device, a chunk of heads and a step hold and do, and what of their time is lost.

use super::account::{Account, Lost};
use super::layer::{Amount, Layer, Played};
use super::place::{Case, together};
use super::price::{self, Parts};
use crate::cost::{Load, Priced};
use crate::lower::work::{self, Counter};
use crate::plan::{HeadStep, Plan};
use crate::program::{Step, Unit, Work};
use crate::shard::BLOCK;
use crate::simulate::Stuck;
use serde::Serialize;

/// A level.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Level {
    /// `replica`, `device`, `chunk` or `step`.
    pub level: &'static str,
    /// Of a step its parts: `project`, `score+softmax+context`.
    pub step: Option<String>,
    /// Q heads.
    pub heads: u32,
    /// KV heads.
    pub kv_heads: u32,
    /// Layers.
    pub layers: u32,
    /// MLP columns.
    pub columns: u32,
    /// Units of a layer.
    pub units: u32,
    /// Operations between two synchronisations: of a replica's pass, a device's layer, a chunk, a step.
    pub flops: f64,
    /// Bytes read and written meanwhile.
    pub bytes: f64,
    /// Operations a byte.
    pub intensity: f64,
    /// Seconds of that; of a device a layer and both its exchanges.
    pub seconds: f64,
    /// Mean seconds of a unit of this level that has the device to itself.
    pub seconds_per_unit: f64,
    /// Shares of these seconds that are lost.
    pub lost: Lost,
}

/// All levels, from the replica down to the parts of the step cut.
pub fn levels(case: &Case, here: &Layer) -> Result<Vec<Level>, Stuck> {
    let unit = here.units_alone / together(&case.plan) as f64 / f64::from(units(case));
    let mut levels = vec![replica(case, unit)?, device(case, here, unit)];
    let parts = steps(case);
    levels.push(chunk(&parts));
    levels.extend(parts.into_iter().map(|part| part.level));
    Ok(levels)
}

fn units(case: &Case) -> u32 {
    case.chunks() * case.steps().cut.parts().len() as u32
}

fn intensity(amount: Amount) -> f64 {
    if amount.bytes > 0.0 { amount.flops / amount.bytes } else { 0.0 }
}

/// A pass of all micro-batches through all stages.
fn replica(case: &Case, seconds_per_unit: f64) -> Result<Level, Stuck> {
    let model = &case.plan.model;
    let (account, amount) = whole(case)?;
    let chunk = case.steps().chunk.max(1);
    let chunks: u32 = case.held().slices.iter().map(|slice| (slice.heads.len() as u32).div_ceil(chunk)).sum();
    Ok(Level {
        level: "replica",
        step: None,
        heads: model.heads,
        kv_heads: case.held().slices.iter().map(|slice| slice.kv_heads(model).len() as u32).sum(),
        layers: model.layers,
        columns: model.ffn,
        units: chunks * case.steps().cut.parts().len() as u32,
        flops: amount.flops,
        bytes: amount.bytes,
        intensity: intensity(amount),
        seconds: account.seconds,
        seconds_per_unit,
        lost: account.shares(),
    })
}

/// Time and work of the whole plan. Layers are alike, so stages are played with few of them and the rest lies on a line:
/// exact but where, with ever more layers, another stage becomes the slowest.
fn whole(case: &Case) -> Result<(Account, Amount), Stuck> {
    let fewest = case.plan.stages.iter().map(|stage| stage.layers.len() as u32).min().unwrap_or(1);
    let left_out = fewest.saturating_sub(1);
    let of = |layers_more: u32| -> Result<(Account, Amount), Stuck> {
        let plan = fewer_layers(&case.plan, left_out - layers_more);
        let played = Played::new(&plan, case.cluster, &case.rounds)?;
        let (start, end) = played.trace.ends();
        Ok((played.account((start.0, end.0)), played.amount(|_, _| true)))
    };
    let (least, work) = of(0)?;
    if left_out == 0 {
        return Ok((least, work));
    }
    let (more, work_more) = of(1)?;
    let further = f64::from(left_out);
    let line = |a: f64, b: f64| a + (b - a) * further;
    let work = Amount { flops: line(work.flops, work_more.flops), bytes: line(work.bytes, work_more.bytes) };
    Ok((least.further(&more, further), work))
}

/// The plan with so many layers less in each stage.
fn fewer_layers(plan: &Plan, less: u32) -> Plan {
    let mut fewer = plan.clone();
    let mut start = 0;
    for stage in &mut fewer.stages {
        let end = start + stage.layers.len() as u32 - less;
        stage.layers = start..end;
        start = end;
    }
    fewer.model.layers = start;
    fewer
}

/// A layer on the device with the largest slice.
fn device(case: &Case, here: &Layer, seconds_per_unit: f64) -> Level {
    let slice = case.slice();
    Level {
        level: "device",
        step: None,
        heads: case.heads(),
        kv_heads: case.kv_heads(),
        layers: case.held().layers.len() as u32,
        columns: slice.ffn.len() as u32,
        units: units(case),
        flops: here.work.flops,
        bytes: here.work.bytes,
        intensity: intensity(here.work),
        seconds: here.times.seconds,
        seconds_per_unit,
        lost: here.account.shares(),
    }
}

/// One part of the step cut, on one chunk.
struct Part {
    level: Level,
    parts: Parts,
}

/// All steps of the first chunk, one after the other.
fn chunk(parts: &[Part]) -> Level {
    let mut sum = Parts::default();
    let mut amount = Amount::default();
    for part in parts {
        sum += part.parts;
        amount += Amount { flops: part.level.flops, bytes: part.level.bytes };
    }
    Level {
        level: "chunk",
        step: None,
        units: parts.len() as u32,
        flops: amount.flops,
        bytes: amount.bytes,
        intensity: intensity(amount),
        seconds: sum.seconds,
        seconds_per_unit: sum.seconds / parts.len().max(1) as f64,
        lost: Lost::alone(sum),
        ..parts[0].level.clone()
    }
}

fn steps(case: &Case) -> Vec<Part> {
    let (stage, slice) = (case.held(), case.slice());
    let heads = work::unit_heads(&case.plan, slice, 0);
    let unit = Unit { number: 0, heads };
    let priced = Priced::new(&case.plan, case.cluster);
    let counter = Counter { plan: &case.plan, stage, slice };
    let copies = price::copies(&case.plan, stage);
    let name = |part: &[HeadStep]| part.iter().map(|step| step.name()).collect::<Vec<_>>().join("+");
    let blocks = case.plan.model.width.div_ceil(BLOCK);
    let one = |part: &Vec<HeadStep>| {
        let (mut parts, mut amount) = (Parts::default(), Amount::default());
        for step in work::steps_of(part) {
            let rows = if step == Step::Merge { 0..blocks } else { 0..1 };
            let work = counter.step(step, &rows, Some(&unit));
            parts += price::parts(&priced, slice.device, step, &work, case.load, copies);
            amount += done(&case.plan, step, &work, case.load);
        }
        let level = level_of(case, name(part), &unit, amount, parts);
        Part { level, parts }
    };
    case.steps().cut.parts().iter().map(one).collect()
}

fn done(plan: &Plan, step: Step, work: &Work, load: Load) -> Amount {
    Amount { flops: price::flops(work, load), bytes: price::bytes(plan, step, work, load) }
}

fn level_of(case: &Case, name: String, unit: &Unit, amount: Amount, parts: Parts) -> Level {
    let group = case.plan.model.heads / case.plan.model.kv_heads;
    let heads = unit.heads.len() as u32;
    Level {
        level: "step",
        step: Some(name),
        heads,
        kv_heads: unit.heads.end.div_ceil(group).saturating_sub(unit.heads.start / group),
        layers: 1,
        columns: 0,
        units: 1,
        flops: amount.flops,
        bytes: amount.bytes,
        intensity: intensity(amount),
        seconds: parts.seconds,
        seconds_per_unit: parts.seconds,
        lost: Lost::alone(parts),
    }
}
