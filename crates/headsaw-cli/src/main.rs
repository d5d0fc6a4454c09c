//! The binary `headsaw`: flags once, one file a verb, and all that touches files, terminals and signals.
#![forbid(unsafe_code)]

mod args;
mod auto;
mod bench;
mod calibrate;
mod chat;
mod cluster;
mod compare;
mod completions;
mod converse;
mod cut;
mod demo;
mod draw;
mod engine;
mod error;
mod export;
mod forecast;
mod foretell;
mod form;
mod grain;
mod hub;
mod inspect;
mod interrupt;
mod lang;
mod model;
mod output;
mod page;
mod picture;
mod place;
mod plan;
mod played;
mod progress;
mod prompts;
mod report;
mod run;
mod scene;
mod shown;
mod simulate;
mod steps;
mod stream;
mod subject;
mod table;
mod traced;
mod verify;
mod verify_trace;

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
    interrupt::listen();
    match act(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn act(cli: &Cli) -> Result<(), Failure> {
    match &cli.verb {
        Verb::Demo(args) => demo::act(args, cli.json),
        Verb::Inspect(args) => inspect::act(args, cli.json),
        Verb::Verify(args) => verify::act(args, cli.json),
        Verb::Plan(args) => plan::act(args, cli.json),
        Verb::Grain(args) => grain::act(args, cli.json),
        Verb::Simulate(args) => simulate::act(args, cli.json),
        Verb::Compare(args) => compare::act(args, cli.json),
        Verb::Draw(args) => draw::act(args, cli.json),
        Verb::Run(args) => run::act(args, cli.json),
        Verb::Bench(args) => bench::act(args, cli.json),
        Verb::Calibrate(args) => calibrate::act(args, cli.json),
        Verb::Export(args) => export::act(args, cli.json),
        Verb::Completions(args) => completions::act(args, cli.json),
    }
}
