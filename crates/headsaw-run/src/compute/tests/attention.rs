//! Attention: fast kernels against the reference, bit for bit.

use super::*;
use half::{bf16, f16};
use headsaw::spec::workload::KvDtype;
use proptest::prelude::*;

/// A cache of one KV head, in all types; one of them is used.
#[derive(Clone, Debug)]
struct Cache {
    f16: [Vec<f16>; 2],
    bf16: [Vec<bf16>; 2],
    f32: [Vec<f32>; 2],
    width: usize,
    kv: KvDtype,
}

fn kv_dtypes() -> impl Strategy<Value = KvDtype> {
    prop::sample::select(vec![KvDtype::F16, KvDtype::Bf16, KvDtype::F32])
}

impl Cache {
    /// Holds NaN where nothing has been written.
    fn new(capacity: usize, width: usize, kv: KvDtype) -> Cache {
        let n = capacity.next_multiple_of(16) * width;
        let two = |n| [n, n];
        let f16 = two(n).map(|n| vec![f16::NAN; n]);
        Cache { f16, bf16: two(n).map(|n| vec![bf16::NAN; n]), f32: two(n).map(|n| vec![f32::NAN; n]), width, kv }
    }

    fn head(&mut self) -> KvHead<'_> {
        match self.kv {
            KvDtype::F16 => KvHead::F16(parts(&mut self.f16, self.width)),
            KvDtype::Bf16 => KvHead::Bf16(parts(&mut self.bf16, self.width)),
            KvDtype::F32 => KvHead::F32(parts(&mut self.f32, self.width)),
        }
    }

    fn bits(&self) -> Vec<u32> {
        match self.kv {
            KvDtype::F16 => self.f16.iter().flatten().map(|x| u32::from(x.to_bits())).collect(),
            KvDtype::Bf16 => self.bf16.iter().flatten().map(|x| u32::from(x.to_bits())).collect(),
            KvDtype::F32 => self.f32.iter().flat_map(|x| bits(x)).collect(),
        }
    }

    /// Writes random keys and values, in two parts each.
    fn fill(&mut self, kernels: &dyn Compute, random: &mut Random, keys: usize, size: f32) {
        let width = self.width;
        for position in 0..keys {
            let cut = random.below(width + 1);
            let k: Vec<f32> = random.numbers(width).iter().map(|x| (x * size).clamp(-6e4, 6e4)).collect();
            let v = random.numbers(width);
            let kv = self.head();
            kernels.write_keys(&kv, position, 0, &k[..cut]);
            kernels.write_keys(&kv, position, cut, &k[cut..]);
            kernels.write_values(&kv, position, cut, &v[cut..]);
            kernels.write_values(&kv, position, 0, &v[..cut]);
        }
    }
}

fn parts<T>(parts: &mut [Vec<T>; 2], head_width: usize) -> KvParts<'_, T> {
    let [keys, values] = parts.each_mut().map(|x| Shared::from_mut(&mut x[..]));
    KvParts { keys, values, head_width }
}

/// Queries and the number of keys that each sees.
struct Case {
    cache: Cache,
    queries: Vec<f32>,
    keys: Vec<usize>,
}

fn case(seed: u64, keys: usize, kv: KvDtype) -> Case {
    let mut random = Random(seed);
    let width = [64, 128, 32, 80, 16, 24, 40, 6][random.below(8)];
    let mut cache = Cache::new(keys + 20, width, kv);
    // Small scores, and scores so far apart that exponentials vanish.
    let size = [1.0, 1.0, 30.0][random.below(3)];
    cache.fill(&*reference(), &mut random, keys, size);
    let n = [1, 2, 3, 4, 7, 8, 9, 16, 17, 35][random.below(10)];
    // Causal, as a prompt's last tokens are, or any numbers of keys.
    let causal = random.below(2) == 0;
    let seen = |q: usize, random: &mut Random| {
        if causal { keys.saturating_sub((n - 1 - q) / 3).max(1) } else { 1 + random.below(keys) }
    };
    let seen = (0..n).map(|q| seen(q, &mut random)).collect();
    Case { cache, queries: random.numbers(n * width), keys: seen }
}

