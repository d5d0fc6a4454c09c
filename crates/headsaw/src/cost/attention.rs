//! What attention takes: fused kernels by their tiles, three separate kernels by the traffic of the scores.
//!
//! A tile is a few query rows of one head (or of one group of Q heads); it walks the keys block by block. One block takes
//! a tile `4 · rows · keys · width` operations of the tensor cores and `rows · keys` exponentials (FlashAttention 2,
//! arXiv 2307.08691, algorithm 1). A call takes as long as its longest tile, or as all tiles take over all
//! multiprocessors, or as memory takes to deliver keys and values: so time over heads is flat until the multiprocessors
//! are full, and grows linearly from there.

use super::table::{Attention, Home, attention_seconds};
use super::tiles::Tiles;
use crate::spec::cluster::{AttentionFit, AttentionKernel, DeviceKind, Gpu, Precision, Prices, Table};
use crate::units::{Bytes, Seconds};

/// Bytes of a query, output or score element.
const ELEMENT: f64 = 2.0;
/// Bytes of an element of a partial output.
const PARTIAL: f64 = 4.0;
/// Bytes of the block that `block_seconds` speaks of: 128 keys and values of width 128 in two-byte elements.
const BLOCK: f64 = 65_536.0;
/// Cycles until memory answers, 290 on A100 (arXiv 2208.11174): adding up parts waits so long for each.
const ANSWER_CYCLES: f64 = 290.0;

/// Before its first and after its last block a tile waits about a block each; what else is resident hides its share.
const ENDS: f64 = 2.0;

/// What attends to what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Sequences of the batch.
    pub sequences: u32,
    /// Query tokens of each: 1 generates, more are a chunk of a prompt, causal among themselves.
    pub tokens: u32,
    /// Cached tokens of each, before these.
    pub past: u32,
    /// Q heads on the device.
    pub heads: u32,
    /// KV heads on the device.
    pub kv_heads: u32,
    /// Elements of a head.
    pub head_width: u32,
    /// Bytes of an element of the cache.
    pub kv_element_bytes: u32,
}

impl AttentionShape {
    /// Whether one token is generated.
    pub(super) fn decodes(&self) -> bool {
        self.tokens == 1
    }

    /// KV heads, at least one.
    pub(super) fn kv_heads(&self) -> f64 {
        f64::from(self.kv_heads.max(1))
    }

    /// Q heads that share a KV head.
    pub(super) fn group(&self) -> f64 {
        (f64::from(self.heads) / self.kv_heads()).max(1.0)
    }

    /// Keys that the last query sees.
    pub(super) fn seen(&self) -> f64 {
        f64::from(self.past) + f64::from(self.tokens)
    }

    fn is_empty(&self) -> bool {
        self.sequences == 0 || self.tokens == 0 || self.heads == 0 || self.head_width == 0
    }

    fn queries(&self) -> f64 {
        f64::from(self.sequences) * f64::from(self.tokens) * f64::from(self.heads)
    }

    /// Bytes of the queries; as many leave as outputs.
    fn query_bytes(&self) -> f64 {
        self.queries() * f64::from(self.head_width) * ELEMENT
    }

    /// Bytes of keys and values of `tokens` tokens of each sequence, read once a group.
    fn kv_bytes(&self, tokens: f64) -> f64 {
        let heads = f64::from(self.sequences) * self.kv_heads();
        heads * tokens * 2.0 * f64::from(self.head_width) * f64::from(self.kv_element_bytes)
    }

    /// The attention of one sequence as tables of CPU devices price it.
    fn on_lane(&self) -> Attention {
        let AttentionShape { tokens, past, heads, kv_heads, head_width, kv_element_bytes, .. } = *self;
        Attention::causal(tokens, past, heads, kv_heads, head_width, kv_element_bytes)
    }

    /// Pairs of a query and a key that it sees.
    fn pairs(&self) -> f64 {
        self.queries() * (f64::from(self.past) + (f64::from(self.tokens) + 1.0) / 2.0)
    }
}

