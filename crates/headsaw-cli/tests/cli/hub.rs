//! `hf:org/name`: found in caches as the hub's own programs lay them out, refused where a name or a link leads elsewhere.

use super::{command, ended, folder};
use headsaw::spec::model::{Dtype, Family};
use headsaw_run::testing::{random_hf_folder, random_model, random_model_parts, small_spec};
use std::path::{Path, PathBuf};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A cache with one model in it.
struct Cache(PathBuf);

impl Cache {
    fn new(name: &str) -> Cache {
        let cache = Cache(folder(name));
        std::fs::create_dir_all(cache.model().join("refs")).unwrap();
        std::fs::create_dir_all(cache.model().join("blobs")).unwrap();
        std::fs::write(cache.model().join("refs/main"), COMMIT).unwrap();
        cache
    }

    fn model(&self) -> PathBuf {
        self.0.join("hub/models--org--tiny")
    }

    fn snapshot(&self) -> PathBuf {
        self.model().join("snapshots").join(COMMIT)
    }

    /// A file of the model, as a link to a blob.
    fn add(&self, file: &str, bytes: &[u8]) {
        let blob = format!("{:064x}", file.bytes().fold(7u64, |hash, b| hash.wrapping_mul(31) + u64::from(b)));
        std::fs::write(self.model().join("blobs").join(&blob), bytes).unwrap();
        let up = "../".repeat(2 + file.matches('/').count());
        self.link(file, Path::new(&format!("{up}blobs/{blob}")));
    }

    fn link(&self, file: &str, to: &Path) {
        let path = self.snapshot().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(to, path).unwrap();
    }

    /// Exit code, stdout and stderr of `inspect`, which takes models as all verbs do.
    fn inspect(&self, given: &str) -> (i32, String, String) {
        self.run(&["inspect", given])
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = command(args);
        for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"] {
            command.env_remove(name);
        }
        let ran = ended(command.env("HF_HOME", &self.0).spawn().unwrap());
        (ran.code, ran.out, ran.err)
    }

    #[track_caller]
    fn found(&self, given: &str) {
        let (code, out, err) = self.inspect(given);
        assert!(code == 0 && out.contains("tiny"), "{given}: {code} {out} {err}");
    }

    #[track_caller]
    fn refused(&self, given: &str, words: &[&str]) {
        let (code, out, err) = self.inspect(given);
        assert_eq!((code, out.as_str()), (2, ""), "{given}: {err}");
        for word in words {
            assert!(err.contains(word), "{given}: `{word}` in: {err}");
        }
    }
}

#[test]
fn a_folder_in_the_cache_runs() {
    let cache = Cache::new("hub-folder");
    let plain = cache.0.join("plain");
    random_hf_folder(&plain, &small_spec(Family::Qwen3), 5).unwrap();
    for file in std::fs::read_dir(&plain).unwrap() {
        let file = file.unwrap();
        cache.add(file.file_name().to_str().unwrap(), &std::fs::read(file.path()).unwrap());
    }
    std::fs::create_dir_all(cache.model().join("refs/refs/pr")).unwrap();
    std::fs::write(cache.model().join("refs/refs/pr/1"), format!("{COMMIT}\n")).unwrap();
    for given in ["hf:org/tiny", "hf:org/tiny@main", &format!("hf:org/tiny@{COMMIT}"), "hf:org/tiny@refs/pr/1"] {
        let (code, out, err) = cache.inspect(given);
        assert!(code == 0 && out.contains("org/tiny"), "{given}: {out} {err}");
    }
    let digest = |model: &str| {
        let (code, out, err) = cache.run(&["run", model, "-p", "cat", "-n", "3", "--tp", "2", "--json"]);
        assert_eq!(code, 0, "{err}");
        serde_json::from_str::<serde_json::Value>(&out).unwrap()["logits_digest"].clone()
    };
    assert_eq!(digest("hf:org/tiny"), digest(plain.to_str().unwrap()));
    cache.found("hf:org/tiny:config.json");
    cache
        .refused("hf:org/tiny@other", &["not at revision other in the cache", "hf download org/tiny --revision other"]);
}

#[test]
fn gguf_files_are_found_by_name_and_quantisation() {
    let cache = Cache::new("hub-gguf");
    let spec = small_spec(Family::Llama);
    cache.add("tiny-Q8_0.gguf", &random_model(&spec, 5, Dtype::Q8_0));
    cache.add("README.md", b"a model");
    cache.found("hf:org/tiny");
    cache.found("hf:org/tiny:q8_0");
    for (i, part) in random_model_parts(&spec, 5, Dtype::F16, 2).iter().enumerate() {
        cache.add(&format!("F16/tiny-F16-{:05}-of-00002.gguf", i + 1), part);
    }
    cache.found("hf:org/tiny:F16");
    cache.found("hf:org/tiny:F16/tiny-F16-00002-of-00002.gguf");
    let list = ["2 GGUF files; name one", "hf:org/tiny:F16/tiny-F16-00001-of-00002.gguf", "hf:org/tiny:tiny-Q8_0.gguf"];
    cache.refused("hf:org/tiny", &list);
    cache.refused("hf:org/tiny:Q4_K_M", &["no `Q4_K_M`", "hf download org/tiny --include '*Q4_K_M*'", list[2]]);
}

#[test]
fn what_is_not_there_is_said_with_the_command_that_fetches_it() {
    let cache = Cache::new("hub-absent");
    let place = cache.0.join("hub").display().to_string();
    cache.refused("hf:org/other", &["not in the cache", &place, "by HF_HOME", "`hf download org/other`"]);
    cache.refused("hf:org/tiny", &["not in the cache", "`hf download org/tiny`"]); // a commit, and no snapshot
    cache.add("config.json", b"{}");
    cache.link("model.safetensors", Path::new("../../blobs/not-fetched-yet"));
    cache.refused("hf:org/tiny", &["neither config.json with safetensors nor a GGUF file", "`hf download org/tiny`"]);
}

#[test]
fn names_and_links_that_lead_elsewhere_are_refused() {
    let cache = Cache::new("hub-hostile");
    for given in
        ["hf:", "hf:../..", "hf:/etc/passwd", "hf:org/tiny@../..", "hf:org/tiny:../x.gguf", "hf:org/tiny:/x", "hf:org"]
    {
        cache.refused(given, &["expected hf:ORG/NAME"]);
    }
    let spec = small_spec(Family::Llama);
    std::fs::write(cache.0.join("outside.gguf"), random_model(&spec, 5, Dtype::F16)).unwrap();
    cache.link("tiny.gguf", &cache.0.join("outside.gguf"));
    cache.refused("hf:org/tiny", &["tiny.gguf: a link to", "outside.gguf", "expected a link into the blobs"]);
    std::fs::remove_file(cache.snapshot().join("tiny.gguf")).unwrap();
    cache.link("folder", &cache.0);
    cache.refused("hf:org/tiny", &["folder: a link to"]);
    std::fs::remove_dir_all(cache.snapshot()).unwrap();
    std::os::unix::fs::symlink(&cache.0, cache.snapshot()).unwrap();
    cache.refused("hf:org/tiny", &["a link to"]);
    for text in ["", "../../../..", "main", "0123456789abcdef0123456789abcdef0123456/"] {
        std::fs::write(cache.model().join("refs/main"), text).unwrap();
        cache.refused("hf:org/tiny", &["refs/main: no commit"]);
    }
}
