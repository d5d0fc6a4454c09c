//! Seconds of collectives and of sends between devices: the fastest of the algorithms that libraries have.
//!
//! A ring moves (n − 1)/n of the bytes past every device in n − 1 steps for `all_gather` and `reduce_scatter`, twice that
//! for `all_reduce` (Thakur, Rabenseifner and Gropp, 2005, §4.1 and §4.4; Patarasuk and Yuan, 2009). NCCL runs it in
//! three protocols; where nodes are crossed it also has a double binary tree of 2 ⌈log₂ nodes⌉ steps (Sanders, Speck and
//! Träff, 2009; NCCL 2.4), and where a switch adds up (NVLink SHARP) each device sends its bytes once and gets the sum
//! once. Across nodes a sum can be scattered inside, reduced across and gathered inside: the same volume in fewer steps
//! (Rabenseifner's scatter and gather, a level at a time).
//!
//! Latencies are counted in `Level::latency_seconds`, the step of a ring of small messages. How much a step and a byte
//! cost in another protocol is NCCL's own estimate (2.18, `src/graph/tuning.cc`: `hwLat`, `ncclTopoTuneModel`). What a
//! call costs before its first step, `TURN`, and the shares of switch and peers hold for all kinds: they were fitted on
//! A100 and H100 together (vTrain's, vidur's and aiconfigurator's tables, with a look at all group sizes). A kind's own
//! are the two of its level; `tests/reference/links.rs` leaves group sizes out of their fit.

use super::group::{GroupShape, crossings};
use crate::spec::cluster::{Level, Wiring};
use crate::units::{Bytes, Seconds};

/// How a ring passes messages on.
struct Protocol {
    /// Steps of latency before the first message is on its way.
    base: f64,
    /// Steps of latency that a step takes.
    step: f64,
    /// Share of the rate that is left for data.
    share: f64,
}

/// LL (a flag with every 4 bytes), LL128 (one with every 120) and Simple (a flag with every chunk).
const PROTOCOLS: [Protocol; 3] = [
    Protocol { base: 7.2, step: 1.0, share: 1.0 / 3.0 },
    Protocol { base: 27.0, step: 1.9 / 0.6, share: 0.92 },
    Protocol { base: 48.0, step: 3.4 / 0.6, share: 1.0 },
];

/// Behind a switch the copying is bound by the multiprocessors, not by the wire: the last step of each lap, which only
/// receives, takes this share of a step that sends too.
const TURN: f64 = 0.5;

/// A tree moves the bytes up and down, at this share of the rate (NCCL: 0.92 and, for its shape, 0.85).
const TREE_SHARE: f64 = 0.92 * 0.85;

/// Reducing in the switch: steps of latency in all, and share of a ring's rate.
const SWITCH_STEPS: f64 = 62.5;
const SWITCH_SHARE: f64 = 0.67;

/// Device to device (send, all-to-all): steps of latency before the first message, further ones until a peer's message
/// has filled its buffer, that buffer, and share of the data sheet's rate.
const PEER_STEPS: f64 = 9.8;
const PEER_FILL_STEPS: f64 = 5.9;
const PEER_FILL_BYTES: f64 = 32768.0;
const PEER_SHARE: f64 = 0.8;

/// Kernels of inference engines that read the other devices' memory directly: steps of latency of one shot (each reads
/// all) and of two (each reduces its part, then reads the other parts).
const ONE_SHOT_STEPS: f64 = 5.8;
const TWO_SHOT_STEPS: f64 = 13.6;
/// From here on such engines leave it to the library (vLLM `custom_all_reduce.py`).
const DIRECT_BYTES: u64 = 8 << 20;
const DIRECT_DEVICES: u32 = 8;

/// Whose kernels move the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernels {
    /// A library of collectives: NCCL, RCCL.
    Library,
    /// An inference engine's own, for small sums behind one switch, launched from a graph; the library's elsewhere.
    Direct,
}

