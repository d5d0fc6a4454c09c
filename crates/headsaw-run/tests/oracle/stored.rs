//! What other engines found, as `oracle/` stores it, and how far logits are from it.

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::path::{Path, PathBuf};

/// The folder `oracle` of the repository, if there is one: the published crate has none.
pub fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracle");
    folder.is_dir().then_some(folder)
}

/// The stored f32 logits of SmolLM2, in part, over all positions of all prompts.
pub struct Reference {
    positions: Vec<Position>,
    sample_ids: Vec<usize>,
}

struct Position {
    log_sum_exp: f64,
    /// Probability of all ids that are not among `top`.
    rest: f64,
    range: f32,
    /// Ids and logits, the largest logit first.
    top: Vec<(usize, f32)>,
    /// Logits of `sample_ids`.
    sample: Vec<f32>,
}

/// Logits against the reference.
#[derive(Debug)]
pub struct Distance {
    /// The largest difference, as a part of the range of the reference's logits at that position.
    pub difference: f64,
    /// KL(reference ‖ ours) in nats over the top ids and one bucket of all others: mean over positions.
    pub kl_mean: f64,
    /// The largest of these.
    pub kl_max: f64,
    /// Positions where our top token is another although the reference's leads by more than the gap.
    pub disagreements: Vec<usize>,
}

impl Reference {
    /// Reads `smollm2-f32.safetensors`.
    pub fn open(path: &Path) -> Reference {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = SafeTensors::deserialize(&bytes).expect("safetensors");
        let tensor = |name: &str| file.tensor(name).expect("a stored tensor");
        let ids = |name| -> Vec<usize> {
            let ids = elements(&tensor(name), Dtype::U16).map(|b: [u8; 2]| u16::from_le_bytes(b).into());
            ids.collect()
        };
        let sample_ids = ids("sample_ids");
        let [log_sum_exp, rest] = ["log_sum_exp", "rest"]
            .map(|name| elements(&tensor(name), Dtype::F64).map(f64::from_le_bytes).collect::<Vec<_>>());
        let [min, max, top, sample] = ["min", "max", "top", "sample"].map(|name| floats(&tensor(name)));
        let count = log_sum_exp.len();
        let width = top.len() / count;
        let top_ids = ids("top_ids");
        let positions = (0..count)
            .map(|i| Position {
                log_sum_exp: log_sum_exp[i],
                rest: rest[i],
                range: max[i] - min[i],
                top: std::iter::zip(&top_ids, &top).skip(i * width).take(width).map(|(&id, &x)| (id, x)).collect(),
                sample: sample[i * sample_ids.len()..][..sample_ids.len()].to_vec(),
            })
            .collect();
        Reference { positions, sample_ids }
    }

    /// How far logits, one row for each position, are from the reference.
    pub fn distance(&self, rows: &[&[f32]], gap: f32) -> Distance {
        assert_eq!(rows.len(), self.positions.len());
        let mut distance = Distance { difference: 0.0, kl_mean: 0.0, kl_max: 0.0, disagreements: vec![] };
        for (i, (row, position)) in std::iter::zip(rows, &self.positions).enumerate() {
            assert!(row.iter().all(|logit| logit.is_finite()), "position {i}");
            let sample = std::iter::zip(&self.sample_ids, &position.sample).map(|(&id, &logit)| (id, logit));
            for (id, logit) in position.top.iter().copied().chain(sample) {
                let difference = f64::from((row[id] - logit).abs() / position.range);
                distance.difference = distance.difference.max(difference);
            }
            let divergence = position.divergence(row);
            distance.kl_mean += divergence / rows.len() as f64;
            distance.kl_max = distance.kl_max.max(divergence);
            let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("a vocabulary");
            if best != position.top[0].0 && position.top[0].1 - position.top[1].1 > gap {
                distance.disagreements.push(i);
            }
        }
        distance
    }
}

impl Position {
    fn divergence(&self, row: &[f32]) -> f64 {
        let total = log_sum_exp(row.iter().copied());
        let mut taken = vec![false; row.len()];
        let mut divergence = 0.0;
        for &(id, logit) in &self.top {
            taken[id] = true;
            let (p, q) = (f64::from(logit) - self.log_sum_exp, f64::from(row[id]) - total);
            divergence += p.exp() * (p - q);
        }
        let others = row.iter().zip(&taken).filter(|(_, taken)| !**taken).map(|(logit, _)| *logit);
        divergence + self.rest * (self.rest.ln() - (log_sum_exp(others) - total))
    }
}

fn log_sum_exp(logits: impl Iterator<Item = f32> + Clone) -> f64 {
    let top = f64::from(logits.clone().fold(f32::NEG_INFINITY, f32::max));
    top + logits.map(|logit| (f64::from(logit) - top).exp()).sum::<f64>().ln()
}

/// The logits of a small model, all of them.
pub fn small(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    floats(&file.tensor("logits").expect("logits"))
}

fn floats(tensor: &TensorView) -> Vec<f32> {
    elements(tensor, Dtype::F32).map(f32::from_le_bytes).collect()
}

fn elements<'a, const N: usize>(tensor: &TensorView<'a>, dtype: Dtype) -> impl Iterator<Item = [u8; N]> + use<'a, N> {
    assert_eq!(tensor.dtype(), dtype);
    tensor.data().chunks_exact(N).map(|chunk| chunk.try_into().expect("N bytes"))
}
