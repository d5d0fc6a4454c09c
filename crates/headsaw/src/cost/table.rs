//! What work takes on one lane of a CPU device, by a table of what its kernels were measured to do.
//!
//! All is the time of a lane that has a core and the memory to itself. Who else reads memory at that time is the
//! simulator's business; so each price says what is read.

use crate::spec::cluster::Table;
use crate::spec::model::Dtype;
use crate::units::{Bytes, Flops, FlopsPerSecond, Seconds};
use std::ops::{Add, Mul};

/// What something takes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Price {
    /// Alone on the machine.
    pub seconds: Seconds,
    /// Read from memory (not from a cache) meanwhile.
    pub streamed: Bytes,
}

impl Add for Price {
    type Output = Price;
    fn add(self, other: Price) -> Price {
        Price { seconds: self.seconds + other.seconds, streamed: self.streamed + other.streamed }
    }
}

impl Mul<f64> for Price {
    type Output = Price;
    fn mul(self, share: f64) -> Price {
        let streamed = Bytes((self.streamed.0 as f64 * share).round() as u64);
        Price { seconds: Seconds(self.seconds.0 * share), streamed }
    }
}

/// Where weights, keys and values lie when they are needed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// In the cache: what all devices of the machine hold fits there.
    Cache,
    /// In memory.
    Memory,
}

impl Home {
    /// Of all that the devices of a machine read again and again.
    pub fn of(table: &Table, working_set: Bytes) -> Home {
        if working_set <= table.cache_bytes { Home::Cache } else { Home::Memory }
    }

    /// Work that reads `bytes` on the way.
    fn price(self, table: &Table, work: Seconds, bytes: Bytes) -> Price {
        let (rate, streamed) = match self {
            Home::Cache => (table.cached_bytes_per_second, Bytes(0)),
            Home::Memory => (table.lane_bytes_per_second, bytes),
        };
        Price { seconds: longer(work, bytes / rate), streamed }
    }
}

/// A product `x [tokens, depth] · wᵀ [rows, depth]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// Type of the weights.
    pub weights: Dtype,
    /// Rows of activations.
    pub tokens: u32,
    /// Output rows.
    pub rows: u64,
    /// Length of a row of weights.
    pub depth: u64,
    /// Calls of the kernel that the rows are done in; each lays out the activations anew.
    pub calls: u64,
}

/// A product: `calls · tokens · depth` elements laid out, then the weights read while they are multiplied, whichever
/// takes longer (roofline: Williams et al. 2009, doi 10.1145/1498765.1498785).
pub fn product_seconds(table: &Table, product: &Product, home: Home) -> Price {
    let Product { weights, tokens, rows, depth, calls } = *product;
    let laid = calls as f64 * f64::from(tokens) * depth as f64 / table.elements.lay_per_second;
    let flops = Flops(2 * u64::from(tokens) * rows * depth);
    let work = flops / product_rate(table, weights, tokens);
    let streamed = home.price(table, work, weight_bytes(weights, rows * depth));
    Price { seconds: streamed.seconds + Seconds(laid), ..streamed }
}

fn weight_bytes(weights: Dtype, elements: u64) -> Bytes {
    Bytes(elements.div_ceil(u64::from(weights.block())) * u64::from(weights.block_bytes()))
}

/// Of the type of weights, else of the one that takes the most similar memory.
fn product_rate(table: &Table, weights: Dtype, tokens: u32) -> FlopsPerSecond {
    let away = |other: Dtype| (other != weights, weight_bytes(other, 256).0.abs_diff(weight_bytes(weights, 256).0));
    let nearest = table.products.iter().map(|point| point.weights).min_by_key(|other| away(*other));
    let points = table.products.iter().filter(|point| Some(point.weights) == nearest);
    rate_at(points.map(|point| (point.tokens, point.flops_per_second)), tokens)
}

/// Attention of queries that share K and V.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Queries: tokens times heads; a lane may have a part of a head.
    pub queries: f64,
    /// Of these, how many share K and V in one call.
    pub together: u32,
    /// Keys that a query sees, in the mean.
    pub keys: f64,
    /// `D`.
    pub head_width: u32,
    /// K and V that are read.
    pub cached: Bytes,
}