/// Every device has `bytes` and gets the sum, with the faster kernels.
pub fn all_reduce(levels: &[Level], group: GroupShape, bytes: Bytes) -> Seconds {
    if group.size < 2 {
        return Seconds(0.0);
    }
    let path = Path::of(levels, group);
    let library = path.library(levels, group, bytes);
    Seconds(if path.is_direct(bytes) { library.min(path.direct(bytes.0)) } else { library })
}

/// Every device has `bytes` and gets the sum, with those kernels.
pub fn all_reduce_by(kernels: Kernels, levels: &[Level], group: GroupShape, bytes: Bytes) -> Seconds {
    if group.size < 2 {
        return Seconds(0.0);
    }
    let path = Path::of(levels, group);
    let direct = kernels == Kernels::Direct && path.is_direct(bytes);
    Seconds(if direct { path.direct(bytes.0) } else { path.library(levels, group, bytes) })
}

/// Every device has a part and gets all of them: `bytes` in all. Where parts are uneven: their number times the largest.
pub fn all_gather(levels: &[Level], group: GroupShape, bytes: Bytes) -> Seconds {
    one_lap(levels, group, bytes)
}

/// Every device has `bytes` and gets the sum of its part. Where parts are uneven: their number times the largest.
pub fn reduce_scatter(levels: &[Level], group: GroupShape, bytes: Bytes) -> Seconds {
    one_lap(levels, group, bytes)
}

fn one_lap(levels: &[Level], group: GroupShape, bytes: Bytes) -> Seconds {
    if group.size < 2 {
        return Seconds(0.0);
    }
    let path = Path::of(levels, group);
    let flat = path.ring(1.0, bytes.0).min(path.doubling(bytes.0));
    let Some((inner, outer)) = halves(levels, group) else { return Seconds(flat) };
    let part = Bytes(bytes.0.div_ceil(u64::from(inner.size)));
    Seconds(flat.min(one_lap(levels, inner, bytes).0 + one_lap(levels, outer, part).0))
}

/// Every device has `bytes`, a part for each device, and gets the parts that are for it. Links of different levels work
/// at once.
pub fn all_to_all(levels: &[Level], group: GroupShape, bytes: Bytes) -> Seconds {
    if group.size < 2 {
        return Seconds(0.0);
    }
    let part = bytes.0 as f64 / f64::from(group.size);
    let (mut wire, mut far) = (0.0_f64, 0.0);
    for crossing in crossings(levels, group) {
        let inside = f64::from(crossing.inside.1);
        let peers = f64::from(crossing.fanout - 1) * inside;
        let level = crossing.level;
        let rate = match level.wiring {
            Wiring::Bus => level.bytes_per_second.0 / inside,
            Wiring::Mesh(_) => level.bytes_per_second.0 * level.rings(crossing.fanout),
            _ => level.bytes_per_second.0,
        };
        let turn = if level.is_switched() { TURN } else { 0.0 };
        wire = wire.max((peers + turn) * part / (PEER_SHARE * rate));
        far = level.latency_seconds.0;
    }
    Seconds(peer_seconds(levels, far) + fill_seconds(levels, part) + wire)
}

/// One device sends `bytes` to another: the group's two, the first to the next.
pub fn send(levels: &[Level], group: GroupShape, bytes: Bytes) -> Seconds {
    let Some(crossing) = crossings(levels, GroupShape { size: 2, ..group }).last() else { return Seconds(0.0) };
    let level = crossing.level;
    let wire = bytes.0 as f64 / (PEER_SHARE * level.bytes_per_second.0 * level.rings(2));
    Seconds(peer_seconds(levels, level.latency_seconds.0) + wire.max(fill_seconds(levels, bytes.0 as f64)))
}

/// Until the first message is on its way to a peer at that latency.
fn peer_seconds(levels: &[Level], far: f64) -> f64 {
    (PEER_STEPS - 1.0) * levels[0].latency_seconds.0 + far
}

