//! Is a plan whole: each head, column, row and layer exactly once, on devices that can hold it?

use super::Violation;
use crate::lower::{lower, work};
use crate::plan::{FORMAT, Order, Overlap, Plan, Slice, Stage};
use crate::program::Program;
use crate::shard;
use crate::spec::cluster::DeviceId;
use crate::units::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;

/// Lanes that a plan may have in all, and actions that they do in a round: far more than any machine runs, far less than
/// what would exhaust one.
const LANES_MOST: u64 = 65_536;
/// Violations that are listed.
const VIOLATIONS_MOST: usize = 200;
const ACTIONS_MOST: u64 = 4_000_000;
/// Actions of a lane in a layer, with the gather exchange.
const ACTIONS_A_LAYER: u64 = 11;

/// All that is wrong with a plan.
pub fn plan(plan: &Plan) -> Vec<Violation> {
    let mut found = Vec::new();
    if plan.format != FORMAT {
        found.push(Violation::new("format", FORMAT, plan.format));
        return found;
    }
    let slices = plan.stages.iter().map(|stage| stage.slices.len()).sum::<usize>();
    let most = LANES_MOST as usize;
    if plan.devices.len().max(slices).max(plan.stages.len()) > most {
        let got = format!("{} devices, {} stages, {slices} slices", plan.devices.len(), plan.stages.len());
        found.push(Violation::new("devices and stages", format!("at most {most}"), got));
        return found;
    }
    let model = plan.model.check().into_iter().map(|problem| Violation::new("model", "a model that can be", problem));
    found.extend(model);
    if !found.is_empty() {
        return found; // sizes cannot be trusted
    }
    workload(plan, &mut found);
    steps(plan, &mut found);
    stages(plan, &mut found);
    devices(plan, &mut found);
    if found.is_empty() {
        memories(plan, &mut found);
    }
    if found.len() > VIOLATIONS_MOST {
        let more = format!("{} more of the same kinds", found.len() - VIOLATIONS_MOST);
        found.truncate(VIOLATIONS_MOST);
        found.push(Violation::new("and so on", "none", more));
    }
    found
}

fn workload(plan: &Plan, found: &mut Vec<Violation>) {
    let w = &plan.workload;
    let bounds = [
        ("workload.batch", w.batch, 4096),
        ("workload.tokens", w.tokens, 65_536),
        ("workload.micros", w.micros, 1024),
        ("workload.context", w.context, plan.model.context),
        ("workload.sequences", w.sequences, 65_536),
        ("lanes", plan.lanes, 256),
    ];
    for (field, value, most) in bounds {
        if !(1..=most).contains(&value) {
            found.push(Violation::new(field, format!("1 to {most}"), value));
        }
    }
    let lanes = u64::from(plan.lanes) * plan.stages.iter().map(|stage| stage.slices.len() as u64).sum::<u64>();
    if lanes > LANES_MOST {
        found.push(Violation::new("lanes of all devices", format!("at most {LANES_MOST}"), lanes));
    }
    let layers = |stage: &Stage| stage.slices.len() as u64 * (stage.layers.len() as u64 + 1);
    let rounds = u64::from(plan.lanes).saturating_mul(u64::from(w.micros));
    let units = plan.stages.iter().map(|stage| u64::from(work::chunks(plan, stage))).max().unwrap_or(1).max(1);
    let a_layer = ACTIONS_A_LAYER.saturating_mul(units);
    let actions = plan.stages.iter().map(layers).sum::<u64>().saturating_mul(rounds).saturating_mul(a_layer);
    if actions > ACTIONS_MOST {
        let hint = format!("at most {ACTIONS_MOST} (fewer micro-batches make fewer)");
        found.push(Violation::new("actions of all lanes in a round", hint, actions));
    }
}