fn attend(kernels: &dyn Compute, case: &mut Case, which: Range<usize>) -> Vec<f32> {
    let width = case.cache.width;
    let mut out = vec![7.0; case.keys.len() * width];
    let shared = Shared::from_mut(&mut out);
    let queries: Vec<_> = which
        .map(|q| Query {
            query: &case.queries[q * width..][..width],
            keys: case.keys[q],
            out: shared.part(q * width, width),
        })
        .collect();
    kernels.attend(&case.cache.head(), &queries, 0.3, &mut Scratch::new(0, width));
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) })]

    #[test]
    fn attention_has_the_references_bits(seed: u64, keys in 1usize..if cfg!(miri) { 20 } else { 600 }, kv in kv_dtypes()) {
        let mut case = case(seed, keys, kv);
        let n = case.keys.len();
        let expected = attend(&*reference(), &mut case, 0..n);
        prop_assert!(expected.iter().all(|x| x.is_finite()));
        for kernels in fast() {
            prop_assert_eq!(bits(&attend(&*kernels, &mut case, 0..n)), bits(&expected), "{}", kernels.name());
            for q in 0..n {
                let range = q * case.cache.width..(q + 1) * case.cache.width;
                let alone = attend(&*kernels, &mut case, q..q + 1);
                prop_assert_eq!(bits(&alone[range.clone()]), bits(&expected[range]), "{}, query {}", kernels.name(), q);
            }
        }
    }

    #[test]
    fn attention_is_right(seed: u64, keys in 1usize..if cfg!(miri) { 20 } else { 600 }) {
        let mut case = case(seed, keys, KvDtype::F32);
        let n = case.keys.len();
        let got = attend(&*cpu(None).unwrap(), &mut case, 0..n);
        let width = case.cache.width;
        for q in 0..n {
            let key = |j: usize, d: usize| f64::from(case.cache.f32[0][(j / 16 * width + d) * 16 + j % 16]);
            let value = |j: usize, d: usize| f64::from(case.cache.f32[1][j * width + d]);
            let query = |d: usize| f64::from(case.queries[q * width + d]);
            let scores: Vec<f64> =
                (0..case.keys[q]).map(|j| (0..width).map(|d| query(d) * key(j, d)).sum::<f64>() * 0.3).collect();
            let largest = scores.iter().copied().fold(f64::MIN, f64::max);
            let p: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
            let total: f64 = p.iter().sum();
            // Errors of a score grow with its size.
            let tolerance = 1e-6 * (10.0 + scores.iter().fold(0.0, |a: f64, s| a.max(s.abs())));
            for d in 0..width {
                let sum: f64 = p.iter().enumerate().map(|(j, p)| p * value(j, d)).sum::<f64>() / total;
                let size = (0..case.keys[q]).fold(1.0, |a: f64, j| a.max(value(j, d).abs()));
                let error = (f64::from(got[q * width + d]) - sum).abs();
                prop_assert!(error <= tolerance * size, "{error} of {sum}");
            }
        }
    }

    #[test]
    fn caches_are_written_alike(seed: u64, kv in kv_dtypes()) {
        let mut random = Random(seed);
        let width = 1 + random.below(100);
        let mut expected = Cache::new(40, width, kv);
        expected.fill(&*reference(), &mut Random(seed), 37, 1.0);
        for kernels in fast() {
            let mut got = Cache::new(40, width, kv);
            got.fill(&*kernels, &mut Random(seed), 37, 1.0);
            prop_assert_eq!(got.bits(), expected.bits(), "{}", kernels.name());
        }
    }
}

/// What the types are for: numbers come back rounded to 11, 8 and 24 bits, and only half precision runs over.
#[test]
fn caches_round_to_their_type() {
    let v = [1.0 + 1.0 / 512.0, 70_000.0, -3.0e-39];
    let expect = [
        (KvDtype::F16, [1.0 + 1.0 / 512.0, f32::INFINITY, 0.0]),
        (KvDtype::Bf16, [1.0, 70_144.0, bf16::from_bits(0x8021).to_f32()]),
        (KvDtype::F32, v),
    ];
    for kernels in fast().into_iter().chain([reference()]) {
        for (kv, expect) in expect {
            let mut cache = Cache::new(16, v.len(), kv);
            kernels.write_values(&cache.head(), 0, 0, &v);
            let got: Vec<f32> = match kv {
                KvDtype::F16 => cache.f16[1][..3].iter().map(|x| x.to_f32()).collect(),
                KvDtype::Bf16 => cache.bf16[1][..3].iter().map(|x| x.to_f32()).collect(),
                KvDtype::F32 => cache.f32[1][..3].to_vec(),
            };
            assert_eq!(got, expect, "{} {kv:?}", kernels.name());
        }
    }
}
