//! A level of links: what neighbouring devices share.

use super::Link;
use crate::units::{BytesPerSecond, Seconds};
use serde::{Deserialize, Serialize};

/// A level of links. Two of its numbers are fitted on measured collectives: `latency_seconds` and `efficiency`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// A name for people: `NVLink 4`.
    pub name: String,
    /// How many neighbouring devices it joins; none for all there are.
    pub devices: Option<u32>,
    /// From one device to the next in a ring of small messages (a step of NCCL's LL protocol); fitted.
    pub latency_seconds: Seconds,
    /// Of one device, in one direction, data sheet; in a mesh, of one of its links.
    pub bytes_per_second: BytesPerSecond,
    /// Share of that rate that a ring of long messages reaches; fitted.
    pub efficiency: f64,
    /// How the links run.
    pub wiring: Wiring,
    /// Between devices that are threads of one machine: a link that their exchanges are held to, in runs and predictions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
}

/// How the links of a level run, so which of them a group can use at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wiring {
    /// A switch: every device has its whole rate to any other (NVSwitch before Hopper).
    Switch,
    /// A switch that also adds up and copies (NVLink SHARP: NVSwitch from Hopper on).
    Multicast,
    /// Links from device to device: how many rings, of one link each and sharing none, go through the first 2, 3, … of
    /// the devices. A larger group has as many as the last number says.
    Mesh(Vec<f64>),
    /// A host's bus: what leaves a block of the level below goes over one link, however many devices are in it (PCIe).
    Bus,
    /// A network adapter at each device: those of a block's devices add up (InfiniBand, Ethernet).
    Rails,
}

impl Level {
    /// Rings of one link that go through a group of that size: 1 but in a mesh.
    pub fn rings(&self, size: u32) -> f64 {
        match &self.wiring {
            Wiring::Mesh(rings) => {
                let at = (size.max(2) as usize - 2).min(rings.len().saturating_sub(1));
                rings.get(at).copied().unwrap_or(1.0)
            }
            _ => 1.0,
        }
    }

    /// Does every device have its whole rate to any other?
    pub fn is_switched(&self) -> bool {
        matches!(self.wiring, Wiring::Switch | Wiring::Multicast)
    }
}