/// Seconds of score, softmax and context in one fused kernel, with storing the new keys and values.
pub fn attention(kind: &DeviceKind, shape: &AttentionShape) -> Seconds {
    match &kind.prices {
        _ if shape.is_empty() => Seconds(0.0),
        Prices::Gpu(gpu) => Seconds(fused(gpu, shape)),
        Prices::Table(table) => on_lane(table, shape),
    }
}

/// Seconds in which the tensor cores and the special-function units are busy inside the fused kernel, at their peaks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LaneSeconds {
    /// Both matrix products, with what tiles compute beyond the diagonal.
    pub tensor: Seconds,
    /// Exponentials.
    pub special: Seconds,
}

/// Busy seconds of the lanes inside the fused kernel; none for a device whose kernels were measured as a whole.
pub fn fused_lanes(kind: &DeviceKind, shape: &AttentionShape) -> Option<LaneSeconds> {
    let Prices::Gpu(gpu) = &kind.prices else { return None };
    let tiles = Tiles::of(&gpu.attention, shape, f64::from(gpu.units));
    let scores = tiles.count * tiles.mean * tiles.rows * tiles.keys;
    let tensor = Seconds(4.0 * scores * tiles.width / peak(gpu));
    Some(LaneSeconds { tensor, special: Seconds(scores / gpu.exponentials_per_second) })
}

/// Seconds of score, softmax and context as kernels of their own.
///
/// Scores go through memory: written, read and written by the softmax, read again (FlashAttention, arXiv 2205.14135,
/// algorithm 0 in section 2.2), and the half above the diagonal is computed too. Each kernel takes as long as its
/// slowest resource, and a launch; the first stores the new keys and values, as the fused call does.
pub fn unfused(kind: &DeviceKind, shape: &AttentionShape) -> [Seconds; 3] {
    match &kind.prices {
        _ if shape.is_empty() => [Seconds(0.0); 3],
        Prices::Gpu(gpu) => separate(gpu, shape).map(Seconds),
        Prices::Table(table) => on_lane_by_step(table, shape),
    }
}

/// One lane of a CPU device, which reads what its cache can not hold.
fn on_lane(table: &Table, shape: &AttentionShape) -> Seconds {
    let work = shape.on_lane();
    let all = shape.kv_bytes(shape.seen());
    let price = attention_seconds(table, &work, Home::of(table, Bytes(all as u64)));
    Seconds(f64::from(shape.sequences) * price.seconds.0)
}

/// On a CPU the scores of a head stay in the cache: exponentials have their rate, and the two products share the rest.
fn on_lane_by_step(table: &Table, shape: &AttentionShape) -> [Seconds; 3] {
    let softmax = shape.pairs() / table.attention.exponentials_per_second;
    let product = 0.5 * (on_lane(table, shape).0 - softmax).max(0.0);
    [product, softmax, product].map(Seconds)
}

fn separate(gpu: &Gpu, shape: &AttentionShape) -> [f64; 3] {
    let scores = shape.queries() * shape.seen();
    let product = scores * 2.0 * f64::from(shape.head_width) / (peak(gpu) * filled(gpu, shape));
    let rate = memory(gpu);
    let moved = |bytes: f64| (scores * ELEMENT + bytes) / rate;
    let operand = shape.query_bytes() + shape.kv_bytes(shape.seen()) / 2.0;
    let exponentials = scores / gpu.exponentials_per_second;
    let (first, further) = (gpu.attention.launch_seconds.0, gpu.attention.further_launch_seconds.0);
    let store = stored(shape) / rate;
    [
        first + store + product.max(moved(operand)),
        further + exponentials.max(moved(scores * ELEMENT)),
        further + product.max(moved(operand)),
    ]
}

/// Share of the multiprocessors that have a tile of 128 × 128 scores.
fn filled(gpu: &Gpu, shape: &AttentionShape) -> f64 {
    let rows = (f64::from(shape.tokens) / 128.0).ceil();
    let tiles = f64::from(shape.sequences) * f64::from(shape.heads) * rows * (shape.seen() / 128.0).ceil();
    (tiles / f64::from(gpu.units)).min(1.0)
}

