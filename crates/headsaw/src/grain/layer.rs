//! One layer on the devices of a stage, played: the one in the middle of three, so that what overlaps across layers does.

use super::account::{Account, Books, is_heads};
use super::marks::{self, Times};
use super::place::{Case, head_lanes, together};
use super::price::{self, Parts};
use crate::cost::{Collective, CostModel, Domain, HandOver, Load, Price, Priced};
use crate::lower::lower;
use crate::plan::{Exchange, Order, Plan, Stage};
use crate::program::{Action, Op, Program, Step, Work};
use crate::simulate::{Rounds, Stuck, simulate};
use crate::spec::cluster::{Cluster, DeviceId, Link, Prices};
use crate::trace::Trace;
use crate::units::{Bytes, Seconds};
use std::collections::HashMap;

/// A layer on the devices of a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// How long it takes.
    pub times: Times,
    /// Seconds of the steps of heads of the largest slice, one after another without waiting.
    pub units_alone: f64,
    /// The same as played: from the first one's start to the last one's end.
    pub units_played: f64,
    /// Where the time goes.
    pub account: Account,
    /// Operations and bytes of the largest slice.
    pub work: Amount,
}

/// Operations and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Amount {
    /// A multiply-add is two.
    pub flops: f64,
    /// Read and written.
    pub bytes: f64,
}

impl std::ops::AddAssign for Amount {
    fn add_assign(&mut self, other: Amount) {
        self.flops += other.flops;
        self.bytes += other.bytes;
    }
}

/// Layers that are played; the last but one is looked at.
const LAYERS: u32 = 3;
const MIDDLE: u32 = 1;

/// A plan that was played.
pub struct Played<'a> {
    pub priced: Priced<'a>,
    pub program: Program,
    pub trace: Trace,
    pub loads: &'a [Load],
}

impl<'a> Played<'a> {
    /// Plays a plan once.
    pub fn new(plan: &'a Plan, cluster: &'a Cluster, loads: &'a [Load]) -> Result<Played<'a>, Stuck> {
        let priced = Priced::new(plan, cluster);
        Played::at(priced.clone(), &priced, loads)
    }

    fn at(priced: Priced<'a>, cost: &dyn CostModel, loads: &'a [Load]) -> Result<Played<'a>, Stuck> {
        let program = lower(priced.plan);
        let trace = simulate(&program, cost, &Rounds(vec![loads.to_vec()]))?;
        Ok(Played { priced, program, trace, loads })
    }

    /// Where the time between two instants goes.
    pub fn account(&self, window: (f64, f64)) -> Account {
        let plan = self.priced.plan;
        let lanes = plan.steps.as_ref().map_or(1, head_lanes);
        let books = Books { program: &self.program, trace: &self.trace, loads: self.loads, lanes };
        let copies: Vec<f64> = plan.stages.iter().map(|stage| price::copies(plan, stage)).collect();
        let stages: HashMap<DeviceId, usize> = plan.slices().map(|(stage, slice)| (slice.device, stage)).collect();
        let mut known: HashMap<(u32, Step, Work, Load), Parts> = HashMap::new();
        books.account(window, &mut |device, step, action: &Action, load| {
            *known.entry((self.priced.kind(device), step, action.work, load)).or_insert_with(|| {
                price::parts(&self.priced, device, step, &action.work, load, copies[stages[&device]])
            })
        })
    }

    /// Operations and bytes of actions that are wanted.
    pub fn amount(&self, wanted: impl Fn(DeviceId, &Action) -> bool) -> Amount {
        let mut sum = Amount::default();
        for lane in &self.program.lanes {
            for action in lane.actions.iter().filter(|action| wanted(lane.device, action)) {
                let Op::Compute(step) = action.op else { continue };
                let load = self.loads[action.micro.index()];
                let load = if step == Step::Logits { Load { tokens: 1, ..load } } else { load };
                let bytes = price::bytes(self.priced.plan, step, &action.work, load);
                sum += Amount { flops: price::flops(&action.work, load), bytes };
            }
        }
        sum
    }

    /// Of the middle layer: the end of the one before, and its own.
    fn window(&self) -> (f64, f64) {
        let (_, from) = self.ends(|action, _| action.layer.is_some_and(|layer| layer < MIDDLE));
        let (_, to) = self.ends(|action, _| in_middle(action));
        (from, to)
    }

    fn times(&self) -> Times {
        marks::layers(&self.program, &self.trace, 0)[MIDDLE as usize]
    }

    /// When the last of some actions ends, and the first of them starts.
    fn ends(&self, wanted: impl Fn(&Action, DeviceId) -> bool) -> (f64, f64) {
        let mut ends = (f64::INFINITY, 0.0f64);
        for span in &self.trace.spans {
            let lane = &self.program.lanes[span.lane as usize];
            if wanted(&lane.actions[span.action as usize], lane.device) {
                ends = (ends.0.min(span.start.0), ends.1.max(span.end.0));
            }
        }
        (ends.0.min(ends.1), ends.1)
    }
}

