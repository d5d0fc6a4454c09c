//! Products: fast kernels against the reference, bit for bit, at the extremes too.

use super::*;
use crate::weights::RawRows;
use half::{bf16, f16};
use headsaw::shard;
use proptest::prelude::*;

/// Random rows; `extreme` ones hold the largest integers and odd scales.
fn rows(random: &mut Random, dtype: Dtype, rows: usize, columns: usize, extreme: bool) -> RawRows {
    let blocks = columns.div_ceil(dtype.block() as usize);
    let mut bytes = Vec::new();
    for _ in 0..rows * blocks {
        match dtype {
            Dtype::F32 => bytes.extend(random.number().to_le_bytes()),
            Dtype::F16 => bytes.extend(f16::from_f32(random.number()).to_le_bytes()),
            Dtype::Bf16 => bytes.extend(bf16::from_f32(random.number()).to_le_bytes()),
            _ => bytes.extend(block(random, dtype, extreme)),
        }
    }
    RawRows { dtype, rows, blocks, bytes }
}

/// A block of a quantised type: any bytes, but for the scales in half precision.
fn block(random: &mut Random, dtype: Dtype, extreme: bool) -> Vec<u8> {
    let odd: [u8; 6] = [0xff, 0, 0xf0, 0x0f, 0x80, 0x7f];
    let byte = |random: &mut Random| if extreme { odd[random.below(6)] } else { random.next() as u8 };
    let mut block: Vec<u8> = (0..dtype.block_bytes()).map(|_| byte(random)).collect();
    for &at in halves(dtype) {
        block[at..at + 2].copy_from_slice(&scale(random, extreme));
    }
    block
}

/// Where a block has numbers in half precision.
fn halves(dtype: Dtype) -> &'static [usize] {
    match dtype {
        Dtype::Q6K => &[208],
        Dtype::Q4_1 | Dtype::Q5_1 | Dtype::Q4K | Dtype::Q5K => &[0, 2],
        _ => &[0],
    }
}

fn scale(random: &mut Random, extreme: bool) -> [u8; 2] {
    let odd = [f16::MAX, f16::MIN_POSITIVE_SUBNORMAL, f16::ZERO, f16::NEG_ZERO, f16::from_f32(-3.5)];
    let scale = if extreme { odd[random.below(5)] } else { f16::from_f32(random.number() * 0.1) };
    scale.to_le_bytes()
}

