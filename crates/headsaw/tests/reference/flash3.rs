//! FlashAttention 3's two ablations on H100 (arXiv 2407.08608, table 2), from lanes and an overlap fitted on other data.
//!
//! A block of scores keeps two lanes busy: the tensor cores for `p = products / (g · peak)`, where `g` is the share of their
//! peak that large products reach, and softmax for `s = c · exponentials / peak`, where `c` counts what softmax does beside
//! exponentials. A kernel that hides the share `h` of the shorter lane behind the longer one takes
//! `max(p, s) + (1 − h) · min(p, s)`. Where only one of two mechanisms is left (two groups of warps that take turns, or
//! pipelining inside a group), it hides less: `h'` lies between 0 and `h`.
//!
//! - `g`: the middle half of H100's large products in aiconfigurator's table (m, n and k of 2048 and more).
//! - `c` and `h`: long prompts of H100's attention in aiconfigurator's table, at widths 64 and 128: softmax is the same for
//!   both, products double. Two times for two unknowns, for each `g`.
//!
//! What the paper published takes no part. The rate with both overlaps comes out 3 % lower than its 661 TFLOP/s: the table's
//! kernel is causal and reads a paged cache. So ablations are held against two intervals: of their rates, and of their
//! shares of the rate with both overlaps.
//!
//! The sure interval of an ablation is all of `0 ≤ h' ≤ h`. The narrow one assumes
//! that what is left in view multiplies, `1 − h = (1 − h₁)(1 − h₂)`, and that neither mechanism does more than twice as
//! much as the other, `(1 − h)^⅔ ≤ 1 − h' ≤ (1 − h)^⅓`; it is an assumption, the data do not pin it.

use crate::attention::{Row, rows};
use crate::data::Csv;
use crate::kinds;
use crate::search::minimise;
use headsaw::cost::{LaneSeconds, fused_lanes};
use headsaw::spec::cluster::{DeviceKind, Gpu, Precision, Prices};
use headsaw::units::Seconds;

/// Table 2 of the paper: both overlaps, no pipelining, no specialised warps.
const PUBLISHED: [f64; 3] = [661e12, 582e12, 570e12];

fn gpu(kind: &DeviceKind) -> &Gpu {
    let Prices::Gpu(gpu) = &kind.prices else { panic!("{} has no formulas", kind.name) };
    gpu
}

/// Two lanes, and how much of the shorter one stays in view.
#[derive(Debug, Clone, Copy)]
struct Overlap {
    /// `g`.
    product_share: f64,
    /// `c`.
    softmax_factor: f64,
    /// `1 − h`.
    in_view: f64,
}

impl Overlap {
    fn seconds(self, lanes: &LaneSeconds) -> f64 {
        let [products, softmax] = [lanes.tensor.0 / self.product_share, lanes.special.0 * self.softmax_factor];
        products.max(softmax) + self.in_view * products.min(softmax)
    }
}

/// First and third quartile.
fn quartiles(mut list: Vec<f64>) -> [f64; 2] {
    list.sort_by(f64::total_cmp);
    [list[list.len() / 4], list[list.len() * 3 / 4]]
}

/// The middle half of the shares of the peak that large products reach.
fn product_shares(kind: &DeviceKind) -> Option<[f64; 2]> {
    let csv = Csv::read("aiconfigurator/h100_sxm__vllm_0.24.0__gemm_perf.csv.gz")?;
    let [m, n, k, latency] = ["m", "n", "k", "latency"].map(|name| csv.column(name));
    let peak = gpu(kind).tensor(Precision::Bf16).expect("a peak").0;
    let number = |cell: &String| cell.parse::<f64>().expect("a number");
    let large = csv.rows.iter().filter(|row| [m, n, k].iter().all(|&size| number(&row[size]) >= 2048.0));
    let share =
        |row: &Vec<String>| 2e3 * number(&row[m]) * number(&row[n]) * number(&row[k]) / number(&row[latency]) / peak;
    Some(quartiles(large.map(share).collect()))
}

