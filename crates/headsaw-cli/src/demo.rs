//! `headsaw demo`: eight heads on four devices, and the same bits as uncut.

use crate::cluster::LOCAL;
use crate::cut::LinkJson;
use crate::engine::{self, ComputeArgs};
use crate::error::Failure;
use crate::interrupt::{self, Cleanly};
use crate::lang::{Lang, Words};
use crate::model::Model;
use crate::output::{BAD, BOLD, GOOD, Screen, hex, print_json, styled};
use crate::place::Site;
use crate::report::{DeviceJson, devices_json, devices_table};
use crate::stream::Text;
use crate::table::{Table, facts};
use headsaw::cost::{Load, Priced};
use headsaw::grain::{LOSS, Question, Speedups, grain};
use headsaw::lower::lower;
use headsaw::plan::{self, CutRequest, Exchange, Flow as HeadFlow, HeadSteps, Order, Overlap, Plan};
use headsaw::simulate::{Rounds, simulate};
use headsaw::spec::cluster::{Cluster, Link, Links};
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw::units::Bytes;
use headsaw::verify;
use headsaw_run::generate::{DeviceReport, Event, Flow, Options};
use headsaw_run::sample::Sampling;
use headsaw_run::tokenizer::Tokenizer;
use serde::Serialize;
use std::time::Instant;

/// Cut the model inside headsaw, run it, compare the bits
///
/// Shows the idea on the model inside headsaw: 8 heads over 4 devices, 3 steps a head; runs it uncut, on 4 devices, and
/// unevenly on 3; the digests of all logits must be equal (exit code 1 if they are not). Works offline.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headsaw demo
  headsaw demo --lang zh
  headsaw demo --link 100Mbit/s,50us
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
    #[command(flatten)]
    compute: ComputeArgs,
}

/// Devices of the even and the uneven cut.
const EVEN: u32 = 4;
const UNEVEN: u32 = 3;
/// Steps of a head: project, attend, merge.
const STEPS: u32 = 3;

#[derive(Serialize)]
struct Json {
    digest_uncut: String,
    digest_cut: String,
    digest_uneven: String,
    equal: bool,
    slots: Slots,
    bubble: f64,
    /// What overlapping the steps gains; measured where it is run.
    speedups: Speedups,
    /// The cut run, all tokens: as simulated with the figures of `local`, and as it was.
    predicted_seconds: f64,
    measured_seconds: f64,
    link: Option<LinkJson>,
    prompt: String,
    text: String,
    devices: Vec<DeviceJson>,
    devices_uneven: Vec<DeviceJson>,
    kernels: String,
    seconds: f64,
}

/// Slots of a layer's units on one device, one after the other and overlapped.
#[derive(Debug, Clone, Copy, Serialize)]
struct Slots {
    serial: u32,
    pipelined: u32,
}

/// One run's outcome.
struct Ran {
    heads: String,
    digest: String,
    text: String,
    devices: Vec<DeviceReport>,
    /// Prompt and tokens after the first.
    predicted_seconds: [f64; 2],
    measured_seconds: [f64; 2],
}

/// What all runs share.
struct Stage<'a> {
    args: &'a Args,
    model: Model,
    tokenizer: Tokenizer,
    prompt: Vec<u32>,
    words: &'a Words,
    screen: Screen,
}

/// Explains, runs, compares.
pub fn act(args: &Args, json: bool) -> Result<(), Failure> {
    let begun = Instant::now();
    let stage = Stage::new(args, json)?;
    let (words, screen, spec) = (stage.words, stage.screen, &stage.model.spec);
    let each = spec.heads / EVEN;
    let slots = Slots { serial: each * STEPS, pipelined: each + STEPS - 1 };
    let size = stage.model.file.as_ref().map_or(0, |file| file.bytes());
    screen
        .show(&format!("{}\n\n", styled(BOLD, &(words.opening)(spec.layers, spec.heads, &Bytes(size).to_string()))))?;
    screen.show(&format!("{}\n\n", (words.heads)(spec.heads, EVEN, each)))?;
    let cut_plan = stage.plan(EVEN)?;
    screen.show(&holders(words, &stage, &cut_plan)?)?;
    screen.show(&overlap(words, each, slots))?;
    let speedups = stage.speedups(&cut_plan)?;
    screen.show(&format!("{}\n\n", (words.speedups)(&speedups)))?;
    let uncut = stage.run(&(words.uncut)(spec.heads), &stage.plan(1)?)?;
    let cut = stage.run(&(words.even)(EVEN, each), &cut_plan)?;
    let uneven_plan = stage.plan(UNEVEN)?;
    let uneven = stage.run(&(words.uneven)(UNEVEN, &head_counts(&uneven_plan)), &uneven_plan)?;
    let equal = uncut.digest == cut.digest && uncut.digest == uneven.digest;
    screen.show(&digests(words, &[&uncut, &cut, &uneven], equal))?;
    screen.show(&times(words, &[&uncut, &cut, &uneven]))?;
    if json {
        print_json(&Json {
            digest_uncut: uncut.digest,
            digest_cut: cut.digest,
            digest_uneven: uneven.digest,
            equal,
            slots,
            bubble: bubble(slots, each),
            speedups,
            predicted_seconds: cut.predicted_seconds.iter().sum(),
            measured_seconds: cut.measured_seconds.iter().sum(),
            link: args.link.map(LinkJson::from),
            prompt: args.prompt.clone(),
            text: cut.text,
            devices: devices_json(&cut.devices),
            devices_uneven: devices_json(&uneven.devices),
            kernels: args.compute.compute()?.name().to_string(),
            seconds: begun.elapsed().as_secs_f64(),
        })?;
    }
    if equal { Ok(()) } else { Err(Failure::Told(1)) }
}

