//! What a simulation asks of a cost model.

use super::table::Price;
use crate::program::{Step, Work};
use crate::spec::cluster::{DeviceId, Link};
use crate::trace::Load;
use crate::units::{Bytes, BytesPerSecond, Seconds};

/// A way of bringing parts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Collective {
    /// Partial sums, everybody has the sum.
    AllReduce,
    /// Parts, everybody has all.
    AllGather,
}

/// Devices that disturb each other when they compute at the same time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Domain {
    /// Its number; a GPU is one of its own, the CPU devices of a machine are one together.
    pub id: u32,
    /// Memory rate that its busy lanes share.
    pub bytes_per_second: BytesPerSecond,
    /// What busy lanes can do together.
    pub capacity: Capacity,
}

impl Domain {
    /// Of a device whose lanes do not disturb each other.
    pub fn undisturbed(device: DeviceId) -> Domain {
        let capacity = Capacity::Overlap { lanes: 1.0, exchange: 1.0 };
        Domain { id: device.0, bytes_per_second: BytesPerSecond(f64::INFINITY), capacity }
    }
}

/// What busy lanes can do together, in lanes that work alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Capacity {
    /// `k` compute lanes do `1 + lanes · (k − 1)`, of which an exchange at the same time leaves a share.
    Overlap {
        /// What each further compute lane adds.
        lanes: f64,
        /// The share that an exchange leaves.
        exchange: f64,
    },
    /// Lanes are threads, those that exchange too: as many at once as there are cores, in the order in which they come,
    /// and each slower the more cores are busy.
    Cores {
        /// Of the machine.
        cores: u32,
        /// What each core does while all are busy; between one and all on a straight line.
        together: f64,
    },
}

impl Capacity {
    /// How many busy lanes are at work at the same time; the others wait for their turn.
    pub fn at_once(self) -> usize {
        match self {
            Capacity::Overlap { .. } => usize::MAX,
            Capacity::Cores { cores, .. } => cores.max(1) as usize,
        }
    }

    /// The speed of each of so many lanes at work, 1 alone, while so many lanes exchange beside them.
    pub fn speed(self, working: usize, exchanging: usize) -> f64 {
        let k = working.max(1) as f64;
        match self {
            Capacity::Overlap { lanes, exchange } => {
                let left = if exchanging > 0 { exchange } else { 1.0 };
                left * ((1.0 + lanes * (k - 1.0)) / k).min(1.0)
            }
            Capacity::Cores { cores, together } => {
                let crowd = if cores > 1 { (k - 1.0) / f64::from(cores - 1) } else { 0.0 };
                1.0 - (1.0 - together) * crowd.min(1.0)
            }
        }
    }
}

/// What it takes until a lane that waits goes on.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct HandOver {
    /// While it looks whether it may.
    pub awake: Seconds,
    /// Longer than this it does not look: it sleeps until it is woken.
    pub patience: Seconds,
    /// When it sleeps.
    pub asleep: Seconds,
}

impl HandOver {
    /// After so many seconds of waiting.
    pub fn after(&self, waited: f64) -> f64 {
        if waited > self.patience.0 { self.asleep.0 } else { self.awake.0 }
    }
}

/// What actions take.
pub trait CostModel {
    /// A step on one lane that has its device to itself.
    fn compute(&self, device: DeviceId, step: Step, work: &Work, load: Load) -> Price;
    /// From one device to another.
    fn transfer(&self, from: DeviceId, to: DeviceId, bytes: Bytes) -> Seconds;
    /// Parts of `work.sent` bytes a row of each device, from when the last has come.
    fn collective(&self, what: Collective, devices: &[DeviceId], work: &Work, load: Load) -> Seconds;
    /// From the end of one action to the start of another, on another lane of the device, that waited for it.
    fn hand_over(&self, device: DeviceId) -> HandOver;
    /// A shaped link between devices, the first and last of which are these: what comes over it takes its time before
    /// `transfer` and `collective`, which then are the time to copy and add.
    fn link(&self, _first: DeviceId, _last: DeviceId) -> Option<Link> {
        None
    }
    /// Devices of the same kind take the same time for the same work.
    fn kind(&self, device: DeviceId) -> u32;
    /// With whom a device shares.
    fn domain(&self, device: DeviceId) -> Domain;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_slower_the_more_are_busy() {
        let cores = |together| Capacity::Cores { cores: 3, together };
        let speeds = |capacity: Capacity| [1, 2, 3].map(|busy| capacity.speed(busy, 0));
        assert_eq!(speeds(cores(1.0)), [1.0, 1.0, 1.0]);
        assert_eq!(speeds(cores(0.8)), [1.0, 0.9, 0.8]);
        assert_eq!(cores(0.8).at_once(), 3);
        assert_eq!(Capacity::Cores { cores: 1, together: 1.0 }.speed(1, 0), 1.0);
    }
}
