//! The cache that the hub's own programs keep: `models--org--name/refs/main` names a commit, and
//! `models--org--name/snapshots/COMMIT/` holds its files as links to `models--org--name/blobs/`.

use super::name::Name;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Most files of a snapshot, and how deep its folders may lie in each other.
const FILES_MAX: usize = 4096;
const DEPTH_MAX: usize = 4;

/// Where the cache is, and what says so.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// The folder.
    pub path: PathBuf,
    /// The variable that it comes from.
    pub by: &'static str,
}

/// The cache by the variables that the hub's own programs read.
pub fn place(variable: impl Fn(&str) -> Option<OsString>) -> Option<Place> {
    let below: [(&'static str, &str); 6] = [
        ("HF_HUB_CACHE", ""),
        ("HUGGINGFACE_HUB_CACHE", ""),
        ("HF_HOME", "hub"),
        ("XDG_CACHE_HOME", "huggingface/hub"),
        ("HOME", ".cache/huggingface/hub"),
        ("USERPROFILE", ".cache/huggingface/hub"),
    ];
    below.into_iter().find_map(|(by, inner)| {
        let value = variable(by).filter(|value| !value.is_empty())?;
        let path =
            inner.split('/').filter(|part| !part.is_empty()).fold(PathBuf::from(value), |path, part| path.join(part));
        Some(Place { path, by })
    })
}

/// The files of a model in the cache.
#[derive(Debug)]
pub struct Snapshot {
    /// The folder of its commit.
    pub folder: PathBuf,
    /// Below that folder, parts joined by `/`, in order.
    pub files: Vec<String>,
}

/// The model's snapshot; none where it is not in the cache.
pub fn snapshot(name: &Name, cache: &Path) -> Result<Option<Snapshot>, String> {
    let Ok(cache) = cache.canonicalize() else { return Ok(None) };
    let model = cache.join(format!("models--{}", name.repo.replace('/', "--")));
    let Some(commit) = commit(&model, name.revision())? else { return Ok(None) };
    let folder = model.join("snapshots").join(commit);
    match folder.canonicalize() {
        Err(_) => return Ok(None),
        Ok(real) if real != folder => return Err(leaves(&folder, &real)),
        Ok(_) => {}
    }
    let mut files = vec![];
    list(&folder, "", &[&model.join("blobs"), &folder], &mut files)?;
    files.sort();
    Ok(Some(Snapshot { folder, files }))
}

/// What a branch or tag stands for, or the commit itself.
fn commit(model: &Path, revision: &str) -> Result<Option<String>, String> {
    let reference = model.join("refs").join(revision);
    if !reference.is_file() {
        let there = is_commit(revision) && model.join("snapshots").join(revision).is_dir();
        return Ok(there.then(|| revision.into()));
    }
    let unreadable = |e| format!("{}: cannot be read: {e}", reference.display());
    let mut text = String::new();
    let file = std::fs::File::open(&reference).map_err(unreadable)?;
    file.take(256).read_to_string(&mut text).map_err(unreadable)?;
    let commit = text.trim();
    match is_commit(commit) {
        true => Ok(Some(commit.into())),
        false => Err(format!("{}: no commit; expected 40 hexadecimal digits", reference.display())),
    }
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Adds the files below a folder. A link must end in one of the folders `inside`; one that ends nowhere stands for a file
/// that was not fetched whole.
fn list(folder: &Path, below: &str, inside: &[&Path], files: &mut Vec<String>) -> Result<(), String> {
    let unreadable = |e| format!("{}: cannot be read: {e}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(unreadable)?);
        let Some(name) = entry.file_name().to_str().map(|name| format!("{below}{name}")) else { continue };
        if files.len() == FILES_MAX {
            return Err(format!("{}: more than {FILES_MAX} files", folder.display()));
        }
        if kind.is_dir() {
            if below.matches('/').count() < DEPTH_MAX {
                list(&path, &format!("{name}/"), inside, files)?;
            }
            continue;
        }
        let Ok(real) = path.canonicalize() else { continue };
        if !inside.iter().any(|folder| real.starts_with(folder)) {
            return Err(leaves(&path, &real));
        }
        if real.is_file() {
            files.push(name);
        }
    }
    Ok(())
}

fn leaves(path: &Path, real: &Path) -> String {
    let expected = "expected a link into the blobs of the same model, as the hub's own programs make them";
    format!("{}: a link to {}; {expected}", path.display(), real.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_variable_says_where() {
        let place = |set: &[(&str, &str)]| {
            let found = place(|key| set.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).into()));
            found.map(|place| (place.path, place.by))
        };
        let home = ("HOME", "/h");
        assert_eq!(place(&[]), None);
        assert_eq!(place(&[home]), Some(("/h/.cache/huggingface/hub".into(), "HOME")));
        assert_eq!(place(&[home, ("HF_HOME", "/x")]), Some(("/x/hub".into(), "HF_HOME")));
        assert_eq!(place(&[home, ("HF_HOME", "/x"), ("HF_HUB_CACHE", "/y")]), Some(("/y".into(), "HF_HUB_CACHE")));
        assert_eq!(place(&[home, ("HF_HUB_CACHE", "")]).map(|(_, by)| by), Some("HOME"));
    }
}
