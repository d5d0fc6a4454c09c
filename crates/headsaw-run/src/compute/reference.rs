//! The plain kernels: loops over the blocks of the file, one element at a time. Their order of additions is the law.

use super::math::{exp, fold, norm_factor, silu};
use super::matrix::{Body, Matrix};
use super::{
    Acts, BLOCK, Compute, KvHead, KvParts, Leaves, NotFinite, Out, PANEL, Query, SPAN, Scratch, Shared, TREE_DEPTH,
};
use crate::weights::{RUN, RawRows, Run};
use half::{bf16, f16};
use headsaw::spec::model::Dtype;
use std::ops::Range;

/// The kernels that define the order.
pub(super) struct Reference;

impl Compute for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn pack(&self, raw: RawRows, blocks: &[Range<u32>]) -> Matrix {
        Matrix::check(&raw, blocks);
        Matrix { dtype: raw.dtype, rows: raw.rows, blocks: blocks.to_vec(), body: Body::File(raw) }
    }

    fn matmul(
        &self,
        m: &Matrix,
        x: &Acts,
        tokens: Range<usize>,
        panels: Range<usize>,
        leaves: &Leaves,
        out: Out,
        _: &mut Scratch,
    ) {
        let raw = file(m);
        let rows = panels.start * PANEL..(panels.end * PANEL).min(m.rows);
        for token in tokens {
            for row in rows.clone() {
                let mut stack = [0.0; TREE_DEPTH];
                let mut depth = 0;
                let mut start = leaves.start as usize;
                for (&end, &merges) in leaves.ends.iter().zip(&leaves.merges) {
                    stack[depth] = leaf(raw, row, &m.blocks, start..end as usize, x, token);
                    depth += 1;
                    for _ in 0..merges {
                        depth -= 1;
                        stack[depth - 1] += stack[depth];
                    }
                    start = end as usize;
                }
                assert_eq!(depth, leaves.nodes, "nodes left of {leaves:?}");
                for (node, &value) in stack[..depth].iter().enumerate() {
                    // SAFETY: the program gives this call the outputs of its tokens and panels.
                    unsafe {
                        out.data.set(node * out.node_stride + token * out.token_stride + row - out.first_row, value)
                    };
                }
            }
        }
    }

    fn embed(&self, m: &Matrix, row: usize, out: &mut [f32]) {
        let raw = file(m);
        let columns = m.blocks.iter().flat_map(|block| block.clone());
        for (value, column) in out.iter_mut().zip(columns) {
            *value = element(raw, row, column as usize);
        }
    }

    fn norm_blocks(&self, x: &[f32], gain: &[f32], acts: &Acts, token: usize, first_block: usize, squares: &mut [f32]) {
        for (i, x) in x.chunks(BLOCK).enumerate() {
            let mut y = [0.0; BLOCK];
            let mut s = [0.0; BLOCK];
            for j in 0..x.len() {
                y[j] = x[j] * gain[i * BLOCK + j];
                s[j] = x[j] * x[j];
            }
            squares[i] = fold(std::array::from_fn(|j| s[j] + s[j + 16]));
            if store(&y, acts, token, first_block + i).is_err() {
                squares[i] = f32::NAN;
            }
        }
    }

    fn rescale(&self, acts: &Acts, token: usize, factor: f32) {
        let values = match *acts {
            // SAFETY: the program gives this call the token's activations.
            Acts::Int8 { scales, blocks, .. } => unsafe { scales.slice_mut(token * blocks..(token + 1) * blocks) },
            // SAFETY: as above.
            Acts::Float { values, blocks } => unsafe {
                values.slice_mut(token * blocks * BLOCK..(token + 1) * blocks * BLOCK)
            },
        };
        for value in values {
            *value *= factor;
        }
    }

    fn norm(&self, x: &mut [f32], gain: &[f32], epsilon: f32) {
        let mut sum = 0.0;
        for x in x.chunks(BLOCK) {
            let mut s = [0.0; BLOCK];
            for j in 0..x.len() {
                s[j] = x[j] * x[j];
            }
            sum += fold(std::array::from_fn(|j| s[j] + s[j + 16]));
        }
        let factor = norm_factor(sum, x.len(), epsilon);
        for (x, gain) in x.iter_mut().zip(gain) {
            *x = *x * factor * gain;
        }
    }

    fn quantise(&self, x: &[f32], acts: &Acts, token: usize, first_block: usize) -> Result<(), NotFinite> {
        let mut result = Ok(());
        for (i, x) in x.chunks(BLOCK).enumerate() {
            let mut y = [0.0; BLOCK];
            y[..x.len()].copy_from_slice(x);
            result = result.and(store(&y, acts, token, first_block + i));
        }
        result
    }

    fn silu_mul(&self, gate: &mut [f32], up: &[f32]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            *gate = silu(*gate) * up;
        }
    }

    fn rotate(&self, x: &mut [f32], cos: &[f32], sin: &[f32]) {
        for (i, pair) in x.chunks_exact_mut(2).enumerate() {
            let [a, b] = [pair[0], pair[1]];
            pair[0] = a * cos[i] - b * sin[i];
            pair[1] = a * sin[i] + b * cos[i];
        }
    }

    fn write_keys(&self, kv: &KvHead, position: usize, first: usize, k: &[f32]) {
        match kv {
            KvHead::F16(kv) => write_keys(kv, position, first, k, f16::from_f32),
            KvHead::Bf16(kv) => write_keys(kv, position, first, k, bf16::from_f32),
            KvHead::F32(kv) => write_keys(kv, position, first, k, |k| k),
        }
    }

    fn write_values(&self, kv: &KvHead, position: usize, first: usize, v: &[f32]) {
        match kv {
            KvHead::F16(kv) => write_values(kv, position, first, v, f16::from_f32),
            KvHead::Bf16(kv) => write_values(kv, position, first, v, bf16::from_f32),
            KvHead::F32(kv) => write_values(kv, position, first, v, |v| v),
        }
    }

    fn attend(&self, kv: &KvHead, queries: &[Query], scale: f32, _: &mut Scratch) {
        for query in queries {
            attend_one(kv, query, scale);
        }
    }
}

