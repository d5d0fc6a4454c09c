//! `headsaw draw`: pictures of traces.

use crate::error::Failure;
use crate::form::{self, Form, GANTT_MOST, Paper, headline};
use crate::lang::Lang;
use crate::output::print_json;
use crate::picture::Window;
use crate::shown::{self, begin_at_zero};
use crate::traced::Traced;
use headsaw::draw::{Picture, View};
use headsaw::trace::{Trace, differences, whole_rounds};
use headsaw::units::Seconds;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Draw a trace: who did what when
///
/// Draws a trace file, on the terminal or into a file: a row a lane, heads by colour, steps by texture. A second trace of the
/// same plan is drawn below it, on the same scale of time: what was measured beside what was predicted.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headsaw draw measured.trace
  headsaw draw measured.trace --window 0..2ms -o measured.svg
  headsaw draw predicted.trace --beside measured.trace -o both.pftrace
  headsaw draw measured.trace --round 3")]
pub struct Args {
    /// A trace file (- for standard input), as `simulate -o` and `run --trace` write it
    trace: String,
    /// Draw this trace of the same plan below it; of the same rounds those that both have
    #[arg(long, value_name = "TRACE")]
    beside: Option<String>,
    /// Where to: .html a page to zoom into, .svg a picture, .pftrace for ui.perfetto.dev, .json for that or chrome://tracing; - is the terminal
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Draw this part of the time, from the beginning of what is drawn: 0..2ms, 150us..400us [default: all, see --round]
    #[arg(long, value_name = "FROM..TO")]
    window: Option<Window>,
    /// Language of the picture [default: that of LC_ALL, LC_MESSAGES or LANG, else English]
    #[arg(long, value_name = "LANG")]
    lang: Option<Lang>,
    /// Draw this round of micro-batches alone, counted from 0 [default: of more than four two in the middle, where the
    /// picture can not be zoomed into]
    #[arg(long, value_name = "N")]
    round: Option<u32>,
    /// Draw all rounds
    #[arg(long, conflicts_with = "round")]
    all: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    file: Option<&'a PathBuf>,
    pictures: Vec<PictureJson<'a>>,
}

#[derive(Serialize)]
struct PictureJson<'a> {
    title: &'a str,
    simulated: bool,
    seconds: f64,
    bubble: f64,
    lanes: usize,
    actions: usize,
    left_out: usize,
}

/// Opens, draws, writes.
pub fn act(args: &Args, json: bool) -> Result<(), Failure> {
    let file = (args.output.as_os_str() != "-").then_some(&args.output);
    let form = file.map(|path| form::check_picture("--output", path)).transpose()?;
    let mut traces = vec![Traced::open(&args.trace)?];
    if let Some(beside) = &args.beside {
        traces.push(Traced::open(beside)?);
        same_plan(&traces[0], &traces[1])?;
    }
    traces.iter().for_each(Traced::doubt);
    args.choose(&mut traces)?;
    let lang = Lang::or_environment(args.lang);
    let part =
        if args.all || args.round.is_some() || args.window.is_some() { None } else { few(&mut traces, form, lang) };
    traces.iter_mut().for_each(|traced| begin_at_zero(&mut traced.trace));
    traces.iter().try_for_each(|traced| args.in_window(traced))?;
    let most = form.map_or(GANTT_MOST, Form::most) / traces.len();
    let pictures: Vec<Picture> =
        traces.iter().map(|traced| args.picture(traced, most, lang, part.as_deref())).collect();
    match file.zip(form) {
        Some((path, form)) => form::write(path, form, &pictures, &Paper { lang, plan: &traces[0].plan })?,
        None => form::show(&pictures, lang, json)?,
    }
    if !json {
        return Ok(());
    }
    print_json(&Json { file, pictures: pictures.iter().map(told).collect() })
}

fn told(picture: &Picture) -> PictureJson<'_> {
    PictureJson {
        title: &picture.title,
        simulated: picture.source == headsaw::trace::Source::Simulated,
        seconds: picture.whole.1 - picture.whole.0,
        bubble: picture.bubble(),
        lanes: picture.rows.len(),
        actions: picture.bars.len(),
        left_out: picture.left_out,
    }
}

/// Traces of other plans have other lanes and actions.
pub fn same_plan(one: &Traced, other: &Traced) -> Result<(), Failure> {
    let differ = differences(&one.plan, &other.plan);
    if differ.is_empty() {
        return Ok(());
    }
    let (one, other, fields) = (&one.name, &other.name, differ.join(", "));
    Err(Failure::Input(format!("{one}, {other}: traces of different plans, which differ in {fields}")))
}

impl Args {
    /// Keeps the rounds that are to be drawn: of the same rounds those that all traces have as a whole.
    fn choose(&self, traces: &mut [Traced]) -> Result<(), Failure> {
        if let Some(round) = self.round {
            for traced in traces {
                keep(traced, |other| other == round);
                if traced.trace.spans.is_empty() {
                    let rounds = traced.rounds.0.len();
                    return Err(Failure::Input(format!(
                        "--round {round}: {} has nothing of it; expected one of 0 to {} that it still holds",
                        traced.name,
                        rounds.saturating_sub(1)
                    )));
                }
            }
            return Ok(());
        }
        if let [one, other] = &*traces
            && one.rounds == other.rounds
        {
            let [held, others] = [one, other].map(whole);
            let both: BTreeSet<u32> = held.intersection(&others).copied().collect();
            if !both.is_empty() {
                traces.iter_mut().for_each(|traced| keep(traced, |round| both.contains(&round)));
            }
        }
        Ok(())
    }

    /// A window that shows nothing is a mistake.
    fn in_window(&self, traced: &Traced) -> Result<(), Failure> {
        let Some(window) = self.window else { return Ok(()) };
        let (start, end) = traced.trace.ends();
        if window.from < end.0 && window.to > start.0 {
            return Ok(());
        }
        Err(Failure::Input(format!(
            "--window: {} has {:.3} ms to {:.3} ms to show",
            traced.name,
            1e3 * start.0,
            1e3 * end.0
        )))
    }

    fn picture(&self, traced: &Traced, most: usize, lang: Lang, part: Option<&str>) -> Picture {
        let view = View {
            title: headline(&traced.plan, traced.place(), &lang.words()) + part.unwrap_or_default(),
            from: self.window.map(|window| Seconds(window.from)),
            to: self.window.map(|window| Seconds(window.to)),
            most: Some(most),
            slot: None,
        };
        Picture::new(&traced.program, &traced.trace, Some(&traced.rounds), view)
    }
}

fn whole(traced: &Traced) -> BTreeSet<u32> {
    whole_rounds(&traced.program, &traced.rounds, &traced.trace).iter().map(|window| window.round).collect()
}

fn keep(traced: &mut Traced, wanted: impl Fn(u32) -> bool) {
    traced.trace.spans.retain(|span| wanted(span.round));
}

/// Two rounds of many, where nobody says which; and what the headline says of it.
fn few(traces: &mut [Traced], form: Option<Form>, lang: Lang) -> Option<String> {
    let words = lang.words();
    let mut all: Vec<&mut Trace> = traces.iter_mut().map(|traced| &mut traced.trace).collect();
    shown::keep_few(&mut all, form, &words).map(|part| part + words.get("all_with_flag"))
}
