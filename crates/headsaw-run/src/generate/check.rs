//! What is refused before anything is loaded: plans that do not hold together, or for which this machine has no memory.

use super::RunError;
use crate::weights::ModelFile;
use headsaw::lower::{lower, work};
use headsaw::plan::Plan;
use headsaw::program::Program;
use headsaw::spec::cluster::DeviceId;
use headsaw::units::Bytes;
use headsaw::verify::{self, Memory, Violation};
use std::collections::BTreeMap;

/// The plan holds together, is for this model, and says nothing that no kernel here does.
pub(super) fn check(file: &ModelFile, plan: &Plan) -> Result<(), RunError> {
    let mut found = verify::plan(plan);
    if plan.model != *file.spec() {
        found.push(Violation {
            at: "model".into(),
            expected: format!("{} as the plan has it", plan.model.name),
            got: format!("{}: make a plan for this model", file.spec().name),
        });
    }
    let hash: String = file.hash().iter().map(|byte| format!("{byte:02x}")).collect();
    if let Some(expected) = plan.model_hash.as_ref().filter(|expected| **expected != hash) {
        found.push(Violation { at: "model_hash".into(), expected: expected.clone(), got: hash });
    }
    found.extend(not_yet(plan));
    if found.is_empty() { Ok(()) } else { Err(RunError::Plan(found)) }
}

/// What plans can say and simulations follow, but no kernel here does.
pub fn not_yet(plan: &Plan) -> Vec<Violation> {
    let mut found = Vec::new();
    if let Some(steps) = plan.steps.as_ref().filter(|steps| steps.cut != steps.cut.attend_whole()) {
        let expected = format!("{}: score, softmax and context are one kernel here", steps.cut.attend_whole());
        found.push(Violation { at: "steps.cut".into(), expected, got: steps.cut.to_string() });
    }
    let activations = plan.workload.numerics.activations;
    if !activations.run_here() {
        let expected = "int8 or f32: the others are to plan for GPUs".into();
        let got = format!("{activations:?}").to_lowercase();
        found.push(Violation { at: "workload.numerics.activations".into(), expected, got });
    }
    found
}

/// The program of a plan, sound, and the memory that it takes, which this machine has.
pub(super) fn sound(plan: &Plan) -> Result<(Program, BTreeMap<DeviceId, Memory>), RunError> {
    let program = lower(plan);
    if !verify::follows_memory(&program) {
        let lanes = program.lanes.len();
        return Err(RunError::Input(format!(
            "{lanes} lanes are too many to verify and run: take fewer devices, --lanes or --micro-batches"
        )));
    }
    let unsound = verify::program(&program);
    if !unsound.is_empty() {
        return Err(RunError::Plan(unsound)); // what lanes share in memory rests on this check
    }
    let held = verify::memory(plan, &program);
    fits_machine(plan, &held)?;
    Ok((program, held))
}

/// Refuses, before anything is allocated, what this machine has no memory for.
fn fits_machine(plan: &Plan, held: &BTreeMap<DeviceId, Memory>) -> Result<(), RunError> {
    let devices = held.values().map(Memory::total).sum::<Bytes>();
    let shared = work::rotation_bytes(plan) * (held.len() as u64 - 1);
    let need = Bytes(devices.0 - shared.0);
    match crate::machine::memory() {
        Some(room) if need > room => Err(RunError::Input(format!(
            "this run needs {need} and this machine has {room}: take a smaller --context or --prompt-chunk, or fewer prompts at once"
        ))),
        _ => Ok(()),
    }
}
