//! A GGUF model in several files, `name-00001-of-00003.gguf` and so on: the first holds the keys, each some tensors.

use super::error::Error;
use super::gguf::{Gguf, TENSORS_MAX, Value, brief};
use super::place::check_count;
use super::read::Source;
use std::path::{Path, PathBuf};

/// Most files of one model.
pub(super) const FILES_MAX: u64 = 1024;

/// What a part says of itself and of the whole.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    /// Counted from 0.
    number: u64,
    parts: u64,
    /// Of all parts together.
    tensors: u64,
}

/// The file at `path` or, where it is a part of a model, all parts in their order; each tensor knows its file.
pub(super) fn open(path: &Path) -> Result<Vec<(Source, Gguf)>, Error> {
    let source = Source::open(path)?;
    let header = Gguf::parse(&source)?;
    let Some(given) = part(&source.name, &header)? else { return Ok(vec![(source, header)]) };
    let paths = paths(path, given)?;
    let missing = paths.iter().filter(|path| !path.is_file());
    let missing = missing.map(|path| format!("part `{}` is missing", file_name(path))).collect();
    Error::problems(&source.name, missing)?;
    let mut files = vec![];
    for (number, path) in paths.iter().enumerate() {
        let source = Source::open(path)?;
        let mut header = Gguf::parse(&source)?;
        check(&source.name, &header, Part { number: number as u64, ..given })?;
        header.tensors.iter_mut().for_each(|tensor| tensor.place.file = number);
        files.push((source, header));
    }
    let all: Vec<_> = files.iter_mut().flat_map(|(_, header)| std::mem::take(&mut header.tensors)).collect();
    if all.len() as u64 != given.tensors {
        let expected = format!("{}, as many as all parts have", all.len());
        return Err(Error::key(&source.name, "split.tensors.count", given.tensors.to_string(), expected));
    }
    check_count(&source.name, &all)?;
    files[0].1.tensors = all;
    Ok(files)
}

/// A file whose other parts could not be found.
pub(super) fn whole(source: Source) -> Result<Vec<(Source, Gguf)>, Error> {
    let header = Gguf::parse(&source)?;
    match part(&source.name, &header)? {
        None => Ok(vec![(source, header)]),
        Some(Part { number, parts, .. }) => {
            let what = format!("part {} of {parts} of a model; open it by its path, beside the others", number + 1);
            Err(Error::absent(&source.name, what))
        }
    }
}

/// What the keys say; none for a whole model.
fn part(file: &str, header: &Gguf) -> Result<Option<Part>, Error> {
    let number = |key: &str, least: u64, most: u64| {
        let found = header.keys.get(key);
        let number = match found {
            Some(Value::Unsigned(n)) => Some(*n),
            Some(Value::Signed(n)) => u64::try_from(*n).ok(),
            _ => None,
        };
        number.filter(|n| (least..=most).contains(n)).ok_or_else(|| {
            let expected = format!("a whole number of {least} to {most}");
            Error::key(file, key, found.map_or("missing".into(), brief), expected)
        })
    };
    if !header.keys.contains_key("split.count") {
        return Ok(None);
    }
    let parts = number("split.count", 0, FILES_MAX)?;
    if parts <= 1 {
        return Ok(None);
    }
    let tensors = number("split.tensors.count", 0, TENSORS_MAX)?;
    Ok(Some(Part { number: number("split.no", 0, parts - 1)?, parts, tensors }))
}

/// The paths of all parts, by the name of one.
fn paths(path: &Path, given: Part) -> Result<Vec<PathBuf>, Error> {
    let ending = |number: u64| format!("-{:05}-of-{:05}.gguf", number + 1, given.parts);
    let name = file_name(path);
    let Some(stem) = name.strip_suffix(&ending(given.number)) else {
        let what = format!(
            "part {} of {} of a model; its name must end in `{}`, so that the others can be found",
            given.number + 1,
            given.parts,
            ending(given.number)
        );
        return Err(Error::absent(&path.display().to_string(), what));
    };
    Ok((0..given.parts).map(|number| path.with_file_name(format!("{stem}{}", ending(number)))).collect())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Is it the part that its name says, of the same model?
fn check(file: &str, header: &Gguf, expected: Part) -> Result<(), Error> {
    let Some(found) = part(file, header)? else {
        let what = format!("a whole model; expected part {} of {}", expected.number + 1, expected.parts);
        return Err(Error::absent(file, what));
    };
    let keys = [
        ("split.no", found.number, expected.number),
        ("split.count", found.parts, expected.parts),
        ("split.tensors.count", found.tensors, expected.tensors),
    ];
    match keys.into_iter().find(|(_, found, expected)| found != expected) {
        Some((key, found, expected)) => {
            Err(Error::key(file, key, found.to_string(), format!("{expected}, by the other parts")))
        }
        None => Ok(()),
    }
}