fn fused(gpu: &Gpu, shape: &AttentionShape) -> f64 {
    let fit = &gpu.attention;
    let tiles = Tiles::of(fit, shape, f64::from(gpu.units));
    let busy = walk(gpu, shape, &tiles);
    let queries = 2.0 * shape.query_bytes() * crossings(fit.kernel, shape, &tiles);
    let bytes = queries + stored(shape) + partial_bytes(&tiles);
    fit.launch_seconds.0 + busy + bytes / memory(gpu) + further(gpu, shape, &tiles)
}

/// All tiles begin, as many at a time as there is room for, and walk over their blocks of keys.
fn walk(gpu: &Gpu, shape: &AttentionShape, tiles: &Tiles) -> f64 {
    let units = f64::from(gpu.units);
    let (full, alone) = (block_full(gpu, tiles), block_alone(&gpu.attention, shape, tiles));
    let running = tiles.count * tiles.parts;
    let rounds = (running / (units * tiles.resident)).max(1.0);
    let begin = rounds * ENDS / tiles.resident * alone;
    let sharing = (running / units).ceil().min(tiles.resident);
    let longest = (tiles.longest / tiles.parts).ceil() * alone.max(sharing * full);
    let all = tiles.count * tiles.mean * full.max(alone / tiles.resident) / units;
    let with_tail = all + tail(gpu.attention.kernel, tiles, rounds) * longest;
    begin + longest.max(with_tail).max(missed_bytes(gpu, shape) / memory(gpu))
}

/// A block of keys on a multiprocessor whose tiles fill each other's gaps.
fn block_full(gpu: &Gpu, tiles: &Tiles) -> f64 {
    let scores = tiles.rows * tiles.keys * f64::from(gpu.units);
    let serial = scores * (4.0 * tiles.width / peak(gpu) + 1.0 / gpu.exponentials_per_second);
    serial / gpu.attention.serial_efficiency
}

/// A block of keys for a tile that is alone: half is waiting, half goes with the bytes.
fn block_alone(fit: &AttentionFit, shape: &AttentionShape, tiles: &Tiles) -> f64 {
    let bytes = tiles.keys * 2.0 * f64::from(shape.head_width) * f64::from(shape.kv_element_bytes);
    fit.block_seconds.0 * (0.5 + 0.5 * bytes / BLOCK)
}

/// How much of the longest tile sticks out at the end: FlashAttention 3 begins with the longest, FlashAttention 2 comes
/// upon them at any time.
fn tail(kernel: AttentionKernel, tiles: &Tiles, rounds: f64) -> f64 {
    if kernel == AttentionKernel::Flash2 && rounds > 1.0 && tiles.longest > 1.0 { 0.5 } else { 0.0 }
}

/// Bytes of keys and values that the second-level cache does not hold: it holds all up to half its size, and of what is
/// larger than itself nothing is left when it comes round again.
fn missed_bytes(gpu: &Gpu, shape: &AttentionShape) -> f64 {
    let bytes = shape.kv_bytes(shape.seen());
    bytes * (2.0 * bytes / gpu.cache_bytes.0 as f64 - 1.0).clamp(0.0, 1.0)
}

/// A chunk's keys and values are read, written to the cache and read from there; one token's do not count.
fn stored(shape: &AttentionShape) -> f64 {
    if shape.decodes() { 0.0 } else { 3.0 * shape.kv_bytes(f64::from(shape.tokens)) }
}

/// How often queries and outputs cross memory in view: once, less where other resident tiles work meanwhile, three times
/// where they are regrouped by copies.
fn crossings(kernel: AttentionKernel, shape: &AttentionShape, tiles: &Tiles) -> f64 {
    match shape.decodes() {
        true if regroups(kernel, shape) => 3.0,
        true => 1.0,
        false => 1.0 / tiles.resident,
    }
}

/// Partial outputs of split tiles, written and read.
fn partial_bytes(tiles: &Tiles) -> f64 {
    if tiles.parts <= 1.0 {
        return 0.0;
    }
    2.0 * tiles.count * tiles.parts * tiles.filled * tiles.width * PARTIAL
}

