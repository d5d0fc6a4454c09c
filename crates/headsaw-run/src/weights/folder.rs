//! Opens a Hugging Face folder: `config.json` and safetensors, in one file or listed in an index.

use super::error::{Error, show};
use super::gguf::NAME_BYTES_MAX;
use super::names::Naming;
use super::open::hash;
use super::parts::FILES_MAX;
use super::place::{check_count, note_types, place};
use super::read::Source;
use super::{ModelFile, Origin, safetensors};
use headsaw::spec::config::ConfigError;
use headsaw::spec::model::ModelSpec;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Largest `config.json`.
const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Largest index.
const INDEX_BYTES_MAX: u64 = 32 << 20;

pub(super) fn open(dir: &Path) -> Result<ModelFile, Error> {
    let name = dir.display().to_string();
    let path = dir.join("config.json");
    if !path.is_file() {
        return Err(Error::absent(&name, "no config.json in this folder; give a Hugging Face folder or a GGUF file"));
    }
    let config = Source::open(&path)?;
    let mut spec = spec(&config, &name_of(dir))?;
    let mut hasher = blake3::Hasher::new();
    hash(&mut hasher, &config, config.size())?;
    let mut sources = vec![];
    let mut tensors = vec![];
    for file in files(dir)? {
        let source = Source::open(&dir.join(file))?;
        let (more, header) = safetensors::parse(&source, sources.len())?;
        hash(&mut hasher, &source, header)?;
        tensors.extend(more);
        sources.push(source);
    }
    check_count(&name, &tensors)?;
    let places = place(&name, &spec, &tensors, Naming::HuggingFace)?;
    note_types(&mut spec, &tensors, &places);
    if let Ok(tokenizer) = Source::open(&dir.join("tokenizer.json")) {
        hash(&mut hasher, &tokenizer, tokenizer.size())?;
    }
    Ok(ModelFile {
        rope_divisors: divisors(&spec),
        name,
        spec,
        sources,
        tensors,
        places,
        halves: true,
        hash: *hasher.finalize().as_bytes(),
        origin: Origin::Folder(dir.into()),
    })
}

/// Only the shape, from a `config.json`.
pub(super) fn shape(path: &Path) -> Result<ModelFile, Error> {
    let config = Source::open(path)?;
    let spec = spec(&config, &path.parent().map_or(String::new(), name_of))?;
    let mut hasher = blake3::Hasher::new();
    hash(&mut hasher, &config, config.size())?;
    Ok(ModelFile {
        rope_divisors: divisors(&spec),
        name: config.name.clone(),
        spec,
        sources: vec![],
        tensors: vec![],
        places: BTreeMap::new(),
        halves: true,
        hash: *hasher.finalize().as_bytes(),
        origin: Origin::Shape,
    })
}

fn divisors(spec: &ModelSpec) -> Vec<f32> {
    spec.rope.map_or(vec![], |rope| rope.divisors(spec.head_width))
}

/// The folder's name, or `org/name` in the cache of Hugging Face (`models--org--name/snapshots/…`).
fn name_of(dir: &Path) -> String {
    let whole = dir.canonicalize().unwrap_or_default();
    let names: Vec<_> = whole.iter().rev().take(3).map(|part| part.to_string_lossy()).collect();
    match &names[..] {
        [_, snapshots, model] if snapshots == "snapshots" && model.starts_with("models--") => {
            model["models--".len()..].replace("--", "/")
        }
        [name, ..] => name.clone().into_owned(),
        [] => "model".into(),
    }
}

fn spec(config: &Source, name: &str) -> Result<ModelSpec, Error> {
    ModelSpec::from_hf_config(name, &config.text(CONFIG_BYTES_MAX)?).map_err(|e| match e {
        ConfigError::Json(reason) => {
            let expected = "the JSON object of a model's shape".into();
            Error::Json { file: config.name.clone(), reason, expected }
        }
        ConfigError::Keys(problems) => Error::Problems { file: config.name.clone(), problems },
    })
}

/// The names of the files that hold weights.
fn files(dir: &Path) -> Result<Vec<String>, Error> {
    let single = "model.safetensors";
    if dir.join(single).is_file() {
        return Ok(vec![single.into()]);
    }
    let index = dir.join("model.safetensors.index.json");
    if !index.is_file() {
        let what = "no model.safetensors and no model.safetensors.index.json in this folder (other formats of weights \
                    are not read; a path to its config.json gives the shape)";
        return Err(Error::absent(&dir.display().to_string(), what));
    }
    let source = Source::open(&index)?;
    let text = source.text(INDEX_BYTES_MAX)?;
    let expected = "`weight_map`, an object: tensor names, each with a file's plain name";
    let index: Index = serde_json::from_str(&text).map_err(|e| Error::json(&source.name, &e, expected))?;
    Ok(index.weight_map.0)
}

#[derive(Deserialize)]
struct Index {
    weight_map: Files,
}

/// The files that a weight map names, each once. Which tensor lies where, the files themselves say.
struct Files(Vec<String>);

impl<'de> Deserialize<'de> for Files {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FilesVisitor)
    }
}

struct FilesVisitor;

impl<'de> Visitor<'de> for FilesVisitor {
    type Value = Files;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object: tensor names, each with a file's name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Files, A::Error> {
        let mut files: Vec<String> = vec![];
        while let Some((_, file)) = map.next_entry::<serde::de::IgnoredAny, String>()? {
            if !is_plain(&file) {
                return Err(A::Error::custom(format!("`{}` is no plain file name", show(&file))));
            }
            if let Err(at) = files.binary_search(&file) {
                if files.len() as u64 == FILES_MAX {
                    return Err(A::Error::custom(format!("more than {FILES_MAX} files")));
                }
                files.insert(at, file);
            }
        }
        Ok(Files(files))
    }
}

/// No way out of the folder: no separators, drives or dots in front.
fn is_plain(name: &str) -> bool {
    let strange = |c: char| matches!(c, '/' | '\\' | ':') || c.is_control();
    !name.is_empty() && name.len() as u64 <= NAME_BYTES_MAX && !name.starts_with('.') && !name.contains(strange)
}
