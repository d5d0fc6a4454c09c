//! `headsaw demo`: eight heads on four devices, three steps a head, and the same bits as uncut.

mod example;
mod page;
mod show;
mod stage;
mod words;

use crate::cut::LinkJson;
use crate::engine::ComputeArgs;
use crate::error::Failure;
use crate::lang::Lang;
use crate::output::{self, print_json};
use crate::report::{DeviceJson, devices_json};
use example::Example;
use headsaw::grain::Speedups;
use headsaw::spec::cluster::Link;
use serde::Serialize;
use stage::{Ran, Stage};
use std::path::Path;
use std::time::Instant;

/// Cut the model inside headsaw, run it, compare the bits
///
/// Shows the idea on the model inside headsaw: 8 heads over 4 devices, 3 steps a head; runs it uncut, on 4 devices, and
/// unevenly on 3; the digests of all logits must be equal (exit code 1 if they are not). Then one layer as it was predicted
/// and as it was run, here and in headsaw-demo.html, a page to zoom into. Works offline.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headsaw demo
  headsaw demo --lang zh
  headsaw demo --no-html --link 100Mbit/s,50us
  headsaw demo -p 'And it came to pass' --json")]
pub struct Args {
    /// Language [default: that of LC_ALL, LC_MESSAGES or LANG, else English]
    #[arg(long, value_name = "LANG")]
    lang: Option<Lang>,
    /// The text to go on from
    #[arg(short, long, value_name = "TEXT", default_value = "And the king said unto him,", allow_hyphen_values = true)]
    prompt: String,
    /// Tokens to generate in each run
    #[arg(short = 'n', long, value_name = "N", default_value_t = 48, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
    /// Seed of the draw
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// A network between the devices, to be felt and counted in: rate and latency, as 1Gbit/s,50us [default: none]
    #[arg(long, value_name = "RATE,LATENCY")]
    link: Option<Link>,
    /// Do not write headsaw-demo.html into this folder
    #[arg(long)]
    no_html: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// Devices of the even and the uneven cut.
const EVEN: u32 = 4;
const UNEVEN: u32 = 3;
/// Steps of a head: project, attend, merge.
const STEPS: u32 = 3;
/// The page.
const HTML: &str = "headsaw-demo.html";

#[derive(Serialize)]
struct Json<'a> {
    digest_uncut: &'a str,
    digest_cut: &'a str,
    digest_uneven: &'a str,
    equal: bool,
    slots: Slots,
    bubble: f64,
    /// What overlapping the steps gains; `measured` here, the steps of heads one after another ÷ overlapped.
    speedups: Speedups,
    /// The passage through the cut model: as simulated with the figures of `local`, and as it was.
    predicted_seconds: f64,
    measured_seconds: f64,
    /// Of all lanes together.
    steps: Vec<StepJson>,
    passage_tokens: usize,
    rounds: usize,
    html: Option<&'a str>,
    link: Option<LinkJson>,
    prompt: &'a str,
    text: &'a str,
    devices: Vec<DeviceJson>,
    devices_uneven: Vec<DeviceJson>,
    kernels: String,
    seconds: f64,
}

#[derive(Serialize)]
struct StepJson {
    step: &'static str,
    predicted: f64,
    measured: f64,
}

/// Slots of a layer's units on one device, one after the other and overlapped; counted in the program.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Slots {
    serial: u32,
    pipelined: u32,
}

/// Explains, runs, compares.
pub fn act(args: &Args, json: bool) -> Result<(), Failure> {
    let begun = Instant::now();
    if !args.no_html {
        output::writable(Path::new(HTML)).map_err(elsewhere)?;
    }
    let stage = Stage::new(args, json)?;
    let (words, screen, heads) = (stage.words, stage.screen, stage.model.spec.heads);
    let each = heads / EVEN;
    let cut_plan = stage.plan(EVEN)?.cut;
    let slots = example::slots(&cut_plan)?;
    screen.show(&show::opening(&stage, each, slots))?;
    let uncut = stage.run(&stage.plan(1)?.whole)?;
    screen.show(&show::text(&stage, &uncut))?;
    let cut = stage.run(&cut_plan)?;
    let uneven = stage.run(&stage.plan(UNEVEN)?.whole)?;
    let example = Example::run(&stage, &uncut.tokens)?;
    let runs = [&uncut, &cut, &uneven];
    let equal = example.equal && runs.iter().all(|ran| ran.digest == uncut.digest);
    screen.show(&show::digests(words, runs, equal))?;
    screen.show(&show::example(&stage, &example, slots))?;
    if !args.no_html {
        output::write_file(Path::new(HTML), |file| file.write_all(page::text(&stage, &example).as_bytes()))?;
        screen.show(&(words.wrote)(HTML))?;
    }
    if json {
        let html = (!args.no_html).then_some(HTML);
        print_json(&report(&stage, runs, &example, Told { slots, equal, html, begun })?)?;
    }
    if equal { Ok(()) } else { Err(Failure::Told(1)) }
}

/// The page can not be written here: what would work.
fn elsewhere(failure: Failure) -> Failure {
    match failure {
        Failure::Input(message) => Failure::Input(format!("{message}; run it in another folder, or add --no-html")),
        other => other,
    }
}

struct Told {
    slots: Slots,
    equal: bool,
    html: Option<&'static str>,
    begun: Instant,
}

fn report<'a>(
    stage: &'a Stage,
    [uncut, cut, uneven]: [&'a Ran; 3],
    example: &Example,
    told: Told,
) -> Result<Json<'a>, Failure> {
    let seconds = example.times();
    let step = |(step, pair): (_, headsaw::trace::Pair<f64>)| StepJson {
        step,
        predicted: pair.predicted,
        measured: pair.measured,
    };
    Ok(Json {
        digest_uncut: &uncut.digest,
        digest_cut: &cut.digest,
        digest_uneven: &uneven.digest,
        equal: told.equal,
        slots: told.slots,
        bubble: example.grain.bubble,
        speedups: example.grain.speedups,
        predicted_seconds: seconds.predicted,
        measured_seconds: seconds.measured,
        steps: example.steps().into_iter().map(step).collect(),
        passage_tokens: example.tokens,
        rounds: example.rounds,
        html: told.html,
        link: stage.args.link.map(LinkJson::from),
        prompt: &stage.args.prompt,
        text: &cut.text,
        devices: devices_json(&cut.devices),
        devices_uneven: devices_json(&uneven.devices),
        kernels: stage.args.compute.compute()?.name().to_string(),
        seconds: told.begun.elapsed().as_secs_f64(),
    })
}