impl Attention {
    /// `tokens` tokens of one sequence after `past` others: token `i` sees `past + i + 1` keys.
    pub fn causal(
        tokens: u32,
        past: u32,
        heads: u32,
        kv_heads: u32,
        head_width: u32,
        kv_element_bytes: u32,
    ) -> Attention {
        let group = heads.div_ceil(kv_heads.max(1));
        let row_bytes = 2 * u64::from(kv_heads) * u64::from(head_width) * u64::from(kv_element_bytes);
        Attention {
            queries: f64::from(tokens) * f64::from(heads),
            together: tokens.saturating_mul(group),
            keys: f64::from(past) + (f64::from(tokens) + 1.0) / 2.0,
            head_width,
            cached: Bytes(row_bytes) * (u64::from(past) + u64::from(tokens)),
        }
    }
}

/// Scores, softmax and weighted sum of V; the exponentials are counted apart from the operations.
pub fn attention_seconds(table: &Table, attention: &Attention, home: Home) -> Price {
    let rates = &table.attention;
    let points = rates.products.iter().map(|point| (point.queries, point.flops_per_second));
    let flops_per_key = 4.0 * f64::from(attention.head_width);
    let a_key = 1.0 / rates.exponentials_per_second + flops_per_key / rate_at(points, attention.together).0;
    let a_query = 1.0 / rates.queries_per_second + attention.keys * a_key;
    home.price(table, Seconds(attention.queries * a_query), attention.cached)
}

/// What works on each element alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elementwise {
    /// RMS norm and quantising.
    Norm,
    /// Quantising.
    Quantise,
    /// Rotary.
    Rotate,
    /// SiLU of one, times the other.
    Activate,
    /// K and V into their cache.
    Store,
    /// A vector added to another, or copied.
    Add,
    /// Logits looked at.
    Sample,
}

/// `elements` of one kind of work.
pub fn elementwise_seconds(table: &Table, what: Elementwise, elements: u64) -> Seconds {
    let rates = &table.elements;
    let rate = match what {
        Elementwise::Norm => rates.norm_per_second,
        Elementwise::Quantise => rates.quantise_per_second,
        Elementwise::Rotate => rates.rotate_per_second,
        Elementwise::Activate => rates.activate_per_second,
        Elementwise::Store => rates.store_per_second,
        Elementwise::Add => rates.add_per_second,
        Elementwise::Sample => rates.sample_per_second,
    };
    Seconds(elements as f64 / rate)
}

fn longer(a: Seconds, b: Seconds) -> Seconds {
    if a.0 < b.0 { b } else { a }
}

/// The rate at `count`: a straight line over the logarithm of the count between the nearest points, level beyond the
/// last ones. Panics where there is no point.
fn rate_at(points: impl Iterator<Item = (u32, FlopsPerSecond)> + Clone, count: u32) -> FlopsPerSecond {
    let below = points.clone().filter(|point| point.0 <= count).max_by_key(|point| point.0);
    let above = points.filter(|point| point.0 >= count).min_by_key(|point| point.0);
    match (below, above) {
        (Some(low), Some(high)) if low.0 < high.0 => between(low, high, count),
        (Some(point), _) | (_, Some(point)) => point.1,
        (None, None) => panic!("a table has at least one point"),
    }
}

