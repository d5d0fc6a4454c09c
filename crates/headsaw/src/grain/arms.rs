//! What a measurement runs: the points of the curves as cuts that threads can run, each with its prediction.

use super::advice::joined;
use super::curve::sizes;
use super::layer::times_of;
use super::marks::{Times, layers};
use super::overlap::{halved, overlaps};
use super::place::{Case, together, usual_cuts};
use super::{NoGrain, Question, check};
use crate::cost::Load;
use crate::lower::lower;
use crate::plan::{Flow, Order, Overlap, Plan};
use crate::program::Program;
use crate::simulate::{Rounds, Stuck};
use crate::trace::Trace;
use crate::verify;

/// Where a cut stands in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// The plan.
    Here,
    /// The plan's steps one after another.
    Serial,
    /// No steps at all: the lanes share each product.
    Shared,
    /// All steps in one, all heads at once.
    Uncut,
    /// So many devices share a layer.
    Tp(u32),
    /// So many heads a chunk.
    Chunk(u32),
    /// So many parts of the step cut.
    Steps(u32),
    /// What hides behind what.
    Overlap(Overlap),
}

/// A cut to be run.
#[derive(Debug, Clone)]
pub struct Arm {
    /// Where it stands; equal cuts stand in several places.
    pub spots: Vec<Spot>,
    /// One stage of all layers, with room for what goes through.
    pub plan: Plan,
    /// Its program.
    pub program: Program,
    /// What the slots of a round carry.
    pub loads: Vec<Load>,
    /// By simulation.
    pub predicted: Times,
}

/// The most devices whose threads are tried beside each other.
const TP_MOST: u32 = 4;

/// The cuts whose measurement belongs onto the curves of [`super::grain`]: those that kernels here can run, each once.
///
/// # Errors
/// As [`super::grain`].
pub fn arms(question: &Question) -> Result<Vec<Arm>, NoGrain> {
    check(question)?;
    let case = Case::of(question);
    let mut arms: Vec<Arm> = Vec::new();
    for (spot, plan, loads) in cuts(&case)? {
        let plan = alone(&case, plan, &loads);
        match arms.iter_mut().find(|arm| arm.plan == plan && arm.loads == loads) {
            Some(arm) => arm.spots.push(spot),
            None if runs(&plan) => arms.push(Arm {
                spots: vec![spot],
                program: lower(&plan),
                predicted: times_of(&plan, 0, &case.roomy, &loads)?,
                plan,
                loads,
            }),
            None => {}
        }
    }
    Ok(arms)
}

/// All of them, with what goes through each.
fn cuts(case: &Case) -> Result<Vec<(Spot, Plan, Vec<Load>)>, Stuck> {
    let (flow, all) = (case.flow(), vec![joined(&case.loads)]);
    let same = |plan: &Plan| vec![case.load; together(plan)];
    let mut cuts = vec![(Spot::Here, case.plan.clone(), case.loads.clone())];
    let serial = case.with_flow(Flow { overlap: Overlap::None, interleave: 1, ..flow.clone() });
    cuts.push((Spot::Serial, serial, all.clone()));
    cuts.extend(case.shared().map(|plan| (Spot::Shared, plan, all.clone())));
    cuts.push((Spot::Uncut, case.with_flow(Flow { cut: "1".parse().expect("a cut"), ..case.whole() }), all));
    let most = TP_MOST.min(case.plan.model.heads);
    cuts.extend((1..=most).map(|tp| (Spot::Tp(tp), Plan::clone(&case.with_tp(tp)), vec![case.load])));
    for chunk in sizes(case.heads(), case.chunk()) {
        let plan = case.with_flow(Flow { chunk, ..flow.clone() });
        cuts.push((Spot::Chunk(chunk), plan.clone(), same(&plan)));
    }
    for cut in usual_cuts() {
        let parts = cut.parts().len() as u32;
        let plan = case.with_flow(Flow { cut, ..flow.clone() });
        cuts.push((Spot::Steps(parts), plan.clone(), same(&plan)));
    }
    cuts.push((Spot::Overlap(Overlap::None), case.with_flow(case.whole()), vec![case.load]));
    let chunk = overlaps(case)?.here.chunk;
    let by_heads = Flow { chunk, interleave: 1, overlap: Overlap::Heads, ..flow };
    cuts.push((Spot::Overlap(Overlap::Heads), case.with_flow(by_heads), vec![case.load]));
    let by_tokens = Flow { overlap: Overlap::Tokens, interleave: 2, ..case.whole() };
    let halves =
        halved(case.load).map(|halves| (Spot::Overlap(Overlap::Tokens), case.with_flow(by_tokens), halves.to_vec()));
    cuts.extend(halves);
    Ok(cuts)
}

/// As a plan of its own: one stage, room for what goes through it.
fn alone(case: &Case, mut plan: Plan, loads: &[Load]) -> Plan {
    let (first, last) = (loads[0], loads[loads.len() - 1]);
    plan.stages.truncate(1);
    plan.order = Order::Pipelined;
    let workload = &mut plan.workload;
    workload.micros = loads.len() as u32;
    workload.tokens = loads.iter().map(Load::rows).max().unwrap_or(1).max(first.past.min(512));
    workload.batch = first.sequences;
    workload.context = workload.context.max(last.past + last.tokens).min(case.plan.model.context);
    plan
}

/// Can threads here do it? They do score, softmax and context in one.
fn runs(plan: &Plan) -> bool {
    let whole = plan.steps.as_ref().is_none_or(|steps| steps.cut == steps.cut.attend_whole());
    whole && verify::plan(plan).is_empty()
}

impl Arm {
    /// The times of a layer in what was recorded of a run: the median of the layers inside, over the rounds that carry what
    /// the arm's does (while generating, whatever is cached). None where there is none.
    pub fn times(&self, rounds: &Rounds, trace: &Trace) -> Option<Times> {
        let fits = |slots: &Vec<Load>| slots.len() == self.loads.len() && slots.iter().zip(&self.loads).all(alike);
        let rounds = rounds.0.iter().enumerate().filter(|(_, slots)| fits(slots));
        let times: Vec<Times> =
            rounds.flat_map(|(round, _)| inside(layers(&self.program, trace, round as u32))).collect();
        Times::median(&times)
    }
}

fn alike((a, b): (&Load, &Load)) -> bool {
    a.sequences == b.sequences && a.tokens == b.tokens && (a.past == b.past || a.tokens == 1)
}

/// Without the first and the last, where there are more.
fn inside(mut times: Vec<Times>) -> Vec<Times> {
    if times.len() > 2 {
        times.pop();
        times.remove(0);
    }
    times
}
