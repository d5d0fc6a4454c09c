//! Every kernel gives the reference's bits, whatever the instruction set, and the reference is right.

mod allocation;
mod attention;
mod elementwise;
mod matmul;

use super::*;
use headsaw::spec::model::Dtype;

/// Random cases of each property; few under Miri, which is slow.
const CASES: u32 = if cfg!(miri) { 2 } else { 200 };

/// The fast kernels that this processor runs.
fn fast() -> Vec<Arc<dyn Compute>> {
    let found = Isa::ALL.into_iter().filter_map(|isa| {
        let kernels = cpu(Some(isa));
        if let Err(error) = &kernels {
            println!("skipped: {error}");
        }
        kernels.ok()
    });
    found.collect()
}

/// Random numbers, the same each time (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// −1..1, with a few zeros, tiny and large numbers.
    fn number(&mut self) -> f32 {
        let x = (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0;
        match self.below(50) {
            0 => 0.0,
            1 => -0.0,
            2 => x * 1e-20,
            3 => x * 1e4,
            _ => x,
        }
    }

    fn numbers(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.number()).collect()
    }
}

/// The memory of activations.
#[derive(Clone)]
struct Memory {
    quants: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
    values: Vec<f32>,
    blocks: usize,
    float: bool,
}

impl Memory {
    fn new(tokens: usize, blocks: usize, float: bool) -> Memory {
        Memory {
            quants: vec![0; tokens * blocks * BLOCK],
            scales: vec![0.0; tokens * blocks],
            sums: vec![0; tokens * blocks],
            values: vec![0.0; tokens * blocks * BLOCK],
            blocks,
            float,
        }
    }

    fn acts(&mut self) -> Acts<'_> {
        if self.float {
            Acts::Float { values: Shared::from_mut(&mut self.values), blocks: self.blocks }
        } else {
            Acts::Int8 {
                quants: Shared::from_mut(&mut self.quants),
                scales: Shared::from_mut(&mut self.scales),
                sums: Shared::from_mut(&mut self.sums),
                blocks: self.blocks,
            }
        }
    }

    /// Everything in it, as bits.
    fn bits(&self) -> Vec<u32> {
        let quants = self.quants.iter().map(|&q| q as u32);
        let sums = self.sums.iter().map(|&sum| sum as u32);
        quants.chain(sums).chain(bits(&self.scales)).chain(bits(&self.values)).collect()
    }

    /// Element `i` of a block of a token.
    fn value(&self, token: usize, block: usize, i: usize) -> f64 {
        let at = token * self.blocks + block;
        if self.float {
            f64::from(self.values[at * BLOCK + i])
        } else {
            f64::from(self.scales[at]) * f64::from(self.quants[at * BLOCK + i])
        }
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

const DTYPES: [Dtype; Dtype::ALL.len()] = Dtype::ALL;

#[test]
fn isa_names_read_back() {
    for isa in Isa::ALL {
        assert_eq!(isa.to_string().parse(), Ok(isa));
    }
    assert_eq!(
        "neon".parse::<Isa>().unwrap_err().to_string(),
        "no instruction set `neon`: expected portable, avx2 or avx512"
    );
    assert_eq!(cpu(None).unwrap().name(), Isa::best().name());
    assert_eq!(reference().name(), "reference");
}
