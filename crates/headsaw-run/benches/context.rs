//! What long contexts cost: the time of a generated token and the memory held, from 1,024 tokens to 32,768.
//!
//! `cargo bench -p headsaw-run --bench context [-- ROUNDS] [-- f16|bf16|f32]`. Prints a table for docs/performance.md. The
//! model has the shape of SmolLM2-135M, random weights in Q4_1 and a longer context; its cache holds zeros, which take as
//! long as other numbers. Attention is what a token takes more than with a context of 64 tokens; beside it the time in
//! which as many threads read the bytes of K and V from memory, measured in the same round.

use headsaw::lower::lower;
use headsaw::plan::{CutRequest, Exchange, Order, Plan, cut};
use headsaw::spec::model::{Dtype, Family, ModelSpec, Rope};
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw_run::compute;
use headsaw_run::generate::{Engine, Flow, Options};
use headsaw_run::testing::{random_model, small_spec};
use headsaw_run::weights::ModelFile;
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Counts what is held.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything to the system's allocator and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const CONTEXTS: [u32; 5] = [1024, 4096, 8192, 16_384, 32_768];
/// The context whose attention is taken for none.
const SHORT: u32 = 64;
/// Tokens of a measurement.
const TOKENS: u32 = 8;
const ROUNDS: usize = 7;
/// Bytes that no cache holds.
const BEYOND_CACHE: usize = 192 << 20;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let rounds = words.iter().find_map(|word| word.parse().ok()).unwrap_or(ROUNDS).max(1);
    let named = |kv: &KvDtype| words.iter().any(|word| *word == format!("{kv:?}").to_lowercase());
    let kv = [KvDtype::Bf16, KvDtype::F32].into_iter().find(named).unwrap_or(KvDtype::F16);
    let spec = ModelSpec {
        name: "as SmolLM2-135M".into(),
        layers: 30,
        width: 576,
        heads: 9,
        kv_heads: 3,
        head_width: 64,
        ffn: 1536,
        vocab: 49_152,
        context: CONTEXTS[4] + TOKENS,
        rope: Some(Rope { theta: 100_000.0, scaling: None }),
        tied: true,
        ..small_spec(Family::Llama)
    };
    let file = ModelFile::from_bytes(random_model(&spec, 1, Dtype::Q4_1).leak()).expect("a model");
    let numbers: Vec<u64> = vec![1; BEYOND_CACHE / 8];
    println!(
        "| lanes | context | ms a token | of them attention | K and V, {kv:?} | read plainly | ratio | held / promised |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for lanes in [1, 2] {
        for context in CONTEXTS {
            row(&file, &numbers, lanes, context, kv, rounds);
        }
    }
}

fn row(file: &ModelFile, numbers: &[u64], lanes: u32, context: u32, kv: KvDtype, rounds: usize) {
    let before = HELD.load(Ordering::Relaxed);
    let plan = plan(file.spec(), lanes, context, kv);
    let mut engine = Engine::load(file, &plan, compute::cpu(None).expect("kernels"), &mut |_| {}).expect("it loads");
    PEAK.store(HELD.load(Ordering::Relaxed), Ordering::Relaxed);
    let (mut long, mut short, mut rate) = (f64::MAX, f64::MAX, 0.0f64);
    for _ in 0..rounds {
        long = long.min(token(&mut engine, context - 1));
        short = short.min(token(&mut engine, SHORT - 1));
        rate = rate.max(read(numbers, lanes as usize));
    }
    let held = PEAK.load(Ordering::Relaxed) - before;
    let promised = promised(&plan, &engine);
    let bytes = file.spec().kv_bytes_per_token(kv.bytes()).0 * u64::from(context);
    let plainly = bytes as f64 / rate;
    println!(
        "| {lanes} | {context} | {:.2} | {:.2} ms | {:.1} MB | {:.2} ms at {:.1} GB/s | **{:.2}** | {:.1} / {:.1} MB |",
        1e3 * long,
        1e3 * (long - short),
        bytes as f64 / 1e6,
        1e3 * plainly,
        rate / 1e9,
        (long - short) / plainly,
        held as f64 / 1e6,
        promised as f64 / 1e6,
    );
}

fn plan(spec: &ModelSpec, lanes: u32, context: u32, kv: KvDtype) -> Plan {
    let numerics = Numerics { activations: Activations::Int8, kv };
    let workload = Workload { batch: 1, tokens: 1, micros: 1, context: context + TOKENS, sequences: 1, numerics };
    let (exchange, order) = (Exchange::Reduce, Order::Pipelined);
    cut(spec, workload, &CutRequest { tp: 1, pp: 1, device_weights: vec![], lanes, exchange, order }).expect("a cut")
}

/// Bytes as `verify` says, with the file's own weights (its output is Q4_1 too) and the table of angles, which all devices
/// share.
fn promised(plan: &Plan, engine: &Engine) -> u64 {
    let memory = headsaw::verify::memory(plan, &lower(plan));
    let values: u64 = memory.values().map(|memory| memory.cache.0 + memory.values.0).sum();
    let weights: u64 = engine.devices().iter().map(|device| device.weight_bytes.0).sum();
    let angles = 4 * u64::from(plan.model.head_width) * u64::from(plan.workload.context);
    values + weights + angles
}

/// Seconds of a token with so many before it, the mean of a few.
fn token(engine: &mut Engine, past: u32) -> f64 {
    let options = Options { past: past as usize, digest: false, ..Options::greedy(TOKENS as usize + 1) };
    let report = engine.generate(&[vec![1]], &options, &mut |_| Flow::Continue).expect("it runs");
    report.decode.seconds / report.decode.tokens as f64
}

/// The rate at which threads read memory with plain code.
fn read(numbers: &[u64], threads: usize) -> f64 {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for part in numbers.chunks(numbers.len() / threads) {
            scope.spawn(|| {
                let mut sums = [0u64; 16];
                for chunk in part.chunks_exact(16) {
                    for (sum, number) in sums.iter_mut().zip(chunk) {
                        *sum = sum.wrapping_add(*number);
                    }
                }
                black_box(sums);
            });
        }
    });
    size_of_val(numbers) as f64 / begun.elapsed().as_secs_f64()
}
