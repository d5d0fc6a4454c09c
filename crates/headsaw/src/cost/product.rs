//! What matrix products and element-wise kernels take: on a GPU tiles in waves over its units, or its memory, or power;
//! on a CPU by its table.
//!
//! A product is cut into tiles of the output, as libraries do (NVIDIA, *Matrix Multiplication Background*, sections
//! "Tile Quantization" and "Wave Quantization"); units take them in waves, and a wave takes as long as one full tile.
//! The library's choice of tiles is the best of a short list here. All else are rates: see `spec::cluster::ProductFit`.

use super::table::{self, Home, product_seconds};
use crate::spec::cluster::{DeviceKind, Gpu, Precision, Prices};
use crate::spec::model::Dtype;
use crate::units::{Bytes, Seconds};

/// Rows (of activations) and columns (output rows of the weights) of the tiles that libraries have kernels for.
const TILES: [(f64, f64); 8] = [
    (256.0, 128.0),
    (128.0, 256.0),
    (128.0, 128.0),
    (64.0, 128.0),
    (128.0, 64.0),
    (64.0, 64.0),
    (32.0, 64.0),
    (64.0, 32.0),
];

/// Depth of a tile's step: a smaller rest takes as long.
const STEP_DEPTH: f64 = 64.0;

/// A product is cut along its depth into parts at least as deep as this.
const PART_DEPTH_MIN: f64 = 128.0;

/// And into no more parts than this.
const PARTS_MAX: f64 = 32.0;

/// Share of its peak that a unit reaches inside a tile: of 0.85 to 1, what suits A100 and H100 best together. Single rows
/// of aiconfigurator's tables reach 0.96 with all units busy.
const TILE_SHARE: f64 = 0.9;

/// Results leave a unit at a third of the rate at which operands come: of 1 to 4, what suits both best together.
const STORE_SLOWNESS: f64 = 3.0;

/// Partial sums are in single precision, written once and read once.
const PARTIAL_BYTES: f64 = 8.0;

/// A product `x [m, k] · wᵀ [n, k] → [m, n]`: m tokens, n output rows, k depth; nothing is launched for an empty one.
///
/// On a CPU it is the time of one lane, its weights in memory.
pub fn product(kind: &DeviceKind, precision: Precision, m: u64, n: u64, k: u64) -> Seconds {
    match &kind.prices {
        _ if m == 0 || n == 0 || k == 0 => Seconds(0.0),
        Prices::Gpu(gpu) => tiled(gpu, precision, [m, n, k]),
        Prices::Table(table) => {
            let tokens = u32::try_from(m).unwrap_or(u32::MAX);
            let product = table::Product { weights: stored(precision), tokens, rows: n, depth: k, calls: 1 };
            product_seconds(table, &product, Home::Memory).seconds
        }
    }
}

/// An element-wise kernel (norm, rotary, activation, addition, embedding) that reads and writes so many bytes; on a CPU
/// one lane, its vectors in the cache.
///
/// A norm reads its input twice and writes once: measured ones take the time of three passes, not of two.
pub fn elementwise(kind: &DeviceKind, bytes: Bytes) -> Seconds {
    match &kind.prices {
        Prices::Gpu(gpu) => {
            let rate = gpu.memory_bytes_per_second.0 * gpu.product.elementwise_efficiency;
            Seconds(gpu.product.launch_seconds.0 + bytes.0 as f64 / rate)
        }
        Prices::Table(table) => bytes / table.cached_bytes_per_second,
    }
}

/// The type of weights in a CPU's table that comes closest.
fn stored(precision: Precision) -> Dtype {
    match precision {
        Precision::F32 => Dtype::F32,
        Precision::Bf16 => Dtype::Bf16,
        Precision::Fp8 | Precision::Mxfp8 | Precision::Int8 => Dtype::Q8_0,
        Precision::Nvfp4 => Dtype::Q4_1,
    }
}

