//! How fast the kernels are on one lane.

use super::rounds::Rounds;
use super::threads;
use crate::compute::{Acts, BLOCK, Compute, KvHead, KvParts, Leaves, Matrix, Out, PANEL, Query, Scratch, Shared};
use crate::sample::{Sampler, Sampling};
use crate::weights::RawRows;
use half::f16;
use headsaw::spec::cluster::table::{AttentionPoint, AttentionRates, ElementRates, ProductPoint};
use headsaw::spec::model::Dtype;
use headsaw::units::FlopsPerSecond;
use std::hint::black_box;
use std::time::Instant;

/// Kernels take 8, 4, 2 or 1 tokens at a time; with many, activations and products leave the nearest cache.
const TOKENS: [usize; 6] = [1, 2, 4, 8, PROMPT, TOKENS_MOST];
const TOKENS_MOST: usize = 512;
const PROMPT: usize = 64;
/// Columns of a matrix.
const DEPTH: usize = 1024;
/// Bytes of a matrix that fits in a core's own cache; few tokens are multiplied with one.
const SMALL: usize = 3 << 17;
/// Bytes of one that does not: the tokens of a prompt, tile by tile, are multiplied with what comes from further away.
const LARGE: usize = 3 << 19;

/// Queries that share K and V; the last is a tile of a prompt.
const QUERIES: [usize; 7] = [1, 2, 3, 4, 5, 8, TILE];
const TILE: usize = 32;
/// Keys of a query where there are many.
const KEYS: usize = 512;
/// Width of a head, and others that tell what depends on it.
const WIDTH: usize = 64;
const WIDTHS: [usize; 2] = [32, 128];

/// Tokens and columns of element-wise work: the activations of a prompt.
const ELEMENTS: [usize; 2] = [128, 1024];
/// Seconds for which each core does products while the others do theirs: as long as a prompt takes, since what disturbs now
/// and then is a part of it.
const PROMPT_SECONDS: f64 = 0.1;
/// What disturbs comes and goes: this is measured for longer than other things.
const LONGER: u32 = 10;
const VOCABULARY: usize = 1 << 15;

/// With so many types of weights.
pub(super) fn measurements(weights: usize) -> u64 {
    (weights * TOKENS.len() + QUERIES.len() + 3 + 9 + 2) as u64
}

/// Products by type and tokens, the laying out of activations left out.
pub(super) fn products(
    compute: &dyn Compute,
    weights: &[Dtype],
    lay_per_second: f64,
    rounds: &mut Rounds,
) -> Vec<ProductPoint> {
    let mut x = Activations::new(compute, TOKENS_MOST, DEPTH);
    let mut points = Vec::new();
    for &weights in weights {
        let [small, large] = [SMALL, LARGE].map(|bytes| matrix(compute, weights, rows(weights, bytes), DEPTH));
        for tokens in TOKENS {
            let matrix = if tokens < PROMPT { &small } else { &large };
            let seconds = product(compute, matrix, &mut x, tokens, rounds);
            let laid = (tokens * DEPTH) as f64 / lay_per_second;
            let flops = (2 * tokens * matrix.rows() * DEPTH) as f64;
            let rate = flops / (seconds - laid).max(seconds / 2.0);
            points.push(ProductPoint { weights, tokens: tokens as u32, flops_per_second: FlopsPerSecond(rate) });
        }
    }
    points
}

/// Whole panels of so many bytes.
fn rows(weights: Dtype, bytes: usize) -> usize {
    let row = DEPTH / weights.block() as usize * weights.block_bytes() as usize;
    bytes / row / PANEL * PANEL
}

/// Seconds of a product.
fn product(compute: &dyn Compute, matrix: &Matrix, x: &mut Activations, tokens: usize, rounds: &mut Rounds) -> f64 {
    let (mut product, times) = (Product::new(matrix, tokens), (TILE / tokens).max(1));
    rounds.each(times, || product.once(compute, x))
}

