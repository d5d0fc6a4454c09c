//! Shaped links: what comes into a device goes through its port one after another, and is there a latency later. The twin of
//! the runtime's transport.

use super::prepare::Prepared;
use crate::cost::CostModel;
use crate::program::{Chan, Group, LaneId, Program};
use crate::spec::cluster::{DeviceId, Link};
use crate::units::Bytes;

/// Which links lie where in a program; constant while it is played.
pub struct Wires {
    /// Of each channel.
    pub chans: Vec<Option<Link>>,
    /// Of each group: that which joins all of its devices.
    pub groups: Vec<Option<Link>>,
}

impl Wires {
    /// As the prices say.
    pub fn of(program: &Program, cost: &dyn CostModel) -> Wires {
        let device = |lane: &LaneId| program.lanes[lane.index()].device;
        let chan = |chan: &Chan| {
            let (from, to) = (device(&chan.from), device(&chan.to));
            cost.link(from.min(to), from.max(to))
        };
        let group = |group: &Group| {
            let devices = || group.lanes.iter().map(device);
            cost.link(devices().min()?, devices().max()?)
        };
        Wires { chans: program.chans.iter().map(chan).collect(), groups: program.groups.iter().map(group).collect() }
    }
}

/// When each device's port is free again.
pub struct Ports(Vec<f64>);

impl Ports {
    /// All are free.
    pub fn new(program: &Program) -> Ports {
        Ports(vec![0.0; program.lanes.iter().map(|lane| lane.device.0 as usize + 1).max().unwrap_or(0)])
    }

    /// When bytes are there that leave for a device at a moment.
    pub fn there(&mut self, link: Link, to: DeviceId, from: f64, bytes: f64) -> f64 {
        let free = &mut self.0[to.0 as usize];
        *free = free.max(from) + bytes / link.rate.0;
        *free + link.latency.0
    }
}

/// Bytes that come in for one of a group's lanes: its share of what the lanes of other devices offer.
pub fn incoming(prepared: &Prepared, group: usize, lane: u32, offered: impl Fn(u32) -> Bytes) -> f64 {
    let lanes = &prepared.program.groups[group].lanes;
    let device = |lane: &LaneId| prepared.program.lanes[lane.index()].device;
    let own = device(&LaneId(lane));
    let sharers = lanes.iter().filter(|other| device(other) == own).count();
    let others = lanes.iter().filter(|other| device(other) != own).map(|other| offered(other.0));
    others.sum::<Bytes>().0 as f64 / sharers as f64
}