fn tiled(gpu: &Gpu, precision: Precision, shape: [u64; 3]) -> Seconds {
    let job = Job::new(gpu, precision, shape);
    let (mut whole, mut cut) = (f64::INFINITY, f64::INFINITY);
    for &tile in &TILES {
        let tiles = ceil(job.m / tile.0) * ceil(job.n / tile.1);
        whole = whole.min(job.waves(tile, tiles, job.k));
        cut = cut.min(job.cut(tile, tiles));
    }
    let whole = both(whole.max(job.power), job.memory).sqrt().sqrt();
    Seconds(job.launch + whole.min(job.launch + cut.sqrt().sqrt()))
}

/// A product, and what does not depend on its tiles; all in seconds.
struct Job {
    m: f64,
    n: f64,
    k: f64,
    units: f64,
    launch: f64,
    /// A multiply-add on one unit.
    multiply: f64,
    /// A number of an operand on its way to one unit.
    load: f64,
    /// A result on its way out of one unit.
    store: f64,
    /// All operands and results through memory.
    memory: f64,
    /// The partial sums of one part, through the cache.
    partial: f64,
    /// All operations at the rate that power allows.
    power: f64,
    /// Parts of the depth at most; a number, not seconds.
    parts_max: f64,
}

impl Job {
    fn new(gpu: &Gpu, precision: Precision, shape: [u64; 3]) -> Job {
        let [m, n, k] = shape.map(|size| size as f64);
        let (fit, peak, units) = (&gpu.product, peak(gpu, precision), f64::from(gpu.units));
        let (operand, result) = bytes(precision);
        let cache = fit.tile_bytes_per_second.0;
        let memory = gpu.memory_bytes_per_second.0 * fit.memory_efficiency;
        let streamed = operand * n * k + result * m * n + missed(operand * m * k, gpu.cache_bytes);
        Job {
            m,
            n,
            k,
            units,
            launch: fit.launch_seconds.0,
            multiply: 2.0 * units / (peak * TILE_SHARE),
            load: operand * units / cache,
            store: STORE_SLOWNESS * result * units / cache,
            memory: streamed / memory,
            partial: PARTIAL_BYTES * m * n / cache,
            power: 2.0 * m * n * k / (peak * fit.sustained_efficiency),
            parts_max: PARTS_MAX.min(floor(k / PART_DEPTH_MIN)),
        }
    }

    /// Cut along the depth so that a unit gets about two tiles; a kernel of its own adds the partial sums. To the fourth
    /// power, and without end where the depth is too small.
    fn cut(&self, tile: (f64, f64), tiles: f64) -> f64 {
        let parts = (2.0 * floor(self.units / tiles).max(1.0)).min(self.parts_max);
        let work = self.waves(tile, tiles * parts, self.k / parts).max(self.power);
        let seconds = both(work, self.memory + self.partial * parts);
        if parts < 2.0 { f64::INFINITY } else { seconds }
    }

    /// Tiles of a depth: in each wave a unit multiplies, or waits for operands, and then stores its results.
    fn waves(&self, (rows, columns): (f64, f64), tiles: f64, depth: f64) -> f64 {
        let step = (rows * columns * self.multiply).max((rows + columns) * self.load);
        let depth = ceil(depth / STEP_DEPTH) * STEP_DEPTH;
        ceil(tiles / self.units) * (depth * step + rows * columns * self.store)
    }
}

/// Work and memory at the same time take the longer one, and somewhat more where they are close: ⁴√(a⁴ + b⁴), here to
/// the fourth power.
fn both(work: f64, memory: f64) -> f64 {
    let [a, b] = [work * work, memory * memory];
    a * a + b * b
}

/// To the nearest whole number, of numbers from 0 to 2⁵¹: beyond 2⁵² a number has no room for a fraction.
fn round(number: f64) -> f64 {
    const WHOLE: f64 = 4_503_599_627_370_496.0;
    (number + WHOLE) - WHOLE
}

/// As `f64::floor` and `f64::ceil`, which are calls where the target has no instruction for them.
fn floor(number: f64) -> f64 {
    let near = round(number);
    if near > number { near - 1.0 } else { near }
}

fn ceil(number: f64) -> f64 {
    let near = round(number);
    if near < number { near + 1.0 } else { near }
}

