//! Files that store their weights in several types: which matrix of which layers has which.

use super::model::{Dtype, ModelSpec};
use super::span;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::collections::BTreeMap;
use std::iter;
use std::ops::Range;

/// A matrix of weights by what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Matrix {
    /// The token embedding; the output matrix too where they are one.
    Embedding,
    /// The output matrix.
    Output,
    /// `W_q`.
    Q,
    /// `W_k`.
    K,
    /// `W_v`.
    V,
    /// `W_o`, the output projection.
    O,
    /// The MLP's gate.
    Gate,
    /// The MLP's other way in; the only one of an MLP without a gate.
    Up,
    /// The MLP's way out.
    Down,
}

impl Matrix {
    /// Those of a layer.
    pub const OF_A_LAYER: [Matrix; 7] =
        [Matrix::Q, Matrix::K, Matrix::V, Matrix::O, Matrix::Gate, Matrix::Up, Matrix::Down];

    /// The embedding or the output matrix, which belong to no layer.
    pub fn is_end(self) -> bool {
        matches!(self, Matrix::Embedding | Matrix::Output)
    }

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Matrix::Embedding => "embedding",
            Matrix::Output => "output",
            Matrix::Q => "q",
            Matrix::K => "k",
            Matrix::V => "v",
            Matrix::O => "o",
            Matrix::Gate => "gate",
            Matrix::Up => "up",
            Matrix::Down => "down",
        }
    }
}

/// A matrix that is stored otherwise than [`ModelSpec::usual`] says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mixed {
    /// Which.
    pub weights: Matrix,
    /// In these layers; none for the embedding and the output matrix.
    #[serde(default, skip_serializing_if = "Layers::is_empty")]
    pub layers: Layers,
    /// How.
    pub dtype: Dtype,
}

/// Some layers of a model, in order: `"0..2, 4..5, 7..8"`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layers(pub Vec<Range<u32>>);

impl Layers {
    /// From ascending numbers.
    pub fn of(numbers: impl IntoIterator<Item = u32>) -> Layers {
        let mut runs: Vec<Range<u32>> = Vec::new();
        for number in numbers {
            match runs.last_mut().filter(|run| run.end == number) {
                Some(run) => run.end = number + 1,
                None => runs.push(number..number + 1),
            }
        }
        Layers(runs)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many of `among` there are.
    fn count(&self, among: &Range<u32>) -> u32 {
        let shared = |run: &Range<u32>| run.end.min(among.end).saturating_sub(run.start.max(among.start));
        self.0.iter().map(shared).fold(0, u32::saturating_add)
    }
}

impl Serialize for Layers {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let runs: Vec<String> = self.0.iter().map(|run| format!("{}..{}", run.start, run.end)).collect();
        to.serialize_str(&runs.join(", "))
    }
}

impl<'de> Deserialize<'de> for Layers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Layers, D::Error> {
        let text = String::deserialize(from)?;
        let runs = text.split(',').map(|run| span::parse(run).map_err(D::Error::custom));
        Ok(Layers(runs.collect::<Result<_, _>>()?))
    }
}

impl ModelSpec {
    /// How a matrix is stored where nothing else is said: as most weights are. Of few bits files keep the embedding and
    /// the output matrix in 8 (those with blocks of 256 in 6).
    pub fn usual(&self, weights: Matrix) -> Dtype {
        match self.dtype.block() {
            33.. if weights.is_end() => Dtype::Q6K,
            2.. if weights.is_end() => Dtype::Q8_0,
            _ => self.dtype,
        }
    }

    /// How the embedding or the output matrix is stored.
    pub fn end_type(&self, weights: Matrix) -> Dtype {
        let weights = if self.tied { Matrix::Embedding } else { weights };
        let said = self.mixed.iter().find(|mixed| mixed.weights == weights);
        said.map_or_else(|| self.usual(weights), |mixed| mixed.dtype)
    }

    /// How a matrix of these layers is stored: types, and how many layers have each.
    pub fn types(&self, weights: Matrix, layers: &Range<u32>) -> impl Iterator<Item = (Dtype, u32)> {
        let said = self.mixed.iter().filter(move |mixed| mixed.weights == weights);
        let said = said.map({
            let layers = layers.clone();
            move |mixed| (mixed.dtype, mixed.layers.count(&layers))
        });
        let others = said.clone().fold(layers.len() as u32, |others, (_, count)| others.saturating_sub(count));
        said.chain(iter::once((self.usual(weights), others))).filter(|(_, count)| *count > 0)
    }