/// The layer of a case, with where its time goes.
pub fn play(case: &Case) -> Result<Layer, Stuck> {
    let plan = one_stage(&case.plan, case.stage, case.loads.len());
    let played = Played::new(&plan, case.cluster, &case.loads)?;
    let (from, to) = played.window();
    let device = case.slice().device;
    let is_unit = |action: &Action| matches!(action.op, Op::Compute(step) if in_middle(action) && is_heads(step));
    let (first, last) = played.ends(|action, of| of == device && is_unit(action));
    Ok(Layer {
        times: played.times(),
        units_alone: units_alone(&played, device, is_unit),
        units_played: last - first,
        account: played.account((from, to)),
        work: played.amount(|of, action| of == device && in_middle(action)),
    })
}

/// How long a layer of a plan's stage takes, with the load for each micro-batch that takes a layer together.
pub fn times(plan: &Plan, stage: usize, cluster: &Cluster, load: Load) -> Result<Times, Stuck> {
    times_of(plan, stage, cluster, &vec![load; together(plan)])
}

/// How long a layer takes that these micro-batches take together.
pub fn times_of(plan: &Plan, stage: usize, cluster: &Cluster, loads: &[Load]) -> Result<Times, Stuck> {
    let mut plan = one_stage(plan, stage, loads.len());
    let devices: Vec<DeviceId> = plan.stages[0].slices.iter().map(|slice| slice.device).collect();
    keep_examples(&mut plan, cluster);
    let priced = Priced::new(&plan, cluster);
    Ok(Played::at(priced.clone(), &Grouped { priced, devices }, loads)?.times())
}

/// A stage as a model of three layers.
fn one_stage(plan: &Plan, stage: usize, micros: usize) -> Plan {
    let mut alone = plan.clone();
    alone.model.layers = LAYERS;
    alone.workload.micros = micros as u32;
    alone.order = Order::Pipelined; // micro-batches that take the layer together
    alone.stages = vec![Stage { layers: 0..LAYERS, slices: plan.stages[stage].slices.clone() }];
    alone
}

/// Of devices that share nothing and do the same one is enough, and a second one to bring parts together with.
fn keep_examples(plan: &mut Plan, cluster: &Cluster) {
    let on_gpus = cluster.groups.iter().all(|group| matches!(group.kind.prices, Prices::Gpu(_)));
    if !on_gpus || plan.exchange != Exchange::Reduce {
        return;
    }
    let model = plan.model.clone();
    let mut seen: Vec<(&str, [usize; 3])> = Vec::new();
    plan.stages[0].slices.retain(|slice| {
        let kind = cluster.kind(slice.device).map_or("", |kind| &kind.name);
        let shape = (kind, [slice.heads.len(), slice.kv_heads(&model).len(), slice.ffn.len()]);
        let is_new = seen.len() < 2 || !seen.contains(&shape);
        seen.push(shape);
        is_new
    });
}

/// Prices of a plan that has some of a group's devices: exchanges are among all of them.
struct Grouped<'a> {
    priced: Priced<'a>,
    devices: Vec<DeviceId>,
}

impl CostModel for Grouped<'_> {
    fn compute(&self, device: DeviceId, step: Step, work: &Work, load: Load) -> Price {
        self.priced.compute(device, step, work, load)
    }

    fn transfer(&self, from: DeviceId, to: DeviceId, bytes: Bytes) -> Seconds {
        self.priced.transfer(from, to, bytes)
    }

    fn collective(&self, what: Collective, _: &[DeviceId], work: &Work, load: Load) -> Seconds {
        self.priced.collective(what, &self.devices, work, load)
    }

    fn hand_over(&self, device: DeviceId) -> HandOver {
        self.priced.hand_over(device)
    }

    fn link(&self, first: DeviceId, last: DeviceId) -> Option<Link> {
        self.priced.link(first, last)
    }

    fn kind(&self, device: DeviceId) -> u32 {
        self.priced.kind(device)
    }

    fn domain(&self, device: DeviceId) -> Domain {
        self.priced.domain(device)
    }
}

fn in_middle(action: &Action) -> bool {
    action.layer == Some(MIDDLE)
}

fn units_alone(played: &Played, device: DeviceId, is_unit: impl Fn(&Action) -> bool) -> f64 {
    let lanes = played.program.lanes.iter().filter(|lane| lane.device == device);
    let actions = lanes.flat_map(|lane| &lane.actions).filter(|action| is_unit(action));
    let seconds = |action: &Action| match action.op {
        Op::Compute(step) => {
            played.priced.compute(device, step, &action.work, played.loads[action.micro.index()]).seconds.0
        }
        _ => 0.0,
    };
    actions.map(seconds).sum()
}
