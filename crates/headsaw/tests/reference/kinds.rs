//! The kinds of devices whose tables are there.

use headsaw::spec::cluster::{DeviceKind, presets};

fn kind(preset: &str) -> DeviceKind {
    presets::find(preset).expect("a preset").groups.swap_remove(0).kind
}

/// A100 SXM4 80 GB.
pub fn a100() -> DeviceKind {
    kind("a100")
}

/// H100 SXM5.
pub fn h100() -> DeviceKind {
    kind("h100")
}
