//! MODEL as `hf:org/name[@revision][:file]`: found in the cache that `hf download` and its like fill.

mod cache;
#[cfg(feature = "download")]
mod download;
mod name;

use crate::error::Failure;
use cache::{Place, Snapshot};
use name::{Name, PREFIX};
use std::path::PathBuf;

/// Files that an error lists.
const LISTED: usize = 20;

/// Is it meant as a model on the hub?
pub fn is_name(given: &str) -> bool {
    given.starts_with(PREFIX)
}

/// The folder or file of a model on the hub, as `ModelFile::open` takes it.
pub fn find(given: &str) -> Result<PathBuf, Failure> {
    let name = Name::parse(given)?;
    let Some(place) = cache::place(|variable| std::env::var_os(variable)) else {
        let what = "no cache of Hugging Face: neither HF_HUB_CACHE, HF_HOME nor HOME is set";
        return Err(Failure::Input(format!("{given}: {what}")));
    };
    let mut snapshot = cache::snapshot(&name, &place.path).map_err(Failure::Input)?;
    if !snapshot.as_ref().is_some_and(|snapshot| has(&name, snapshot)) {
        snapshot = fetched(given, &name, &place)?.or(snapshot);
    }
    match snapshot {
        Some(snapshot) => choose(given, &name, &snapshot),
        None => Err(Failure::Input(absent(given, &name, &place))),
    }
}

#[cfg(feature = "download")]
fn fetched(given: &str, name: &Name, place: &Place) -> Result<Option<Snapshot>, Failure> {
    download::fetch(given, name, &place.path)?;
    cache::snapshot(name, &place.path).map_err(Failure::Input)
}

/// Without the feature `download` there is only what others have fetched.
#[cfg(not(feature = "download"))]
fn fetched(_: &str, _: &Name, _: &Place) -> Result<Option<Snapshot>, Failure> {
    Ok(None)
}

fn absent(given: &str, name: &Name, place: &Place) -> String {
    let (command, Place { path, by }) = (name.fetch_command(), place);
    let revision = name.revision.as_ref().map_or(String::new(), |revision| format!(" at revision {revision}"));
    format!("{given}: not{revision} in the cache {} (by {by}); fetch it with `{command}`", path.display())
}

fn has(name: &Name, snapshot: &Snapshot) -> bool {
    match &name.file {
        Some(file) => !matching(file, &snapshot.files).is_empty(),
        None => is_folder(&snapshot.files) || !models(&snapshot.files).is_empty(),
    }
}

/// The file that is named or, with none named, the folder or its only GGUF file.
fn choose(given: &str, name: &Name, snapshot: &Snapshot) -> Result<PathBuf, Failure> {
    let Snapshot { folder, files } = snapshot;
    if name.file.is_none() && is_folder(files) {
        return Ok(folder.clone());
    }
    let file = choose_file(given, name, files, &format!("in {}", folder.display()))?;
    Ok(file.split('/').fold(folder.clone(), |path, part| path.join(part)))
}

/// The one file that is meant.
fn choose_file<'a>(given: &str, name: &Name, files: &'a [String], place: &str) -> Result<&'a str, Failure> {
    let found = name.file.as_ref().map_or_else(|| models(files), |file| matching(file, files));
    let (there, command) = (models(files), name.fetch_command());
    Err(Failure::Input(match (&found[..], &name.file) {
        ([file], _) => return Ok(file),
        ([], None) => {
            format!("{given}: neither config.json with safetensors nor a GGUF file {place}; `{command}` fetches all")
        }
        ([], Some(file)) if there.is_empty() => format!("{given}: no `{file}` {place}; fetch it with `{command}`"),
        ([], Some(file)) => {
            let there = listed(name, &there);
            format!("{given}: no `{file}` {place}; fetch it with `{command}`, or name what is there:{there}")
        }
        _ => format!("{given}: {} GGUF files; name one:{}", found.len(), listed(name, &found)),
    }))
}

