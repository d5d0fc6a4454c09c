//! The same weights out of every kind of file, in every slice.

use headsaw::spec::model::{Dtype, Family, ModelSpec};
use headsaw_run::testing::{random_model, small_spec};
use headsaw_run::tokenizer::Tokenizer;
use headsaw_run::weights::{LayerWeight, ModelFile, Weight};

fn open(bytes: Vec<u8>) -> ModelFile {
    ModelFile::from_bytes(bytes.leak()).unwrap_or_else(|e| panic!("{e}"))
}

fn whole(model: &ModelFile, weight: Weight) -> Vec<f32> {
    let [rows, cols] = weight.shape(model.spec());
    model.rows(weight, 0..rows, 0..cols).expect("reads").to_f32()
}

#[test]
fn random_models_open() {
    for family in [Family::Llama, Family::Qwen2] {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16, Dtype::Q8_0, Dtype::Q4_1] {
            let spec = small_spec(family);
            let model = open(random_model(&spec, 7, dtype));
            assert_eq!(*model.spec(), ModelSpec { dtype, ..spec });
            let tokenizer = Tokenizer::from_model(&model).expect("a tokenizer");
            let ids = tokenizer.encode("the cat, 12", true).expect("encodes");
            assert_eq!(tokenizer.decode(&ids), "the cat, 12");
        }
    }
}

/// Rotary pairs come side by side, whatever the file's order: the test writer stores both families from the same numbers.
#[test]
fn qwen2_pairs_are_brought_together() {
    let (llama, qwen) = (small_spec(Family::Llama), small_spec(Family::Qwen2));
    let (llama, qwen) = (open(random_model(&llama, 3, Dtype::Q8_0)), open(random_model(&qwen, 3, Dtype::Q8_0)));
    for weight in Weight::all(llama.spec()) {
        assert_eq!(whole(&llama, weight), whole(&qwen, weight), "{weight:?}");
    }
}

#[test]
fn quantised_weights_are_near() {
    let spec = small_spec(Family::Llama);
    let exact = open(random_model(&spec, 5, Dtype::F32));
    for (dtype, error) in [(Dtype::F16, 1e-3), (Dtype::Bf16, 4e-3), (Dtype::Q8_0, 5e-3), (Dtype::Q4_1, 5e-2)] {
        let rounded = open(random_model(&spec, 5, dtype));
        for weight in Weight::all(&spec) {
            let pairs = whole(&exact, weight).into_iter().zip(whole(&rounded, weight));
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= error, "{dtype:?} {weight:?}: {worst}");
        }
    }
}

/// A slice is what the whole holds there, columns widened to blocks.
#[test]
fn slices_are_parts_of_the_whole() {
    for family in [Family::Llama, Family::Qwen2] {
        for dtype in [Dtype::F32, Dtype::Q4_1] {
            let model = open(random_model(&small_spec(family), 11, dtype));
            for weight in Weight::all(model.spec()) {
                check_slices(&model, weight);
            }
        }
    }
}

fn check_slices(model: &ModelFile, weight: Weight) {
    let [rows, cols] = weight.shape(model.spec());
    let all = whole(model, weight);
    let block = model.dtype(weight).expect("a type").block();
    for (from, to) in [(0, rows), (0, 1), (rows / 3, rows / 2), (rows - 1, rows), (rows / 2, rows / 2)] {
        for (left, right) in [(0, cols), (0, cols / 2), (cols / 3, cols / 3 + 1), (cols - 1, cols)] {
            let part = model.rows(weight, from..to, left..right).expect("reads");
            let (left, right) = (left / block * block, right.div_ceil(block) * block);
            let expected: Vec<f32> = (from..to)
                .flat_map(|r| all[(r * cols + left) as usize..(r * cols + right) as usize].iter().copied())
                .collect();
            assert_eq!(part.rows, (to - from) as usize);
            assert_eq!(part.to_f32(), expected, "{weight:?} {from}..{to} {left}..{right}");
            assert_eq!(part.clone().dequantise().to_f32(), expected);
        }
    }
    assert!(model.rows(weight, 0..rows + 1, 0..cols).is_err());
    assert!(model.rows(weight, 0..rows, 0..cols + 1).is_err());
}

#[test]
fn tied_output_is_the_embedding() {
    let spec = ModelSpec { tied: true, ..small_spec(Family::Llama) };
    let model = open(random_model(&spec, 1, Dtype::F16));
    assert!(model.spec().tied);
    assert_eq!(whole(&model, Weight::Output), whole(&model, Weight::Embedding));
    assert!(model.rows(Weight::Layer(0, LayerWeight::QBias), 0..1, 0..1).is_err());
    assert!(model.rows(Weight::Layer(9, LayerWeight::Q), 0..1, 0..1).is_err());
}

#[test]
fn hash_tells_files_apart() {
    let spec = small_spec(Family::Llama);
    let hash = |spec: &ModelSpec| open(random_model(spec, 1, Dtype::F16)).hash();
    assert_eq!(hash(&spec), hash(&spec));
    assert_ne!(hash(&spec), hash(&ModelSpec { norm_epsilon: 1e-6, ..spec.clone() }));
}
