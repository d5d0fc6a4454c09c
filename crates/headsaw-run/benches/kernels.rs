//! How fast the kernels are, one thread: `cargo bench -p headsaw-run --bench kernels [-- ISA… TYPE…]`.
//!
//! Decoding is bound by memory, so its figure is GB/s over matrices that together exceed the cache; prompts are bound
//! by arithmetic: GOP/s, two operations a multiply-add. Best of many short rounds, as other processes disturb them.

use half::f16;
use headsaw::spec::model::Dtype;
use headsaw_run::compute::{
    self, Acts, BLOCK, Compute, Isa, KvHead, KvParts, Leaves, Matrix, Out, Query, Scratch, Shared,
};
use headsaw_run::weights::RawRows;
use std::hint::black_box;
use std::time::Instant;

/// Bytes that no cache holds.
const BEYOND_CACHE: usize = 96 << 20;

fn main() {
    let named: Vec<Isa> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let typed = |arg: String| Dtype::ALL.into_iter().find(|dtype| dtype.name() == arg);
    let only: Vec<Dtype> = std::env::args().filter_map(typed).collect();
    memory();
    for isa in Isa::ALL.into_iter().filter(|isa| named.is_empty() || named.contains(isa)) {
        let Ok(kernels) = compute::cpu(Some(isa)) else {
            println!("{isa}: not on this processor");
            continue;
        };
        for dtype in Dtype::ALL.into_iter().filter(|dtype| only.is_empty() || only.contains(dtype)) {
            decode(&*kernels, dtype, 256, 1024, 64);
            decode(&*kernels, dtype, 512, 1536, 1);
            prompt(&*kernels, dtype, 1536, 512, 16);
            prompt(&*kernels, dtype, 512, 1536, 1);
            prompt(&*kernels, dtype, 512, 512, 2);
        }
        if only.is_empty() {
            for (tokens, context) in [(512, 512), (4096, 4096), (1, 512), (1, 32_768)] {
                attention(&*kernels, tokens, context);
            }
            elementwise(&*kernels);
        }
    }
}

/// The best seconds of many rounds.
fn best(mut round: impl FnMut()) -> f64 {
    parts(1, |_| round())
}

/// The sum of the best seconds of each of `n` parts of a round.
fn parts(n: usize, mut part: impl FnMut(usize)) -> f64 {
    let start = Instant::now();
    let mut best = vec![f64::MAX; n];
    let mut rounds = 0;
    while rounds < 5 || start.elapsed().as_secs_f64() < 0.6 {
        for (i, best) in best.iter_mut().enumerate() {
            let now = Instant::now();
            part(i);
            *best = best.min(now.elapsed().as_secs_f64());
        }
        rounds += 1;
    }
    best.iter().sum()
}

/// The rate at which plain code reads memory: what decoding cannot exceed.
fn memory() {
    let numbers: Vec<u64> = (0..(BEYOND_CACHE / 8) as u64).collect();
    let pieces: Vec<_> = numbers.chunks(1 << 18).collect();
    let seconds = parts(pieces.len(), |i| {
        let mut sums = [0u64; 16];
        for chunk in pieces[i].chunks_exact(16) {
            for (sum, number) in sums.iter_mut().zip(chunk) {
                *sum = sum.wrapping_add(*number);
            }
        }
        black_box(sums);
    });
    println!("{:9} {:16} {:32} {:8.1} GB/s", "", "plain reading", "", BEYOND_CACHE as f64 / seconds / 1e9);
}

/// Bytes that are no NaN in any type.
fn matrix(kernels: &dyn Compute, dtype: Dtype, rows: usize, columns: usize) -> Matrix {
    let blocks = columns / dtype.block() as usize;
    let bytes = (0..rows * blocks * dtype.block_bytes() as usize).map(|i| (i * 7 % 61) as u8).collect();
    let ranges: Vec<_> = (0..columns as u32).step_by(BLOCK).map(|c| c..c + BLOCK as u32).collect();
    kernels.pack(RawRows { dtype, rows, blocks, bytes }, &ranges)
}

/// Leaves of `per` blocks each; one for all where there are no more.
fn leaves(blocks: usize, per: usize) -> Leaves {
    if per >= blocks {
        return Leaves::single(blocks);
    }
    let n = (blocks / per) as u32;
    let pieces: Vec<_> = (0..n).map(|i| i..i + 1).collect();
    Leaves {
        start: 0,
        ends: (1..=n).map(|i| i * per as u32).collect(),
        merges: headsaw::shard::merges(n, &pieces),
        nodes: 1,
    }
}

/// Memory of 8-bit activations.
struct Activations {
    quants: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
    blocks: usize,
}

impl Activations {
    fn new(kernels: &dyn Compute, tokens: usize, blocks: usize) -> Activations {
        let n = tokens * blocks;
        let mut new = Activations { quants: vec![0; n * BLOCK], scales: vec![0.0; n], sums: vec![0; n], blocks };
        let x: Vec<f32> = (0..blocks * BLOCK).map(|i| (i as f32).sin()).collect();
        for token in 0..tokens {
            kernels.quantise(&x, &new.acts(), token, 0).expect("finite");
        }
        new
    }