/// A product over a tree of leaves of two blocks, as heads of 64 columns make it.
struct Product<'a> {
    matrix: &'a Matrix,
    tokens: usize,
    leaves: Leaves,
    scratch: Scratch,
    out: Vec<f32>,
}

impl Product<'_> {
    fn new(matrix: &Matrix, tokens: usize) -> Product<'_> {
        let (leaves, scratch) = (leaves(matrix.blocks(), 2), Scratch::new(matrix.blocks(), WIDTH));
        Product { matrix, tokens, leaves, scratch, out: vec![0.0; tokens * matrix.rows()] }
    }

    fn once(&mut self, compute: &dyn Compute, x: &mut Activations) {
        let (matrix, data) = (self.matrix, Shared::from_mut(&mut self.out));
        let out = Out { data, node_stride: 0, token_stride: matrix.rows(), first_row: 0 };
        let panels = 0..matrix.panels();
        compute.matmul(matrix, &x.acts(), 0..self.tokens, panels, &self.leaves, out, &mut self.scratch);
    }
}

/// Operations a second of each of so many threads that all do products of a prompt.
pub(super) fn prompt_products(compute: &dyn Compute, weights: Dtype, threads: u32, rounds: &mut Rounds) -> f64 {
    let rows = rows(weights, LARGE);
    let seconds = threads::together(threads, rounds, |lane| {
        let (matrix, mut x) = (matrix(compute, weights, rows, DEPTH), Activations::new(compute, TOKENS_MOST, DEPTH));
        let mut product = Product::new(&matrix, TOKENS_MOST);
        product.once(compute, &mut x);
        lane.meet()?;
        let begun = Instant::now();
        product.once(compute, &mut x);
        lane.meet()?;
        Ok(begun.elapsed().as_secs_f64())
    });
    (2 * TOKENS_MOST * rows * DEPTH) as f64 / seconds
}

/// What each core does while all do products of a prompt and meet after each, as devices do, of what it does alone: what
/// comes between one of them keeps all others waiting.
pub(super) fn together(compute: &dyn Compute, cores: u32, rounds: &mut Rounds) -> f64 {
    let prompt = || {
        let matrix = matrix(compute, Dtype::Q8_0, rows(Dtype::Q8_0, LARGE), DEPTH);
        (matrix, Activations::new(compute, PROMPT, DEPTH))
    };
    let (matrix, mut x) = prompt();
    let mut product = Product::new(&matrix, PROMPT);
    let begun = Instant::now();
    product.once(compute, &mut x);
    let products = (PROMPT_SECONDS / begun.elapsed().as_secs_f64()).clamp(1.0, 1e4) as usize;
    let mut seconds = |lanes: u32| {
        threads::together(lanes, &mut rounds.longer(LONGER), |lane| {
            let (matrix, mut x) = prompt();
            let mut product = Product::new(&matrix, PROMPT);
            lane.meet()?;
            let begun = Instant::now();
            for _ in 0..products {
                product.once(compute, &mut x);
                lane.meet()?;
            }
            Ok(begun.elapsed().as_secs_f64())
        })
    };
    let (alone, all) = (seconds(1), seconds(cores));
    (alone / all).min(1.0)
}

/// Two products of which one has one panel tell what laying out takes.
fn lay(compute: &dyn Compute, rounds: &mut Rounds) -> f64 {
    let mut x = Activations::new(compute, PROMPT, DEPTH);
    let many = rows(Dtype::Q4_1, SMALL);
    let [one, all] =
        [PANEL, many].map(|rows| product(compute, &matrix(compute, Dtype::Q4_1, rows, DEPTH), &mut x, PROMPT, rounds));
    let panels = (many / PANEL) as f64;
    let laid = (panels * one - all) / (panels - 1.0);
    (PROMPT * DEPTH) as f64 / laid.max(one / 100.0)
}

