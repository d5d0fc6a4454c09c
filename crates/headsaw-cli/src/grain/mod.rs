//! `headsaw grain`: what is the grain of one GPU, is it too fine or too coarse, and what would be better?

mod beside;
mod chart;
mod measure;
mod page;
mod told;
mod words;

use crate::cut::{CutArgs, CutJson};
use crate::error::Failure;
use crate::forecast::{Forecast, ForecastArgs};
use crate::lang::Lang;
use crate::output::{self, print, print_json};
use crate::page as web;
use crate::place::Site;
use crate::scene::Phase;
use crate::subject::Subject;
use headsaw::cost::Load;
use headsaw::draw::Picture;
use headsaw::draw::html::GrainView;
use headsaw::grain::{Grain, Question, grain};
use measure::MeasureArgs;
use serde::Serialize;
use std::path::PathBuf;
use told::Teller;

/// Say what the grain of one device is, and whether it is right
///
/// Heads cut over devices in parallel, each head into steps in series: what is then the grain of one GPU? Says how much work
/// a device has between two exchanges at each level, what of its time is lost and to what, whether the grain is too fine
/// or too coarse and why, what to change, and the curves over heads, chunks, steps and devices. Nothing is run, no GPU
/// is needed; with --measure the cuts of the curves are run here, and measured beside what was predicted.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without a plan the heads are shared by the devices that the cluster's closest links join; each head is cut
into three steps and goes through them alone. The flags override that.

Examples:
  headsaw grain eight-heads --cluster h100x4
  headsaw grain llama-3.1-8b --cluster h100x8 --prompt 512
  headsaw grain llama-3.1-70b --cluster h100x8 --for decode --batch 64 --loss 10%
  headsaw grain plan.json --cluster a100x8 --lang zh
  headsaw grain llama-3.1-8b --cluster h100x8 --tp 2 --chunk 4 --steps 2 --json
  headsaw grain llama-3.1-8b --cluster h100x8 -o grain.html
  headsaw grain --measure model.gguf -o grain.html"
)]
pub struct Args {
    #[command(flatten)]
    forecast: ForecastArgs,
    /// Share of its time that an efficient piece may lose
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = parse_loss)]
    loss: Loss,
    /// Language [default: that of LC_ALL, LC_MESSAGES or LANG, else English]
    #[arg(long, value_name = "LANG")]
    lang: Option<Lang>,
    /// Write a web page too, .html: this answer with curves, the timeline, and sliders to try
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    measure: MeasureArgs,
}

/// A share of the time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss(pub f64);

fn parse_loss(text: &str) -> Result<Loss, String> {
    let wrong = || format!("{text:?}: a loss is above 0 % and below 100 %, as 5%");
    let (number, percent) = match text.trim().strip_suffix('%') {
        Some(number) => (number.trim(), 0.01),
        None => (text.trim(), 1.0),
    };
    let loss = number.parse::<f64>().map_err(|_| wrong())? * percent;
    if loss > 0.0 && loss < 1.0 { Ok(Loss(loss)) } else { Err(wrong()) }
}

#[derive(Serialize)]
struct Json<'a> {
    model: &'a str,
    cluster: &'a str,
    cut: CutJson,
    replicas: u32,
    phase: Phase,
    load: LoadJson,
    loss: f64,
    #[serde(flatten)]
    grain: &'a Grain,
}

/// What one micro-batch carries.
#[derive(Serialize)]
struct LoadJson {
    sequences: u32,
    tokens: u32,
    past: u32,
}

impl LoadJson {
    fn of(load: Load) -> LoadJson {
        LoadJson { sequences: load.sequences, tokens: load.tokens, past: load.past }
    }
}

