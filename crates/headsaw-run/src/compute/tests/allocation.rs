//! No kernel allocates once its matrix is packed and its scratch is made.

use super::*;
use crate::weights::RawRows;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting each thread's calls.
struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: hands everything on to the system's allocator; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Calls of the allocator while `work` runs.
fn calls(work: impl FnOnce()) -> usize {
    let before = CALLS.get();
    work();
    CALLS.get() - before
}

#[test]
fn kernels_do_not_allocate() {
    assert_eq!(calls(|| drop(std::hint::black_box(vec![1]))), 1, "the allocator counts");
    for kernels in fast().into_iter().chain([reference()]) {
        let name = kernels.name();
        for dtype in DTYPES {
            assert_eq!(calls_of_a_product(&*kernels, dtype), 0, "{name}, {}", dtype.name());
        }
        assert_eq!(calls_of_attention(&*kernels), 0, "{name}");
        assert_eq!(calls_of_the_rest(&*kernels), 0, "{name}");
    }
}

/// Blocks that straddle those of the file, as many tokens as several tiles hold, a leaf for each block.
fn calls_of_a_product(kernels: &dyn Compute, dtype: Dtype) -> usize {
    let (rows, columns, tokens) = (20, 160usize, if cfg!(miri) { 2 } else { 75 });
    let blocks: Vec<Range<u32>> = [0..32, 32..64, 64..80, 80..112, 112..144, 144..160].to_vec();
    let in_row = columns.div_ceil(dtype.block() as usize);
    let raw = RawRows { dtype, rows, blocks: in_row, bytes: vec![1; rows * in_row * dtype.block_bytes() as usize] };
    let m = kernels.pack(raw, &blocks);
    let mut x = Memory::new(tokens, blocks.len(), false);
    let x = x.acts();
    let leaves = Leaves { start: 0, ends: vec![1, 2, 3, 4, 5, 6], merges: vec![0, 1, 0, 1, 0, 1], nodes: 3 };
    let (mut data, mut row) = (vec![0.0; 3 * tokens * rows], vec![0.0; columns]);
    let data = Shared::from_mut(&mut data);
    let out = Out { data, node_stride: tokens * rows, token_stride: rows, first_row: 0 };
    let mut scratch = Scratch::new(blocks.len(), 64);
    calls(|| {
        kernels.matmul(&m, &x, 0..tokens, 0..m.panels(), &leaves, out, &mut scratch);
        kernels.embed(&m, 1, &mut row);
    })
}

fn calls_of_attention(kernels: &dyn Compute) -> usize {
    let (width, keys) = (24, if cfg!(miri) { 17 } else { 300 });
    let mut parts = [vec![half::f16::ZERO; 304 * width], vec![half::f16::ZERO; 304 * width]];
    let [k, values] = parts.each_mut().map(|part| Shared::from_mut(&mut part[..]));
    let kv = KvHead::F16(KvParts { keys: k, values, head_width: width });
    let (x, mut out) = (Random(1).numbers(width), vec![0.0; 11 * width]);
    let shared = Shared::from_mut(&mut out);
    let query = |q: usize| Query { query: &x, keys: keys - q, out: shared.part(q * width, width) };
    let queries: Vec<_> = (0..11).map(query).collect();
    let mut scratch = Scratch::new(1, width);
    calls(|| {
        for position in 0..keys {
            kernels.write_keys(&kv, position, 0, &x);
            kernels.write_values(&kv, position, 0, &x);
        }
        kernels.attend(&kv, &queries, 0.1, &mut scratch);
    })
}

fn calls_of_the_rest(kernels: &dyn Compute) -> usize {
    let (x, mut squares, mut gate) = (Random(1).numbers(80), [0.0; 3], Random(2).numbers(80));
    let mut memory = Memory::new(1, 3, false);
    let acts = memory.acts();
    calls(|| {
        kernels.norm_blocks(&x, &x, &acts, 0, 0, &mut squares);
        kernels.rescale(&acts, 0, 2.0);
        kernels.quantise(&x, &acts, 0, 0).unwrap();
        kernels.silu_mul(&mut gate, &x);
        kernels.rotate(&mut gate, &x[..40], &x[..40]);
    })
}
