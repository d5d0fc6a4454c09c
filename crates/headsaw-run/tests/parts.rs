//! A GGUF model in several files: the same model as in one, and what is said where the files do not belong together.

use headsaw::spec::model::{Dtype, Family, ModelSpec};
use headsaw_run::testing::{GgufBuilder, random_model, random_model_parts, small_spec, split_keys};
use headsaw_run::tokenizer::Tokenizer;
use headsaw_run::weights::{ModelFile, Weight};
use std::path::PathBuf;

/// A folder of its own, removed in the end.
struct Folder(PathBuf);

impl Folder {
    /// With the parts of a model in it.
    fn of(name: &str, parts: &[Vec<u8>]) -> Folder {
        let dir = std::env::temp_dir().join(format!("headsaw-parts-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        let folder = Folder(dir);
        for (i, bytes) in parts.iter().enumerate() {
            std::fs::write(folder.part(i + 1, parts.len()), bytes).expect("writes");
        }
        folder
    }

    fn part(&self, number: usize, parts: usize) -> PathBuf {
        self.0.join(format!("m-{number:05}-of-{parts:05}.gguf"))
    }

    fn refused(&self, words: &[&str]) {
        let message = ModelFile::open(&self.part(1, 3)).expect_err("it is refused").to_string();
        for word in words {
            assert!(message.contains(word), "`{word}` in: {message}");
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("removes");
    }
}

fn spec() -> ModelSpec {
    small_spec(Family::Llama)
}

fn parts() -> Vec<Vec<u8>> {
    random_model_parts(&spec(), 5, Dtype::F16, 3)
}

/// A part that says this of itself.
fn part(number: u16, parts: u16, tensors: i32) -> Vec<u8> {
    let mut file = GgufBuilder::default();
    split_keys(number, parts, tensors, &mut file);
    file.build()
}

#[test]
fn any_part_opens_the_whole() {
    for family in [Family::Llama, Family::Qwen3] {
        let spec = small_spec(family);
        let one = ModelFile::from_reader("one", random_model(&spec, 5, Dtype::Q8_0)).expect("opens");
        let folder = Folder::of(&format!("{family:?}"), &random_model_parts(&spec, 5, Dtype::Q8_0, 3));
        let mut hashes = vec![];
        for number in 1..=3 {
            let all = ModelFile::open(&folder.part(number, 3)).expect("opens");
            assert_eq!(all.spec(), one.spec());
            assert_eq!(all.tensors().count(), one.tensors().count());
            for weight in Weight::all(&spec) {
                let [rows, cols] = weight.shape(&spec);
                let read = |file: &ModelFile| file.rows(weight, 0..rows, 0..cols).expect("reads");
                assert_eq!(read(&all), read(&one), "{weight:?}");
            }
            let encode =
                |file| Tokenizer::from_model(file).expect("a tokenizer").encode("The cat", true).expect("tokens");
            assert_eq!(encode(&all), encode(&one));
            hashes.push(all.hash());
        }
        assert!(hashes[0] == hashes[1] && hashes[0] == hashes[2], "the hash is the model's, not the part's");
    }
}

#[test]
fn parts_that_are_missing_are_named() {
    let folder = Folder::of("missing", &parts());
    std::fs::remove_file(folder.part(2, 3)).expect("removes");
    folder.refused(&["m-00001-of-00003.gguf", "part `m-00002-of-00003.gguf` is missing"]);
    std::fs::create_dir(folder.part(2, 3)).expect("a folder in its place");
    folder.refused(&["part `m-00002-of-00003.gguf` is missing"]);
}

#[cfg(unix)]
#[test]
fn a_part_that_is_a_link_to_itself_is_missing() {
    let folder = Folder::of("link", &parts());
    std::fs::remove_file(folder.part(3, 3)).expect("removes");
    std::os::unix::fs::symlink(folder.part(3, 3), folder.part(3, 3)).expect("links");
    folder.refused(&["part `m-00003-of-00003.gguf` is missing"]);
    std::fs::remove_file(folder.part(3, 3)).expect("removes");
    std::os::unix::fs::symlink(folder.part(1, 3), folder.part(3, 3)).expect("links");
    folder.refused(&["m-00003-of-00003.gguf", "key `split.no`: 0; expected 2"]);
}

#[test]
fn parts_of_other_models_are_refused() {
    let [first, second, third] = <[_; 3]>::try_from(parts()).expect("three");
    let tensors = Weight::all(&spec()).count() as i32;
    let folder = |name, parts: [&Vec<u8>; 3]| Folder::of(name, &parts.map(Clone::clone));
    folder("whole", [&first, &random_model(&spec(), 5, Dtype::F16), &third])
        .refused(&["m-00002-of-00003.gguf", "a whole model; expected part 2 of 3"]);
    folder("order", [&first, &third, &second]).refused(&["m-00002-of-00003.gguf", "key `split.no`: 2; expected 1"]);
    folder("more", [&first, &part(1, 4, tensors), &third])
        .refused(&["m-00002-of-00003.gguf", "key `split.count`: 4; expected 3"]);
    folder("sum", [&first, &part(1, 3, tensors + 1), &third]).refused(&["key `split.tensors.count`", "expected"]);
    folder("empty", [&first, &part(1, 3, tensors), &third])
        .refused(&["key `split.tensors.count`", "as many as all parts have"]);
    let mut double = GgufBuilder::default();
    split_keys(1, 3, tensors, &mut double);
    let names: Vec<String> = ModelFile::from_reader("m", random_model(&spec(), 5, Dtype::F16))
        .expect("opens")
        .tensors()
        .map(|t| t.name)
        .collect();
    for name in &names[..names.len().div_ceil(3)] {
        double.tensor(name, &[4], 0, vec![0; 16]);
    }
    folder("double", [&first, &double.build(), &third]).refused(&["in two files; expected each tensor once"]);
}

#[test]
fn absurd_keys_are_refused() {
    let with = |name: &str, change: &dyn Fn(&mut GgufBuilder)| {
        let mut file = GgufBuilder::default();
        change(&mut file);
        Folder::of(name, &[file.build(), vec![], vec![]])
    };
    let number = |key: &str, n: u32| (key.to_string(), n);
    for (name, keys, says) in [
        (
            "many",
            vec![number("split.count", 1_000_000_000)],
            "key `split.count`: 1000000000; expected a whole number of 0 to 1024",
        ),
        ("none", vec![number("split.count", 3)], "key `split.tensors.count`: missing"),
        (
            "beyond",
            vec![number("split.count", 3), number("split.tensors.count", 1), number("split.no", 3)],
            "key `split.no`: 3; expected a whole number of 0 to 2",
        ),
        (
            "tensors",
            vec![number("split.count", 3), number("split.tensors.count", u32::MAX)],
            "key `split.tensors.count`: 4294967295",
        ),
        (
            "other",
            vec![number("split.count", 3), number("split.tensors.count", 1), number("split.no", 1)],
            "must end in `-00002-of-00003.gguf`",
        ),
    ] {
        with(name, &|file| keys.iter().for_each(|(key, n)| file.u32(key, *n))).refused(&[says]);
    }
    with("text", &|file| file.text("split.count", "3")).refused(&["key `split.count`: \"3\""]);
    let negative = |file: &mut GgufBuilder| file.raw("split.count", 5, &(-3i32).to_le_bytes());
    with("negative", &negative).refused(&["key `split.count`: -3"]);
    let message = ModelFile::from_reader("memory", parts().remove(0)).expect_err("a part alone").to_string();
    assert!(message.contains("part 1 of 3 of a model; open it by its path"), "{message}");
    let alone = random_model_parts(&spec(), 5, Dtype::F16, 1).remove(0);
    assert!(ModelFile::from_reader("memory", alone).is_ok(), "one part of one is the whole");
}
