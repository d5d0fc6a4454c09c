//! Right answers, not only equal ones: this build's logits against what other engines found for the same weights and
//! tokens, stored in the repository's `oracle/` (its README says how).

mod small;
mod stored;

use headsaw::plan::{self, CutRequest, Exchange, Order};
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw_run::{compute, generate, weights::ModelFile};
use small::{Dtype, Family, POSITIONS};
use std::path::{Path, PathBuf};
use stored::Reference;

const F32: Numerics = Numerics { activations: Activations::F32, kv: KvDtype::F32 };
const INT8: Numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };

/// What rounding of f32 may do: candle itself is within 5e-6 of f64.
const DIFFERENCE_MAX: f64 = 1e-4;

/// Of llama.cpp's KL.
const KL_MAX: f64 = 1.1;

#[test]
fn f32_logits_of_smollm2_are_candles() {
    let Some((model, oracle)) = smollm2() else { return };
    let distance = smollm2_distance(&model, &oracle, F32);
    println!("{distance:?}");
    assert!(distance.difference <= DIFFERENCE_MAX, "{distance:?}");
    assert!(distance.disagreements.is_empty(), "{distance:?}");
}

#[test]
fn quantised_activations_cost_no_more_than_llama_cpps() {
    let Some((model, oracle)) = smollm2() else { return };
    let distance = smollm2_distance(&model, &oracle, INT8);
    let theirs = json(&oracle.join("stored/llama-cpp.json"))["kl_mean_bucketed"].as_f64().expect("a number");
    println!("{distance:?}, llama.cpp's KL: {theirs}");
    assert!(distance.kl_mean <= KL_MAX * theirs, "{distance:?}, llama.cpp's KL: {theirs}");
    assert!(distance.disagreements.is_empty(), "{distance:?}");
}

#[test]
fn f32_logits_of_small_safetensors_models_are_candles() {
    let Some(oracle) = stored::folder() else { return };
    for family in Family::ALL {
        let expected = stored::small(&oracle.join(format!("stored/{}.safetensors", family.name())));
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{dtype:?}", family.name()));
            std::fs::create_dir_all(&folder).expect("a folder for the model");
            small::write(family, dtype, &folder).expect("written");
            let sequences: Vec<_> = small::sequences().into_iter().map(|s| (s.prompt, s.forced)).collect();
            let ours = logits(&folder, F32, &sequences).concat();
            assert_eq!(ours.len(), expected.len());
            let difference = std::iter::zip(ours.chunks(small::VOCAB), expected.chunks(small::VOCAB))
                .map(|(ours, expected)| {
                    assert!(ours.iter().all(|logit| logit.is_finite()));
                    let differences = std::iter::zip(ours, expected).map(|(a, b)| (a - b).abs());
                    let [min, max] = [f32::min, f32::max].map(|f| expected.iter().copied().reduce(f).expect("logits"));
                    f64::from(differences.reduce(f32::max).expect("logits") / (max - min))
                })
                .fold(0.0, f64::max);
            println!("{family:?} {dtype:?}: {difference:e} of the range");
            assert!(difference <= DIFFERENCE_MAX, "{family:?} {dtype:?}: {difference:e} of the range");
        }
    }
}

/// The model and the folder `oracle`, if both are there.
fn smollm2() -> Option<(PathBuf, PathBuf)> {
    let Some(model) = std::env::var_os("HEADSAW_SMOLLM2") else {
        println!("skipped: HEADSAW_SMOLLM2 does not name the model; `cargo xtask test` fetches it");
        return None;
    };
    Some((model.into(), stored::folder()?))
}

fn smollm2_distance(model: &Path, oracle: &Path, numerics: Numerics) -> stored::Distance {
    let tokens = json(&oracle.join("tokens.json"));
    let ids = |ids: &serde_json::Value| -> Vec<u32> {
        ids.as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
    };
    let prompts = tokens["prompts"].as_array().expect("prompts");
    let sequences: Vec<_> = prompts.iter().map(|p| (ids(&p["prompt_tokens"]), ids(&p["forced"]))).collect();
    let logits = logits(model, numerics, &sequences);
    let rows: Vec<&[f32]> = logits.iter().flat_map(|logits| logits.chunks(logits.len() / POSITIONS)).collect();
    let gap = json(&oracle.join("stored/llama-cpp.json"))["gap"].as_f64().expect("a number");
    Reference::open(&oracle.join("stored/smollm2-f32.safetensors")).distance(&rows, gap as f32)
}

/// For each sequence the logits [`POSITIONS` × V] that predict its forced tokens.
fn logits(model: &Path, numerics: Numerics, sequences: &[(Vec<u32>, Vec<u32>)]) -> Vec<Vec<f32>> {
    let count = sequences.len() as u32;
    let workload = Workload { batch: count, tokens: 64, micros: 1, context: 256, sequences: count, numerics };
    let file = ModelFile::open(model).expect("a model");
    let uncut = CutRequest {
        tp: 1,
        pp: 1,
        device_weights: vec![],
        lanes: 1,
        exchange: Exchange::Reduce,
        order: Order::Pipelined,
    };
    let plan = plan::cut(file.spec(), workload, &uncut).expect("a plan");
    let compute = compute::cpu(None).expect("a processor");
    let mut engine = generate::Engine::load(&file, &plan, compute, &mut |_| {}).expect("loaded");
    let (prompts, forced): (Vec<_>, Vec<_>) = sequences.iter().cloned().unzip();
    let options = generate::Options { forced, keep_logits: true, ..generate::Options::greedy(POSITIONS) };
    let report = engine.generate(&prompts, &options, &mut |_| generate::Flow::Continue).expect("ran");
    report.outputs.into_iter().map(|output| output.logits).collect()
}

fn json(path: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}
