//! The same weights out of every kind of file, in every slice.

use headsaw::spec::model::{Dtype, Family, ModelSpec, Rope, RopeScaling};
use headsaw::spec::{Matrix, Mixed};
use headsaw_run::testing::{
    Random, q4_k_m, random_hf_folder, random_mix, random_model, read_safetensors, safetensors, small_spec,
};
use headsaw_run::tokenizer::Tokenizer;
use headsaw_run::weights::{LayerWeight, ModelFile, RawRows, Weight};
use std::path::PathBuf;

fn open(bytes: Vec<u8>) -> ModelFile {
    ModelFile::from_bytes(bytes.leak()).unwrap_or_else(|e| panic!("{e}"))
}

fn whole(model: &ModelFile, weight: Weight) -> Vec<f32> {
    let [rows, cols] = weight.shape(model.spec());
    model.rows(weight, 0..rows, 0..cols).expect("reads").to_f32()
}

/// Rows of whole blocks in every type.
fn wide_spec(family: Family) -> ModelSpec {
    ModelSpec { layers: 1, width: 256, heads: 4, kv_heads: 2, head_width: 64, ffn: 512, ..small_spec(family) }
}

#[test]
fn random_models_open() {
    for family in [Family::Llama, Family::Qwen2, Family::Qwen3] {
        for dtype in Dtype::ALL {
            let spec = wide_spec(family);
            let model = open(random_model(&spec, 7, dtype));
            let shape = model.spec();
            assert_eq!([Matrix::Embedding, Matrix::Output].map(|end| shape.end_type(end)), [dtype; 2]);
            assert!(shape.mixed.iter().all(|mixed| mixed.weights.is_end()), "{:?}", shape.mixed);
            assert_eq!(*shape, ModelSpec { dtype, mixed: shape.mixed.clone(), ..spec });
            let tokenizer = Tokenizer::from_model(&model).expect("a tokenizer");
            let ids = tokenizer.encode("the cat, 12", true).expect("encodes");
            assert_eq!(tokenizer.decode(&ids), "the cat, 12");
        }
    }
}

/// Types as in a Q4_K_M file: the shape says of each layer what the file says.
#[test]
fn the_shape_knows_how_each_matrix_is_stored() {
    let spec = ModelSpec { layers: 9, tied: true, ..wide_spec(Family::Llama) };
    let model = open(random_mix(&spec, 7, |weight| q4_k_m(&spec, weight)));
    let shape = model.spec();
    assert_eq!((shape.dtype, shape.end_type(Matrix::Output)), (Dtype::Q4K, Dtype::Q6K));
    let mut seen = vec![];
    for layer in 0..spec.layers {
        for (weight, matrix) in
            [(LayerWeight::V, Matrix::V), (LayerWeight::Down, Matrix::Down), (LayerWeight::Q, Matrix::Q)]
        {
            let dtype = model.dtype(Weight::Layer(layer, weight)).expect("a type");
            let said: Vec<_> = shape.types(matrix, &(layer..layer + 1)).collect();
            assert_eq!(said, [(dtype, 1)], "{matrix:?} of layer {layer}");
            seen.push((matrix, dtype));
        }
    }
    assert!(seen.contains(&(Matrix::V, Dtype::Q4K)) && seen.contains(&(Matrix::V, Dtype::Q6K)));
    let text = serde_json::to_string(&shape.mixed).expect("JSON");
    assert_eq!(
        text,
        r#"[{"weights":"v","layers":"0..1, 3..4, 6..9","dtype":"q6_k"},{"weights":"down","layers":"0..1, 3..4, 6..9","dtype":"q6_k"}]"#
    );
    assert_eq!(serde_json::from_str::<Vec<Mixed>>(&text).expect("reads"), shape.mixed);
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
    let spec = wide_spec(Family::Llama);
    let exact = open(random_model(&spec, 5, Dtype::F32));
    for (dtype, error) in [
        (Dtype::F16, 1e-3),
        (Dtype::Bf16, 4e-3),
        (Dtype::Q8_0, 1e-3),
        (Dtype::Q6K, 3e-3),
        (Dtype::Q5_1, 4e-3),
        (Dtype::Q5K, 4e-3),
        (Dtype::Q5_0, 5e-3),
        (Dtype::Q4_1, 8e-3),
        (Dtype::Q4K, 8e-3),
        (Dtype::Q4_0, 1e-2),
    ] {
        let rounded = open(random_model(&spec, 5, dtype));
        for weight in Weight::all(&spec) {
            let pairs = whole(&exact, weight).into_iter().zip(whole(&rounded, weight));
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= error, "{dtype:?} {weight:?}: {worst}");
        }
    }
}

/// Blocks, and what llama.cpp's own Python package reads in them: see `quants/make.py`.
#[test]
fn blocks_are_read_as_by_llama_cpp() {
    for dtype in Dtype::ALL.into_iter().filter(|dtype| dtype.block() > 1) {
        let file = |suffix: &str| {
            let name = format!("{}/tests/quants/{}.{suffix}", env!("CARGO_MANIFEST_DIR"), dtype.name().to_lowercase());
            std::fs::read(&name).unwrap_or_else(|e| panic!("{name}: {e}"))
        };
        let (bytes, numbers) = (file("blocks"), file("f32"));
        let blocks = bytes.len() / dtype.block_bytes() as usize;
        let read = RawRows { dtype, rows: 1, blocks, bytes }.dequantise().bytes;
        assert_eq!(read, numbers, "{}", dtype.name());
    }
}