impl<'a> Stage<'a> {
    fn new(args: &'a Args, json: bool) -> Result<Stage<'a>, Failure> {
        let model = Model::embedded()?;
        let tokenizer = Tokenizer::from_model(engine::weights(&model)?).map_err(Failure::failed)?;
        let prompt = tokenizer.encode(&args.prompt, true).map_err(Failure::input)?;
        if args.prompt.is_empty() || prompt.is_empty() {
            return Err(Failure::input("-p: an empty prompt; it needs at least one character"));
        }
        let room = model.spec.context as usize;
        if prompt.len() + args.tokens as usize > room {
            return Err(Failure::Input(format!(
                "-p of {} tokens and -n {}: the context holds {room}; take fewer",
                prompt.len(),
                args.tokens
            )));
        }
        let words = args.lang.unwrap_or_else(Lang::from_environment).words();
        Ok(Stage { args, model, tokenizer, prompt, words, screen: Screen { json } })
    }

    /// The default cut over this many devices, checked.
    fn plan(&self, tp: u32) -> Result<Plan, Failure> {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        let request = CutRequest {
            tp,
            pp: 1,
            device_weights: Vec::new(),
            lanes: (cores / tp).clamp(1, 2),
            exchange: Exchange::Reduce,
            order: Order::Pipelined,
        };
        let plan = plan::cut(&self.model.spec, self.workload(), &request).map_err(Failure::failed)?;
        let mut wrong = verify::plan(&plan);
        if wrong.is_empty() {
            wrong = verify::program(&lower(&plan));
        }
        match wrong.first() {
            Some(violation) => Err(Failure::failed(violation)),
            None => Ok(plan),
        }
    }

    fn workload(&self) -> Workload {
        let prompt = self.prompt.len() as u32;
        let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
        Workload { batch: 1, tokens: prompt, micros: 1, context: prompt + self.args.tokens, sequences: 1, numerics }
    }

    /// What overlapping the steps would gain on each device, a lane a step: predicted for this machine's cores.
    fn speedups(&self, plan: &Plan) -> Result<Speedups, Failure> {
        let flow =
            HeadFlow { cut: "3".parse().map_err(Failure::failed)?, chunk: 1, interleave: 1, overlap: Overlap::Heads };
        let plan = Plan { lanes: STEPS, steps: Some(HeadSteps::in_turn(flow, STEPS)), ..plan.clone() };
        let cluster = self.cluster(&plan)?;
        let rounds = Rounds::prompt_chunks(1, self.prompt.len() as u32, 1, 0);
        let question = Question { plan: &plan, cluster: &cluster, rounds: &rounds, loss: LOSS };
        Ok(grain(&question).map_err(Failure::failed)?.speedups)
    }

    /// This machine as so many devices, with the link between them.
    fn cluster(&self, plan: &Plan) -> Result<Cluster, Failure> {
        let site = Site::find(&format!("{LOCAL}x{}", plan.devices.len()))?;
        Ok(site.over(self.args.link)?.cluster)
    }

    /// What a simulation says of a run: the prompt, and so many tokens after the first.
    fn predicted(&self, plan: &Plan, tokens: u64) -> Result<[f64; 2], Failure> {
        let cluster = self.cluster(plan)?;
        let prompt = Load { sequences: 1, tokens: self.prompt.len() as u32, past: 0 };
        let later = (0..tokens as u32).map(|i| Load { sequences: 1, tokens: 1, past: prompt.tokens + i });
        let rounds = Rounds(std::iter::once(prompt).chain(later).map(|load| vec![load]).collect());
        let trace = simulate(&lower(plan), &Priced::new(plan, &cluster), &rounds).map_err(Failure::failed)?;
        let prefill = trace.spans.iter().filter(|span| span.round == 0).map(|span| span.end.0).fold(0.0, f64::max);
        Ok([prefill, trace.seconds().0 - prefill])
    }

    /// One run, its text streamed.
    fn run(&self, heading: &str, plan: &Plan) -> Result<Ran, Failure> {
        self.screen.show(&format!("{}\n  {}", styled(BOLD, heading), indented(&self.args.prompt)))?;
        let mut engine = engine::load(engine::weights(&self.model)?, plan, self.args.compute.compute()?)?;
        let sampling = Sampling { temperature: 0.6, top_k: 40, top_p: 1.0, seed: self.args.seed };
        let links = self.args.link.map_or_else(Links::default, Links::all);
        let options = Options { sampling, links, ..Options::greedy(self.args.tokens as usize) };
        let mut text = Text::default();
        let mut failure = None;
        let cleanly = Cleanly::begin();
        let report = engine.generate(std::slice::from_ref(&self.prompt), &options, &mut |event| {
            if let Event::Token { token, .. } = event {
                text.push(&self.tokenizer, token, &[]);
                failure = failure.take().or(self.screen.show(&indented(text.fresh(&[]))).err());
            }
            if interrupt::asked() || failure.is_some() { Flow::Cancel } else { Flow::Continue }
        })?;
        let interrupted = interrupt::asked();
        drop(cleanly);
        if let Some(failure) = failure {
            return Err(failure);
        }
        self.screen.show(&format!("{}\n\n", indented(text.finish(&[]))))?;
        if interrupted {
            return Err(Failure::Interrupted);
        }
        Ok(Ran {
            heads: head_counts(plan),
            digest: hex(&report.logits_digest),
            text: text.text().to_string(),
            devices: engine.devices(),
            predicted_seconds: self.predicted(plan, report.decode.tokens)?,
            measured_seconds: [report.prefill.seconds, report.decode.seconds],
        })
    }
}

fn indented(text: &str) -> String {
    text.replace('\n', "\n  ")
}

/// Who holds what, as it lies in memory.
fn holders(words: &Words, stage: &Stage, plan: &Plan) -> Result<String, Failure> {
    let engine = engine::load(engine::weights(&stage.model)?, plan, stage.args.compute.compute()?)?;
    Ok(format!("{}\n", devices_table(&words.devices, &engine.devices())))
}

/// The 3 steps of each head in their slots: step `s` of head `h` in slot `h + s`.
fn overlap(words: &Words, heads: u32, slots: Slots) -> String {
    let headings: Vec<String> = (1..=slots.pipelined).map(|slot| format!("<{}", (words.slot)(slot))).collect();
    let mut columns = vec!["<"];
    columns.extend(headings.iter().map(String::as_str));
    let mut table = Table::new(&columns);
    for (step, name) in (0..STEPS).zip(words.step_names) {
        let cell = |slot: u32| match slot.checked_sub(step) {
            Some(head) if head < heads => (words.head)(head + 1),
            _ => "·".into(),
        };
        table.row(std::iter::once(name.to_string()).chain((0..slots.pipelined).map(cell)).collect());
    }
    let speedup = f64::from(slots.serial) / f64::from(slots.pipelined);
    format!(
        "{}\n\n{}\n{}\n\n",
        (words.steps)(heads, STEPS, slots.serial),
        table.show(),
        (words.slots)(heads, STEPS, slots.serial, slots.pipelined, speedup, 100.0 * bubble(slots, heads))
    )
}

/// Idle lane-slots over all lane-slots.
fn bubble(slots: Slots, heads: u32) -> f64 {
    1.0 - f64::from(heads) / f64::from(slots.pipelined)
}

fn head_counts(plan: &Plan) -> String {
    let counts = plan.stages[0].slices.iter().map(|slice| (slice.heads.end - slice.heads.start).to_string());
    counts.collect::<Vec<_>>().join(" + ")
}

/// A digest a run, under the heads of its devices.
fn digests(words: &Words, runs: &[&Ran; 3], equal: bool) -> String {
    let lines: Vec<(&str, String)> = runs.iter().map(|ran| (ran.heads.as_str(), ran.digest.clone())).collect();
    let verdict = if equal { styled(GOOD, words.same) } else { styled(BAD, words.different) };
    format!("{}\n{}{verdict}\n", styled(BOLD, words.digests), facts(&lines))
}

/// Each run as it was predicted and as it was.
fn times(words: &Words, runs: &[&Ran; 3]) -> String {
    let mut table = Table::new(&words.times);
    for ran in runs {
        let milliseconds = |seconds: f64| format!("{:.2}", 1e3 * seconds);
        let [prompt, tokens] = [0, 1].map(|i| [ran.predicted_seconds[i], ran.measured_seconds[i]].map(milliseconds));
        table.row(std::iter::once(ran.heads.clone()).chain(prompt).chain(tokens).collect());
    }
    format!("\n{}\n{}\n{}\n", styled(BOLD, words.predicted), table.show(), words.calibrate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_heads_of_three_steps_take_four_slots() {
        let slots = Slots { serial: 2 * STEPS, pipelined: 2 + STEPS - 1 };
        assert_eq!((slots.serial, slots.pipelined, bubble(slots, 2)), (6, 4, 0.5));
        let text = anstream::adapter::strip_str(&overlap(Lang::En.words(), 2, slots)).to_string();
        assert!(text.contains("project  head 1  head 2  ·       ·"), "{text}");
        assert!(text.contains("merge    ·       ·       head 1  head 2"), "{text}");
    }
}
