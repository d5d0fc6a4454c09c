//! Where a group of devices lies on the levels of links, and what a ring through it meets there.

use crate::spec::cluster::{Level, Wiring};

/// The devices `first`, `first + stride`, …: the tp devices of a replica lie at stride 1, the same device of
/// neighbouring stages at stride tp, of neighbouring replicas at stride tp · pp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupShape {
    /// How many.
    pub size: u32,
    /// From one to the next.
    pub stride: u32,
    /// The one with the lowest number.
    pub first: u32,
}

impl GroupShape {
    /// `size` neighbours, from device 0.
    pub fn neighbours(size: u32) -> GroupShape {
        GroupShape { size, stride: 1, first: 0 }
    }

    fn last(&self) -> u64 {
        u64::from(self.first) + u64::from(self.stride) * u64::from(self.size.saturating_sub(1))
    }

    /// How many blocks of that many neighbouring devices it touches.
    pub fn blocks(&self, devices: Option<u32>) -> u32 {
        let Some(devices) = devices else { return 1 };
        if self.stride >= devices {
            return self.size;
        }
        let block = |device: u64| (device / u64::from(devices)) as u32;
        block(self.last()) - block(u64::from(self.first)) + 1
    }

    /// How many of it lie in the block that has the fewest, of the blocks of that many devices.
    fn fewest(&self, devices: u32) -> u32 {
        let (devices, stride) = (u64::from(devices), u64::from(self.stride.max(1)));
        let in_first = (devices - u64::from(self.first) % devices).div_ceil(stride);
        let in_last = (self.last() % devices) / stride + 1;
        in_first.min(in_last).min(u64::from(self.size)).max(1) as u32
    }
}

/// A level that a group crosses.
pub(super) struct Crossing<'a> {
    pub level: &'a Level,
    /// Steps of a ring's lap that go over it, of the size − 1 that count.
    pub hops: u32,
    /// Blocks of the level below that it joins, those of one of its own blocks.
    pub fanout: u32,
    /// Devices of the group in the smallest block of the level below, and in the largest.
    pub inside: (u32, u32),
}

impl Crossing<'_> {
    /// Bytes a second that a ring gets past this level, as the data sheet has it.
    pub fn wire_rate(&self) -> f64 {
        let level = self.level;
        let links = match level.wiring {
            Wiring::Rails => f64::from(self.inside.0),
            _ => level.rings(self.fanout * self.inside.1),
        };
        level.bytes_per_second.0 * links
    }
}

/// The levels that a group crosses, from the closest outwards. The last level joins whatever is left.
pub(super) fn crossings<'a>(levels: &'a [Level], group: GroupShape) -> impl Iterator<Item = Crossing<'a>> {
    let mut below = (group.size, None::<u32>); // blocks of the level below, and how many devices each has
    let last = levels.len().saturating_sub(1);
    levels.iter().enumerate().filter_map(move |(i, level)| {
        let blocks = if i == last { 1 } else { group.blocks(level.devices) };
        let (parts, devices) = below;
        below = (blocks.min(parts), level.devices);
        let inside = devices.map_or((1, 1), |devices| (group.fewest(devices), group.size.div_ceil(parts.max(1))));
        let hops = parts.saturating_sub(blocks);
        (hops > 0).then(|| Crossing { level, hops, fanout: parts.div_ceil(blocks.max(1)), inside })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{BytesPerSecond, Seconds};

    fn levels() -> Vec<Level> {
        let level = |devices, rate, wiring| Level {
            name: "links".into(),
            devices,
            latency_seconds: Seconds(1e-6),
            bytes_per_second: BytesPerSecond(rate),
            efficiency: 1.0,
            wiring,
            link: None,
        };
        vec![level(Some(8), 450e9, Wiring::Switch), level(None, 50e9, Wiring::Rails)]
    }

    /// Hops and rate of each level that the group crosses.
    fn met(size: u32, stride: u32, first: u32) -> Vec<(u32, f64)> {
        let group = GroupShape { size, stride, first };
        crossings(&levels(), group).map(|crossing| (crossing.hops, crossing.wire_rate() / 1e9)).collect()
    }

    #[test]
    fn groups_lie_on_the_levels() {
        assert_eq!(met(8, 1, 8), [(7, 450.0)]);
        assert_eq!(met(2, 1, 7), [(1, 50.0)]); // neighbours in two nodes
        assert_eq!(met(32, 1, 0), [(28, 450.0), (3, 400.0)]); // all adapters of a node
        assert_eq!(met(4, 8, 3), [(3, 50.0)]); // one device of each node
        assert_eq!(met(8, 4, 0), [(4, 450.0), (3, 100.0)]); // two of each
        assert_eq!(met(12, 1, 0), [(10, 450.0), (1, 200.0)]); // 8 and 4
        assert_eq!(met(1, 1, 5), []);
    }
}
