//! The plan nearest to one that an engine refuses, that it can take.

use super::cut::Cut;
use super::rules::joined;
use super::{Engine, Request, ruled_out};
use crate::plan::{CutRequest, Plan, Stage, cut};
use crate::verify;

/// A plan that an engine can take, and how it differs from the one that it can not.
#[derive(Debug, Clone, PartialEq)]
pub struct Nearest {
    /// The plan.
    pub plan: Plan,
    /// What is other than asked.
    pub differs: Vec<String>,
}

/// Plans that are held against their devices' memory before giving up.
const TRIES: usize = 24;

/// The plan that the engine can take and that has as many of the devices at work as can be; of those the one whose tp and
/// pp are closest. None where there is none, or where the plan is no plan.
pub fn nearest(plan: &Plan, engine: Engine, request: &Request) -> Option<Nearest> {
    if !plan.model.check().is_empty() || plan.stages.is_empty() || plan.devices.is_empty() {
        return None;
    }
    let devices = plan.devices.len() as u32;
    let heads = plan.model.heads;
    let tps = (1..=heads.min(devices)).filter(|tp| heads.is_multiple_of(*tp));
    let mut found: Vec<Plan> = tps.filter_map(|tp| longest(plan, tp, engine, request)).collect();
    let asked = Cut::of(plan);
    let far = |plan: &Plan| {
        let cut = Cut::of(plan);
        let ratio = |a: u32, b: u32| f64::from(a.max(b)) / f64::from(a.min(b));
        ratio(cut.tp, asked.tp) * ratio(cut.pp(), asked.pp())
    };
    found.sort_by(|a, b| b.devices.len().cmp(&a.devices.len()).then(far(a).total_cmp(&far(b))));
    let fits = |other: &Plan| verify::plan(other).is_empty();
    let near = found.into_iter().take(TRIES).find(fits)?;
    Some(Nearest { differs: differences(plan, &near), plan: near })
}

/// With this tp, the most stages that there are devices for and that the engine takes; those of the plan where it has
/// as many.
fn longest(plan: &Plan, tp: u32, engine: Engine, request: &Request) -> Option<Plan> {
    let most = (plan.devices.len() as u32 / tp).min(plan.model.layers);
    let accepted = |plan: &Plan| ruled_out(plan, engine, request).is_empty();
    (1..=most).rev().find_map(|pp| {
        let even = recut(plan, tp, pp)?;
        let kept = (pp as usize == plan.stages.len()).then(|| with_layers(even.clone(), &plan.stages));
        kept.into_iter().chain([even]).find(accepted)
    })
}

/// The plan cut anew over equal devices.
fn recut(plan: &Plan, tp: u32, pp: u32) -> Option<Plan> {
    let request =
        CutRequest { tp, pp, device_weights: vec![], lanes: plan.lanes, exchange: plan.exchange, order: plan.order };
    let again = cut(&plan.model, plan.workload, &request).ok()?;
    let devices = plan.devices.iter().take((tp * pp) as usize).cloned();
    let devices = devices.map(|device| crate::spec::cluster::Device { weight: 1.0, ..device }).collect();
    Some(Plan { devices, stages: again.stages, ..plan.clone() })
}

fn with_layers(mut plan: Plan, stages: &[Stage]) -> Plan {
    for (to, from) in plan.stages.iter_mut().zip(stages) {
        to.layers = from.layers.clone();
    }
    plan
}

fn differences(asked: &Plan, near: &Plan) -> Vec<String> {
    let (from, to) = (Cut::of(asked), Cut::of(near));
    let mut differ = Vec::new();
    let tps: Vec<usize> = asked.stages.iter().map(|stage| stage.slices.len()).collect();
    if tps.iter().any(|tp| *tp as u32 != to.tp) {
        let same = tps.iter().all(|tp| *tp == tps[0]);
        let were = if same { from.tp.to_string() } else { joined(&tps) };
        differ.push(format!("tp {} instead of {were}", to.tp));
    }
    if from.pp() != to.pp() {
        differ.push(format!("pp {} instead of {}", to.pp(), from.pp()));
    }
    if from.layers != to.layers {
        differ.push(format!("stages of {} layers instead of {}", joined(&to.layers), joined(&from.layers)));
    }
    let heads = |plan: &Plan| -> Vec<usize> { plan.stages[0].slices.iter().map(|s| s.heads.len()).collect() };
    if heads(asked) != heads(near) {
        let [to, from] = [heads(near), heads(asked)].map(|held| each(&held));
        differ.push(format!("heads on a device: {to} instead of {from}"));
    } else if asked.stages.iter().zip(&near.stages).any(|(a, b)| a.slices != b.slices) && differ.is_empty() {
        differ.push("equal shares of heads, MLP columns and vocabulary on the devices of each stage".into());
    }
    let idle = asked.devices.len() - near.devices.len();
    if idle > 0 {
        let stand = if idle == 1 { "stands" } else { "stand" };
        differ.push(format!("{idle} of {} devices {stand} idle", asked.devices.len()));
    }
    differ
}

/// `8` where all are 8, else all of them.
fn each(held: &[usize]) -> String {
    let equal = held.windows(2).all(|pair| pair[0] == pair[1]);
    if equal { held[0].to_string() } else { joined(held) }
}
