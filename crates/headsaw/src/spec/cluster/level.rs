//! A level of links: what neighbouring devices share.

use crate::units::{BytesPerSecond, Seconds};
use serde::{Deserialize, Serialize};

/// A level of links.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// A name for people: `NVLink 4`.
    pub name: String,
    /// How many neighbouring devices it joins; none for all there are.
    pub devices: Option<u32>,
    /// Before the first byte arrives.
    pub latency_seconds: Seconds,
    /// Of one device, in one direction, data sheet.
    pub bytes_per_second: BytesPerSecond,
}