/// A slice is what the whole holds there, columns widened to blocks.
#[test]
fn slices_are_parts_of_the_whole() {
    for family in [Family::Llama, Family::Qwen2, Family::Qwen3] {
        for dtype in [Dtype::F32, Dtype::Q4_1, Dtype::Q4K, Dtype::Q6K] {
            let model = open(random_model(&wide_spec(family), 11, dtype));
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

/// A folder of its own, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let dir = std::env::temp_dir().join(format!("headsaw-weights-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        Folder(dir)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.0.join(name), bytes).expect("writes");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("removes");
    }
}

#[test]
fn folder_and_gguf_hold_the_same() {
    for family in [Family::Llama, Family::Qwen2, Family::Qwen3] {
        let spec = small_spec(family);
        let folder = Folder::new(&format!("{family:?}"));
        random_hf_folder(&folder.0, &spec, 5).expect("writes");
        let (gguf, hf) = (open(random_model(&spec, 5, Dtype::F32)), ModelFile::open(&folder.0).expect("opens"));
        let name = hf.spec().name.clone();
        assert_eq!(*hf.spec(), ModelSpec { name, ..gguf.spec().clone() });
        for weight in Weight::all(&spec) {
            assert_eq!(whole(&hf, weight), whole(&gguf, weight), "{weight:?}");
            check_slices(&hf, weight);
        }
        let shape = ModelFile::open(&folder.0.join("config.json")).expect("opens");
        assert_eq!(shape.spec(), hf.spec());
        assert!(shape.rows(Weight::Embedding, 0..1, 0..1).unwrap_err().to_string().contains("only the shape"));
    }
}

#[test]
fn weights_in_two_files() {
    let spec = small_spec(Family::Llama);
    let folder = Folder::new("index");
    random_hf_folder(&folder.0, &spec, 5).expect("writes");
    let one = ModelFile::open(&folder.0).expect("opens");
    std::fs::remove_file(folder.0.join("model.safetensors")).expect("removes");
    let files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    folder.write(files[0], safetensors(&spec, 5, |name| name.contains("layers.0")));
    folder.write(files[1], safetensors(&spec, 5, |name| !name.contains("layers.0")));
    folder.write(
        "model.safetensors.index.json",
        format!(r#"{{"weight_map":{{"a":"{}","b":"{}"}}}}"#, files[0], files[1]),
    );
    let two = ModelFile::open(&folder.0).expect("opens");
    for weight in Weight::all(&spec) {
        assert_eq!(whole(&one, weight), whole(&two, weight), "{weight:?}");
    }
}

#[test]
fn llama3_scaling_is_the_same_from_both_formats() {
    let scaling =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 };
    let rope = Rope { theta: 500_000.0, scaling: Some(scaling) };
    let spec = ModelSpec { rope: Some(rope), head_width: 64, width: 256, ..small_spec(Family::Llama) };
    let folder = Folder::new("llama3");
    random_hf_folder(&folder.0, &spec, 5).expect("writes");
    let (gguf, hf) = (open(random_model(&spec, 5, Dtype::F16)), ModelFile::open(&folder.0).expect("opens"));
    assert_eq!(gguf.rope_divisors(), hf.rope_divisors());
    assert_eq!(gguf.spec().rope, hf.spec().rope);
    assert_eq!(gguf.rope_divisors()[0], 1.0);
    assert_eq!(gguf.rope_divisors()[31], 8.0);
}

#[test]
fn all_problems_are_named_at_once() {
    let spec = small_spec(Family::Llama);
    let folder = Folder::new("problems");
    random_hf_folder(&folder.0, &spec, 5).expect("writes");
    folder.write(
        "model.safetensors",
        safetensors(&spec, 5, |name| !name.contains("mlp.up") && name != "model.norm.weight"),
    );
    let error = ModelFile::open(&folder.0).unwrap_err().to_string();
    for missing in ["model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight", "model.norm.weight"] {
        assert!(error.contains(missing), "{error}");
    }
}

#[test]
fn a_file_that_shrinks_is_an_error() {
    let spec = small_spec(Family::Llama);
    let folder = Folder::new("shrinks");
    let bytes = random_model(&spec, 5, Dtype::Q8_0);
    folder.write("model.gguf", &bytes);
    let model = ModelFile::open(&folder.0.join("model.gguf")).expect("opens");
    folder.write("model.gguf", &bytes[..bytes.len() / 2]);
    let last = Weight::Layer(1, LayerWeight::Down);
    let error = model.rows(last, 0..64, 0..96).unwrap_err().to_string();
    assert!(error.contains("blk.1.ffn_down.weight"), "{error}");
}

/// What the `safetensors` crate writes we read, with its offsets; what it refuses we refuse.
#[test]
fn the_safetensors_crate_agrees() {
    let file = safetensors(&small_spec(Family::Llama), 5, |_| true);
    let theirs = ::safetensors::SafeTensors::deserialize(&file).expect("they read what we write");
    let tensors = theirs.names().into_iter().map(|name| (name.to_string(), theirs.tensor(name).expect("it is there")));
    let file = ::safetensors::serialize(tensors.collect::<Vec<_>>(), None).expect("they write");
    assert_eq!(read_safetensors(file.clone()).expect("we read what they write"), theirs.len());
    let mut random = Random(5);
    for _ in 0..3000 {
        let mut mutant = file.clone();
        let at = random.below(1500.min(file.len() as u64)) as usize;
        mutant[at] = b"0123456789[],:\"{}FB1632 "[random.below(24) as usize];
        if read_safetensors(mutant.clone()).is_ok() {
            ::safetensors::SafeTensors::deserialize(&mutant).expect("they read what we read");
        }
    }
}