    fn acts(&mut self) -> Acts<'_> {
        Acts::Int8 {
            quants: Shared::from_mut(&mut self.quants),
            scales: Shared::from_mut(&mut self.scales),
            sums: Shared::from_mut(&mut self.sums),
            blocks: self.blocks,
        }
    }
}

fn decode(kernels: &dyn Compute, dtype: Dtype, rows: usize, columns: usize, per: usize) {
    // More than the cache holds, in matrices of a layer's size.
    let one = matrix(kernels, dtype, rows, columns).bytes();
    let matrices: Vec<_> = (0..BEYOND_CACHE / one).map(|_| matrix(kernels, dtype, rows, columns)).collect();
    let blocks = columns / BLOCK;
    let (leaves, mut scratch) = (leaves(blocks, per), Scratch::new(blocks, 64));
    let mut x = Activations::new(kernels, 1, blocks);
    let mut data = vec![0.0; rows];
    let pieces: Vec<_> = matrices.chunks(matrices.len().div_ceil(32)).collect();
    let seconds = parts(pieces.len(), |i| {
        for m in pieces[i] {
            let out = Out { data: Shared::from_mut(&mut data), node_stride: 0, token_stride: 0, first_row: 0 };
            kernels.matmul(m, &x.acts(), 0..1, 0..m.panels(), &leaves, out, &mut scratch);
        }
    });
    let bytes = one * matrices.len();
    let name = format!("decode {}", dtype.name());
    let shape = format!("{rows}x{columns}, leaves of {per}");
    println!("{:9} {name:16} {shape:32} {:8.1} GB/s", kernels.name(), bytes as f64 / seconds / 1e9);
}

fn prompt(kernels: &dyn Compute, dtype: Dtype, rows: usize, columns: usize, per: usize) {
    let (tokens, blocks) = (512, columns / BLOCK);
    let m = matrix(kernels, dtype, rows, columns);
    let (leaves, mut scratch) = (leaves(blocks, per), Scratch::new(blocks, 64));
    let mut x = Activations::new(kernels, tokens, blocks);
    let mut data = vec![0.0; rows * tokens];
    let seconds = parts(tokens / 64, |i| {
        let out = Out { data: Shared::from_mut(&mut data), node_stride: 0, token_stride: rows, first_row: 0 };
        kernels.matmul(&m, &x.acts(), i * 64..(i + 1) * 64, 0..m.panels(), &leaves, out, &mut scratch);
    });
    let operations = 2 * rows * columns * tokens;
    let name = format!("prompt {}", dtype.name());
    let shape = format!("{rows}x{columns}x{tokens}, leaves of {per}");
    println!("{:9} {name:16} {shape:32} {:8.1} GOP/s", kernels.name(), operations as f64 / seconds / 1e9);
}

/// `tokens` tokens at the end of a context, three Q heads a KV head, 64 wide.
fn attention(kernels: &dyn Compute, tokens: usize, context: usize) {
    let (width, heads) = (64, 3);
    let mut parts = [vec![f16::ZERO; context * width], vec![f16::ZERO; context * width]];
    let [keys, values] = parts.each_mut().map(|part| Shared::from_mut(&mut part[..]));
    let kv = KvHead::F16(KvParts { keys, values, head_width: width });
    for position in 0..context {
        let x: Vec<f32> = (0..width).map(|d| ((position * d) as f32).sin()).collect();
        kernels.write_keys(&kv, position, 0, &x);
        kernels.write_values(&kv, position, 0, &x);
    }
    let query: Vec<f32> = (0..width).map(|d| (d as f32).cos()).collect();
    let mut out = vec![0.0; tokens * heads * width];
    let shared = Shared::from_mut(&mut out);
    let queries: Vec<_> = (0..tokens * heads)
        .map(|q| Query { query: &query, keys: context - tokens + 1 + q / heads, out: shared.part(q * width, width) })
        .collect();
    let mut scratch = Scratch::new(0, width);
    let seconds = best(|| kernels.attend(&kv, &queries, 0.125, &mut scratch));
    let operations: usize = queries.iter().map(|query| 4 * query.keys * width).sum();
    let (name, shape) = ("attention F16", format!("{tokens} of {context} tokens, {heads} heads"));
    println!("{:9} {name:16} {shape:32} {:8.1} GFLOP/s", kernels.name(), operations as f64 / seconds / 1e9);
}

fn elementwise(kernels: &dyn Compute) {
    let n = 1536;
    let x: Vec<f32> = (0..n).map(|i| (i as f32).sin()).collect();
    let mut memory = Activations::new(kernels, 1, n / BLOCK);
    let mut squares = vec![0.0; n / BLOCK];
    let mut gate = x.clone();
    let print = |name: &str, round: &mut dyn FnMut()| {
        let seconds = best(|| (0..100).for_each(|_| round())) / 100.0;
        println!("{:9} {name:16} {:32} {:8.2} ns an element", kernels.name(), n, seconds / n as f64 * 1e9);
    };
    print("norm_blocks", &mut || kernels.norm_blocks(&x, &x, &memory.acts(), 0, 0, &mut squares));
    print("quantise", &mut || kernels.quantise(&x, &memory.acts(), 0, 0).expect("finite"));
    print("silu_mul", &mut || {
        gate.copy_from_slice(&x);
        kernels.silu_mul(&mut gate, &x);
    });
    print("rotate", &mut || kernels.rotate(&mut gate, &x[..n / 2], &x[..n / 2]));
}
