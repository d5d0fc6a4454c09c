//! `--cluster`: the devices that a plan is for, and what of the plan does not fit them.

use crate::cluster::{self, LOCAL};
use crate::cut::CutArgs;
use crate::error::Failure;
use crate::output::counted;
use crate::progress::Waiting;
use headsaw::plan::Plan;
use headsaw::spec::cluster::{Cluster, DeviceId, DeviceKind, Link, Prices};
use headsaw::spec::short;
use headsaw::verify::{self, Violation};

/// What the devices are.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ClusterArgs {
    /// What the devices are: a preset with a count (h100x8), a TOML file, or local [default: the plan's; for run and bench
    /// local]
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
    /// The link that was laid over it.
    link: Option<Link>,
}

impl ClusterArgs {
    /// The cluster of the flag, else that of a plan (file and name), if either names one.
    pub fn site(&self, planned: Option<(&str, &str)>) -> Result<Option<Site>, Failure> {
        match (&self.cluster, planned) {
            (Some(given), _) => Site::find(given).map(Some),
            (None, Some((file, given))) => Site::planned(file, given).map(Some),
            (None, None) => Ok(None),
        }
    }
}

impl Site {
    /// Finds a cluster.
    pub fn find(given: &str) -> Result<Site, Failure> {
        let cluster = cluster::find(given).map_err(|failure| told_at("--cluster ", failure))?;
        Ok(Site { given: given.into(), cluster, link: None })
    }

    /// This machine, as it was just measured.
    pub fn measured(mut cluster: Cluster) -> Site {
        cluster.groups.iter_mut().for_each(|group| group.count = 1); // until a plan says more
        Site { given: LOCAL.into(), cluster: cluster::here(cluster), link: None }
    }

    /// Finds the cluster that a plan names.
    fn planned(file: &str, given: &str) -> Result<Site, Failure> {
        let cluster = cluster::find_planned(given);
        let cluster = cluster.map_err(|failure| told_at(&format!("{file}: field cluster: "), failure))?;
        Ok(Site { given: given.into(), cluster, link: None })
    }

    /// The same with a link between all devices, where one is given: threads of a machine have none of their own.
    pub fn over(mut self, link: Option<Link>) -> Result<Site, Failure> {
        let Some(link) = link else { return Ok(self) };
        if let Some(kind) = self.gpu() {
            return Err(Failure::Input(format!(
                "--link {link}: a link is laid between threads of a machine (--cluster local, or a file of headsaw \
                 calibrate); those of {} are the levels of its file, see headsaw inspect {}: leave it out",
                kind.name, kind.name
            )));
        }
        self.cluster.levels.iter_mut().for_each(|level| level.link = Some(link));
        Ok(Site { link: Some(link), ..self })
    }

    /// The link that joins all devices.
    pub fn link(&self) -> Option<Link> {
        self.cluster.levels.last().and_then(|level| level.link)
    }

    /// `local` without a count is cut into as many devices as the plan has.
    pub fn sized(self, plan: &Plan) -> Result<Site, Failure> {
        if self.given != LOCAL || plan.devices.len() < 2 {
            return Ok(self);
        }
        let mut sized = Site::find(&format!("{LOCAL}x{}", plan.devices.len()))?;
        if let (Some(to), Some(from)) = (sized.cluster.groups.first_mut(), self.cluster.groups.into_iter().next()) {
            to.kind.prices = from.kind.prices; // they may have been measured
        }
        sized.cluster.levels = self.cluster.levels;
        Site { given: self.given, ..sized }.over(self.link)
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

    /// Names the plan's devices after their kinds, and says what memory they have: no more than their kind has, and
    /// of a plan for this cluster no more than it says.
    pub fn put(&self, plan: &mut Plan) {
        let new = self.is_new_to(plan);
        plan.cluster = Some(self.given.clone());
        for (id, device) in plan.devices.iter_mut().enumerate() {
            let Some(kind) = self.cluster.kind(DeviceId(id as u32)) else { continue };
            device.name = format!("{} {id}", kind.name);
            let own = device.memory.filter(|_| !new).unwrap_or(kind.memory_bytes);
            device.memory = Some(own.min(kind.memory_bytes));
        }
    }
}

/// Every line of a failure, with where it is before it.
fn told_at(place: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Input(message) => {
            let lines: Vec<String> = message.lines().map(|line| format!("{place}{line}")).collect();
            Failure::Input(lines.join("\n"))
        }
        other => other,
    }
}

/// How places begin that say which device can not hold its slice.
pub const MEMORY: &str = "memory of ";

/// All that is wrong with a plan, on its cluster where it has one; of what does not fit, a word on what would.
pub fn violations(plan: &Plan, site: Option<&Site>, cut: &CutArgs) -> Vec<Violation> {
    let (count, given) = (plan.devices.len(), site.map_or("", |site| &site.given));
    if let Some(there) = site.map(|site| site.cluster.devices()).filter(|there| count > *there as usize) {
        let expected = format!("at most {there}, as {} has (tp × pp)", short(given));
        return vec![Violation { at: "devices".into(), expected, got: count.to_string() }];
    }
    let _waiting = Waiting::begin("checking the plan");
    let mut found = verify::plan(plan);
    let memory = |violation: &Violation| violation.at.starts_with(MEMORY);
    if let Some(site) = site
        && found.iter().all(memory)
        && let Some(first) = found.first_mut()
    {
        let hint = own_memory(plan, site).unwrap_or_else(|| what_would_fit(plan, site, cut));
        first.expected += &format!(" ({hint})");
    }
    found
}

/// What the plan takes from its devices, where it would fit without that.
fn own_memory(plan: &Plan, site: &Site) -> Option<String> {
    let mut whole = plan.clone();
    let mut less = Vec::new();
    for (id, device) in whole.devices.iter_mut().enumerate() {
        let kind = site.cluster.kind(DeviceId(id as u32))?;
        if device.memory.is_some_and(|own| own < kind.memory_bytes) {
            less.push(format!("devices[{id}].memory: the {} has {}", kind.name, kind.memory_bytes));
            device.memory = Some(kind.memory_bytes);
        }
    }
    let first = less.first()?;
    let more = if less.len() > 1 { format!(", and so for {} more", less.len() - 1) } else { "".into() };
    verify::plan(&whole).is_empty().then(|| format!("so says the plan in {first}{more}; with that it would fit"))
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
    format!(
        "no cut over the {} of {} fits: take more devices, or a smaller batch or context",
        counted(u64::from(most), "device"),
        short(&site.given)
    )
}

/// Cuts that are tried before giving up.
const TRIES: usize = 24;

fn doubled(from: u32, most: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(from.checked_mul(2), |n| n.checked_mul(2)).take_while(move |n| *n <= most)
}