fn file(m: &Matrix) -> &RawRows {
    match &m.body {
        Body::File(raw) => raw,
        Body::Panels(_) => panic!("this matrix was packed by other kernels than `reference`"),
    }
}

/// The bytes of one block of the file.
fn bytes(raw: &RawRows, row: usize, block: usize) -> &[u8] {
    let size = raw.dtype.block_bytes() as usize;
    &raw.bytes[(row * raw.blocks + block) * size..][..size]
}

/// One weight as a number.
fn element(raw: &RawRows, row: usize, column: usize) -> f32 {
    let width = raw.dtype.block() as usize;
    let block = bytes(raw, row, column / width);
    match raw.dtype {
        Dtype::F32 => f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
        Dtype::F16 => f16::from_le_bytes([block[0], block[1]]).to_f32(),
        Dtype::Bf16 => bf16::from_le_bytes([block[0], block[1]]).to_f32(),
        quantised => Run::read(quantised, block, column % width / RUN).number(column % RUN),
    }
}

/// The sum over the activation blocks of one leaf.
fn leaf(raw: &RawRows, row: usize, blocks: &[Range<u32>], leaf: Range<usize>, x: &Acts, token: usize) -> f32 {
    match raw.dtype {
        Dtype::F32 | Dtype::F16 | Dtype::Bf16 => float_leaf(raw, row, blocks, leaf, x, token),
        _ => integer_leaf(raw, row, blocks, leaf, x, token),
    }
}

fn float_leaf(raw: &RawRows, row: usize, blocks: &[Range<u32>], leaf: Range<usize>, x: &Acts, token: usize) -> f32 {
    let mut sum = 0.0;
    for b in leaf {
        for i in 0..BLOCK {
            let column = blocks[b].start as usize + i;
            let weight = if column < blocks[b].end as usize { element(raw, row, column) } else { 0.0 };
            sum = weight.mul_add(activation(x, token, b, i), sum);
        }
    }
    sum
}

