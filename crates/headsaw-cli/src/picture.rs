//! Pictures of what was played: into a file by its ending, or onto the terminal.

use crate::error::Failure;
use crate::forecast::Forecast;
use crate::lang::Lang;
use crate::output::{self, BOLD, Screen, say, styled};
use crate::page;
use crate::played::Played;
use anstyle::{AnsiColor, Color, RgbColor, Style};
use headsaw::draw::html::{self, Page};
use headsaw::draw::terminal::{Line, Part, terminal};
use headsaw::draw::{COLOURS, Colour, Picture, Reading, View, chrome::chrome, perfetto::perfetto, svg};
use headsaw::spec::cluster::DeviceId;
use headsaw::units::{Bytes, Seconds};
use std::path::{Path, PathBuf};
use std::slice::from_ref;
use std::str::FromStr;

/// Actions that a picture on the terminal is made of at most, about half a gigabyte.
const GANTT_MOST: usize = 3_000_000;

/// Which pictures are wanted.
#[derive(Debug, Clone, clap::Args)]
pub struct PictureArgs {
    /// Draw who does what when: .html a page to zoom into, .svg a picture, .pftrace for ui.perfetto.dev, .json for that or
    /// chrome://tracing
    #[arg(short, long, value_name = "FILE", help_heading = "Pictures")]
    output: Option<PathBuf>,
    /// Draw it here
    #[arg(long, help_heading = "Pictures")]
    gantt: bool,
    /// Draw this part of the time: 0..2ms, 150us..400us [default: all; while generating the round that is timed]
    #[arg(long, value_name = "FROM..TO", help_heading = "Pictures")]
    window: Option<Window>,
    /// Language of a page [default: that of LC_ALL, LC_MESSAGES or LANG, else English]
    #[arg(long, value_name = "LANG", help_heading = "Pictures")]
    lang: Option<Lang>,
}

/// A part of the time, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    from: f64,
    to: f64,
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

/// What is written into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Html,
    Svg,
    Chrome,
    Perfetto,
}

impl Form {
    fn of(path: &Path) -> Result<Form, Failure> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("html") => Ok(Form::Html),
            Some("svg") => Ok(Form::Svg),
            Some("json") => Ok(Form::Chrome),
            Some("pftrace") => Ok(Form::Perfetto),
            _ => Err(Failure::Input(format!("--output {}: expected .html, .svg, .json or .pftrace", path.display()))),
        }
    }

    /// Bars that a file holds at most, about 300 MB: of a longer trace the beginning.
    fn most(self) -> usize {
        match self {
            Form::Html => html::BARS_MOST,
            Form::Svg => svg::BARS_MOST,
            Form::Chrome => 1_000_000,
            Form::Perfetto => 3_000_000,
        }
    }

    fn draw(self, pictures: &[Picture], page: impl FnOnce(Vec<Picture>) -> Page) -> Vec<u8> {
        match self {
            Form::Html => html::html(&page(pictures.to_vec())).into_bytes(),
            Form::Svg => svg::svg(pictures).into_bytes(),
            Form::Chrome => chrome(pictures).into_bytes(),
            Form::Perfetto => perfetto(pictures),
        }
    }
}

impl PictureArgs {
    /// What can be known to go wrong before anything is played.
    pub fn check(&self) -> Result<(), Failure> {
        if self.window.is_some() && self.output.is_none() && !self.gantt {
            return Err(Failure::Input("--window: a part of what? add --gantt or --output FILE".into()));
        }
        let Some(path) = &self.output else { return Ok(()) };
        Form::of(path)?;
        output::writable(path)
    }

