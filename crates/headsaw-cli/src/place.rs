//! `--cluster`: the devices that a plan is for, and what of the plan does not fit them.

use crate::cluster::{self, LOCAL};
use crate::cut::CutArgs;
use crate::error::Failure;
use headsaw::plan::Plan;
use headsaw::spec::cluster::{Cluster, DeviceId, DeviceKind, Prices};
use headsaw::verify::{self, Violation};

/// What the devices are.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ClusterArgs {
    /// What the devices are: a preset with a count (h100x8), a TOML file, or local [default: the plan's]
    #[arg(long, value_name = "CLUSTER")]
    pub cluster: Option<String>,
}

/// A cluster, and how it was named.
#[derive(Debug, Clone)]
pub struct Site {
    /// As the user, or the plan, named it.
    pub given: String,
    /// What it is.
    pub cluster: Cluster,
}

impl ClusterArgs {
    /// The cluster of the flag, else the plan's, if either names one.
    pub fn site(&self, base: Option<&Plan>) -> Result<Option<Site>, Failure> {
        let named = self.cluster.clone().or_else(|| base.and_then(|plan| plan.cluster.clone()));
        named.map(|given| Site::find(&given)).transpose()
    }
}

impl Site {
    /// Finds a cluster.
    pub fn find(given: &str) -> Result<Site, Failure> {
        let cluster = cluster::find(given).map_err(|failure| match failure {
            Failure::Input(message) => {
                let lines: Vec<String> = message.lines().map(|line| format!("--cluster {line}")).collect();
                Failure::Input(lines.join("\n"))
            }
            other => other,
        })?;
        Ok(Site { given: given.into(), cluster })
    }

    /// `local` without a count is cut into as many devices as the plan has.
    pub fn sized(self, plan: &Plan) -> Result<Site, Failure> {
        if self.given != LOCAL || plan.devices.len() < 2 {
            return Ok(self);
        }
        let sized = Site::find(&format!("{LOCAL}x{}", plan.devices.len()))?;
        Ok(Site { given: self.given, ..sized })
    }

    /// The kind of the first device, where it is a GPU: its lanes are those of its kind.
    pub fn gpu(&self) -> Option<&DeviceKind> {
        let kind = &self.cluster.groups.first()?.kind;
        matches!(kind.prices, Prices::Gpu(_)).then_some(kind)
    }

    /// Was the plan made for something else?
    pub fn is_new_to(&self, plan: &Plan) -> bool {
        plan.cluster.as_deref() != Some(&self.given)
    }

    /// Names the plan's devices, and says what memory they have. What a plan for this cluster says already stays.
    pub fn put(&self, plan: &mut Plan) {
        let new = self.is_new_to(plan);
        plan.cluster = Some(self.given.clone());
        for (id, device) in plan.devices.iter_mut().enumerate() {
            let kind = self.cluster.kind(DeviceId(id as u32));
            if let Some(kind) = kind.filter(|_| new || device.memory.is_none()) {
                device.name = format!("{} {id}", kind.name);
                device.memory = Some(kind.memory_bytes);
            }
        }
    }
}

/// How places begin that say which device can not hold its slice.
pub const MEMORY: &str = "memory of ";

/// All that is wrong with a plan, on its cluster where it has one; of what does not fit, a word on what would.
pub fn violations(plan: &Plan, site: Option<&Site>, cut: &CutArgs) -> Vec<Violation> {
    let (count, given) = (plan.devices.len(), site.map_or("", |site| &site.given));
    if let Some(there) = site.map(|site| site.cluster.devices()).filter(|there| count > *there as usize) {
        let expected = format!("at most {there}, as {given} has (tp × pp)");
        return vec![Violation { at: "devices".into(), expected, got: count.to_string() }];
    }
    let mut found = verify::plan(plan);
    let memory = |violation: &Violation| violation.at.starts_with(MEMORY);
    if let Some(site) = site
        && found.iter().all(memory)
        && let Some(first) = found.first_mut()
    {
        first.expected += &format!(" ({})", what_would_fit(plan, site, cut));
    }
    found
}

/// The smallest cut into more parts that fits: over more heads' devices first, then into more stages.
fn what_would_fit(plan: &Plan, site: &Site, cut: &CutArgs) -> String {
    let tp = plan.stages.first().map_or(1, |stage| stage.slices.len() as u32);
    let pp = plan.stages.len() as u32;
    let most = site.cluster.devices();
    let wider = doubled(tp, plan.model.heads).map(|tp| (tp, pp));
    let longer = doubled(pp, plan.model.layers).flat_map(|pp| {
        let widths = std::iter::once(tp).chain(doubled(tp, plan.model.heads));
        widths.map(move |tp| (tp, pp))
    });
    let tried = wider.chain(longer).filter(|(tp, pp)| u64::from(*tp) * u64::from(*pp) <= u64::from(most)).take(TRIES);
    for (tp, pp) in tried {
        let other = CutArgs { tp: Some(tp), pp: Some(pp), ..cut.without_shape() };
        if other.over(plan.clone(), None, Some(site)).is_ok_and(|plan| verify::plan(&plan).is_empty()) {
            return format!("--tp {tp} --pp {pp} would fit");
        }
    }
    format!("no cut over the {most} device(s) of {} fits: take more devices, or a smaller batch or context", site.given)
}

/// Cuts that are tried before giving up.
const TRIES: usize = 24;

fn doubled(from: u32, most: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(from.checked_mul(2), |n| n.checked_mul(2)).take_while(move |n| *n <= most)
}
