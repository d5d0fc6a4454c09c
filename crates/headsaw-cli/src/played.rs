//! A forecast that was played: its time, and where the time of each device and step went.

use crate::error::Failure;
use crate::forecast::Forecast;
use crate::scene::{Phase, ROUNDS};
use headsaw::cost::{Priced, predict};
use headsaw::lower::lower;
use headsaw::plan::Plan;
use headsaw::program::{Op, Program};
use headsaw::simulate::simulate;
use headsaw::spec::cluster::{DeviceGroup, Prices};
use headsaw::trace::{self, STEPS, Span, Trace, step_number};
use headsaw::units::{Bytes, Seconds};
use headsaw::verify;
use std::time::Instant;

/// Actions of all rounds that are played.
pub const ACTIONS_MOST: u64 = 50_000_000;

/// The round of a generation that counts.
const COUNTED: u32 = ROUNDS - 2;

/// A program that is about to be played.
#[derive(Debug)]
pub struct Lowered {
    program: Program,
    begun: Instant,
}

/// A forecast that was played.
#[derive(Debug)]
pub struct Played {
    /// What was played.
    pub program: Program,
    /// When everything happened.
    pub trace: Trace,
    /// What counts of the trace: all of it, or while generating the third round. Seconds.
    pub window: (f64, f64),
    /// The same in closed form, where there is one. Seconds.
    pub closed_form: Option<f64>,
    /// Seconds that playing took here.
    pub wall_seconds: f64,
}

/// Where a device's time went, in seconds; the three are the whole window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spent {
    /// Something is computed.
    pub busy: f64,
    /// Nothing is, and parts are brought together or sent.
    pub exchange: f64,
    /// Neither.
    pub waiting: f64,
    /// Most bytes that it ever holds.
    pub memory: Bytes,
}

impl Played {
    /// Lowers a plan.
    pub fn lowered(plan: &Plan) -> Lowered {
        let begun = Instant::now();
        Lowered { program: lower(plan), begun }
    }

    /// Seconds that count: of all prompts, or of one token of each sequence.
    pub fn seconds(&self) -> f64 {
        self.window.1 - self.window.0
    }

    /// Actions that were played.
    pub fn actions(&self) -> u64 {
        self.trace.spans.len() as u64
    }

    fn inside(&self, span: &Span) -> Option<(f64, f64)> {
        let (start, end) = (span.start.0.max(self.window.0), span.end.0.min(self.window.1));
        (start < end).then_some((start, end))
    }

    /// Idle ÷ total of the compute lanes that do anything, inside the window.
    pub fn bubble(&self) -> f64 {
        let (start, end) = self.window;
        self.trace.occupancy_within(Seconds(start), Seconds(end)).bubble
    }

    fn op(&self, span: &Span) -> Op {
        self.program.lanes[span.lane as usize].actions[span.action as usize].op
    }

    /// Where each device's time went, by the number of the device.
    pub fn spent(&self, plan: &Plan) -> Vec<Spent> {
        let (mut computes, mut exchanges) =
            (vec![Vec::new(); plan.devices.len()], vec![Vec::new(); plan.devices.len()]);
        for span in &self.trace.spans {
            let Some(inside) = self.inside(span) else { continue };
            let device = self.trace.lanes[span.lane as usize].device.0 as usize;
            let kind = if matches!(self.op(span), Op::Compute(_)) { &mut computes } else { &mut exchanges };
            kind[device].push(inside);
        }
        let memory = verify::memory(plan, &self.program);
        let total = self.seconds();
        let spent = computes.into_iter().zip(exchanges).zip(memory.values()).map(|((computes, exchanges), held)| {
            let trace::Spent { busy, exchange, waiting, .. } = trace::Spent::of(computes, exchanges, total);
            Spent { busy, exchange, waiting, memory: held.total() }
        });
        spent.collect()
    }

    /// Seconds of each step and of all exchanges, in the mean of the devices; none where it takes no time.
    pub fn steps(&self, devices: usize) -> Vec<(&'static str, f64)> {
        let mut seconds = [0.0; STEPS.len()];
        for span in &self.trace.spans {
            let (start, end) = self.inside(span).unwrap_or_default();
            seconds[step_number(self.op(span))] += (end - start) / devices as f64;
        }
        STEPS.into_iter().zip(seconds).filter(|(_, seconds)| *seconds > 0.0).collect()
    }
}

impl Lowered {
    /// Actions of a round.
    pub fn actions(&self) -> u64 {
        self.program.lanes.iter().map(|lane| lane.actions.len() as u64).sum()
    }

    /// Plays it.
    pub fn play(self, forecast: &Forecast) -> Result<Played, Failure> {
        let Forecast { plan, cluster, rounds, scene, .. } = forecast;
        let Lowered { program, begun } = self;
        let cost = Priced::new(plan, cluster);
        let trace = simulate(&program, &cost, rounds).map_err(Failure::failed)?;
        let wall_seconds = begun.elapsed().as_secs_f64();
        let window = window(&trace, scene.phase);
        let alone = plan.workload.micros == 1 && (scene.phase == Phase::Decode || rounds.0.len() == 1);
        // Devices that share cores slow each other down, which only a simulation sees.
        let alone =
            alone && (forecast.cluster.groups.iter().all(has_own) || plan.devices.len() as u32 * plan.lanes == 1);
        let counted = if scene.phase == Phase::Decode { COUNTED as usize } else { 0 };
        let load = rounds.0.get(counted).and_then(|slots| slots.first()).filter(|_| alone);
        let closed_form = load.and_then(|load| predict(plan, &cost, *load)).map(|seconds| seconds.0);
        Ok(Played { program, trace, window, closed_form, wall_seconds })
    }
}

/// Has each device of a group cores and memory of its own?
pub fn has_own(group: &DeviceGroup) -> bool {
    matches!(group.kind.prices, Prices::Gpu(_))
}

/// All of a trace, or the third round of a generation: from the end of the second to its own.
pub fn window(trace: &Trace, phase: Phase) -> (f64, f64) {
    let (start, end) = trace.ends();
    if phase == Phase::Prefill {
        return (start.0, end.0);
    }
    let end_of = |last: u32| {
        let done = trace.spans.iter().filter(|span| span.round <= last).map(|span| span.end.0);
        done.fold(start.0, f64::max)
    };
    (end_of(COUNTED - 1), end_of(COUNTED))
}
