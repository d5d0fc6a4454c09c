//! What there is to run on: kinds of devices, how many of each, and the levels of links between them.

pub mod attention;
pub mod device;
pub mod kind;
pub mod level;
pub mod link;
mod place;
pub mod presets;
mod problem;
pub mod product;
mod read;
mod rules;
pub mod table;
mod walk;

pub use attention::{AttentionFit, AttentionKernel};
pub use device::{Device, DeviceId};
pub use kind::{DeviceKind, Gpu, Precision, Prices, StepLanes};
pub use level::{Level, Wiring};
pub use link::{Link, Links};
pub use problem::Problem;
pub use product::ProductFit;
pub use read::{read, write};
pub use rules::DEVICES_MAX;
pub use table::Table;

/// Devices, kind by kind, and the links between them.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// A name for people: `h100x16`.
    pub name: String,
    /// What it is: `NVIDIA H100 SXM5 80 GB, HGX nodes of 8, …`.
    pub title: String,
    /// Runs of equal devices, in the order of their numbers.
    pub groups: Vec<DeviceGroup>,
    /// Links, from the closest neighbours outwards; the last one spans all devices.
    pub levels: Vec<Level>,
}

/// A run of equal devices.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceGroup {
    /// Their kind.
    pub kind: DeviceKind,
    /// How many.
    pub count: u32,
}

impl Cluster {
    /// Devices in all.
    pub fn devices(&self) -> u32 {
        self.groups.iter().map(|group| group.count).fold(0, u32::saturating_add)
    }

    /// The shaped link between devices, the first and last of which are these: that of the closest level that joins them.
    pub fn link(&self, first: DeviceId, last: DeviceId) -> Option<Link> {
        link::closest(self.levels.iter().map(|level| (level.devices, level.link)), first, last)
    }

    /// The kind of a device; none where there is no such device.
    pub fn kind(&self, device: DeviceId) -> Option<&DeviceKind> {
        let mut left = device.0;
        for group in &self.groups {
            if left < group.count {
                return Some(&group.kind);
            }
            left -= group.count;
        }
        None
    }
}
