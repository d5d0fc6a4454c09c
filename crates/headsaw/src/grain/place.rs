//! The case at hand: a plan with its steps on the lanes of its devices, and variants of it.

use super::Question;
use super::advice::about_middle;
use crate::cost::Load;
use crate::lower::work;
use crate::plan::{CutRequest, Flow, HeadSteps, Overlap, Plan, Slice, Stage, StepCut, cut};
use crate::spec::cluster::{Cluster, DeviceKind};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What is looked at: the stage with the largest slices, a micro-batch from the middle.
pub struct Case<'a> {
    /// The plan, with steps.
    pub plan: Plan,
    /// What it runs on.
    pub cluster: &'a Cluster,
    /// The same with as many devices as the model has heads, so that finer cuts than there are devices for can be priced.
    pub roomy: Cluster,
    /// What each micro-batch carries.
    pub rounds: Vec<Load>,
    /// The one in the middle.
    pub load: Load,
    /// What takes a layer together.
    pub loads: Vec<Load>,
    /// The stage.
    pub stage: usize,
    /// The allowed loss.
    pub loss: f64,
    /// One layer of the largest slice, with nobody beside it.
    lone: Plan,
    /// Cuts over other numbers of devices that were made already: looking for the best one takes a while.
    cuts: RefCell<BTreeMap<u32, Rc<Plan>>>,
}

impl<'a> Case<'a> {
    /// Of a question whose parts fit together.
    pub fn of(question: &Question<'a>) -> Case<'a> {
        let rounds = question.rounds.0[0].clone();
        let load = rounds[rounds.len() / 2];
        let stage = stage(question.plan);
        let cluster = question.cluster;
        let mut plan = question.plan.clone();
        let kind = kind_of(cluster, &plan, stage);
        if plan.steps.is_none() {
            let cut = "3".parse().expect("a cut");
            place(&mut plan, kind, Flow { cut, chunk: 1, interleave: 1, overlap: Overlap::Heads });
        }
        let roomy = with_room(cluster, plan.model.heads);
        let lone = lone(&plan, stage);
        Case {
            loads: about_middle(&plan, &rounds),
            plan,
            cluster,
            roomy,
            load,
            rounds,
            stage,
            loss: question.loss,
            lone,
            cuts: RefCell::default(),
        }
    }

    /// The step cut.
    pub fn steps(&self) -> &HeadSteps {
        self.plan.steps.as_ref().expect("a plan with steps")
    }

    /// The stage that is looked at.
    pub fn held(&self) -> &Stage {
        &self.plan.stages[self.stage]
    }

    /// Its largest slice.
    pub fn slice(&self) -> &Slice {
        largest(self.held())
    }

    /// The kind of the device that holds it.
    pub fn kind(&self) -> &'a DeviceKind {
        kind_of(self.cluster, &self.plan, self.stage)
    }

    /// Q heads of the largest slice.
    pub fn heads(&self) -> u32 {
        self.slice().heads.len() as u32
    }

    /// Its KV heads.
    pub fn kv_heads(&self) -> u32 {
        self.slice().kv_heads(&self.plan.model).len() as u32
    }

    /// Devices that share a layer.
    pub fn tp(&self) -> u32 {
        self.held().slices.len() as u32
    }

    /// Heads of a chunk.
    pub fn chunk(&self) -> u32 {
        self.steps().chunk.clamp(1, self.heads().max(1))
    }

    /// Chunks of a device.
    pub fn chunks(&self) -> u32 {
        work::chunks(&self.plan, self.held())
    }

    /// Lanes that the parts of the step cut use.
    pub fn head_lanes(&self) -> usize {
        head_lanes(self.steps())
    }

    /// The same device and load with other steps.
    pub fn with_flow(&self, flow: Flow) -> Plan {
        self.placed(&self.plan, flow)
    }

    /// A plan of the same kind of devices with other steps.
    pub fn placed(&self, plan: &Plan, flow: Flow) -> Plan {
        let mut plan = plan.clone();
        place(&mut plan, self.kind(), flow);
        plan
    }

    /// How heads go through now.
    pub fn flow(&self) -> Flow {
        let HeadSteps { cut, chunk, interleave, overlap, .. } = self.steps().clone();
        Flow { cut, chunk, interleave, overlap }
    }

    /// All heads of a device in one chunk, nothing hidden: as an engine does it that knows nothing of all this.
    pub fn whole(&self) -> Flow {
        Flow { chunk: self.plan.model.heads, interleave: 1, overlap: Overlap::None, ..self.flow() }
    }

