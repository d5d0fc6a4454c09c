//! `test`: all tests of the workspace, with the model they need, and one line that counts them.

use crate::command::{cargo, in_ci, root};
use crate::fetch;
use crate::page;
use anyhow::{Context, Result, ensure};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

/// Names the model file; tests that need it skip themselves, with a word, when it is not set.
const MODEL_VARIABLE: &str = "HEADSAW_SMOLLM2";

/// Seed of the random cases of property tests. Continuous integration draws the same ones each time, so that a change is
/// judged by what it changes; everywhere else they are new ones.
const SEED_VARIABLE: &str = "PROPTEST_RNG_SEED";
const SEED: &str = "20261124";

/// Arguments of `test`.
#[derive(Default, clap::Args)]
pub struct Args {
    /// For cargo test: `cargo xtask test -- -p headsaw` or `-- --test digest -- --nocapture`
    #[arg(last = true)]
    cargo: Vec<String>,
}

/// Fetch the model, run all tests, print `N passed, N failed`; an error if one failed.
pub fn run(args: &Args) -> Result<()> {
    let model = match fetch::model() {
        Ok(path) => Some(path),
        Err(error) if in_ci() => return Err(error),
        Err(error) => {
            warn(&error)?;
            None
        }
    };
    let one_package = args.cargo.iter().any(|word| word.starts_with("-p") || word.starts_with("--package"));
    let scope: &[&str] = if one_package { &[] } else { &["--workspace"] };
    let mut command = cargo(&["test", "--no-fail-fast"]);
    command.args(scope).args(&args.cargo).stdout(Stdio::piped()).env_remove(MODEL_VARIABLE);
    if let Some(path) = &model {
        command.env(MODEL_VARIABLE, path);
    }
    if in_ci() && env::var_os(SEED_VARIABLE).is_none() {
        command.env(SEED_VARIABLE, SEED);
    }
    let (mut counts, mut good) = count(&mut command)?;
    if args.cargo.is_empty() {
        let loom = cargo(&["test", "--package", "headsaw-run", "--features", "loom", "--lib", "transport::loom_tests"]);
        for mut more in [Some(loom), browser()?].into_iter().flatten() {
            let (more, also) = count(more.stdout(Stdio::piped()))?;
            counts.passed += more.passed;
            counts.failed += more.failed;
            good &= also;
        }
    }
    let skipped = if model.is_some() { "" } else { " (without the model: see the warning at the top)" };
    println!("{} passed, {} failed{skipped}", counts.passed, counts.failed);
    ensure!(good && counts.failed == 0, "cargo test failed");
    Ok(())
}

/// The tests of the web page; none, with a warning, where there is no Chromium and nobody waits for a verdict.
fn browser() -> Result<Option<Command>> {
    match page::tools() {
        Ok(tools) => page::command(&tools).map(Some),
        Err(error) if in_ci() => Err(error),
        Err(error) => {
            eprintln!("xtask: WARNING: the tests of the web page are SKIPPED: {error:#}");
            Ok(None)
        }
    }
}

/// Run a cargo test, show and count what it prints; whether it succeeded.
fn count(command: &mut Command) -> Result<(Counts, bool)> {
    let mut child = command.spawn().context("cannot start cargo test")?;
    let counts = follow(BufReader::new(child.stdout.take().expect("a pipe")), io::stdout().lock())?;
    Ok((counts, child.wait()?.success()))
}

/// Tests that ran.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    passed: u64,
    failed: u64,
}

/// Copy lines as they come and sum up the `test result:` ones.
fn follow(mut input: impl BufRead, mut output: impl Write) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        output.write_all(&line)?;
        output.flush()?;
        // Anywhere in the line: what a test prints without a newline comes before it.
        let text = String::from_utf8_lossy(&line);
        if let Some((_, result)) = text.split_once("test result: ") {
            counts.passed += number_before(result, " passed");
            counts.failed += number_before(result, " failed");
        }
        line.clear();
    }
    Ok(counts)
}

/// The number in front of a word: 9 in `ok. 9 passed; 0 failed`.
fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split(word).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Say what a run without the model leaves out.
fn warn(error: &anyhow::Error) -> Result<()> {
    eprintln!("xtask: WARNING: no model, so the tests that run it are SKIPPED: {error:#}");
    let mut files = Vec::new();
    find_sources(&root().join("crates"), &mut files)?;
    files.sort();
    for path in files {
        if fs::read_to_string(&path)?.contains(MODEL_VARIABLE) {
            eprintln!("xtask:   skipped in {}", path.strip_prefix(root()).unwrap_or(&path).display());
        }
    }
    Ok(())
}

fn find_sources(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find_sources(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_binaries_are_summed_and_passed_through() {
        let text = "running 2 tests\n\
            test result: ok. 9 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            a test's own words, no newline: test result: FAILED. 10 passed; 2 failed; 0 ignored\n\
            not the end";
        let mut copy = Vec::new();
        let counts = follow(text.as_bytes(), &mut copy).expect("reading from memory");
        assert_eq!(counts, Counts { passed: 19, failed: 2 });
        assert_eq!(copy, text.as_bytes());
    }
}
