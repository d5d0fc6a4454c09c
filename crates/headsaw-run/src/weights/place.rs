//! Finds a model's weights among the tensors of its files.

use super::error::{Error, show};
use super::gguf::TENSORS_MAX;
use super::names::{Naming, Weight};
use super::stored::Stored;
use headsaw::spec::model::{Dtype, ModelSpec};
use headsaw::spec::{Layers, Matrix, Mixed};
use std::collections::BTreeMap;

/// The divisors of the rotary frequencies in GGUF files of Llama 3.
pub(super) const ROPE_DIVISORS: &str = "rope_freqs.weight";

/// Finds every weight the model needs; all that is missing, misshapen or unknown is one error.
pub(super) fn place(
    file: &str,
    spec: &ModelSpec,
    tensors: &[Stored],
    naming: Naming,
) -> Result<BTreeMap<Weight, usize>, Error> {
    let mut left: BTreeMap<&str, usize> = tensors.iter().enumerate().map(|(i, t)| (t.name.as_str(), i)).collect();
    let mut places = BTreeMap::new();
    let mut problems = vec![];
    for weight in Weight::all(spec) {
        let name = weight.name(naming);
        match left.remove(name.as_str()) {
            None => problems.push(format!("tensor `{name}` is missing")),
            Some(at) => {
                problems.extend(misfit(&tensors[at], weight, spec));
                places.insert(weight, at);
            }
        }
        if problems.len() > 1000 {
            break;
        }
    }
    let unknown = left.keys().filter(|name| !harmless(name, spec));
    problems.extend(unknown.map(|name| format!("tensor `{}` is not one that headsaw runs", show(name))));
    Error::problems(file, problems)?;
    Ok(places)
}

/// The tensors of all files together: not too many, each once.
pub(super) fn check_count(name: &str, tensors: &[Stored]) -> Result<(), Error> {
    if tensors.len() as u64 > TENSORS_MAX {
        return Err(Error::absent(name, format!("{} tensors; at most {TENSORS_MAX} are read", tensors.len())));
    }
    let mut names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::tensor(name, pair[0], "in two files", "each tensor once")),
        None => Ok(()),
    }
}

/// Tensors that change nothing: their numbers are in the shape, or they double others.
fn harmless(name: &str, spec: &ModelSpec) -> bool {
    name == ROPE_DIVISORS || name.ends_with("rotary_emb.inv_freq") || (name == "lm_head.weight" && spec.tied)
}

fn misfit(tensor: &Stored, weight: Weight, spec: &ModelSpec) -> Option<String> {
    let [rows, cols] = weight.shape(spec).map(u64::from);
    let fits = if weight.is_vector() { tensor.shape == [cols] } else { tensor.shape == [rows, cols] };
    if !fits {
        let expected = if weight.is_vector() { format!("[{cols}]") } else { format!("[{rows}, {cols}]") };
        return Some(format!("tensor `{}` has shape {:?}; expected {expected}", show(&tensor.name), tensor.shape));
    }
    let blocked = weight.is_vector() && tensor.dtype.block() != 1;
    blocked.then(|| format!("tensor `{}` is {}; expected F32, F16 or BF16", show(&tensor.name), tensor.dtype.name()))
}

/// Writes into the shape how the weights are stored.
pub(super) fn note_types(spec: &mut ModelSpec, tensors: &[Stored], places: &BTreeMap<Weight, usize>) {
    spec.dtype = main_dtype(tensors, places);
    let mut otherwise: BTreeMap<(Matrix, usize), Vec<u32>> = BTreeMap::new();
    for (weight, &at) in places {
        let Some(matrix) = weight.matrix() else { continue };
        let dtype = tensors[at].dtype;
        if dtype != spec.usual(matrix) {
            let layer = if let Weight::Layer(layer, _) = weight { Some(*layer) } else { None };
            otherwise.entry((matrix, slot(dtype))).or_default().extend(layer);
        }
    }
    let mixed = otherwise.into_iter().map(|((weights, slot), layers)| Mixed {
        weights,
        layers: Layers::of(layers),
        dtype: Dtype::ALL[slot],
    });
    spec.mixed = mixed.collect();
}

/// The place of a type among all.
fn slot(dtype: Dtype) -> usize {
    Dtype::ALL.iter().position(|other| *other == dtype).expect("all types are there")
}

/// The type that most bytes of the layers have.
fn main_dtype(tensors: &[Stored], places: &BTreeMap<Weight, usize>) -> Dtype {
    let layers = places.iter().filter(|(w, _)| matches!(w, Weight::Layer(..)) && !w.is_vector());
    let mut numbers = [0u64; Dtype::ALL.len()];
    for tensor in layers.map(|(_, &at)| &tensors[at]) {
        numbers[slot(tensor.dtype)] += tensor.shape.iter().product::<u64>();
    }
    let most = (0..numbers.len()).max_by_key(|&i| numbers[i]).unwrap_or(0);
    Dtype::ALL[most]
}
