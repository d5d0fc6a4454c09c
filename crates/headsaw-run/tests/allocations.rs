//! Nothing is allocated in the token loop. A binary of its own, since it counts every allocation of the process.

use headsaw::lower::lower;
use headsaw::plan::{CutRequest, Exchange, Flow as HeadFlow, HeadSteps, Order, Overlap, cut};
use headsaw::spec::model::{Dtype, Family};
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw::units::Bytes;
use headsaw::verify;
use headsaw_run::compute;
use headsaw_run::generate::{DeviceReport, Engine, Event, Flow, Options};
use headsaw_run::sample::Sampling;
use headsaw_run::testing::{random_model, small_spec};
use headsaw_run::weights::ModelFile;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// Bytes that are held now.
static HELD: AtomicI64 = AtomicI64::new(0);

/// The counters are the process's: one test after the other.
static ALONE: Mutex<()> = Mutex::new(());

// SAFETY: hands everything to the system's allocator and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        HELD.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        HELD.fetch_add(size as i64 - layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations between the second token and the last.
fn while_generating(exchange: Exchange, tp: u32, pp: u32, sampling: Sampling, trace: Option<usize>) -> u64 {
    let spec = small_spec(Family::Llama);
    let file = ModelFile::from_bytes(random_model(&spec, 3, Dtype::Q8_0).leak()).unwrap();
    let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
    let workload = Workload { batch: 1, tokens: 4, micros: 2, context: 64, sequences: 2, numerics };
    let order = Order::Pipelined;
    let request = CutRequest { tp, pp, device_weights: vec![], lanes: 2, exchange, order };
    let plan = cut(file.spec(), workload, &request).unwrap();
    let mut engine = Engine::load(&file, &plan, compute::cpu(None).unwrap(), &mut |_| {}).unwrap();
    let (mut first, mut last, mut tokens) = (0, 0, 0);
    let mut listen = |event| {
        if matches!(event, Event::Token { .. }) {
            tokens += 1;
            let count = ALLOCATIONS.load(Ordering::Relaxed);
            if tokens == 4 {
                first = count;
            }
            last = count;
        }
        Flow::Continue
    };
    let options = Options { sampling, trace, ..Options::greedy(40) };
    engine.generate(&[vec![1, 2, 3, 4, 5, 6], vec![7]], &options, &mut listen).unwrap();
    assert_eq!(tokens, 80);
    last - first
}

#[test]
fn nothing_is_allocated_in_the_token_loop() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let sampling = Sampling { temperature: 0.8, top_k: 10, top_p: 0.9, seed: 1 };
    for exchange in [Exchange::Reduce, Exchange::Gather] {
        for (tp, pp) in [(1, 1), (3, 1), (2, 2)] {
            for trace in [None, Some(1 << 10)] {
                let count = while_generating(exchange, tp, pp, sampling, trace);
                assert_eq!(count, 0, "{exchange:?} tp {tp} pp {pp} {trace:?}");
            }
        }
    }
}

/// Bytes of all devices beside weights: what `verify` promises, and what was really held while tokens were made.
struct Taken {
    promised: i64,
    held: i64,
    /// Cache lines that allocations may end in.
    lines: i64,
}

fn taken(exchange: Exchange, pp: u32, overlap: Option<Overlap>, tokens: u32) -> Taken {
    let spec = small_spec(Family::Llama);
    let file = ModelFile::from_bytes(random_model(&spec, 3, Dtype::Q8_0).leak()).unwrap();
    let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
    let workload = Workload { batch: 2, tokens, micros: 2, context: 128, sequences: 2, numerics };
    let order = Order::Pipelined;
    let request = CutRequest { tp: 2, pp, device_weights: vec![], lanes: 3, exchange, order };
    let mut plan = cut(file.spec(), workload, &request).unwrap();
    plan.steps = overlap.map(|overlap| {
        let cut = "3".parse().unwrap();
        HeadSteps::in_turn(HeadFlow { cut, chunk: 1, interleave: 1, overlap }, plan.lanes)
    });
    let program = lower(&plan);
    let memory = verify::memory(&plan, &program);
    let promised = memory.values().map(|held| held.cache + held.values).sum::<Bytes>();
    let before = HELD.load(Ordering::Relaxed);
    let mut engine = Engine::load(&file, &plan, compute::cpu(None).unwrap(), &mut |_| {}).unwrap();
    let mut held = 0;
    let mut listen = |_| {
        held = held.max(HELD.load(Ordering::Relaxed) - before);
        Flow::Continue
    };
    engine.generate(&[vec![1, 2, 3], vec![7]], &Options::greedy(8), &mut listen).unwrap();
    let lines = (program.places.len() + 4 * program.lanes.len()) as i64;
    // The report says the same as the promise, but for ends of cache lines, weights and tables of angles.
    let rotations = 8 * i64::from(plan.model.head_width / 2) * 128;
    let reported = |device: &DeviceReport| (device.memory_bytes_peak.0 - device.weight_bytes.0) as i64 - rotations;
    let reported: i64 = engine.devices().iter().map(reported).sum();
    let promised = promised.0 as i64;
    assert!((reported - promised).abs() <= 64 * lines, "{promised} promised, {reported} reported");
    Taken { promised, held, lines }
}

/// Weights, threads and kernels' scratch are the same however many tokens go through together; all else is compared.
#[test]
fn what_is_promised_is_what_is_held() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for exchange in [Exchange::Reduce, Exchange::Gather] {
        for (pp, overlap) in [(1, None), (2, None), (1, Some(Overlap::None)), (2, Some(Overlap::Heads))] {
            let few = taken(exchange, pp, overlap, 8);
            let many = taken(exchange, pp, overlap, 520);
            let (promised, held) = (many.promised - few.promised, many.held - few.held);
            let at = format!("{exchange:?} pp {pp} {overlap:?}: {promised} promised, {held} held");
            println!("{at}");
            assert!((promised - held).abs() <= 64 * many.lines, "{at}");
        }
    }
}