/// FlashAttention 2 puts the group in the place of query tokens: a copy before and one after, unless a reshape will do.
fn regroups(kernel: AttentionKernel, shape: &AttentionShape) -> bool {
    kernel == AttentionKernel::Flash2
        && shape.decodes()
        && shape.group() > 1.0
        && shape.kv_heads > 1
        && shape.sequences > 1
}

/// Kernels beyond the first two.
fn further(gpu: &Gpu, shape: &AttentionShape, tiles: &Tiles) -> f64 {
    let fit = &gpu.attention;
    let (split, regrouped) = (tiles.parts > 1.0, regroups(fit.kernel, shape));
    let launches = f64::from(u32::from(split) + 2 * u32::from(regrouped));
    let one_by_one = split && fit.kernel == AttentionKernel::Flash2;
    let adding = if one_by_one { tiles.parts * ANSWER_CYCLES / gpu.clock_hertz } else { 0.0 };
    launches * fit.further_launch_seconds.0 + adding
}

fn memory(gpu: &Gpu) -> f64 {
    gpu.memory_bytes_per_second.0 * gpu.attention.memory_efficiency
}

/// Peak of the tensor cores for two-byte elements, or of the vector units where there are none.
fn peak(gpu: &Gpu) -> f64 {
    gpu.tensor(Precision::Bf16).unwrap_or(gpu.vector_flops_per_second).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::cluster::presets;

    fn h100() -> DeviceKind {
        presets::find("h100").expect("a preset").groups.swap_remove(0).kind
    }

    fn shape(tokens: u32, past: u32, heads: u32, kv_heads: u32) -> AttentionShape {
        AttentionShape { sequences: 1, tokens, past, heads, kv_heads, head_width: 128, kv_element_bytes: 2 }
    }

    #[test]
    fn nothing_takes_no_time() {
        assert_eq!(attention(&h100(), &shape(512, 0, 0, 0)), Seconds(0.0));
        assert_eq!(unfused(&h100(), &shape(0, 0, 8, 8)), [Seconds(0.0); 3]);
    }

    #[test]
    fn time_is_flat_in_few_heads_and_linear_in_many() {
        let time = |tokens, heads| attention(&h100(), &shape(tokens, 0, heads, 1)).0;
        assert!(time(512, 32) < 1.25 * time(512, 1));
        assert!((time(8192, 64) / time(8192, 32) - 2.0).abs() < 0.1);
        assert!(time(8192, 16) > 1.8 * time(8192, 8));
    }

    #[test]
    fn a_group_reads_its_keys_and_values_once() {
        let time = |kv_heads| attention(&h100(), &AttentionShape { sequences: 64, ..shape(1, 8191, 64, kv_heads) }).0;
        assert!((time(8) / time(1)) > 6.0 && time(8) / time(1) < 8.0);
    }

    #[test]
    fn lanes_count_what_tiles_compute() {
        let lanes = fused_lanes(&h100(), &shape(4096, 0, 1, 1)).expect("a GPU");
        // 32 tiles of 128 rows see 1 to 32 blocks of 128 keys.
        let scores = 128.0 * 128.0 * f64::from((1..=32).sum::<u32>());
        assert!((lanes.tensor.0 / (512.0 * scores / 989.4e12) - 1.0).abs() < 1e-9);
        assert!((lanes.special.0 / (scores / 3.865e12) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn separate_kernels_pay_for_the_scores_in_memory() {
        let long = shape(8192, 0, 16, 16);
        let [score, softmax, context] = unfused(&h100(), &long);
        let scores = 2.0 * 16.0 * 8192.0 * 8192.0;
        assert!(softmax.0 > 2.0 * scores / 3.35e12 && score.0 > scores / 3.35e12);
        assert!(score + softmax + context > attention(&h100(), &long));
    }

    #[test]
    fn a_cpu_lane_shares_out_its_time() {
        let local = presets::find("local").expect("a preset").groups.swap_remove(0).kind;
        let prompt = shape(64, 64, 8, 2);
        let [score, softmax, context] = unfused(&local, &prompt);
        assert!((score + softmax + context).0 / attention(&local, &prompt).0 - 1.0 < 1e-9);
        assert!(softmax.0 > 0.0 && score == context && fused_lanes(&local, &prompt).is_none());
    }
}