fn activation(x: &Acts, token: usize, block: usize, i: usize) -> f32 {
    // SAFETY: the program writes no activations while a product reads them.
    unsafe {
        match *x {
            Acts::Int8 { quants, scales, blocks, .. } => {
                let at = token * blocks + block;
                scales.slice(at..at + 1)[0] * f32::from(quants.slice(at * BLOCK + i..at * BLOCK + i + 1)[0])
            }
            Acts::Float { values, blocks } => {
                let at = (token * blocks + block) * BLOCK + i;
                values.slice(at..at + 1)[0]
            }
        }
    }
}

fn integer_leaf(raw: &RawRows, row: usize, blocks: &[Range<u32>], leaf: Range<usize>, x: &Acts, token: usize) -> f32 {
    let Acts::Int8 { quants, scales, blocks: stride, .. } = *x else {
        panic!("{} weights take 8-bit activations: dequantise them at load for f32 ones", raw.dtype.name())
    };
    let (mut sum_d, mut sum_m) = (0.0, 0.0);
    for b in leaf {
        let at = token * stride + b;
        // SAFETY: the program writes no activations while a product reads them.
        let (quants, da) = unsafe { (quants.slice(at * BLOCK..(at + 1) * BLOCK), scales.slice(at..at + 1)[0]) };
        let (start, end) = (blocks[b].start as usize, blocks[b].end as usize);
        let mut column = start;
        // Where a run of weights ends inside the activation block, a new segment starts.
        while column < end {
            let width = raw.dtype.block() as usize;
            let run = Run::read(raw.dtype, bytes(raw, row, column / width), column % width / RUN);
            let stop = end.min((column / RUN + 1) * RUN);
            let (mut dot, mut total) = (0, 0);
            for c in column..stop {
                let a = i32::from(quants[c - start]);
                dot += run.steps[c % RUN / 16] * run.quants[c % RUN] * a;
                total += a;
            }
            // Exact: at most 32 · 128 · 32 · 127 (Q6_K), which is less than 2^24.
            sum_d += (run.scale * da) * dot as f32;
            if let Some(minimum) = run.minimum {
                sum_m += minimum * (da * total as f32);
            }
            column = stop;
        }
    }
    if has_minima(raw.dtype) { sum_d + sum_m } else { sum_d }
}

fn has_minima(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::Q5_1 | Dtype::Q5K | Dtype::Q4_1 | Dtype::Q4K)
}

/// Stores one block; where it is not finite, zeros.
fn store(y: &[f32; BLOCK], acts: &Acts, token: usize, block: usize) -> Result<(), NotFinite> {
    let largest = y.iter().map(|y| y.to_bits() & 0x7fff_ffff).max().unwrap_or(0);
    let finite = largest < 0x7f80_0000;
    // SAFETY: the program gives this call this block.
    unsafe {
        match *acts {
            Acts::Int8 { quants, scales, sums, blocks } => {
                let at = token * blocks + block;
                let mut d = if finite { f32::from_bits(largest) / 127.0 } else { 0.0 };
                let mut inverse = if d > 0.0 { 1.0 / d } else { 0.0 };
                if inverse.is_infinite() {
                    (d, inverse) = (0.0, 0.0);
                }
                let mut sum = 0;
                for (i, &y) in y.iter().enumerate() {
                    let q = if finite { (y * inverse).round_ties_even().clamp(-127.0, 127.0) as i32 } else { 0 };
                    quants.set(at * BLOCK + i, q as i8);
                    sum += q;
                }
                scales.set(at, d);
                sums.set(at, sum);
            }
            Acts::Float { values, blocks } => {
                for (i, &y) in y.iter().enumerate() {
                    values.set((token * blocks + block) * BLOCK + i, if finite { y } else { 0.0 });
                }
            }
        }
    }
    if finite { Ok(()) } else { Err(NotFinite) }
}

