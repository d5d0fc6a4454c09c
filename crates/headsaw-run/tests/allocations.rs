//! Nothing is allocated in the token loop. A binary of its own, since it counts every allocation of the process.

use headsaw::plan::{CutRequest, Exchange, Order, cut};
use headsaw::spec::model::{Dtype, Family};
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw_run::compute;
use headsaw_run::generate::{Engine, Event, Flow, Options};
use headsaw_run::sample::Sampling;
use headsaw_run::testing::{random_model, small_spec};
use headsaw_run::weights::ModelFile;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: hands everything to the system's allocator and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
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
    // One test after the other: the counter is the process's.
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
