//! What to change, each with its price: how much longer a layer is then, on how many devices, and what it loses.
//!
//! A change names all flags that belong together, so that whoever takes it over is told what was promised.

use super::curve::{self, Curves};
use super::half::Range;
use super::layer::times_of;
use super::overlap::{Overlaps, halved};
use super::place::{Case, together};
use crate::cost::Load;
use crate::lower::work;
use crate::plan::{Flow, Overlap, Plan};
use crate::simulate::Stuck;
use serde::Serialize;

/// Changes that belong together, and their price.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Advice {
    /// Devices that share a layer, of those there are.
    pub tp: Option<u32>,
    /// Heads of a chunk.
    pub chunk: Option<u32>,
    /// Sequences that go through together.
    pub sequences: Option<u32>,
    /// Tokens of a prompt.
    pub tokens: Option<u32>,
    /// What hides behind what; by tokens the same load is cut into two micro-batches.
    pub overlap: Option<Overlap>,
    /// Seconds of a layer then ÷ now.
    pub longer: f64,
    /// Devices that share it then ÷ now.
    pub devices: f64,
    /// Tokens of all sequences then ÷ now.
    pub rows: f64,
    /// Share of the first half's time that the device's heads lose then against a device full of heads.
    pub loss: f64,
    /// The same now.
    pub loss_now: f64,
}

/// The most tokens of all sequences in one micro-batch.
pub const ROWS_MOST: u32 = 65_536;

/// What advice is made of.
pub struct Adviser<'a, 'b> {
    pub case: &'a Case<'b>,
    pub curves: &'a Curves,
    /// Seconds of the layer now.
    pub now: f64,
}

impl Adviser<'_, '_> {
    /// The price of a plan of one stage, `heads` on its largest device, with other loads.
    fn priced(&self, plan: &Plan, stage: usize, heads: u32, loads: &[Load]) -> Result<Advice, Stuck> {
        let (case, one) = (self.case, loads[loads.len() / 2]);
        let seconds = times_of(plan, stage, &case.roomy, loads)?.seconds;
        let rows = |loads: &[Load]| loads.iter().map(|load| f64::from(load.rows())).sum::<f64>();
        Ok(Advice {
            tp: None,
            chunk: None,
            sequences: None,
            tokens: None,
            overlap: None,
            longer: seconds / self.now,
            devices: plan.stages[stage].slices.len() as f64 / f64::from(case.tp()),
            rows: rows(loads) / rows(&case.loads),
            loss: Range::of(case, one).loss_of(case, heads, one),
            loss_now: self.curves.heads.choice.map_or(0.0, |at| self.curves.heads.points[at].loss),
        })
    }

    /// So many devices, with chunks that are right there.
    pub fn devices(&self, tp: u32) -> Result<Advice, Stuck> {
        let case = self.case;
        let whole = case.with_tp(tp);
        let heads = largest(&whole, 0);
        let chunk = self.chunk_of(&whole, 0, heads, case.load)?;
        let plan = case.placed(&whole, self.flow(chunk));
        Ok(Advice { tp: Some(tp), chunk, ..self.priced(&plan, 0, heads, &case.loads)? })
    }

    /// Another load, with chunks that are right then.
    pub fn load(&self, load: Load) -> Result<Advice, Stuck> {
        let case = self.case;
        let chunk = self.chunk_of(&case.plan, case.stage, case.heads(), load)?;
        let loads: Vec<Load> = case.loads.iter().map(|own| Load { past: own.past, ..load }).collect();
        let priced = self.priced(&case.with_flow(self.flow(chunk)), case.stage, case.heads(), &loads)?;
        let sequences = (load.sequences != case.load.sequences).then_some(load.sequences);
        let tokens = (load.tokens != case.load.tokens).then_some(load.tokens);
        Ok(Advice { chunk, sequences, tokens, ..priced })
    }

    /// Other chunks.
    pub fn chunk(&self, chunk: u32) -> Result<Advice, Stuck> {
        let case = self.case;
        let plan = case.with_flow(self.flow(Some(chunk)));
        Ok(Advice { chunk: Some(chunk), ..self.priced(&plan, case.stage, case.heads(), &case.loads)? })
    }

    /// The fastest overlap, where it is another one than the plan's and one micro-batch is looked at.
    pub fn overlap(&self, overlaps: &Overlaps) -> Result<Option<Advice>, Stuck> {
        let (case, here) = (self.case, &overlaps.here);
        let overlap = here.fastest();
        let (flow, loads) = match overlap {
            Overlap::None => return Ok(None),
            Overlap::Heads => (Flow { chunk: here.chunk, interleave: 1, overlap, ..case.flow() }, vec![case.load]),
            Overlap::Tokens => {
                let Some(halves) = halved(case.load).filter(|[a, b]| a.tokens > 1 || a == b) else { return Ok(None) };
                (Flow { chunk: case.heads(), interleave: 2, overlap, ..case.flow() }, halves.to_vec())
            }
        };
        if case.rounds.len() > 1 || overlap == case.steps().overlap {
            return Ok(None);
        }
        let chunk = (flow.chunk != case.chunk()).then_some(flow.chunk);
        let mut plan = case.with_flow(flow);
        plan.workload.micros = loads.len() as u32;
        let advice = self.priced(&plan, case.stage, case.heads(), &loads)?;
        let sequences = Some(loads[0].sequences).filter(|sequences| *sequences != case.load.sequences);
        let is_worth = advice.longer < 1.0 - super::overlap::SAME;
        Ok(is_worth.then_some(Advice { overlap: Some(overlap), chunk, sequences, ..advice }))
    }