/// Activations come from the kernel before and still lie in the cache, where half of it holds them; less so beyond, and
/// not at all where they are as large as the cache. Weights always come from memory: all layers went by since last time.
fn missed(activation_bytes: f64, cache: Bytes) -> f64 {
    activation_bytes * (2.0 * activation_bytes / cache.0 as f64 - 1.0).clamp(0.0, 1.0)
}

/// Operations a second of the tensor cores; of bf16 for narrow numbers that they lack, of the vector units where there
/// is nothing else.
fn peak(gpu: &Gpu, precision: Precision) -> f64 {
    let wider = || if precision == Precision::F32 { None } else { gpu.tensor(Precision::Bf16) };
    gpu.tensor(precision).or_else(wider).unwrap_or(gpu.vector_flops_per_second).0
}

/// Bytes of a number of an operand, its share of the scales included, and of a result.
fn bytes(precision: Precision) -> (f64, f64) {
    match precision {
        Precision::F32 => (4.0, 4.0),
        Precision::Bf16 => (2.0, 2.0),
        Precision::Fp8 => (1.0, 2.0),
        Precision::Mxfp8 => (1.0 + 1.0 / 32.0, 2.0),
        Precision::Nvfp4 => (0.5 + 1.0 / 16.0, 2.0),
        Precision::Int8 => (1.0 + 2.0 / 32.0, 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::cluster::presets;

    fn h100() -> DeviceKind {
        presets::find("h100").expect("a preset").groups.swap_remove(0).kind
    }

    fn gpu(kind: &DeviceKind) -> &Gpu {
        let Prices::Gpu(gpu) = &kind.prices else { panic!("no GPU") };
        gpu
    }

    #[test]
    fn nothing_is_launched_for_an_empty_product() {
        assert_eq!(product(&h100(), Precision::Bf16, 0, 4096, 4096), Seconds(0.0));
        assert_eq!(product(&h100(), Precision::Bf16, 1, 4096, 0), Seconds(0.0));
    }

    #[test]
    fn one_token_takes_as_long_as_its_weights_stream() {
        let kind = h100();
        let streamed = 2.0 * 65536.0 * 16384.0 / (3.35e12 * gpu(&kind).product.memory_efficiency);
        let seconds = product(&kind, Precision::Bf16, 1, 65536, 16384).0;
        assert!(seconds > streamed && seconds < 1.02 * streamed + 3e-6, "{seconds} of {streamed}");
    }

    #[test]
    fn a_large_product_takes_what_power_allows() {
        let kind = h100();
        let sustained = 989.4e12 * gpu(&kind).product.sustained_efficiency;
        let seconds = product(&kind, Precision::Bf16, 8192, 16384, 16384).0;
        let share = 2.0 * 8192.0 * 16384.0 * 16384.0 / seconds / sustained;
        assert!(share > 0.95 && share <= 1.0, "{share}");
    }

    #[test]
    fn a_product_of_one_tile_more_than_units_starts_a_wave() {
        let kind = h100();
        let of = |columns| product(&kind, Precision::Bf16, 128, columns, 1024).0;
        let full = 132 * 64;
        assert!(of(full + 64) - of(full) > 20.0 * (of(full) - of(full - 64)), "{} {}", of(full), of(full + 64));
    }

    #[test]
    fn narrow_numbers_are_faster_and_missing_ones_fall_back() {
        let of = |kind: &DeviceKind, precision| product(kind, precision, 4096, 8192, 8192).0;
        let kind = h100();
        assert!(of(&kind, Precision::Fp8) < 0.6 * of(&kind, Precision::Bf16));
        let bits = of(&kind, Precision::Nvfp4) / of(&kind, Precision::Bf16);
        assert!((0.8..=1.0).contains(&bits), "bf16 tensor cores, fewer bytes: {bits}");
    }

    #[test]
    fn element_wise_kernels_take_a_launch_and_their_bytes() {
        let kind = h100();
        let fit = &gpu(&kind).product;
        assert_eq!(elementwise(&kind, Bytes(0)), fit.launch_seconds);
        let more = elementwise(&kind, Bytes(1 << 30)).0 - fit.launch_seconds.0;
        assert!((more - (1u64 << 30) as f64 / (3.35e12 * fit.elementwise_efficiency)).abs() < 1e-12);
    }
}
