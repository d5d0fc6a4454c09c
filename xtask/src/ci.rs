//! `ci`: everything a change must pass, cheapest first.

use crate::command::{cargo, check, succeeds};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;

/// Crates that the binary may pull, itself included, on the platform at hand. Raise it with a word why.
const CRATES_MAX: usize = 150;

/// Formatting, clippy, number of crates, tests; stops at the first that fails.
pub fn run() -> Result<()> {
    for tool in ["fmt", "clippy"] {
        let found = succeeds(&mut cargo(&[tool, "--version"]));
        ensure!(found, "`cargo {tool}` does not run: rustup component add rustfmt clippy");
    }
    step("formatting");
    check(&mut cargo(&["fmt", "--all", "--check"]))?;
    step("clippy");
    check(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    step("crates");
    count_crates()?;
    step("tests");
    test::run(&test::Args::default())
}

fn step(name: &str) {
    eprintln!("xtask: {name}");
}

fn count_crates() -> Result<()> {
    let tree = ["tree", "--package", "headsaw-cli", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"];
    let output = cargo(&tree).output().context("cannot start cargo tree")?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let crates: BTreeSet<&str> = text.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    eprintln!("xtask: the binary pulls {} crates, at most {CRATES_MAX} are allowed", crates.len());
    ensure!(crates.len() <= CRATES_MAX, "too many crates: {}, allowed {CRATES_MAX}", crates.len());
    Ok(())
}