/// Does the small pipeline inside a device fit the plan?
fn steps(plan: &Plan, found: &mut Vec<Violation>) {
    let Some(steps) = &plan.steps else { return };
    let parts = steps.cut.parts().len();
    if steps.lanes.len() != parts {
        let expected = format!("a lane for each of the {parts} parts of {}", steps.cut);
        found.push(Violation::new("steps.lanes", expected, steps.lanes.len()));
    }
    for lane in steps.lanes.iter().chain(&steps.others).filter(|lane| **lane >= plan.lanes) {
        found.push(Violation::new("steps", format!("lanes 0 to {}", plan.lanes.saturating_sub(1)), lane));
    }
    let heads = work::heads_most(plan);
    if !(1..=heads).contains(&steps.chunk) {
        let expected = format!("at least 1 head and at most {heads}, as a device of this plan holds");
        found.push(Violation::new("steps.chunk", expected, steps.chunk));
    }
    let most = plan.workload.micros;
    if !(1..=most).contains(&steps.interleave) {
        let expected = format!("at least 1 and at most {most} (workload.micros)");
        found.push(Violation::new("steps.interleave", expected, steps.interleave));
    }
    let alone = steps.overlap == Overlap::None || plan.order == Order::Sequential;
    if steps.interleave > 1 && alone {
        let expected = "1, or a pipelined order with an overlap";
        found.push(Violation::new("steps.interleave", expected, steps.interleave));
    }
    if steps.overlap == Overlap::Tokens && steps.interleave < 2 {
        let expected = "at least 2 (overlap by tokens takes micro-batches that go through a layer together)";
        found.push(Violation::new("steps.interleave", expected, steps.interleave));
    }
}

fn stages(plan: &Plan, found: &mut Vec<Violation>) {
    let layers = plan.stages.iter().map(|stage| stage.layers.clone());
    tiles(
        "layers",
        "layers",
        plan.model.layers,
        1,
        layers.enumerate().map(|(i, r)| (format!("stages[{i}]"), r)),
        found,
    );
    for (i, stage) in plan.stages.iter().enumerate() {
        if stage.layers.is_empty() {
            found.push(Violation::new(format!("stages[{i}].layers"), "at least one layer", show(&stage.layers)));
        }
        slices(plan, i, stage, found);
    }
}

fn slices(plan: &Plan, index: usize, stage: &Stage, found: &mut Vec<Violation>) {
    let model = &plan.model;
    let each = |part: fn(&Slice) -> &Range<u32>| {
        stage.slices.iter().map(move |slice| (format!("stages[{index}] {}", slice.device), part(slice).clone()))
    };
    tiles("heads", "heads", model.heads, 1, each(|s| &s.heads), found);
    tiles("ffn", "MLP columns", model.ffn, shard::mlp_leaf(model), each(|s| &s.ffn), found);
    tiles("rows", "rows", model.width, shard::BLOCK, each(|s| &s.rows), found);
    tiles("vocab", "vocabulary rows", model.vocab, shard::BLOCK, each(|s| &s.vocab), found);
    for slice in stage.slices.iter().filter(|slice| slice.heads.is_empty()) {
        let at = format!("stages[{index}] {}.heads", slice.device);
        let hint = format!("at least one of {} heads (tp {} at most)", model.heads, model.heads);
        found.push(Violation::new(at, hint, show(&slice.heads)));
    }
}

/// Do the ranges cover `0..total` once and in order, cut only at multiples of `unit`?
fn tiles(
    field: &str,
    what: &str,
    total: u32,
    unit: u32,
    ranges: impl Iterator<Item = (String, Range<u32>)>,
    found: &mut Vec<Violation>,
) {
    let mut next = 0;
    let mut last = String::from("stages");
    for (at, range) in ranges {
        let at = format!("{at}.{field}");
        if range.start != next {
            let how = if range.start < next { "twice" } else { "by nobody" };
            let (a, b) = (range.start.min(next), range.start.max(next));
            found.push(Violation::new(
                &at,
                format!("to start at {next}"),
                format!("{} ({what} {a}..{b} held {how})", show(&range)),
            ));
        }
        if range.end > total || range.end < range.start {
            found.push(Violation::new(&at, format!("an end of at most {total} {what}"), show(&range)));
        } else if range.end != total && range.end % unit != 0 {
            found.push(Violation::new(&at, format!("an end at a multiple of {unit}"), show(&range)));
        }
        next = range.end.max(range.start);
        last = at;
    }
    if next < total {
        found.push(Violation::new(
            last,
            format!("the last of {total} {what}"),
            format!("{next}..{total} held by nobody"),
        ));
    }
}

