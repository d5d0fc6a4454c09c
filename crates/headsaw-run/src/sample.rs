//! Picks a token from the logits of the whole vocabulary, in row order, by our own functions: the same everywhere.

use crate::compute::math;

/// How a token is picked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Logits are divided by this; 0 takes the largest.
    pub temperature: f32,
    /// Only the `top_k` largest are looked at; 0 for all.
    pub top_k: usize,
    /// Of these only the fewest that together have this probability; 1 for all.
    pub top_p: f32,
    /// The draw at position `n` depends on the seed and `n`, so company in a batch does not change it.
    pub seed: u64,
}

impl Sampling {
    /// The largest logit, always.
    pub const GREEDY: Sampling = Sampling { temperature: 0.0, top_k: 0, top_p: 1.0, seed: 0 };

    /// What is wrong with it, if anything.
    pub fn check(&self) -> Result<(), String> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(format!("temperature {}: a number from 0 (greedy) up", self.temperature));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(format!("top-p {}: a number above 0, at most 1", self.top_p));
        }
        Ok(())
    }
}

/// Working memory for a vocabulary, so that picking allocates nothing.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    order: Vec<u32>,
    weights: Vec<f32>,
}

impl Sampler {
    /// For vocabularies of `vocab` rows.
    pub fn new(sampling: Sampling, vocab: usize) -> Sampler {
        Sampler { sampling, order: Vec::with_capacity(vocab), weights: Vec::with_capacity(vocab) }
    }

    /// A token for `position`, from finite logits `[V]`.
    pub fn pick(&mut self, logits: &[f32], position: u32) -> u32 {
        let Sampling { temperature, top_k, top_p, seed } = self.sampling;
        if temperature == 0.0 {
            return largest(logits);
        }
        if top_k == 0 && top_p >= 1.0 {
            return self.pick_of_all(logits, position);
        }
        // Largest first; of equals the lower id.
        let before = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        self.order.clear();
        self.order.extend(0..logits.len() as u32);
        if (1..self.order.len()).contains(&top_k) {
            self.order.select_nth_unstable_by(top_k - 1, before);
            self.order.truncate(top_k);
        }
        self.order.sort_unstable_by(before);
        let most = logits[self.order[0] as usize];
        self.weights.clear();
        self.weights.extend(self.order.iter().map(|id| math::exp((logits[*id as usize] - most) / temperature)));
        let total: f32 = self.weights.iter().sum();
        let kept = count_until(&self.weights, top_p * total);
        let kept_total: f32 = self.weights[..kept].iter().sum();
        let drawn = uniform(seed, position) * kept_total;
        self.order[count_until(&self.weights[..kept], drawn) - 1]
    }
}

impl Sampler {
    /// Without a cut of the tail the order does not matter: as the rows come.
    fn pick_of_all(&mut self, logits: &[f32], position: u32) -> u32 {
        let most = logits[largest(logits) as usize];
        self.weights.clear();
        self.weights.extend(logits.iter().map(|logit| math::exp((logit - most) / self.sampling.temperature)));
        let total: f32 = self.weights.iter().sum();
        count_until(&self.weights, uniform(self.sampling.seed, position) * total) as u32 - 1
    }
}

/// Where the largest is; of equals the first. Two passes that registers go through, where one would go number by number.
fn largest(logits: &[f32]) -> u32 {
    let (chunks, rest) = logits.as_chunks::<64>();
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut most = [f32::NEG_INFINITY; 64];
    for chunk in chunks {
        for (most, logit) in most.iter_mut().zip(chunk) {
            *most = larger(*most, *logit);
        }
    }
    let most = most.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger);
    logits.iter().position(|logit| *logit == most).expect("finite logits, at least one") as u32
}

/// How many weights, from the first on, add up to more than `limit` (all of them, if they never do).
fn count_until(weights: &[f32], limit: f32) -> usize {
    let mut sum = 0.0;
    for (i, weight) in weights.iter().enumerate() {
        sum += weight;
        if sum > limit {
            return i + 1;
        }
    }
    weights.len()
}

/// In `[0, 1)`, by SplitMix64 (Steele, Lea, Flood 2014) over seed and position.
fn uniform(seed: u64, position: u32) -> f32 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(u64::from(position) + 1));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 31;
    (x >> 40) as f32 / (1u64 << 24) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(sampling: Sampling, logits: &[f32]) -> Vec<usize> {
        let mut sampler = Sampler::new(sampling, logits.len());
        let mut counts = vec![0; logits.len()];
        for position in 0..20_000 {
            counts[sampler.pick(logits, position) as usize] += 1;
        }
        counts
    }

    #[test]
    fn draws_follow_the_softmax() {
        let logits = [0.0, 2.0f32.ln(), 1.0f32.ln(), 4.0f32.ln()];
        let counts = count(Sampling { temperature: 1.0, ..Sampling::GREEDY }, &logits);
        for (count, share) in counts.iter().zip([0.125, 0.25, 0.125, 0.5]) {
            assert!((*count as f64 / 20_000.0 - share).abs() < 0.02, "{counts:?}");
        }
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let logits = [0.0, 3.0, 1.0, 2.0];
        let top_k = count(Sampling { temperature: 1.0, top_k: 2, ..Sampling::GREEDY }, &logits);
        assert!(top_k[0] == 0 && top_k[2] == 0 && top_k[1] > top_k[3] && top_k[3] > 0);
        let top_p = count(Sampling { temperature: 1.0, top_p: 0.6, ..Sampling::GREEDY }, &logits);
        assert_eq!(top_p, [0, 20_000, 0, 0]);
        assert_eq!(Sampler::new(Sampling::GREEDY, 4).pick(&logits, 0), 1);
    }
}