/// Busy seconds of the lanes, and seconds without the launch, of long prompts with many heads on one KV head, whose
/// keys and values stay in the second-level cache.
fn long_prompts(kind: &DeviceKind) -> Option<Vec<(LaneSeconds, f64)>> {
    let launch = gpu(kind).attention.launch_seconds.0;
    let cached = |row: &Row| {
        let elements =
            2 * u64::from(row.shape.sequences) * u64::from(row.shape.tokens) * u64::from(row.shape.head_width);
        2 * elements <= gpu(kind).cache_bytes.0 / 2
    };
    let long = |row: &Row| row.shape.tokens >= 8192 && row.shape.heads >= 32 && row.shape.kv_heads == 1 && cached(row);
    let rows = rows(&kind.name, "context")?.into_iter().filter(long);
    Some(rows.map(|row| (fused_lanes(kind, &row.shape).expect("a GPU"), row.seconds - launch)).collect())
}

fn fit(rows: &[(LaneSeconds, f64)], product_share: f64) -> Overlap {
    let overlap = |at: &[f64]| Overlap { product_share, softmax_factor: at[0], in_view: at[1] };
    let error = |at: &[f64], (lanes, seconds): &(LaneSeconds, f64)| (overlap(at).seconds(lanes) / seconds).ln().abs();
    overlap(&minimise(&[1.5, 0.3], |at| rows.iter().map(|row| error(at, row)).sum()))
}

/// The paper's case: 4 sequences of 8448 tokens, 16 heads of width 128, not causal.
fn published_lanes(gpu: &Gpu) -> (f64, LaneSeconds) {
    let scores = 4.0 * 16.0 * 8448.0 * 8448.0;
    let flops = 4.0 * scores * 128.0;
    let tensor = Seconds(flops / gpu.tensor(Precision::Bf16).expect("a peak").0);
    (flops, LaneSeconds { tensor, special: Seconds(scores / gpu.exponentials_per_second) })
}

/// Lowest and highest of a list.
fn ends(list: impl IntoIterator<Item = f64>) -> [f64; 2] {
    list.into_iter().fold([f64::MAX, 0.0], |[low, high], value| [low.min(value), high.max(value)])
}

/// Rates of the paper's case where `(1 − h)` to the power of each exponent stays in view.
fn rates(kind: &DeviceKind, overlap: Overlap, exponents: [f64; 2]) -> [f64; 2] {
    let (flops, lanes) = published_lanes(gpu(kind));
    exponents.map(|exponent| flops / Overlap { in_view: overlap.in_view.powf(exponent), ..overlap }.seconds(&lanes))
}

#[test]
fn ablations_lie_in_their_intervals() {
    let kind = kinds::h100();
    let (Some(shares), Some(rows)) = (product_shares(&kind), long_prompts(&kind)) else { return };
    let overlaps = shares.map(|share| fit(&rows, share));
    let spread = quartiles(rows.iter().map(|(lanes, seconds)| overlaps[0].seconds(lanes) / seconds).collect());
    eprintln!("{} long prompts, half of them {spread:.3?} of the prediction; {overlaps:.3?}", rows.len());
    let interval = |exponents| {
        let rates = ends(overlaps.iter().flat_map(|overlap| rates(&kind, *overlap, exponents)));
        [rates[0] * spread[0], rates[1] * spread[1]]
    };
    let share = |exponents| {
        ends(overlaps.iter().flat_map(|overlap| {
            let [both, _] = rates(&kind, *overlap, [1.0, 1.0]);
            rates(&kind, *overlap, exponents).map(|rate| rate / both)
        }))
    };
    let both = interval([1.0, 1.0]);
    let [published, ablations @ ..] = PUBLISHED;
    eprintln!("both overlaps {:.0?} TFLOP/s; published {:.0}", both.map(|rate| rate / 1e12), published / 1e12);
    assert!(published > both[0] && published < 1.05 * both[1], "{both:?}");
    for (name, exponents) in [("sure", [0.0, 1.0]), ("narrow", [1.0 / 3.0, 2.0 / 3.0])] {
        let (rates, shares) = (interval(exponents), share(exponents));
        eprintln!("{name:6} one overlap {:.0?} TFLOP/s, {shares:.3?} of both", rates.map(|rate| rate / 1e12));
        for ablation in ablations {
            assert!((rates[0]..=rates[1]).contains(&ablation), "{name}: {ablation} in {rates:?}");
            assert!((shares[0]..=shares[1]).contains(&(ablation / published)), "{name}: {ablation} in {shares:?}");
        }
    }
}