/// Answers and shows.
pub fn act(args: &Args, json: bool) -> Result<(), Failure> {
    args.check()?;
    let forecast = args.forecast(|wanted| wanted.resolve_as(usual))?;
    let Forecast { plan, cluster, rounds, .. } = &forecast;
    let question = Question { plan, cluster, rounds, loss: args.loss.0 };
    let mut grain = grain(&question).map_err(Failure::input)?;
    let mut interrupted = false;
    if args.measure.measure {
        let MeasureArgs { measure_seconds: seconds, .. } = args.measure;
        interrupted = measure::measure(&question, &forecast, &args.forecast.subject, seconds, &mut grain)?;
    }
    show(args, json, &forecast, &grain)?;
    if interrupted { Err(Failure::Interrupted) } else { Ok(()) }
}

/// On the terminal or for scripts, and as a page where one was asked for.
fn show(args: &Args, json: bool, forecast: &Forecast, grain: &Grain) -> Result<(), Failure> {
    let lang = Lang::or_environment(args.lang);
    if json {
        print_json(&report(forecast, grain, args.loss.0))?;
    } else {
        print(&told::told(words::of(lang), forecast, grain, args.loss.0))?;
    }
    let Some(path) = &args.output else { return Ok(()) };
    let teller = Teller::new(words::of(lang), forecast, grain, args.loss.0);
    let title = web::title(forecast, lang);
    let played = forecast.play()?;
    let view = web::view(title.clone(), played.window);
    let picture = Picture::new(&played.program, &played.trace, Some(&forecast.rounds), view);
    let page = web::page(lang, title, web::timelines(vec![picture]), &forecast.plan);
    web::write(path, &web::with_grain(page, &forecast.plan, grain, page::view(&teller)))
}

impl Args {
    /// What is asked; where it is to be measured too, all that keeps it from that is told first.
    fn forecast(&self, resolve: impl Fn(&ForecastArgs) -> Result<Forecast, Failure>) -> Result<Forecast, Failure> {
        if !self.measure.measure {
            return resolve(&self.forecast);
        }
        let wanted = ForecastArgs { usual_prompt: Some(measure::PROMPT), ..self.forecast.clone() };
        let forecast = resolve(&wanted)?;
        measure::refuse(&forecast, &wanted.subject)?;
        if wanted.cluster.cluster.is_some() {
            return Ok(forecast);
        }
        resolve(&ForecastArgs { here: Some(measure::here(&forecast.plan)?), ..wanted })
    }

    /// What can be known to go wrong before anything is played.
    fn check(&self) -> Result<(), Failure> {
        let Some(path) = &self.output else { return Ok(()) };
        if path.extension().is_none_or(|ending| ending != "html") {
            return Err(Failure::Input(format!("--output {}: expected .html", path.display())));
        }
        output::writable(path)
    }
}

fn report<'a>(forecast: &'a Forecast, grain: &'a Grain, loss: f64) -> Json<'a> {
    Json {
        model: &forecast.plan.model.name,
        cluster: &forecast.cluster.name,
        cut: forecast.cut(),
        replicas: forecast.replicas,
        phase: forecast.scene.phase,
        load: LoadJson::of(grain.load),
        loss,
        grain,
    }
}

/// What a cut is where nobody says: the heads over the devices of the closest links, three steps, a head at a time.
fn usual(subject: &Subject, site: &Site, cut: &CutArgs) -> CutArgs {
    let mut cut = cut.clone();
    let planned = subject.base();
    if planned.is_none() && cut.tp.is_none() && cut.device_weights.is_none() {
        cut.tp = Some(closest(subject, site, cut.pp.unwrap_or(1)));
    }
    if planned.and_then(|plan| plan.steps.as_ref()).is_none() {
        cut.steps.or_three();
    }
    cut
}

fn closest(subject: &Subject, site: &Site, pp: u32) -> u32 {
    let joined = site.cluster.levels.first().and_then(|level| level.devices).unwrap_or(u32::MAX);
    let there = site.cluster.devices() / pp.max(1);
    there.min(joined).min(subject.model().heads).max(1)
}

/// An answer as a part of a page.
pub fn view(lang: Lang, forecast: &Forecast, grain: &Grain, loss: f64) -> GrainView {
    page::view(&Teller::new(words::of(lang), forecast, grain, loss))
}