/// Where the cache holds element `d` of the key at `position`.
fn key_index(head_width: usize, position: usize, d: usize) -> usize {
    (position / 16 * head_width + d) * 16 + position % 16
}

fn write_keys<T>(kv: &KvParts<T>, position: usize, first: usize, k: &[f32], round: impl Fn(f32) -> T) {
    for (d, &k) in k.iter().enumerate() {
        // SAFETY: the program gives this call these columns of this key.
        unsafe { kv.keys.set(key_index(kv.head_width, position, first + d), round(k)) };
    }
}

fn write_values<T>(kv: &KvParts<T>, position: usize, first: usize, v: &[f32], round: impl Fn(f32) -> T) {
    for (d, &v) in v.iter().enumerate() {
        // SAFETY: the program gives this call these columns of this value.
        unsafe { kv.values.set(position * kv.head_width + first + d, round(v)) };
    }
}

/// One number of the cache.
fn read<T: Copy + Into<f32>>(part: Shared<T>, at: usize) -> f32 {
    // SAFETY: the program writes no key or value below `keys` while a query reads them.
    let number = unsafe { part.slice(at..at + 1)[0] };
    number.into()
}

fn key(kv: &KvHead, position: usize, d: usize) -> f32 {
    match kv {
        KvHead::F16(kv) => read(kv.keys, key_index(kv.head_width, position, d)),
        KvHead::Bf16(kv) => read(kv.keys, key_index(kv.head_width, position, d)),
        KvHead::F32(kv) => read(kv.keys, key_index(kv.head_width, position, d)),
    }
}

fn value(kv: &KvHead, position: usize, d: usize) -> f32 {
    match kv {
        KvHead::F16(kv) => read(kv.values, position * kv.head_width + d),
        KvHead::Bf16(kv) => read(kv.values, position * kv.head_width + d),
        KvHead::F32(kv) => read(kv.values, position * kv.head_width + d),
    }
}

fn attend_one(kv: &KvHead, query: &Query, scale: f32) {
    assert!(query.keys > 0, "a query sees at least one key");
    let width = query.query.len();
    // SAFETY: the program gives this call the query's output.
    let out = unsafe { query.out.slice_mut(0..width) };
    let (mut largest, mut total) = (0.0, 0.0);
    for start in (0..query.keys).step_by(SPAN) {
        let n = SPAN.min(query.keys - start);
        let mut p = [0.0; SPAN];
        let (m, l) = softmax(kv, query, start, &mut p[..n], scale);
        let merged = if start == 0 || m > largest { m } else { largest };
        let (a, b) = (exp(largest - merged), exp(m - merged));
        for (d, out) in out.iter_mut().enumerate() {
            let mut o = 0.0;
            for (j, &p) in p[..n].iter().enumerate() {
                o = p.mul_add(value(kv, start + j, d), o);
            }
            *out = if start == 0 { o } else { *out * a + o * b };
        }
        total = if start == 0 { l } else { total * a + l * b };
        largest = merged;
    }
    let inverse = 1.0 / total;
    for out in out {
        *out *= inverse;
    }
}

/// Fills `p` with `exp(score − largest score)` of one span; returns the largest score and the sum.
fn softmax(kv: &KvHead, query: &Query, start: usize, p: &mut [f32], scale: f32) -> (f32, f32) {
    let mut largest = f32::NEG_INFINITY;
    for (j, p) in p.iter_mut().enumerate() {
        let mut s = 0.0;
        for (d, &q) in query.query.iter().enumerate() {
            s = q.mul_add(key(kv, start + j, d), s);
        }
        *p = s * scale;
        largest = if *p > largest { *p } else { largest };
    }
    let mut sums = [0.0; 16];
    for (j, p) in p.iter_mut().enumerate() {
        *p = exp(*p - largest);
        sums[j % 16] += *p;
    }
    (largest, fold(sums))
}
