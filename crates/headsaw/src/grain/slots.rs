//! Slots of a layer's units: one after the other, on lanes of their own, on the lanes of this device.

use super::layer::Layer;
use super::place::Case;
use crate::cost::{Collective, CostModel, Domain, HandOver, Load, Price};
use crate::lower::{lower, work};
use crate::plan::{Plan, Stage, StepCut};
use crate::program::{Program, Step, Work};
use crate::simulate::{Rounds, Stuck, simulate};
use crate::spec::cluster::DeviceId;
use crate::trace::Trace;
use crate::units::{Bytes, Seconds};
use serde::Serialize;

/// Slots of a layer's units on a device, where every unit takes one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Slots {
    /// One after the other: `n · S`.
    pub serial: u32,
    /// On a lane for each part of the step cut: `n + S − 1`.
    pub pipelined: u32,
    /// On the lanes of this device, as its cluster file gives them to the steps; played.
    pub on_lanes: u32,
    /// Lanes of this device that the parts use.
    pub lanes: u32,
}

/// How many times as fast a layer's units are when they overlap, four times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Speedups {
    /// The article's: equal steps on lanes of their own.
    pub ideal: f64,
    /// Equal steps on the lanes of this device.
    pub on_lanes: f64,
    /// This model's steps on these lanes, with what busy lanes take from each other.
    pub with_real_steps: f64,
    /// The layer of uncut steps and heads ÷ this layer: below one the cut costs more than overlapping gains.
    pub against_uncut: f64,
    /// The layer of the same lanes without steps, where they share every product ÷ this layer: on lanes that are all alike.
    pub against_shared: Option<f64>,
    /// As it was run: the steps of heads one after another ÷ overlapped.
    pub measured: Option<f64>,
}

/// Counts the slots.
pub fn slots(case: &Case) -> Result<Slots, Stuck> {
    let steps = case.steps();
    let (units, parts) = (case.chunks(), steps.cut.parts().len() as u32);
    let mut plan = case.plan.clone();
    plan.stages = vec![Stage { layers: 0..1, slices: case.held().slices.clone() }];
    let (_, trace) = in_slots(&plan, case.load)?;
    let on_lanes = trace.seconds().0.round() as u32;
    Ok(Slots { serial: units * parts, pipelined: units + parts - 1, on_lanes, lanes: case.head_lanes() as u32 })
}

/// One layer of a plan's first stage, every part of its step cut one slot long and all else none: its program, and its
/// trace, a second a slot.
///
/// # Errors
/// Where the plan's program does not come to its end; `verify::plan` accepts no such plan.
pub fn in_slots(plan: &Plan, load: Load) -> Result<(Program, Trace), Stuck> {
    let mut plan = plan.clone();
    plan.stages.truncate(1);
    plan.stages.iter_mut().for_each(|stage| stage.layers = 0..1);
    (plan.model.layers, plan.workload.micros) = (1, 1);
    let cost = plan.steps.as_ref().map_or(Slot(Vec::new()), |steps| Slot::of(&steps.cut));
    let program = lower(&plan);
    let trace = simulate(&program, &cost, &Rounds(vec![vec![load]]))?;
    Ok((program, trace))
}

/// The numbers, with the seconds of the uncut layer, and of that whose lanes share every product; nothing is measured here.
pub fn speedups(slots: &Slots, here: &Layer, uncut: f64, shared: Option<f64>) -> Speedups {
    let ratio = |serial: f64, played: f64| if played > 0.0 { serial / played } else { 1.0 };
    Speedups {
        ideal: ratio(f64::from(slots.serial), f64::from(slots.pipelined)),
        on_lanes: ratio(f64::from(slots.serial), f64::from(slots.on_lanes)),
        with_real_steps: ratio(here.units_alone, here.units_played),
        against_uncut: ratio(uncut, here.times.seconds),
        against_shared: shared.map(|shared| ratio(shared, here.times.seconds)),
        measured: None,
    }
}

/// Every part of the step cut takes one slot, all else none.
struct Slot(Vec<(Step, f64)>);

impl Slot {
    fn of(cut: &StepCut) -> Slot {
        let share = |part: &Vec<_>| {
            let steps: Vec<Step> = work::steps_of(part).collect();
            let each = 1.0 / steps.len() as f64;
            steps.into_iter().map(move |step| (step, each))
        };
        Slot(cut.parts().iter().flat_map(share).collect())
    }
}

impl CostModel for Slot {
    fn compute(&self, _: DeviceId, step: Step, _: &Work, _: Load) -> Price {
        let slots = self.0.iter().find(|(known, _)| *known == step).map_or(0.0, |(_, slots)| *slots);
        Price { seconds: Seconds(slots), streamed: Bytes(0) }
    }

    fn transfer(&self, _: DeviceId, _: DeviceId, _: Bytes) -> Seconds {
        Seconds(0.0)
    }

    fn collective(&self, _: Collective, _: &[DeviceId], _: &Work, _: Load) -> Seconds {
        Seconds(0.0)
    }

    fn hand_over(&self, _: DeviceId) -> HandOver {
        HandOver::default()
    }

    fn kind(&self, _: DeviceId) -> u32 {
        0
    }

    fn domain(&self, device: DeviceId) -> Domain {
        Domain::undisturbed(device)
    }
}
