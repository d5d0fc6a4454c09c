//! Attention: fast kernels against the reference, bit for bit.

use super::*;
use proptest::prelude::*;

/// A cache of one KV head, in both types.
#[derive(Clone, PartialEq, Debug)]
struct Cache {
    half: [Vec<u16>; 2],
    single: [Vec<f32>; 2],
    width: usize,
    float: bool,
}

impl Cache {
    /// Holds NaN where nothing has been written.
    fn new(capacity: usize, width: usize, float: bool) -> Cache {
        let n = capacity.next_multiple_of(16) * width;
        Cache { half: [vec![0x7e01; n], vec![0x7e01; n]], single: [vec![f32::NAN; n], vec![f32::NAN; n]], width, float }
    }

    fn head(&mut self) -> KvHead<'_> {
        let head_width = self.width;
        if self.float {
            let [keys, values] = self.single.each_mut().map(|x| Shared::from_mut(&mut x[..]));
            KvHead::F32(KvParts { keys, values, head_width })
        } else {
            let [keys, values] = self.half.each_mut().map(|x| Shared::from_mut(&mut x[..]));
            KvHead::F16(KvParts { keys, values, head_width })
        }
    }

    fn bits(&self) -> Vec<u32> {
        let half = self.half.iter().flatten().map(|&x| u32::from(x));
        half.chain(self.single.iter().flat_map(|x| bits(x))).collect()
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

/// Queries and the number of keys that each sees.
struct Case {
    cache: Cache,
    queries: Vec<f32>,
    keys: Vec<usize>,
}

fn case(seed: u64, keys: usize, float: bool) -> Case {
    let mut random = Random(seed);
    let width = [64, 32, 80, 16, 24, 40, 6][random.below(7)];
    let mut cache = Cache::new(keys + 20, width, float);
    // Small scores, and scores so far apart that exponentials vanish.
    let size = [1.0, 1.0, 30.0][random.below(3)];
    cache.fill(&*reference(), &mut random, keys, size);
    let n = [1, 2, 3, 7, 8, 9, 17][random.below(7)];
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
    fn attention_has_the_references_bits(seed: u64, keys in 1usize..if cfg!(miri) { 20 } else { 600 }, float: bool) {
        let mut case = case(seed, keys, float);
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
        let mut case = case(seed, keys, true);
        let n = case.keys.len();
        let got = attend(&*cpu(None).unwrap(), &mut case, 0..n);
        let width = case.cache.width;
        for q in 0..n {
            let key = |j: usize, d: usize| f64::from(case.cache.single[0][(j / 16 * width + d) * 16 + j % 16]);
            let value = |j: usize, d: usize| f64::from(case.cache.single[1][j * width + d]);
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
    fn caches_are_written_alike(seed: u64, float: bool) {
        let mut random = Random(seed);
        let width = 1 + random.below(100);
        let mut expected = Cache::new(40, width, float);
        expected.fill(&*reference(), &mut Random(seed), 37, 1.0);
        for kernels in fast() {
            let mut got = Cache::new(40, width, float);
            got.fill(&*kernels, &mut Random(seed), 37, 1.0);
            prop_assert_eq!(got.bits(), expected.bits(), "{}", kernels.name());
        }
    }
}