fn between(low: (u32, FlopsPerSecond), high: (u32, FlopsPerSecond), count: u32) -> FlopsPerSecond {
    let log = |count: u32| libm::log(f64::from(count.max(1)));
    let way = (log(count) - log(low.0)) / (log(high.0) - log(low.0)).max(f64::MIN_POSITIVE);
    FlopsPerSecond(low.1.0 + way * (high.1.0 - low.1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::cluster::table::{AttentionPoint, AttentionRates, ElementRates, ProductPoint};
    use crate::units::BytesPerSecond;

    /// Round numbers: a lane reads 1e9 bytes a second of memory and 4e9 of the cache.
    fn table() -> Table {
        let point = |weights, tokens, rate| ProductPoint { weights, tokens, flops_per_second: FlopsPerSecond(rate) };
        let shared = |queries, rate| AttentionPoint { queries, flops_per_second: FlopsPerSecond(rate) };
        Table {
            cores: 2,
            together: None,
            cache_bytes: Bytes(1000),
            cached_bytes_per_second: BytesPerSecond(4e9),
            lane_bytes_per_second: BytesPerSecond(1e9),
            bytes_per_second: BytesPerSecond(1.5e9),
            action_seconds: Seconds(1e-7),
            hand_over_seconds: Seconds(2e-7),
            crowded_hand_over_seconds: Seconds(1e-5),
            wake_seconds: None,
            elements: ElementRates {
                norm_per_second: 1e9,
                quantise_per_second: 2e9,
                rotate_per_second: 3e9,
                activate_per_second: 4e9,
                store_per_second: 5e9,
                add_per_second: 6e9,
                lay_per_second: 1e9,
                sample_per_second: 8e9,
            },
            attention: AttentionRates {
                queries_per_second: 1e6,
                exponentials_per_second: 1e9,
                products: vec![shared(1, 1e9), shared(4, 3e9)],
            },
            products: vec![point(Dtype::Q4_1, 16, 9e9), point(Dtype::Q4_1, 1, 1e9), point(Dtype::F32, 1, 5e8)],
        }
    }

    #[track_caller]
    fn same(got: Price, seconds: f64, streamed: u64) {
        assert!((got.seconds.0 / seconds - 1.0).abs() < 1e-12, "{got:?}, expected {seconds}");
        assert_eq!(got.streamed, Bytes(streamed));
    }

    #[test]
    fn a_product_takes_the_longer_of_reading_and_multiplying() {
        let product = |weights, tokens| Product { weights, tokens, rows: 100, depth: 64, calls: 2 };
        let (q4, f32s) = (product(Dtype::Q4_1, 1), product(Dtype::F32, 1));
        same(product_seconds(&table(), &q4, Home::Memory), 128e-9 + 12_800e-9, 4000);
        same(product_seconds(&table(), &f32s, Home::Memory), 128e-9 + 25_600e-9, 25_600);
        same(product_seconds(&table(), &f32s, Home::Cache), 128e-9 + 12_800.0 / 5e8, 0);
        // Four tokens are half way from 1 to 16, a type that was not measured is as the nearest.
        same(product_seconds(&table(), &product(Dtype::Q4_1, 4), Home::Memory), 512e-9 + 51_200.0 / 5e9, 4000);
        same(product_seconds(&table(), &product(Dtype::Q8_0, 64), Home::Memory), 8192e-9 + 819_200.0 / 9e9, 6800);
    }

    #[test]
    fn attention_adds_up_queries_exponentials_and_operations() {
        let one = Attention::causal(1, 9, 4, 2, 8, 2);
        let expected = Attention { queries: 4.0, together: 2, keys: 10.0, head_width: 8, cached: Bytes(640) };
        assert_eq!(one, expected);
        same(attention_seconds(&table(), &one, Home::Memory), 4.0 * (1e-6 + 10.0 * (1e-9 + 32.0 / 2e9)), 640);
        let prompt = Attention::causal(3, 0, 4, 2, 8, 2);
        assert_eq!((prompt.queries, prompt.together, prompt.keys), (12.0, 6, 2.0));
    }

    #[test]
    fn what_fits_is_read_from_the_cache() {
        assert_eq!(Home::of(&table(), Bytes(1000)), Home::Cache);
        assert_eq!(Home::of(&table(), Bytes(1001)), Home::Memory);
    }

    #[test]
    fn each_kind_of_element_has_its_rate() {
        use Elementwise::*;
        for (what, rate) in [Norm, Quantise, Rotate, Activate, Store, Add].into_iter().zip(1..) {
            assert_eq!(elementwise_seconds(&table(), what, 6_000_000_000).0, 6.0 / f64::from(rate));
        }
        assert_eq!(elementwise_seconds(&table(), Sample, 8_000_000_000).0, 1.0);
    }
}
