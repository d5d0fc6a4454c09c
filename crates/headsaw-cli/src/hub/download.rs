//! Fetches a model from the hub into the cache that the hub's own programs keep, with a bar.

use super::name::{Name, PREFIX, is_inside};
use super::{choose_file, is_folder, parts_of};
use crate::error::Failure;
use crate::progress::Progress;
use hf_hub::api::sync::{ApiBuilder, ApiError};
use hf_hub::{Repo, RepoType};
use std::path::Path;

/// Times that a broken connection is taken up again.
const RETRIES: usize = 3;

/// Fetches what a run of the model needs.
pub fn fetch(given: &str, name: &Name, cache: &Path) -> Result<(), Failure> {
    let failed = |e: ApiError| {
        Failure::Failed(format!("{PREFIX}{}: cannot be fetched from the Hugging Face hub: {e}", name.repo))
    };
    let api = ApiBuilder::from_env().with_cache_dir(cache.into()).with_retries(RETRIES).build().map_err(failed)?;
    let repo = api.repo(Repo::with_revision(name.repo.clone(), RepoType::Model, name.revision().into()));
    let files = repo.info().map_err(failed)?.siblings.into_iter().map(|file| file.rfilename);
    // What a server names must not lead out of the cache.
    let files: Vec<String> = files.filter(|file| is_inside(file)).collect();
    for file in needed(given, name, &files)? {
        repo.download_with_progress(file, Bar { progress: Progress::new(TEMPLATE), done: 0, size: 0 })
            .map_err(failed)?;
    }
    Ok(())
}

/// The files to fetch; those that make a model look complete last, so that a fetch that was broken off is taken up again.
fn needed<'a>(given: &str, name: &Name, files: &'a [String]) -> Result<Vec<&'a str>, Failure> {
    if name.file.is_none() && is_folder(files) {
        let weights = files.iter().filter(|file| !file.contains('/') && file.ends_with(".safetensors"));
        let single = files.iter().any(|file| file == "model.safetensors");
        let weights =
            weights.filter(|file| if single { *file == "model.safetensors" } else { file.starts_with("model-") });
        let beside =
            ["model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"];
        let beside =
            beside.iter().chain(["config.json"].iter()).filter_map(|name| files.iter().find(|file| file == name));
        return Ok(weights.chain(beside).map(String::as_str).collect());
    }
    let file = choose_file(given, name, files, "on the hub")?;
    let mut parts = parts_of(file, files);
    parts.reverse();
    Ok(parts)
}

const TEMPLATE: &str = "fetching {bar:40} {bytes} of {total_bytes}, {eta} left";

/// One file on its way.
struct Bar {
    progress: Progress,
    done: u64,
    size: u64,
}

impl hf_hub::api::Progress for Bar {
    fn init(&mut self, size: usize, _: &str) {
        self.size = size as u64;
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        self.progress.at(self.done, self.size);
    }

    fn finish(&mut self) {
        self.progress.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needed_of(given: &str, files: &[&str]) -> Result<Vec<String>, Failure> {
        let files: Vec<String> = files.iter().map(|file| (*file).into()).collect();
        let needed = needed(given, &Name::parse(given)?, &files)?;
        Ok(needed.into_iter().map(String::from).collect())
    }

    #[test]
    fn what_a_run_needs_is_fetched_and_no_more() {
        let folder = [
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "README.md",
            "model.safetensors.index.json",
            "tokenizer.json",
            "pytorch_model.bin",
            "original/consolidated.safetensors",
        ];
        let got = needed_of("hf:a/b", &folder).unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!((got.len(), got[4].as_str()), (5, "config.json"));
        let ggufs = ["m-Q8_0.gguf", "m-Q4_0-00001-of-00002.gguf", "m-Q4_0-00002-of-00002.gguf"];
        let got = needed_of("hf:a/b:Q4_0", &ggufs).unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(got, ["m-Q4_0-00002-of-00002.gguf", "m-Q4_0-00001-of-00002.gguf"]);
        for (given, says) in [("hf:a/b", "hf:a/b:m-Q8_0.gguf"), ("hf:a/b:Q5_0", "no `Q5_0` on the hub")] {
            match needed_of(given, &ggufs) {
                Err(Failure::Input(message)) => assert!(message.contains(says), "{message}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
