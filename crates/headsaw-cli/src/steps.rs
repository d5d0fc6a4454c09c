//! The second cut: flags that send chunks of heads through steps on the lanes of a device, and what they mean for a plan.

use crate::error::Failure;
use crate::output::counted;
use crate::place::Site;
use clap::ValueEnum;
use headsaw::lower::work;
use headsaw::plan::{Flow, HeadSteps, Order, Overlap, Plan, StepCut};
use headsaw::spec::cluster::DeviceKind;

/// How a device's heads go through their steps.
#[derive(Debug, Clone, Default, PartialEq, clap::Args)]
pub struct StepArgs {
    /// Heads that go through the steps together [default: 1 where the steps are cut apart, else all of a device]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub chunk: Option<u32>,
    /// Steps that a head's work is cut into, each on its lane: 1, 2, 3, 5, or as project|score+softmax+context|merge.
    /// Kernels here do score, softmax and context in one: a run says so and takes them together [default: 1]
    #[arg(long, value_name = "S|CUT", allow_hyphen_values = true)]
    pub steps: Option<StepCut>,
    /// What hides behind what inside a device [default: heads where there are several steps or chunks]
    #[arg(long, value_name = "WHAT")]
    pub overlap: Option<OverlapArg>,
}

/// `--overlap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OverlapArg {
    /// Steps and exchanges of a chunk of heads behind the next chunk's
    Heads,
    /// Those of a micro-batch behind another's in the same layer
    Tokens,
    /// Nothing
    None,
    /// The fastest of the three, where it is simulated
    Auto,
}

impl OverlapArg {
    fn meant(self) -> Option<Overlap> {
        match self {
            OverlapArg::Heads => Some(Overlap::Heads),
            OverlapArg::Tokens => Some(Overlap::Tokens),
            OverlapArg::None => Some(Overlap::None),
            OverlapArg::Auto => None,
        }
    }
}

impl StepArgs {
    /// Micro-batches that there have to be at least.
    pub fn micros_least(&self) -> u32 {
        if self.overlap == Some(OverlapArg::Tokens) { 2 } else { 1 }
    }

    /// Three steps, where nobody says how many.
    pub fn or_three(&mut self) {
        self.steps = self.steps.take().or_else(|| Some("3".parse().expect("a cut")));
    }

    /// Does any of the flags ask for steps? `auto` alone does only where there is something to simulate on.
    fn asked(&self, site: Option<&Site>) -> bool {
        let overlap = self.overlap.and_then(OverlapArg::meant).is_some();
        self.chunk.is_some() || self.steps.is_some() || overlap || (self.overlap.is_some() && site.is_some())
    }

    /// Puts the steps onto the lanes of a device: those of its kind on a GPU, else `lanes` in turn.
    pub fn lay(&self, plan: &mut Plan, lanes: Option<u32>, site: Option<&Site>) -> Result<(), Failure> {
        let gpu = site.and_then(Site::gpu);
        if let (Some(lanes), Some(kind)) = (lanes, gpu) {
            return Err(Failure::Input(format!(
                "--lanes {lanes}: a device of {} has the lanes that its file gives the steps (headsaw inspect {}); \
                 leave it out",
                kind.name, kind.name
            )));
        }
        let moved = site.is_some_and(|site| site.is_new_to(plan));
        let (asked, before) = (self.asked(site), plan.steps.take());
        if !asked && before.is_none() {
            plan.lanes = if gpu.is_some() && moved { 1 } else { plan.lanes };
            return Ok(());
        }
        if !asked && lanes.is_none() && !(moved && gpu.is_some()) {
            plan.steps = before;
            return Ok(());
        }
        let flow = self.flow(plan, before.as_ref())?;
        let parts = flow.cut.parts().len() as u32;
        let lanes = lanes.unwrap_or(if before.is_some() { plan.lanes } else { parts });
        plan.steps = Some(placed(flow, gpu, lanes, &mut plan.lanes));
        Ok(())
    }

    fn flow(&self, plan: &Plan, before: Option<&HeadSteps>) -> Result<Flow, Failure> {
        let heads = heads_of_a_device(plan);
        let cut = self.steps.clone().or(before.map(|steps| steps.cut.clone())).unwrap_or_else(whole);
        let apart = cut.parts().len() > 1;
        let usual = before.map_or(if apart { 1 } else { heads }, |steps| steps.chunk.clamp(1, heads));
        let chunk = self.chunk.unwrap_or(usual);
        if chunk > heads {
            return Err(Failure::Input(format!(
                "--chunk {chunk}: a device of this cut holds {} at most; take {}",
                counted(u64::from(heads), "head"),
                if heads == 1 { "1".into() } else { format!("1 to {heads}") }
            )));
        }
        let usual = if apart || chunk < heads { Overlap::Heads } else { Overlap::None };
        let overlap = self.overlap.and_then(OverlapArg::meant).or(before.map(|steps| steps.overlap)).unwrap_or(usual);
        if overlap == Overlap::Tokens && plan.order == Order::Sequential {
            return Err(Failure::input(
                "--overlap tokens: micro-batches go through a layer together with --order pipelined only",
            ));
        }
        Ok(Flow { cut, chunk, interleave: interleave(overlap, plan.workload.micros), overlap })
    }
}

/// Micro-batches that take a layer together: two are enough for one to hide behind the other.
pub fn interleave(overlap: Overlap, micros: u32) -> u32 {
    if overlap == Overlap::Tokens { micros.clamp(1, 2) } else { 1 }
}

/// The most heads that any device holds.
pub fn heads_of_a_device(plan: &Plan) -> u32 {
    work::heads_most(plan)
}

fn whole() -> StepCut {
    "1".parse().expect("a cut")
}

fn placed(flow: Flow, gpu: Option<&DeviceKind>, lanes: u32, count: &mut u32) -> HeadSteps {
    let Some(kind) = gpu else {
        *count = lanes;
        return HeadSteps::in_turn(flow, lanes);
    };
    let (steps, names) = HeadSteps::on(flow, &kind.lanes);
    *count = names.len() as u32;
    steps
}
