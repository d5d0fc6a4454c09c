//! What there is to run on.

use crate::units::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A device, by its place in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceId(pub u32);

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device {}", self.0)
    }
}

/// What holds weights and works alone between two exchanges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// A name for people.
    pub name: String,
    /// What it can hold; none where nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Speed relative to the others: a device of weight 2 takes twice the heads.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

impl Device {
    /// `count` equal devices with no stated memory.
    pub fn equal(count: u32) -> Vec<Device> {
        (0..count).map(|id| Device { name: DeviceId(id).to_string(), memory: None, weight: 1.0 }).collect()
    }
}