/// Until a message of that size has filled its buffer.
fn fill_seconds(levels: &[Level], bytes: f64) -> f64 {
    PEER_FILL_STEPS * levels[0].latency_seconds.0 * (bytes / PEER_FILL_BYTES).min(1.0)
}

/// The devices of one node, and one device of each node: what a library reduces in before it crosses a network. None
/// where no network joins nodes that hold several devices of the group each, or not all as many.
fn halves(levels: &[Level], group: GroupShape) -> Option<(GroupShape, GroupShape)> {
    let network = levels.iter().position(|level| level.wiring == Wiring::Rails)?;
    let nodes = group.blocks(levels[network.checked_sub(1)?].devices);
    if nodes == 1 || nodes == group.size || !group.size.is_multiple_of(nodes) {
        return None;
    }
    let size = group.size / nodes;
    Some((GroupShape { size, ..group }, GroupShape { size: nodes, stride: group.stride.saturating_mul(size), ..group }))
}

/// What a group meets on its way.
struct Path<'a> {
    size: f64,
    /// Latency of the closest level: what a call costs before the first step is counted in it.
    near_seconds: f64,
    /// Latencies of the size − 1 steps of a lap.
    lap_seconds: f64,
    /// Latencies from the root of the tree to a leaf; none where no network is crossed.
    climb_seconds: Option<f64>,
    /// Bytes a second past the narrowest place.
    rate: f64,
    turn: f64,
    /// The one level that joins the group; none where it crosses several.
    only: Option<&'a Level>,
}