    /// What is wrong with `mixed`.
    pub(super) fn check_mixed(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut held: BTreeMap<Matrix, Vec<Range<u32>>> = BTreeMap::new();
        for Mixed { weights, layers, .. } in &self.mixed {
            let name = weights.name();
            if weights.is_end() {
                if !layers.is_empty() {
                    problems.push(format!("mixed: {name} belongs to no layer; leave `layers` out"));
                }
                held.entry(*weights).or_default().push(0..1);
                continue;
            }
            if layers.is_empty() {
                problems.push(format!("mixed: {name} of which layers? write them as \"0..2, 5..6\""));
            }
            for run in &layers.0 {
                if run.is_empty() || run.end > self.layers {
                    let (start, end) = (run.start, run.end);
                    problems
                        .push(format!("mixed: layers {start}..{end} of {name}; expected some of 0..{}", self.layers));
                }
                held.entry(*weights).or_default().push(run.clone());
            }
        }
        for (weights, mut runs) in held {
            runs.sort_by_key(|run| run.start);
            if runs.windows(2).any(|pair| pair[0].end > pair[1].start) {
                problems.push(format!("mixed: {} has two types in one place; expected one", weights.name()));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::presets;

    /// A preset of eight layers with this in its plan's `mixed`.
    fn with(mixed: &str) -> ModelSpec {
        let spec = presets::find("smollm2-135m").unwrap();
        ModelSpec { layers: 8, dtype: Dtype::Q4K, mixed: serde_json::from_str(mixed).unwrap(), ..spec }
    }

    #[test]
    fn layers_have_the_type_that_is_said_or_that_of_most() {
        let spec = with(r#"[{"weights": "v", "layers": "0..2,5..6", "dtype": "q6_k"}]"#);
        assert_eq!(spec.check(), Vec::<String>::new());
        let types = |weights, layers| spec.types(weights, &layers).collect::<Vec<_>>();
        assert_eq!(types(Matrix::V, 0..8), [(Dtype::Q6K, 3), (Dtype::Q4K, 5)]);
        assert_eq!(types(Matrix::V, 1..3), [(Dtype::Q6K, 1), (Dtype::Q4K, 1)]);
        assert_eq!(types(Matrix::V, 5..6), [(Dtype::Q6K, 1)]);
        assert_eq!(types(Matrix::K, 0..8), [(Dtype::Q4K, 8)]);
        assert_eq!(spec.end_type(Matrix::Output), Dtype::Q6K);
        let tied = with(r#"[{"weights": "embedding", "dtype": "q8_0"}]"#);
        assert_eq!(tied.end_type(Matrix::Output), Dtype::Q8_0, "it is the embedding");
    }

    #[test]
    fn what_can_not_be_is_told() {
        for (mixed, says) in [
            (r#"[{"weights": "v", "layers": "0..9", "dtype": "q6_k"}]"#, "layers 0..9 of v; expected some of 0..8"),
            (r#"[{"weights": "v", "layers": "3..3", "dtype": "q6_k"}]"#, "layers 3..3 of v"),
            (r#"[{"weights": "gate", "dtype": "q6_k"}]"#, "gate of which layers?"),
            (r#"[{"weights": "output", "layers": "0..1", "dtype": "q6_k"}]"#, "output belongs to no layer"),
            (
                r#"[{"weights": "q", "layers": "0..4", "dtype": "q6_k"}, {"weights": "q", "layers": "3..5", "dtype": "q8_0"}]"#,
                "q has two types in one place",
            ),
        ] {
            let problems = with(mixed).check();
            assert!(problems.len() == 1 && problems[0].contains(says), "{mixed}: {problems:?}");
        }
        let wrong = serde_json::from_str::<Mixed>(r#"{"weights": "v", "layers": "2", "dtype": "q6_k"}"#);
        assert!(wrong.unwrap_err().to_string().contains("write it as \"0..5\""));
    }
}
