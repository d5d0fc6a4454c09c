//! What vLLM and SGLang have in common: model files that cut the same way, and rules that no parser knows.

use super::cut::Cut;
use super::rules::{self, Broken};
use super::{Flag, Request, notes};
use crate::spec::workload::{Activations, KvDtype};

/// Both fill the vocabulary up to a multiple of this before they divide it.
const VOCABULARY_PADDING: u32 = 64;

/// Only the first of these is known to the parsers.
pub fn rules(cut: &Cut) -> Vec<Broken> {
    let all = [
        rules::heads(cut),
        rules::kv_heads_or_copies(cut),
        rules::columns(cut),
        rules::vocabulary(cut, VOCABULARY_PADDING),
        rules::blocks(cut),
    ];
    all.into_iter().flatten().collect()
}

/// The variable that says how many layers each stage has, in the words that both take; none where there is one stage.
pub fn partition(cut: &Cut, variable: &str) -> Vec<(String, String)> {
    let layers = cut.layers.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    if cut.pp() > 1 { vec![(variable.into(), layers)] } else { vec![] }
}

/// `--dtype`, where the plan says one that they know; `--quantization` beside it.
pub fn dtype(cut: &Cut) -> Vec<Flag> {
    let dtype = |name| Flag::with("--dtype", name);
    match cut.plan.workload.numerics.activations {
        Activations::Bf16 => vec![dtype("bfloat16")],
        Activations::F32 => vec![dtype("float32")],
        Activations::Fp8 => vec![dtype("bfloat16"), Flag::with("--quantization", "fp8")],
        Activations::Int8 | Activations::Mxfp8 | Activations::Nvfp4 => vec![],
    }
}

/// Which of several nodes this is, and where the first one is found.
pub fn nodes(request: &Request, first: Flag) -> Vec<Flag> {
    if request.nodes < 2 {
        return vec![];
    }
    vec![Flag::with("--nnodes", request.nodes), Flag::with("--node-rank", "$NODE_RANK"), first]
}

/// What could not be said to either.
pub fn notes(cut: &Cut, engine: &str) -> Vec<String> {
    let numerics = cut.plan.workload.numerics;
    let mut notes = notes::of_cuts(cut, engine);
    notes.extend(notes::of_serving(cut, engine));
    match numerics.activations {
        Activations::Int8 => notes.push(format!(
            "the plan computes in headsaw's 8-bit activations; {engine} takes the data type that the model was stored in"
        )),
        Activations::Mxfp8 | Activations::Nvfp4 => notes.push(format!(
            "the plan computes in {}; {engine} does so where the model is stored in it",
            numerics.activations.precision().name()
        )),
        Activations::F32 | Activations::Bf16 | Activations::Fp8 => {}
    }
    if numerics.kv == KvDtype::F32 && numerics.activations != Activations::F32 {
        notes.push(format!("the plan keeps K and V in f32; {engine} keeps them in its data type"));
    }
    notes
}
