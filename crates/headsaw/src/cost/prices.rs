//! What a plan's actions take on a cluster: each device priced by its kind.

use super::Load;
use super::group::GroupShape;
use super::model::{Capacity, Collective, CostModel, Domain, HandOver};
use super::table::Price;
use super::{collective, gpu, lane};
use crate::plan::Plan;
use crate::program::{Step, Work};
use crate::spec::cluster::{Cluster, DeviceId, DeviceKind, Link, Prices};
use crate::units::{Bytes, Seconds};

/// A plan's devices on a cluster: device `i` of the plan is device `i` of the cluster.
#[derive(Debug, Clone)]
pub struct Priced<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The cluster; it has at least the plan's devices.
    pub cluster: &'a Cluster,
    /// For CPU devices, where there are any.
    ground: Option<lane::Ground>,
}

impl<'a> Priced<'a> {
    /// Prices for a plan. Panics where the cluster has fewer devices than the plan.
    pub fn new(plan: &'a Plan, cluster: &'a Cluster) -> Priced<'a> {
        let (needed, there) = (plan.devices.len() as u64, u64::from(cluster.devices()));
        assert!(needed <= there, "a plan of {needed} devices on a cluster of {there}");
        let table = cluster.groups.iter().find_map(|group| match &group.kind.prices {
            Prices::Table(table) => Some(table),
            Prices::Gpu(_) => None,
        });
        Priced { plan, cluster, ground: table.map(|table| lane::Ground::of(plan, table)) }
    }

    /// The kind of a device.
    pub fn device_kind(&self, device: DeviceId) -> &'a DeviceKind {
        self.cluster.kind(device).expect("a device of the cluster")
    }

    /// What of a step's price does not shrink with its size: launching kernels, beginning an action.
    pub fn launch(&self, device: DeviceId, step: Step, work: &Work) -> Seconds {
        match &self.device_kind(device).prices {
            Prices::Gpu(card) => gpu::launch(card, step, work),
            Prices::Table(table) => table.action_seconds,
        }
    }
}

impl CostModel for Priced<'_> {
    fn compute(&self, device: DeviceId, step: Step, work: &Work, load: Load) -> Price {
        let kind = self.device_kind(device);
        match &kind.prices {
            Prices::Gpu(card) => gpu::step(self.plan, kind, card, step, work, load),
            Prices::Table(table) => {
                let ground = self.ground.as_ref().expect("made where there is a table");
                lane::step(self.plan, table, ground, step, work, load)
            }
        }
    }

    fn transfer(&self, from: DeviceId, to: DeviceId, bytes: Bytes) -> Seconds {
        if from == to {
            return Seconds(0.0);
        }
        let (first, last) = (from.min(to), from.max(to));
        match &self.device_kind(from).prices {
            Prices::Gpu(_) => collective::send(&self.cluster.levels, group(&[first, last]), bytes),
            Prices::Table(_) => lane::transfer(&self.cluster.levels, bytes),
        }
    }

    fn collective(&self, what: Collective, devices: &[DeviceId], work: &Work, load: Load) -> Seconds {
        let levels = &self.cluster.levels;
        let count = devices.len() as u32;
        let bytes = work.sent * u64::from(load.rows());
        match (&self.device_kind(devices[0]).prices, what) {
            (Prices::Gpu(_), Collective::AllReduce) => collective::all_reduce(levels, group(devices), bytes),
            (Prices::Gpu(_), Collective::AllGather) => {
                collective::all_gather(levels, group(devices), bytes * u64::from(count))
            }
            (Prices::Table(table), what) => lane::collective(table, levels, what, count, work, load),
        }
    }

    fn hand_over(&self, device: DeviceId) -> HandOver {
        match &self.device_kind(device).prices {
            Prices::Gpu(_) => HandOver::default(), // in the launch of each kernel
            Prices::Table(table) => lane::hand_over(self.plan, table),
        }
    }

    fn link(&self, first: DeviceId, last: DeviceId) -> Option<Link> {
        let of = |device| matches!(self.device_kind(device).prices, Prices::Table(_));
        if of(first) && of(last) { self.cluster.link(first, last) } else { None }
    }

    fn kind(&self, device: DeviceId) -> u32 {
        let ends = self.cluster.groups.iter().scan(0u32, |end, group| {
            *end = end.saturating_add(group.count);
            Some(*end)
        });
        ends.take_while(|end| *end <= device.0).count() as u32
    }

    fn domain(&self, device: DeviceId) -> Domain {
        let kind = self.device_kind(device);
        match &kind.prices {
            Prices::Gpu(gpu) => {
                let capacity = Capacity::Overlap { lanes: kind.overlap, exchange: kind.exchange_overlap };
                Domain { id: device.0, bytes_per_second: gpu.memory_bytes_per_second, capacity }
            }
            Prices::Table(table) => {
                let capacity = Capacity::Cores { cores: table.cores, together: table.together.unwrap_or(1.0) };
                Domain { id: u32::MAX, bytes_per_second: table.bytes_per_second, capacity }
            }
        }
    }
}

/// Where devices lie, in whatever order; as if they followed each other at equal distances, as the devices of a stage do
/// unless somebody edits them.
fn group(devices: &[DeviceId]) -> GroupShape {
    let size = devices.len() as u32;
    let (first, last) = devices.iter().fold((u32::MAX, 0), |(a, b), device| (a.min(device.0), b.max(device.0)));
    let stride = (last - first).div_ceil((size - 1).max(1)).max(1);
    GroupShape { size, stride, first }
}