/// Numbers that are no NaN in any type.
pub(super) fn matrix(compute: &dyn Compute, dtype: Dtype, rows: usize, columns: usize) -> Matrix {
    let blocks = columns / dtype.block() as usize;
    let bytes = (0..rows * blocks * dtype.block_bytes() as usize).map(|i| (i * 7 % 61) as u8).collect();
    let ranges: Vec<_> = (0..columns as u32).step_by(BLOCK).map(|c| c..c + BLOCK as u32).collect();
    compute.pack(RawRows { dtype, rows, blocks, bytes }, &ranges)
}

/// Leaves of `per` blocks each.
fn leaves(blocks: usize, per: usize) -> Leaves {
    let n = (blocks / per) as u32;
    let pieces: Vec<_> = (0..n).map(|i| i..i + 1).collect();
    Leaves {
        start: 0,
        ends: (1..=n).map(|i| i * per as u32).collect(),
        merges: headsaw::shard::merges(n, &pieces),
        nodes: 1,
    }
}

/// Attention: what a query takes, an exponential, an operation; from the seconds of a tile of a prompt with many and
/// few keys and with heads of several widths.
pub(super) fn attention(compute: &dyn Compute, rounds: &mut Rounds) -> AttentionRates {
    let seconds = QUERIES.map(|queries| attend(compute, WIDTH, queries, KEYS, rounds));
    let tile = |width, keys, rounds: &mut Rounds| attend(compute, width, TILE, keys, rounds);
    let few = tile(WIDTH, TILE, rounds);
    let many = seconds[QUERIES.len() - 1];
    let a_key = (many - few) / (mean_keys(TILE, KEYS) - mean_keys(TILE, TILE));
    let a_query = (few - mean_keys(TILE, TILE) * a_key).max(few / 100.0);
    let [narrow, wide] = WIDTHS.map(|width| (tile(width, KEYS, rounds) - a_query) / mean_keys(TILE, KEYS));
    let an_operation = (wide - narrow) / (4 * (WIDTHS[1] - WIDTHS[0])) as f64;
    let an_exponential = (narrow - (4 * WIDTHS[0]) as f64 * an_operation).max(narrow / 100.0);
    let point = |(queries, seconds): (usize, f64)| {
        let a_key = (seconds - a_query) / mean_keys(queries, KEYS);
        let rate = (4 * WIDTH) as f64 / (a_key - an_exponential).max(a_key / 100.0);
        AttentionPoint { queries: queries as u32, flops_per_second: FlopsPerSecond(rate) }
    };
    AttentionRates {
        queries_per_second: 1.0 / a_query,
        exponentials_per_second: 1.0 / an_exponential,
        products: QUERIES.into_iter().zip(seconds).map(point).collect(),
    }
}

/// Keys that a query sees: in a tile of a prompt the last one sees all; the heads of one token see all.
fn keys_of(query: usize, queries: usize, keys: usize) -> usize {
    if queries == TILE { keys - queries + 1 + query } else { keys }
}

fn mean_keys(queries: usize, keys: usize) -> f64 {
    (0..queries).map(|query| keys_of(query, queries, keys)).sum::<usize>() as f64 / queries as f64
}

/// Seconds that a query takes.
fn attend(compute: &dyn Compute, width: usize, queries: usize, keys: usize, rounds: &mut Rounds) -> f64 {
    let mut parts = [vec![f16::ZERO; keys * width], vec![f16::ZERO; keys * width]];
    let kv = head(&mut parts, width);
    (0..keys).for_each(|position| write(compute, &kv, position, &vec![0.25; width]));
    let query: Vec<f32> = (0..width).map(|d| (d as f32).cos()).collect();
    let mut out = vec![0.0; queries * width];
    let out = Shared::from_mut(&mut out);
    let asked: Vec<_> = (0..queries)
        .map(|i| Query { query: &query, keys: keys_of(i, queries, keys), out: out.part(i * width, width) })
        .collect();
    let mut scratch = Scratch::new(0, width);
    rounds.of(|| compute.attend(&kv, &asked, 0.125, &mut scratch)) / queries as f64
}

fn head<'a>(parts: &'a mut [Vec<f16>; 2], head_width: usize) -> KvHead<'a> {
    let [keys, values] = parts.each_mut().map(|part| Shared::from_mut(&mut part[..]));
    KvHead::F16(KvParts { keys, values, head_width })
}