    /// The same lanes without steps: they share every product. Only of lanes that are all alike.
    pub fn shared(&self) -> Option<Plan> {
        let alike = self.steps().others.is_none() && self.plan.lanes > 1;
        alike.then(|| Plan { steps: None, ..self.plan.clone() })
    }

    /// One stage of `tp` devices, all heads of a device in one chunk.
    pub fn with_tp(&self, tp: u32) -> Rc<Plan> {
        let known = self.cuts.borrow().get(&tp).cloned();
        known.unwrap_or_else(|| {
            let plan = Rc::new(self.fresh_tp(tp));
            self.cuts.borrow_mut().insert(tp, Rc::clone(&plan));
            plan
        })
    }

    fn fresh_tp(&self, tp: u32) -> Plan {
        let request = CutRequest {
            tp,
            pp: 1,
            device_weights: vec![],
            lanes: self.plan.lanes,
            exchange: self.plan.exchange,
            order: self.plan.order,
        };
        let mut plan = cut(&self.plan.model, self.plan.workload, &request).expect("as many devices as heads at most");
        plan.steps = self.plan.steps.clone();
        place(&mut plan, self.kind(), self.whole());
        plan
    }

    /// A device with so many heads of the model, or of a larger one of its kind, and nobody beside it.
    pub fn alone(&self, heads: u32) -> Plan {
        let mut plan = self.lone.clone();
        let group = plan.model.heads / plan.model.kv_heads;
        plan.model.kv_heads = plan.model.kv_heads.max(heads.div_ceil(group));
        plan.model.heads = plan.model.kv_heads * group;
        plan.stages[0].slices[0].heads = 0..heads;
        let steps = plan.steps.as_mut().expect("a case has steps");
        steps.chunk = steps.chunk.min(heads);
        plan
    }
}

/// Micro-batches that take a layer together.
pub fn together(plan: &Plan) -> usize {
    let steps = plan.steps.as_ref().filter(|steps| steps.overlap != Overlap::None);
    steps.map_or(1, |steps| steps.interleave.clamp(1, plan.workload.micros.max(1))) as usize
}

/// Lanes that the parts of a step cut use.
pub fn head_lanes(steps: &HeadSteps) -> usize {
    if steps.overlap == Overlap::None {
        return 1;
    }
    let mut lanes = steps.lanes.clone();
    lanes.sort_unstable();
    lanes.dedup();
    lanes.len()
}

/// Steps on lanes as they are placed now: those of the kind, or in turn over lanes that are all alike. A chunk has as many
/// heads as a device of this plan holds, at most.
fn place(plan: &mut Plan, kind: &DeviceKind, flow: Flow) {
    let flow = Flow { chunk: flow.chunk.min(work::heads_most(plan)), ..flow };
    let in_turn = plan.steps.as_ref().is_some_and(|steps| steps.others.is_none());
    if in_turn {
        plan.steps = Some(HeadSteps::in_turn(flow, plan.lanes));
        return;
    }
    let (steps, names) = HeadSteps::on(flow, &kind.lanes);
    plan.lanes = names.len() as u32;
    plan.steps = Some(steps);
}

/// Cuts that are usual.
pub fn usual_cuts() -> impl Iterator<Item = StepCut> {
    ["1", "2", "3", "5"].into_iter().map(|text| text.parse().expect("a cut"))
}

/// The first stage of those whose devices hold most heads.
fn stage(plan: &Plan) -> usize {
    let most = |i: &usize| plan.stages[*i].slices.iter().map(|slice| slice.heads.len()).max();
    (0..plan.stages.len()).rev().max_by_key(most).expect("a stage")
}

fn kind_of<'a>(cluster: &'a Cluster, plan: &Plan, stage: usize) -> &'a DeviceKind {
    cluster.kind(largest(&plan.stages[stage]).device).expect("a device of the cluster")
}

fn with_room(cluster: &Cluster, devices: u32) -> Cluster {
    let mut roomy = cluster.clone();
    let lacking = devices.saturating_sub(cluster.devices());
    if let Some(last) = roomy.groups.last_mut() {
        last.count += lacking;
    }
    roomy
}

/// The first of the slices with most heads.
fn largest(stage: &Stage) -> &Slice {
    stage.slices.iter().rev().max_by_key(|slice| slice.heads.len()).expect("a slice")
}

fn lone(plan: &Plan, stage: usize) -> Plan {
    let slices = vec![largest(&plan.stages[stage]).clone()];
    Plan { stages: vec![Stage { layers: 0..1, slices }], devices: Vec::new(), ..plan.clone() }
}