/// One weight in double precision, and the sum of the sizes of its parts, which may cancel.
fn weight(raw: &RawRows, row: usize, column: usize) -> (f64, f64) {
    let (width, size) = (raw.dtype.block() as usize, raw.dtype.block_bytes() as usize);
    let (block, i) = (&raw.bytes[(row * raw.blocks + column / width) * size..][..size], column % width);
    let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f64();
    let nibble = |at: usize| block[at + i % 16] >> (i / 16 * 4) & 15;
    let bit = |at: usize| (block[at + i / 8] >> (i % 8) & 1) << 4;
    let (product, minimum) = match raw.dtype {
        Dtype::F32 => (f64::from(f32::from_le_bytes(block.try_into().unwrap())), 0.0),
        Dtype::F16 => (half(0), 0.0),
        Dtype::Bf16 => (bf16::from_le_bytes(block.try_into().unwrap()).to_f64(), 0.0),
        Dtype::Q8_0 => (half(0) * f64::from(block[2 + i] as i8), 0.0),
        Dtype::Q4_0 => (half(0) * (f64::from(nibble(2)) - 8.0), 0.0),
        Dtype::Q5_0 => (half(0) * (f64::from(nibble(6) | bit(2)) - 16.0), 0.0),
        Dtype::Q4_1 => (half(0) * f64::from(nibble(4)), half(2)),
        Dtype::Q5_1 => (half(0) * f64::from(nibble(8) | bit(4)), half(2)),
        Dtype::Q4K | Dtype::Q5K => {
            let fifth = if raw.dtype == Dtype::Q5K { 32 } else { 0 };
            let low = block[16 + fifth + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
            let high = if fifth == 0 { 0 } else { (block[16 + i % 32] >> (i / 32) & 1) << 4 };
            let [scale, minimum] = six(&block[4..16], i / 32);
            (half(0) * scale * f64::from(low | high), -half(2) * minimum)
        }
        Dtype::Q6K => {
            let (n, within) = (i / 128, i % 128);
            let low = block[64 * n + within % 64] >> (within / 64 * 4) & 15;
            let high = block[128 + 32 * n + within % 32] >> (within / 32 * 2) & 3;
            (half(208) * f64::from(block[192 + i / 16] as i8) * (f64::from(low | high << 4) - 32.0), 0.0)
        }
    };
    (product + minimum, product.abs() + minimum.abs())
}

/// Scale and minimum of a run, of 6 bits each.
fn six(bytes: &[u8], run: usize) -> [f64; 2] {
    let pair = match run {
        0..4 => [bytes[run] & 63, bytes[run + 4] & 63],
        _ => [bytes[run + 4] % 16 + bytes[run - 4] / 64 * 16, bytes[run + 4] / 16 + bytes[run] / 64 * 16],
    };
    pair.map(f64::from)
}

/// Activation blocks of `heads` heads that are `width` wide, from column `start` on.
fn head_blocks(start: usize, heads: usize, width: usize) -> Vec<Range<u32>> {
    let mut blocks = Vec::new();
    for head in 0..heads {
        let (first, end) = (start + head * width, start + (head + 1) * width);
        blocks.extend((first..end).step_by(32).map(|c| c as u32..(c + 32).min(end) as u32));
    }
    blocks
}

/// One product and what it shall compute.
struct Case {
    raw: RawRows,
    blocks: Vec<Range<u32>>,
    x: Memory,
    all_tokens: usize,
    tokens: Range<usize>,
    panels: Range<usize>,
    leaves: Leaves,
    /// Part of a row that the output leaves out.
    first_row: usize,
}

impl Case {
    /// The whole output; what the call must not touch stays 7.
    fn run(&mut self, kernels: &dyn Compute) -> Vec<f32> {
        let m = kernels.pack(self.raw.clone(), &self.blocks);
        assert_eq!((m.rows(), m.blocks(), m.panels()), (self.raw.rows, self.blocks.len(), self.raw.rows.div_ceil(16)));
        let token_stride = self.raw.rows + 3;
        let node_stride = self.all_tokens * token_stride;
        let mut data = vec![7.0; self.leaves.nodes * node_stride];
        let mut scratch = Scratch::new(self.blocks.len(), 0);
        let out = Out { data: Shared::from_mut(&mut data), node_stride, token_stride, first_row: self.first_row };
        let (tokens, panels) = (self.tokens.clone(), self.panels.clone());
        kernels.matmul(&m, &self.x.acts(), tokens, panels, &self.leaves, out, &mut scratch);
        data
    }

    /// The same product by a device that holds these heads alone.
    fn slice(&self, held: Range<usize>, width: usize) -> Case {
        let (block, size) = (self.raw.dtype.block() as usize, self.raw.dtype.block_bytes() as usize);
        let kept = held.start * width / block..(held.end * width).div_ceil(block);
        let row = |row: usize| &self.raw.bytes[(row * self.raw.blocks + kept.start) * size..][..kept.len() * size];
        let bytes = (0..self.raw.rows).flat_map(row).copied().collect();
        let per = width.div_ceil(32);
        let blocks = held.start * per..held.end * per;
        let mut x = Memory::new(self.all_tokens, blocks.len(), false);
        for token in 0..self.all_tokens {
            let (from, to) = (token * self.x.blocks + blocks.start, token * blocks.len());
            x.quants[to * BLOCK..][..blocks.len() * BLOCK]
                .copy_from_slice(&self.x.quants[from * BLOCK..][..blocks.len() * BLOCK]);
            x.scales[to..][..blocks.len()].copy_from_slice(&self.x.scales[from..][..blocks.len()]);
            x.sums[to..][..blocks.len()].copy_from_slice(&self.x.sums[from..][..blocks.len()]);
        }
        let ends = self.leaves.ends.iter().map(|end| end - self.leaves.start).collect();
        Case {
            raw: RawRows { dtype: self.raw.dtype, rows: self.raw.rows, blocks: kept.len(), bytes },
            blocks: head_blocks(held.start * width - kept.start * block, held.len(), width),
            x,
            all_tokens: self.all_tokens,
            tokens: self.tokens.clone(),
            panels: self.panels.clone(),
            leaves: Leaves { start: 0, ends, merges: self.leaves.merges.clone(), nodes: self.leaves.nodes },
            first_row: self.first_row,
        }
    }

    fn same_everywhere(&mut self) {
        let expected = self.run(&*reference());
        for kernels in fast() {
            let got = self.run(&*kernels);
            let wrong = bits(&got).iter().zip(bits(&expected)).position(|(a, b)| *a != b);
            if let Some(i) = wrong {
                panic!("{}: element {i}: {} for {}", kernels.name(), got[i], expected[i]);
            }
        }
    }
}

/// Activations, quantised by the reference (or extreme by hand).
fn activations(random: &mut Random, tokens: usize, blocks: &[Range<u32>], float: bool, extreme: bool) -> Memory {
    let mut memory = Memory::new(tokens, blocks.len(), float);
    for token in 0..tokens {
        for (b, block) in blocks.iter().enumerate() {
            let mut x = random.numbers(block.len());
            if extreme {
                x = x.iter().map(|&x| if x < 0.1 { -1.0 } else { 1.0 }).collect();
            }
            match random.below(if extreme { 4 } else { 30 }) {
                0 => x.fill(0.0),
                1 => x.iter_mut().for_each(|x| *x *= 1e-37),
                _ => {}
            }
            reference().quantise(&x, &memory.acts(), token, b).unwrap();
        }
    }
    memory
}

/// Leaves of one head (or `per` blocks) each, of which the slice holds a part of a tree over `total`.
fn leaves(random: &mut Random, blocks: usize, per: usize) -> Leaves {
    if per == 0 || !blocks.is_multiple_of(per) {
        return Leaves::single(blocks);
    }
    let (all, per) = ((blocks / per) as u32, per as u32);
    let (before, skipped) = (random.below(6) as u32, random.below(all as usize) as u32);
    let n = all - skipped;
    let total = before + n + random.below(6) as u32;
    let pieces: Vec<_> = (before..before + n).map(|i| i..i + 1).collect();
    Leaves {
        start: skipped * per,
        ends: (skipped + 1..=all).map(|i| i * per).collect(),
        merges: shard::merges(total, &pieces),
        nodes: shard::nodes(total, before..before + n).len(),
    }
}

fn part(random: &mut Random, n: usize) -> Range<usize> {
    if random.below(2) == 0 {
        return 0..n;
    }
    let start = random.below(n);
    start..start + 1 + random.below(n - start)
}

fn case(seed: u64, dtype: Dtype, extreme: bool) -> Case {
    let mut random = Random(seed);
    let width = [32, 64, 80, 24, 40, 16, 7, 128][random.below(8)];
    let heads = 1 + random.below(5);
    // Each slice starts at a head; where heads straddle the file's blocks, or are shorter, inside a block.
    let start = random.below(9) * width % dtype.block().max(32) as usize;
    let blocks = head_blocks(start, heads, width);
    let all_tokens = [1, 2, 3, 7, 8, 9, 33, 70][random.below(if cfg!(miri) { 4 } else { 8 })];
    let raw_rows = 1 + random.below(50);
    let raw = rows(&mut random, dtype, raw_rows, start + heads * width, extreme);
    let float = dtype.block() == 1 && random.below(2) == 0;
    let x = activations(&mut random, all_tokens, &blocks, float, extreme);
    let per = [0, 1, blocks.len() / heads][random.below(3)];
    let leaves = leaves(&mut random, blocks.len(), per);
    let (tokens, panels) = (part(&mut random, all_tokens), part(&mut random, raw_rows.div_ceil(16)));
    let first_row = if random.below(2) == 0 { panels.start * 16 } else { 0 };
    Case { raw, blocks, x, all_tokens, tokens, panels, leaves, first_row }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) })]

    #[test]
    fn products_have_the_references_bits(seed: u64, dtype in prop::sample::select(&DTYPES[..]), extreme: bool) {
        case(seed, dtype, extreme).same_everywhere();
    }

    #[test]
    fn many_tokens_are_one_at_a_time(seed: u64, dtype in prop::sample::select(&DTYPES[..])) {
        let mut case = case(seed, dtype, false);
        case.panels = 0..case.raw.rows.div_ceil(16);
        case.first_row = 0;
        for kernels in fast() {
            case.tokens = 0..case.all_tokens;
            let together = case.run(&*kernels);
            let stride = case.raw.rows + 3;
            for token in 0..case.all_tokens {
                case.tokens = token..token + 1;
                let alone = case.run(&*kernels);
                for node in 0..case.leaves.nodes {
                    let at = (node * case.all_tokens + token) * stride;
                    prop_assert_eq!(bits(&alone[at..at + stride]), bits(&together[at..at + stride]));
                }
            }
        }
    }

    #[test]
    fn products_are_right(seed: u64, dtype in prop::sample::select(&DTYPES[..])) {
        let mut case = case(seed, dtype, false);
        case.leaves = Leaves::single(case.blocks.len());
        let got = case.run(&*cpu(None).unwrap());
        for token in case.tokens.clone() {
            for row in case.panels.start * 16..(case.panels.end * 16).min(case.raw.rows) {
                let places = (0..case.blocks.len()).flat_map(|b| (0..case.blocks[b].len()).map(move |i| (b, i)));
                let (mut sum, mut size) = (0.0, 0.0);
                for (b, i) in places {
                    let (weight, parts) = weight(&case.raw, row, case.blocks[b].start as usize + i);
                    let activation = case.x.value(token, b, i);
                    sum += weight * activation;
                    size += parts * activation.abs();
                }
                let error = (f64::from(got[token * (case.raw.rows + 3) + row - case.first_row]) - sum).abs();
                prop_assert!(error <= 2e-6 * size + 1e-30, "{error} of {sum}, {size}");
            }
        }
    }

    /// A device that holds some of the heads, from inside a block of the file to inside another.
    #[test]
    fn a_slice_has_the_bits_of_the_whole(seed: u64, dtype in prop::sample::select(&DTYPES[..])) {
        let mut random = Random(seed);
        let width: usize = [32, 64, 80, 24, 96, 128][random.below(6)];
        let (heads, per, raw_rows) = (2 + random.below(7), width.div_ceil(32), 1 + random.below(40));
        let whole = rows(&mut random, dtype, raw_rows, heads * width, false);
        let blocks = head_blocks(0, heads, width);
        let x = activations(&mut random, 2, &blocks, false, false);
        let held = part(&mut random, heads);
        let leaves = Leaves {
            start: (held.start * per) as u32,
            ends: held.clone().map(|head| ((head + 1) * per) as u32).collect(),
            merges: shard::merges(heads as u32, &held.clone().map(|i| i as u32..i as u32 + 1).collect::<Vec<_>>()),
            nodes: shard::nodes(heads as u32, held.start as u32..held.end as u32).len(),
        };
        let (panels, first_row) = (0..whole.rows.div_ceil(16), 0);
        let mut all = Case { raw: whole, blocks, x, all_tokens: 2, tokens: 0..2, panels, leaves, first_row };
        let expected = all.run(&*reference());
        let mut slice = all.slice(held, width);
        for kernels in fast().into_iter().chain([reference()]) {
            prop_assert_eq!(bits(&slice.run(&*kernels)), bits(&expected), "{} of {}", kernels.name(), dtype.name());
        }
    }

    #[test]
    fn rows_are_dequantised_alike(seed: u64, dtype in prop::sample::select(&DTYPES[..]), extreme: bool) {
        let case = case(seed, dtype, extreme);
        let columns: usize = case.blocks.iter().map(|block| block.len()).sum();
        let row = Random(seed).below(case.raw.rows);
        let [mut expected, mut got] = [vec![0.0; columns], vec![0.0; columns]];
        reference().embed(&reference().pack(case.raw.clone(), &case.blocks), row, &mut expected);
        for kernels in fast() {
            let m = kernels.pack(case.raw.clone(), &case.blocks);
            prop_assert_eq!(m.columns(), columns);
            kernels.embed(&m, row, &mut got);
            prop_assert_eq!(bits(&got), bits(&expected), "{}", kernels.name());
        }
    }
}