    /// Draws what is wanted.
    pub fn draw(&self, forecast: &Forecast, played: &Played, json: bool) -> Result<(), Failure> {
        if self.output.is_none() && !self.gantt {
            return Ok(());
        }
        let picture = self.picture(forecast, played);
        if self.gantt {
            let lines = terminal(from_ref(&picture), columns());
            Screen { json }.show(&format!("\n{}", coloured(&lines)))?;
        }
        let Some(path) = &self.output else { return Ok(()) };
        let form = Form::of(path)?;
        let drawn = picture.limited(form.most());
        let lang = self.lang.unwrap_or_else(Lang::from_environment);
        let page = |pictures| page::page(lang, page::title(forecast), page::timelines(pictures), &forecast.plan);
        output::write_file(path, |file| file.write_all(&form.draw(from_ref(&drawn), page)))?;
        let left_out = drawn.omission().map(|left_out| format!(" ({left_out})")).unwrap_or_default();
        say(&format!("wrote {}{left_out}\n", path.display()));
        Ok(())
    }

    /// Actions that are drawn at most: the file's; on the terminal, which shows all at once, many.
    fn most(&self) -> usize {
        let file = self.output.as_deref().and_then(|path| Form::of(path).ok()).map(Form::most);
        file.into_iter().chain(self.gantt.then_some(GANTT_MOST)).max().unwrap_or(0)
    }

    fn picture(&self, forecast: &Forecast, played: &Played) -> Picture {
        let window = self.window.unwrap_or(Window { from: played.window.0, to: played.window.1 });
        let view = View {
            title: page::title(forecast),
            from: Some(Seconds(window.from)),
            to: Some(Seconds(window.to)),
            most: Some(self.most()),
            slot: None,
        };
        let mut picture = Picture::new(&played.program, &played.trace, Some(&forecast.rounds), view);
        let at = picture.window.0;
        let held = (0..).zip(played.spent(&forecast.plan));
        picture.memory = held.map(|(device, spent)| reading(device, at, spent.memory)).collect();
        picture
    }
}

fn reading(device: u32, at: f64, bytes: Bytes) -> Reading {
    Reading { device: DeviceId(device), at, bytes }
}

/// Columns of the terminal; where there is none as many as fit everywhere.
fn columns() -> usize {
    terminal_size::terminal_size().map_or(100, |(terminal_size::Width(width), _)| usize::from(width).min(240))
}

/// The lines with their colours.
fn coloured(lines: &[Line]) -> String {
    let styled = |role: Part, text: &str| match style(role) {
        Some(style) => styled(style, text),
        None => text.to_string(),
    };
    let line = |line: &Line| line.iter().map(|piece| styled(piece.role, &piece.text)).collect::<String>();
    lines.iter().map(|pieces| line(pieces) + "\n").collect()
}

/// The fills of the SVG, so that a head has one colour everywhere.
const FILLS: [(u8, u8, u8); COLOURS as usize] = [
    (0x77, 0xaa, 0xdd),
    (0xee, 0x88, 0x66),
    (0xee, 0xdd, 0x88),
    (0xff, 0xaa, 0xbb),
    (0x99, 0xdd, 0xff),
    (0x44, 0xbb, 0x99),
    (0xbb, 0xcc, 0x33),
    (0xaa, 0xaa, 0x00),
];

fn style(role: Part) -> Option<Style> {
    let on =
        |(r, g, b)| Style::new().fg_color(Some(AnsiColor::Black.into())).bg_color(Some(Color::Rgb(RgbColor(r, g, b))));
    match role {
        Part::Title => Some(BOLD),
        Part::Plain => None,
        Part::Faint => Some(Style::new().dimmed()),
        Part::Bar(Colour::Chunk(number) | Colour::Micro(number)) => Some(on(FILLS[(number % COLOURS) as usize])),
        Part::Bar(Colour::Other) => Some(on((0xdd, 0xdd, 0xdd))),
        Part::Bar(Colour::Exchange) => Some(on((0xb7, 0xbe, 0xc9))),
    }
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

    #[test]
    fn a_file_is_told_by_its_ending() {
        assert_eq!(Form::of(Path::new("a.b.svg")).ok(), Some(Form::Svg));
        assert_eq!(Form::of(Path::new("a.pftrace")).ok(), Some(Form::Perfetto));
        assert!(Form::of(Path::new("svg")).is_err() && Form::of(Path::new("a.png")).is_err());
    }
}
