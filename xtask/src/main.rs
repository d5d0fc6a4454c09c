//! Developer commands, `cargo xtask <command>`: one file each.

mod bench_peers;
mod ci;
mod command;
mod export_check;
mod fetch;
mod oracle;
mod orders;
mod page;
mod test;
mod traces;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands of headsaw")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Download the model that the tests run, once, and print its path
    Fetch,
    /// Fetch the model, then run all tests and count them
    Test(test::Args),
    /// Ask other engines for the right logits and store them (about 20 minutes)
    Oracle,
    /// Ask PyTorch whether it accepts our orders and store what it says (5 GB the first time)
    Orders,
    /// Ask other engines' own parsers about our exports and store what they say (40 GB the first time)
    ExportCheck(export_check::Args),
    /// Read our Perfetto traces by Perfetto's own protos and hold them against our Chrome JSON
    Traces,
    /// Use our web pages in a headless Chromium
    Page(page::Args),
    /// Time headsaw and llama.cpp in turn on the same model and print the table
    BenchPeers(bench_peers::Args),
    /// What CI runs: formatting, clippy, number of crates, tests
    Ci,
}

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<()> {
    match command {
        Command::Fetch => fetch::run(),
        Command::Test(args) => test::run(args),
        Command::Oracle => oracle::run(),
        Command::Orders => orders::run(),
        Command::ExportCheck(args) => export_check::run(args),
        Command::Traces => traces::run(),
        Command::Page(args) => page::run(args),
        Command::BenchPeers(args) => bench_peers::run(args),
        Command::Ci => ci::run(),
    }
}