fn show(range: &Range<u32>) -> String {
    format!("{}..{}", range.start, range.end)
}

fn devices(plan: &Plan, found: &mut Vec<Violation>) {
    let mut holders: BTreeMap<DeviceId, Vec<usize>> = BTreeMap::new();
    for (i, stage) in plan.stages.iter().enumerate() {
        for slice in &stage.slices {
            holders.entry(slice.device).or_default().push(i);
        }
    }
    let count = plan.devices.len();
    for (device, stages) in &holders {
        if device.0 as usize >= count {
            found.push(Violation::new(format!("stages[{}]", stages[0]), format!("one of {count} devices"), device));
        }
        if stages.len() > 1 {
            found.push(Violation::new(device, "one slice", format!("{} slices, in stages {stages:?}", stages.len())));
        }
    }
    for id in (0..count as u32).map(DeviceId).filter(|id| !holders.contains_key(id)) {
        found.push(Violation::new(id, "a slice to hold", "none"));
    }
    for (i, device) in plan.devices.iter().enumerate() {
        if !(device.weight.is_finite() && device.weight > 0.0) {
            found.push(Violation::new(format!("devices[{i}].weight"), "a positive number", device.weight));
        }
    }
    if count == 0 {
        found.push(Violation::new("devices", "at least one", 0));
    }
}

/// What a device's memory holds under a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Weights of its slice.
    pub weights: Bytes,
    /// KV cache of its layers and KV heads.
    pub cache: Bytes,
    /// Values on their way, what it offers to others, headers, messages that come in, and the table of angles.
    pub values: Bytes,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> Bytes {
        self.weights + self.cache + self.values
    }
}

/// What each device's memory holds, by device, while it runs the plan's program.
pub fn memory(plan: &Plan, program: &Program) -> BTreeMap<DeviceId, Memory> {
    let mut held = BTreeMap::new();
    for (stage, slice) in plan.slices() {
        let weights = work::slice_weights(plan, stage, slice);
        let cache = work::slice_cache(plan, stage, slice);
        let values = work::working_bytes(plan, slice) + work::rotation_bytes(plan);
        held.insert(slice.device, Memory { weights, cache, values });
    }
    for place in &program.places {
        held.get_mut(&place.device).expect("a place's device has a slice").values += place.bytes;
    }
    if plan.workload.numerics.activations.run_here() {
        let sampler = program.lanes[program.sampler().index()].device;
        held.get_mut(&sampler).expect("a lane's device has a slice").values += work::header_bytes(plan); // the next one
    }
    for chan in &program.chans {
        let device = program.lanes[chan.to.index()].device;
        held.get_mut(&device).expect("a lane's device has a slice").values += work::channel_bytes(plan, chan.carries);
    }
    held
}

fn memories(plan: &Plan, found: &mut Vec<Violation>) {
    if plan.devices.iter().all(|device| device.memory.is_none()) {
        return;
    }
    for (id, need) in memory(plan, &lower(plan)) {
        let device = &plan.devices[id.0 as usize];
        if let Some(room) = device.memory.filter(|room| *room < need.total()) {
            let got =
                format!("{} (weights {}, cache {}, values {})", need.total(), need.weights, need.cache, need.values);
            found.push(Violation::new(format!("memory of {id}"), format!("at most {room}"), got));
        }
    }
}