    fn flow(&self, chunk: Option<u32>) -> Flow {
        Flow { chunk: chunk.unwrap_or(self.case.steps().chunk), ..self.case.flow() }
    }

    /// The smallest chunk that is enough, where the plan's is smaller.
    fn chunk_of(&self, plan: &Plan, stage: usize, heads: u32, load: Load) -> Result<Option<u32>, Stuck> {
        let own = self.case.steps().chunk.clamp(1, heads.max(1));
        let curve = curve::chunks(self.case, plan, stage, (heads, own), load)?;
        Ok(curve.knee.map(|at| curve.points[at].size).filter(|enough| own < *enough))
    }

    /// The most devices, fewer than now, on which heads are enough and the model fits.
    pub fn fewer_devices(&self) -> Option<u32> {
        let (case, smallest) = (self.case, self.curves.smallest_heads);
        let enough = |tp: &u32| {
            case.plan.model.heads / tp >= smallest && {
                let plan = case.with_tp(*tp);
                largest(&plan, 0) >= smallest && has_room(case, &plan)
            }
        };
        (1..case.tp()).rev().find(enough)
    }

    /// The fewest tokens, in more prompts if possible, else in longer ones, at which these heads are enough.
    pub fn enough_tokens(&self) -> Option<Load> {
        let case = self.case;
        let efficient = |load: &Load| Range::of(case, *load).loss_of(case, case.heads(), *load) <= case.loss;
        let fits = |load: &Load| has_room_for(case, *load);
        larger(case).into_iter().filter(efficient).find(fits)
    }
}

/// Loads twice, four, … times as large: more sequences, and of prompts that go through at once more tokens.
fn larger(case: &Case) -> Vec<Load> {
    let load = case.load;
    let powers = || std::iter::successors(Some(1u32), |factor| factor.checked_mul(2));
    let may_be_longer = load.tokens > 1 && load.past == 0 && case.rounds.len() == 1;
    let longest = if may_be_longer { case.plan.model.context } else { load.tokens };
    let tokens = powers().filter_map(|factor| load.tokens.checked_mul(factor)).take_while(|tokens| *tokens <= longest);
    let of = |tokens: u32| {
        let all = powers().filter_map(|factor| load.sequences.checked_mul(factor));
        let fit = all.take_while(move |sequences| sequences.checked_mul(tokens).is_some_and(|rows| rows <= ROWS_MOST));
        fit.map(move |sequences| Load { sequences, tokens, ..load })
    };
    let mut loads: Vec<Load> = tokens.flat_map(of).filter(|other| other.rows() > load.rows()).collect();
    loads.sort_by_key(|other| (other.tokens != load.tokens, other.rows(), other.sequences)); // the same prompts first
    loads
}

fn largest(plan: &Plan, stage: usize) -> u32 {
    plan.stages[stage].slices.iter().map(|slice| slice.heads.len() as u32).max().unwrap_or(0)
}

/// Would the caches of so many sequences, in each micro-batch, fit on these devices?
fn has_room_for(case: &Case, load: Load) -> bool {
    let mut plan = Plan::clone(&case.with_tp(case.tp()));
    let slots = if load.tokens == 1 { case.rounds.len() as u32 } else { 1 };
    let workload = &mut plan.workload;
    workload.sequences = workload.sequences.max(load.sequences.saturating_mul(slots));
    workload.context = workload.context.max(load.past.saturating_add(load.tokens));
    has_room(case, &plan)
}

/// Do weights and cache of an equal part of the layers fit into the memory of each device?
fn has_room(case: &Case, plan: &Plan) -> bool {
    let (cluster, stages) = (&case.roomy, case.plan.stages.len() as u64);
    plan.slices().all(|(stage, slice)| {
        let held = work::slice_weights(plan, stage, slice) + work::slice_cache(plan, stage, slice);
        let room = cluster.kind(slice.device).map_or(0, |kind| kind.memory_bytes.0);
        held.0 / stages <= room
    })
}

/// Seconds of the layer with all steps in one and all heads at once, for the tokens that take a layer together.
pub fn uncut(case: &Case) -> Result<f64, Stuck> {
    let flow = Flow { cut: "1".parse().expect("a cut"), ..case.whole() };
    Ok(times_of(&case.with_flow(flow), case.stage, case.cluster, &[joined(&case.loads)])?.seconds)
}

/// Seconds of the layer without steps, where all lanes share every product, for the same tokens.
pub fn shared(case: &Case) -> Result<Option<f64>, Stuck> {
    let seconds = |plan: Plan| times_of(&plan, case.stage, case.cluster, &[joined(&case.loads)]);
    Ok(case.shared().map(seconds).transpose()?.map(|times| times.seconds))
}

/// Micro-batches as one: sequences that generate beside each other, chunks of prompts one behind the other.
pub fn joined(loads: &[Load]) -> Load {
    let (first, sum) = (loads[0], |of: fn(&Load) -> u32| loads.iter().map(of).fold(0, u32::saturating_add));
    match first.tokens {
        1 => Load { sequences: sum(|load| load.sequences), ..first },
        _ => Load { tokens: sum(|load| load.tokens), ..first },
    }
}

/// Micro-batches of one round that take a layer together: those about the middle.
pub fn about_middle(plan: &Plan, rounds: &[Load]) -> Vec<Load> {
    let size = together(plan).min(rounds.len());
    let start = (rounds.len() / 2 / size * size).min(rounds.len() - size);
    rounds[start..start + size].to_vec()
}
