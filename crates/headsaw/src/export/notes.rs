//! What an engine does otherwise than a plan says, or could not be told.

use super::cut::{Cut, Share};
use super::rules::joined;
use crate::plan::{Exchange, Order, Slice};
use crate::spec::workload::Activations;

/// What is so of every engine that cuts heads and columns by itself.
pub fn of_cuts(cut: &Cut, engine: &str) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(share(cut, &cut.columns(), engine));
    notes.extend(share(cut, &cut.vocabulary(), engine));
    if cut.tp > 1 && cut.plan.exchange == Exchange::Gather {
        notes.push(format!("the plan gathers parts of vectors (exchange gather); {engine} adds up partial sums"));
    }
    if let Some(steps) = &cut.plan.steps {
        notes.push(format!("the small pipeline inside a device ({}) is headsaw's; {engine} has none", steps.cut));
    }
    notes.extend(ranks(cut));
    notes
}

/// Where the plan's devices do not have the same share to the last column.
fn share(cut: &Cut, share: &Share, engine: &str) -> Option<String> {
    let slices = &cut.plan.stages.first()?.slices;
    let held: Vec<u32> = slices.iter().map(|slice: &Slice| (share.held)(slice)).collect();
    if held.windows(2).all(|pair| pair[0] == pair[1]) {
        return None;
    }
    let what = share.what;
    Some(format!("{what}: the plan's devices have {}; {engine} gives each as many", joined(&held)))
}

/// Where the plan's devices are not numbered as an engine's ranks are.
fn ranks(cut: &Cut) -> Option<String> {
    let devices: Vec<u32> = cut.ranks().map(|device| device.0).collect();
    let usual = devices.iter().enumerate().all(|(rank, device)| rank as u32 == *device);
    (!usual).then(|| {
        format!(
            "the ranks 0, 1, … are the plan's devices {}; on one machine CUDA_VISIBLE_DEVICES in that order puts them \
             there",
            joined(&devices)
        )
    })
}

/// What a serving engine does with the order.
pub fn of_serving(cut: &Cut, engine: &str) -> Option<String> {
    if cut.plan.order == Order::Sequential && cut.pp() > 1 {
        return Some(format!("the plan takes one micro-batch at a time (order sequential); {engine} fills its stages"));
    }
    let micros = cut.plan.workload.micros;
    (cut.pp() > 1 && micros != cut.pp())
        .then(|| format!("the plan has {micros} micro-batches in flight; {engine} has as many as stages, {}", cut.pp()))
}

/// What a training engine does that a plan for prompts and generation does not say.
pub fn of_training(cut: &Cut, engine: &str) -> Vec<String> {
    let w = &cut.plan.workload;
    let mut notes = vec![format!(
        "read as training: {} micro-batches of {} sequence(s) of {} tokens a step (the plan's micros, batch and context); \
         the plan has no backward, optimizer or data parallelism, and {engine} has its own",
        w.micros, w.batch, w.context
    )];
    let activations = w.numerics.activations;
    if !matches!(activations, Activations::Bf16 | Activations::F32) {
        notes.push(format!("the plan computes in {}; {engine} is told bf16", activations.precision().name()));
    }
    notes
}
