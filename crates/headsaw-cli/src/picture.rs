//! Pictures of what was played: into a file by its ending, or onto the terminal.

use crate::error::Failure;
use crate::forecast::Forecast;
use crate::form::{self, Form, GANTT_MOST, Paper};
use crate::lang::Lang;
use crate::output::{Screen, grouped};
use crate::page;
use crate::played::Played;
use headsaw::draw::{Picture, Reading, View};
use headsaw::spec::cluster::DeviceId;
use headsaw::trace::{FORMAT, SPANS_MOST, Source, TraceFile};
use headsaw::units::{Bytes, Seconds};
use std::path::PathBuf;
use std::slice::from_ref;
use std::str::FromStr;

/// Which pictures are wanted.
#[derive(Debug, Clone, clap::Args)]
pub struct PictureArgs {
    /// Draw who does what when: .html a page to zoom into, .svg a picture, .pftrace for ui.perfetto.dev, .json for that or
    /// chrome://tracing; or keep it as a .trace file, for compare, draw and verify
    #[arg(short, long, value_name = "FILE", help_heading = "Pictures")]
    output: Option<PathBuf>,
    /// Draw it here
    #[arg(long, help_heading = "Pictures")]
    gantt: bool,
    /// Draw this part of the time: 0..2ms, 150us..400us [default: all; while generating the round that is timed]
    #[arg(long, value_name = "FROM..TO", help_heading = "Pictures")]
    window: Option<Window>,
    /// Language of the picture [default: that of LC_ALL, LC_MESSAGES or LANG, else English]
    #[arg(long, value_name = "LANG", help_heading = "Pictures")]
    lang: Option<Lang>,
}

/// A part of the time, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Where it begins.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Window, String> {
        let (from, to) = text.split_once("..").ok_or("expected FROM..TO, as 0..2ms")?;
        let (from, to) = (seconds(from)?, seconds(to)?);
        if from < to { Ok(Window { from, to }) } else { Err("ends before it begins".into()) }
    }
}

/// `2ms`, `150us`, `0`.
fn seconds(text: &str) -> Result<f64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_alphabetic());
    let one = match &text[digits.len()..] {
        "s" => 1.0,
        "ms" => 1e-3,
        "us" | "µs" => 1e-6,
        "" if digits == "0" => 0.0,
        _ => return Err(format!("{text}: expected a number and s, ms or us")),
    };
    let number = digits.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    number.map(|number| number * one).ok_or(format!("{text}: expected a number and s, ms or us"))
}

impl PictureArgs {
    /// What can be known to go wrong before anything is played.
    pub fn check(&self) -> Result<(), Failure> {
        let drawn = self.output.as_deref().is_some_and(|path| !form::is_trace(path));
        if self.window.is_some() && !drawn && !self.gantt {
            return Err(Failure::Input("--window: a part of what? add --gantt or --output FILE with a picture".into()));
        }
        self.output.as_deref().map_or(Ok(()), |path| form::check("--output", path))
    }

    /// Draws what is wanted.
    pub fn draw(&self, forecast: &Forecast, played: Played, json: bool) -> Result<(), Failure> {
        let file = self.output.as_deref().map(|path| (path, Form::of(path).ok()));
        if self.gantt || matches!(file, Some((_, Some(_)))) {
            let lang = Lang::or_environment(self.lang);
            let picture = self.picture(forecast, &played, lang);
            if self.gantt {
                Screen { json }.show("\n")?;
                form::show(from_ref(&picture), lang, json)?;
            }
            if let Some((path, Some(form))) = file {
                let pictures = from_ref(&picture);
                form::write(path, form, pictures, &Paper { lang, plan: &forecast.plan })?;
            }
        }
        match file {
            Some((path, None)) => form::write_trace(path, &kept(forecast, played)?),
            _ => Ok(()),
        }
    }

    /// Actions that are drawn at most: the file's; on the terminal, which shows all at once, many.
    fn most(&self) -> usize {
        let file = self.output.as_deref().and_then(|path| Form::of(path).ok()).map(Form::most);
        file.into_iter().chain(self.gantt.then_some(GANTT_MOST)).max().unwrap_or(0)
    }

    fn picture(&self, forecast: &Forecast, played: &Played, lang: Lang) -> Picture {
        let window = self.window.unwrap_or(Window { from: played.window.0, to: played.window.1 });
        let plan = &forecast.plan;
        let title = page::title(forecast, lang);
        let view = View {
            title,
            from: Some(Seconds(window.from)),
            to: Some(Seconds(window.to)),
            most: Some(self.most()),
            slot: None,
        };
        let mut picture = Picture::new(&played.program, &played.trace, Some(&forecast.rounds), view);
        let at = picture.window.0;
        let held = (0..).zip(played.spent(plan));
        picture.memory = held.map(|(device, spent)| reading(device, at, spent.memory)).collect();
        picture
    }
}

/// The trace as a file.
fn kept(forecast: &Forecast, played: Played) -> Result<TraceFile, Failure> {
    let spans = played.trace.spans;
    if spans.len() > SPANS_MOST {
        let actions = grouped(spans.len() as u64);
        let most = grouped(SPANS_MOST as u64);
        return Err(Failure::Input(format!(
            "--output: {actions} actions, and a .trace file holds at most {most}: take a shorter prompt, or draw a part"
        )));
    }
    let Forecast { plan, rounds, .. } = forecast.clone();
    let (cluster, link) = (plan.cluster.clone(), forecast.link.map(|link| link.to_string()));
    Ok(TraceFile { format: FORMAT, source: Source::Simulated, plan, cluster, link, rounds, spans })
}

fn reading(device: u32, at: f64, bytes: Bytes) -> Reading {
    Reading { device: DeviceId(device), at, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_read_with_their_units() {
        assert_eq!("0..2ms".parse(), Ok(Window { from: 0.0, to: 2e-3 }));
        assert_eq!("1.5s..2s".parse(), Ok(Window { from: 1.5, to: 2.0 }));
        for wrong in ["", "1ms", "2ms..1ms", "1..2", "-1ms..2ms", "1ms..nans", "..", "1ms..infs"] {
            assert!(wrong.parse::<Window>().is_err(), "{wrong}");
        }
    }
}