impl<'a> Path<'a> {
    fn of(levels: &'a [Level], group: GroupShape) -> Path<'a> {
        let near = levels.first().map_or(0.0, |level| level.latency_seconds.0);
        let mut path = Path {
            size: f64::from(group.size),
            near_seconds: near,
            lap_seconds: 0.0,
            climb_seconds: None,
            rate: f64::INFINITY,
            turn: 0.0,
            only: None,
        };
        for (i, crossing) in crossings(levels, group).enumerate() {
            let level = crossing.level;
            let rate = level.efficiency * crossing.wire_rate();
            if rate < path.rate {
                (path.rate, path.turn) = (rate, if level.is_switched() { TURN } else { 0.0 });
            }
            if level.wiring == Wiring::Rails {
                let chain = path.lap_seconds / f64::from(crossing.hops + 1);
                let climb = f64::from(u32::BITS - crossing.hops.leading_zeros()) * level.latency_seconds.0;
                path.climb_seconds = Some(chain + climb);
            }
            path.lap_seconds += f64::from(crossing.hops) * level.latency_seconds.0;
            path.only = if i == 0 { Some(level) } else { None };
        }
        path
    }

    /// A sum by a library's kernels: over all devices at once, or inside nodes, across them and inside again.
    fn library(&self, levels: &[Level], group: GroupShape, bytes: Bytes) -> f64 {
        let flat = self.ring(2.0, bytes.0).min(self.tree(bytes.0)).min(self.in_switch(bytes.0));
        let Some((inner, outer)) = halves(levels, group) else { return flat };
        let part = Bytes(bytes.0.div_ceil(u64::from(inner.size)));
        let across = Path::of(levels, outer).library(levels, outer, part);
        flat.min(2.0 * one_lap(levels, inner, bytes).0 + across) // gathering takes what scattering does
    }

    /// Rings of `laps` laps, in the best protocol.
    fn ring(&self, laps: f64, bytes: u64) -> f64 {
        let volume = (laps * (self.size - 1.0) + self.turn) / self.size * bytes as f64;
        self.best(laps * self.lap_seconds, volume / self.rate)
    }

    /// Up the tree and down again.
    fn tree(&self, bytes: u64) -> f64 {
        let Some(climb) = self.climb_seconds else { return f64::INFINITY };
        self.best(2.0 * climb, 2.0 * bytes as f64 / (TREE_SHARE * self.rate))
    }

    /// A gather in ⌈log₂ n⌉ steps, or a scatter: between single devices of nodes (Thakur et al., §4.1; NCCL 2.23, PAT).
    fn doubling(&self, bytes: u64) -> f64 {
        let alone = self.only.is_some_and(|level| level.wiring == Wiring::Rails);
        let Some(climb) = self.climb_seconds.filter(|_| alone) else { return f64::INFINITY };
        self.best(climb, (self.size - 1.0) / self.size * bytes as f64 / self.rate)
    }

    fn best(&self, steps_seconds: f64, wire_seconds: f64) -> f64 {
        let protocol = |p: &Protocol| p.base * self.near_seconds + p.step * steps_seconds + wire_seconds / p.share;
        PROTOCOLS.iter().map(protocol).fold(f64::INFINITY, f64::min)
    }

    /// The switch adds up: each device sends its bytes and a part's sum, and receives as much.
    fn in_switch(&self, bytes: u64) -> f64 {
        let Some(Level { wiring: Wiring::Multicast, .. }) = self.only else { return f64::INFINITY };
        let volume = bytes as f64 * (1.0 + 1.0 / self.size);
        SWITCH_STEPS * self.near_seconds + volume / (SWITCH_SHARE * self.rate)
    }

    fn is_direct(&self, bytes: Bytes) -> bool {
        let switched = self.only.is_some_and(Level::is_switched);
        switched && self.size <= f64::from(DIRECT_DEVICES) && bytes.0 < DIRECT_BYTES
    }

    /// Which of the two shots is vLLM's rule (`custom_all_reduce.cuh`).
    fn direct(&self, bytes: u64) -> f64 {
        let one = self.size <= 2.0 || bytes < if self.size <= 4.0 { 512 << 10 } else { 256 << 10 };
        let (steps, parts) = match one {
            true => (ONE_SHOT_STEPS, self.size - 1.0),
            false => (TWO_SHOT_STEPS, 2.0 * (self.size - 1.0) / self.size),
        };
        steps * self.near_seconds + parts * bytes as f64 / self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::cluster::presets;

    const SIZES: [u32; 12] = [2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 64, 128];

    /// Every collective on that group.
    fn all(levels: &[Level], group: GroupShape, bytes: u64) -> [f64; 5] {
        [all_reduce, all_gather, reduce_scatter, all_to_all, send].map(|f| f(levels, group, Bytes(bytes)).0)
    }

    #[test]
    fn one_device_needs_no_collective() {
        let levels = presets::parse("h100x16").expect("a preset").levels;
        let alone = GroupShape { size: 1, stride: 1, first: 5 };
        assert_eq!(all(&levels, alone, 1 << 20)[..4], [0.0; 4]);
    }

    #[test]
    fn more_bytes_take_longer_on_every_preset() {
        for name in presets::names() {
            let levels = presets::find(name).expect(name).levels;
            for size in SIZES {
                for octave in 0..34 {
                    let group = GroupShape::neighbours(size);
                    let (few, many) = (all(&levels, group, 1 << octave), all(&levels, group, 2 << octave));
                    let grows = few.iter().zip(many).all(|(few, many)| *few > 0.0 && *few <= many && many.is_finite());
                    assert!(grows, "{name}, {size} devices, 2^{octave} bytes: {few:?} {many:?}");
                }
            }
        }
    }

    #[test]
    fn a_sum_takes_no_less_than_the_links_of_a_node_let_through() {
        let levels = presets::parse("h100x128").expect("a preset").levels;
        let group = GroupShape::neighbours(128);
        let (bytes, node) = (1u64 << 34, 8.0 * levels[1].bytes_per_second.0);
        let least = 2.0 * (127.0 / 128.0) * bytes as f64 / node;
        let took = all_reduce(&levels, group, Bytes(bytes)).0;
        assert!(took > least && took < 2.0 * least, "{took} against {least}");
    }
}
