//! The binary `headsaw`: flags once, one file a verb, and all that touches files, terminals and signals.
#![forbid(unsafe_code)]

mod args;
mod completions;
mod cut;
mod error;
mod inspect;
mod model;
mod output;
mod plan;
mod table;
mod verify;

use args::{Cli, Verb};
use clap::Parser;
use error::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    args::early_color();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print(); // help into a closed pipe is no news
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    cli.color.apply();
    match act(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn act(cli: &Cli) -> Result<(), Failure> {
    match &cli.verb {
        Verb::Inspect(args) => inspect::act(args, cli.json),
        Verb::Verify(args) => verify::act(args, cli.json),
        Verb::Plan(args) => plan::act(args, cli.json),
        Verb::Completions(args) => completions::act(args, cli.json),
    }
}