fn write(compute: &dyn Compute, kv: &KvHead, position: usize, x: &[f32]) {
    compute.write_keys(kv, position, 0, x);
    compute.write_values(kv, position, 0, x);
}

/// What works on each element alone, token by token over the activations of a prompt.
pub(super) fn elements(compute: &dyn Compute, rounds: &mut Rounds) -> ElementRates {
    let [tokens, width] = ELEMENTS;
    let x: Vec<f32> = (0..tokens * width).map(|i| (i as f32).sin()).collect();
    let row = |token: usize| &x[token * width..(token + 1) * width];
    let mut y = x.clone();
    let mut acts = Activations::new(compute, tokens, width);
    let mut squares = vec![0.0; width / BLOCK];
    let mut over = |each: &mut dyn FnMut(usize, &mut [f32], &Acts)| {
        let seconds = rounds.of(|| {
            y.chunks_mut(width).enumerate().for_each(|(token, y)| each(token, y, &acts.acts()));
        });
        (tokens * width) as f64 / seconds
    };
    let norm_per_second = over(&mut |t, _, acts| {
        compute.norm_blocks(row(t), row(0), acts, t, 0, &mut squares);
        compute.rescale(acts, t, black_box(1.0));
    });
    let quantise_per_second = over(&mut |t, _, acts| compute.quantise(row(t), acts, t, 0).expect("finite"));
    let rotate_per_second = over(&mut |t, y, _| compute.rotate(y, &row(t)[..width / 2], &row(t)[width / 2..]));
    let activate_per_second = over(&mut |t, y, _| compute.silu_mul(y, row(t)));
    let add_per_second = over(&mut |t, y, _| y.iter_mut().zip(row(t)).for_each(|(y, x)| *y += x));
    ElementRates {
        norm_per_second,
        quantise_per_second,
        rotate_per_second,
        activate_per_second,
        store_per_second: store(compute, rounds),
        add_per_second,
        lay_per_second: lay(compute, rounds),
        sample_per_second: sample(rounds),
    }
}

/// K and V of one head, position by position.
fn store(compute: &dyn Compute, rounds: &mut Rounds) -> f64 {
    let mut parts = [vec![f16::ZERO; KEYS * WIDTH], vec![f16::ZERO; KEYS * WIDTH]];
    let kv = head(&mut parts, WIDTH);
    let x = vec![0.5; WIDTH];
    (2 * KEYS * WIDTH) as f64 / rounds.of(|| (0..KEYS).for_each(|position| write(compute, &kv, position, &x)))
}

fn sample(rounds: &mut Rounds) -> f64 {
    let logits: Vec<f32> = (0..VOCABULARY).map(|i| (i as f32).sin()).collect();
    let mut sampler = Sampler::new(Sampling::GREEDY, 0);
    let seconds = rounds.of(|| {
        black_box(logits.iter().all(|x| x.is_finite()));
        black_box(sampler.pick(&logits, 0));
    });
    VOCABULARY as f64 / seconds
}

/// Memory of 8-bit activations.
pub(super) struct Activations {
    quants: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
    blocks: usize,
}

impl Activations {
    pub fn new(compute: &dyn Compute, tokens: usize, width: usize) -> Activations {
        let blocks = width / BLOCK;
        let n = tokens * blocks;
        let mut new = Activations { quants: vec![0; n * BLOCK], scales: vec![0.0; n], sums: vec![0; n], blocks };
        let x: Vec<f32> = (0..width).map(|i| (i as f32).sin()).collect();
        for token in 0..tokens {
            compute.quantise(&x, &new.acts(), token, 0).expect("finite");
        }
        new
    }

    pub fn acts(&mut self) -> Acts<'_> {
        Acts::Int8 {
            quants: Shared::from_mut(&mut self.quants),
            scales: Shared::from_mut(&mut self.scales),
            sums: Shared::from_mut(&mut self.sums),
            blocks: self.blocks,
        }
    }
}