/// The largest integers on both sides: where 16-bit sums would saturate.
#[test]
fn extreme_integers_do_not_saturate() {
    let cases = [
        (Dtype::Q8_0, 0x80, -128.0),
        (Dtype::Q8_0, 0x7f, 127.0),
        (Dtype::Q4_0, 0, -8.0),
        (Dtype::Q4_0, 0xff, 7.0),
        (Dtype::Q4_1, 0xff, 15.0),
        (Dtype::Q5_0, 0, -16.0),
        (Dtype::Q5_0, 0xff, 15.0),
        (Dtype::Q5_1, 0xff, 31.0),
        (Dtype::Q4K, 0xff, 63.0 * 15.0),
        (Dtype::Q5K, 0xff, 63.0 * 31.0),
        (Dtype::Q6K, 0, -128.0 * -32.0),
        (Dtype::Q6K, 0xff, -128.0 * 31.0),
    ];
    for (dtype, byte, weight) in cases {
        for a in [-1.0f32, 1.0] {
            let blocks = head_blocks(0, 1, 256);
            let mut raw = rows(&mut Random(1), dtype, 16, 256, false);
            raw.bytes.fill(byte);
            for block in raw.bytes.chunks_exact_mut(dtype.block_bytes() as usize) {
                for (&at, number) in halves(dtype).iter().zip([f16::ONE, f16::ZERO]) {
                    block[at..at + 2].copy_from_slice(&number.to_le_bytes());
                }
                if dtype == Dtype::Q6K {
                    block[192..208].fill(0x80);
                }
            }
            let mut x = Memory::new(1, 8, false);
            reference().quantise(&[127.0 * a; 256], &x.acts(), 0, 0).unwrap();
            let leaves = Leaves::single(8);
            let mut case = Case { raw, blocks, x, all_tokens: 1, tokens: 0..1, panels: 0..1, leaves, first_row: 0 };
            assert_eq!(case.run(&*reference())[0], 256.0 * weight * 127.0 * a);
            case.same_everywhere();
        }
    }
}

/// The weights are held once: a panel of whole rows takes as many bytes as the file, or hardly more.
#[test]
fn panels_take_as_many_bytes_as_the_file() {
    for dtype in DTYPES {
        let raw = rows(&mut Random(2), dtype, 64, 512, false);
        // Scales and minima of 6 bits take 8.
        let wider = if matches!(dtype, Dtype::Q4K | Dtype::Q5K) { 64 * 512 / 256 * 4 } else { 0 };
        let bytes = raw.bytes.len() + wider;
        let m = cpu(None).unwrap().pack(raw, &head_blocks(0, 8, 64));
        assert_eq!(m.bytes(), bytes, "{}", dtype.name());
    }
}

#[test]
#[should_panic(expected = "Q8_0 weights take 8-bit activations")]
fn integers_times_floats_are_refused() {
    let mut case = case(3, Dtype::Q8_0, false);
    case.x = Memory::new(case.all_tokens, case.blocks.len(), true);
    case.run(&*cpu(None).unwrap());
}