fn listed(name: &Name, files: &[&str]) -> String {
    let mut lines: Vec<String> =
        files.iter().take(LISTED).map(|file| format!("\n  {}", name.with_file(file))).collect();
    if files.len() > LISTED {
        lines.push(format!("\n  and {} more", files.len() - LISTED));
    }
    lines.concat()
}

/// Is it a folder as `ModelFile::open` takes it: a shape, and weights as safetensors?
fn is_folder(files: &[String]) -> bool {
    let weights = |file: &String| !file.contains('/') && file.ends_with(".safetensors");
    files.iter().any(|file| file == "config.json") && files.iter().any(weights)
}

/// GGUF files that hold models: of one in parts the first.
fn models(files: &[String]) -> Vec<&str> {
    let is_model = |file: &&str| {
        let own = file.rsplit('/').next().unwrap_or(file);
        let stem = stem(own);
        stem.is_some_and(|(_, part)| part <= 1) && !own.starts_with("mmproj")
    };
    files.iter().map(String::as_str).filter(is_model).collect()
}

/// A GGUF file's name without its ending, and which part of a model it is, from 1; 0 for a whole one.
fn stem(file: &str) -> Option<(&str, u32)> {
    let stem = file.strip_suffix(".gguf")?;
    let part = stem.rsplit_once("-of-").and_then(|(front, parts)| {
        let (name, part) = front.rsplit_once('-')?;
        let five = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
        (five(part) && five(parts)).then_some((name, part.parse().ok()?))
    });
    Some(part.unwrap_or((stem, 0)))
}

/// The file of that name, or the models whose name ends in that quantisation.
fn matching<'a>(wanted: &str, files: &'a [String]) -> Vec<&'a str> {
    if let Some(file) = files.iter().find(|file| *file == wanted) {
        return vec![file];
    }
    let wanted = wanted.to_ascii_lowercase();
    let ends = |file: &&str| {
        let own = file.rsplit('/').next().unwrap_or(file).to_ascii_lowercase();
        let before = stem(&own).and_then(|(stem, _)| stem.strip_suffix(wanted.as_str()));
        before.is_some_and(|before| before.is_empty() || before.ends_with(['-', '.', '_']))
    };
    models(files).into_iter().filter(ends).collect()
}

/// A model's file, and the further parts of it.
#[cfg(feature = "download")]
fn parts_of<'a>(first: &'a str, files: &'a [String]) -> Vec<&'a str> {
    match stem(first) {
        Some((name, 1..)) => {
            let same = |file: &&str| stem(file).is_some_and(|(other, part)| part > 0 && other == name);
            files.iter().map(String::as_str).filter(same).collect()
        }
        _ => vec![first],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantisations_are_ends_of_names() {
        let files =
            ["m-Q4_K.gguf", "m-Q4_K_M.gguf", "m.q8_0.gguf", "mmproj-Q8_0.gguf", "UD/m-BF16-00001-of-00002.gguf"];
        let files: Vec<String> = files.into_iter().chain(["UD/m-BF16-00002-of-00002.gguf"]).map(String::from).collect();
        assert_eq!(matching("Q4_K", &files), ["m-Q4_K.gguf"]);
        assert_eq!(matching("q4_k_m", &files), ["m-Q4_K_M.gguf"]);
        assert_eq!(matching("Q8_0", &files), ["m.q8_0.gguf"]);
        assert_eq!(matching("BF16", &files), ["UD/m-BF16-00001-of-00002.gguf"]);
        assert_eq!(matching("mmproj-Q8_0.gguf", &files), ["mmproj-Q8_0.gguf"]);
        assert_eq!(matching("K_M", &files), ["m-Q4_K_M.gguf"]);
        assert_eq!(matching("4_K", &files), [""; 0]);
        assert_eq!(models(&files).len(), 4);
    }
}
