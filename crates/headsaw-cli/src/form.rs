//! Pictures and traces that leave the program: into a file by its ending, or onto the terminal.

use crate::error::Failure;
use crate::lang::Lang;
use crate::output::{self, BOLD, Screen, say, styled};
use crate::page;
use crate::shown;
use anstyle::{AnsiColor, Color, RgbColor, Style};
use headsaw::draw::terminal::{Line, Part, terminal};
use headsaw::draw::{COLOURS, Colour, Picture, View, Words, chrome::chrome, html, perfetto::perfetto, svg};
use headsaw::lower::lower;
use headsaw::plan::Plan;
use headsaw::trace::{Source, TraceFile};
use std::borrow::Cow;
use std::path::Path;
use std::slice::from_ref;

/// Actions that a picture on the terminal is made of at most, about half a gigabyte.
pub const GANTT_MOST: usize = 3_000_000;

/// Endings of pictures.
const PICTURES: &str = ".html, .svg, .json or .pftrace";

/// What is written into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A page to zoom into.
    Html,
    /// A Gantt chart.
    Svg,
    /// Chrome's trace events.
    Chrome,
    /// Perfetto's packets.
    Perfetto,
}

impl Form {
    /// That of a file.
    pub fn of(path: &Path) -> Result<Form, Failure> {
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        match ending.as_deref() {
            Some("html") => Ok(Form::Html),
            Some("svg") => Ok(Form::Svg),
            Some("json") => Ok(Form::Chrome),
            Some("pftrace") => Ok(Form::Perfetto),
            _ => Err(Failure::Input(format!(
                "{}: expected a file that ends in {PICTURES}, or in .trace",
                path.display()
            ))),
        }
    }

    /// Bars that a file holds at most, about 300 MB: of a longer trace the beginning.
    pub fn most(self) -> usize {
        match self {
            Form::Html => html::BARS_MOST,
            Form::Svg => svg::BARS_MOST,
            Form::Chrome => 1_000_000,
            Form::Perfetto => 3_000_000,
        }
    }

    fn draw(self, pictures: &[Picture], paper: &Paper) -> Vec<u8> {
        match self {
            Form::Html => html::html(&paper.page(pictures)).into_bytes(),
            Form::Svg => svg::svg(pictures, paper.lang.into()).into_bytes(),
            Form::Chrome => chrome(pictures).into_bytes(),
            Form::Perfetto => perfetto(pictures),
        }
    }
}

/// What pictures are drawn on.
#[derive(Debug, Clone, Copy)]
pub struct Paper<'a> {
    /// The language.
    pub lang: Lang,
    /// The plan that was played or run.
    pub plan: &'a Plan,
}

impl Paper<'_> {
    fn page(&self, pictures: &[Picture]) -> html::Page {
        let title = pictures.first().map_or_else(String::new, |picture| picture.title.clone());
        page::page(self.lang, title, page::timelines(pictures.to_vec()), self.plan)
    }
}

/// Is it a trace to be kept, and no picture?
pub fn is_trace(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("trace"))
}

/// What can be known of a file for traces or pictures before there is anything to write; `flag` named it.
pub fn check(flag: &str, path: &Path) -> Result<(), Failure> {
    let known = if is_trace(path) { Ok(()) } else { Form::of(path).map(|_| ()) };
    known.and_then(|()| output::writable(path)).map_err(|failure| match failure {
        Failure::Input(message) => Failure::Input(format!("{flag} {message}")),
        other => other,
    })
}

/// The same of a file for pictures alone.
pub fn check_picture(flag: &str, path: &Path) -> Result<Form, Failure> {
    if is_trace(path) {
        return Err(Failure::Input(format!("{flag} {}: a picture ends in {PICTURES}", path.display())));
    }
    check(flag, path).and_then(|()| Form::of(path))
}

/// Writes a trace: as it is where the file ends in `.trace`, else drawn.
pub fn write_trace(path: &Path, file: &TraceFile) -> Result<(), Failure> {
    if is_trace(path) {
        output::write_file(path, |out| out.write_all(file.text().as_bytes()))?;
        say(&format!("wrote {}\n", path.display()));
        return Ok(());
    }
    let form = Form::of(path)?;
    let program = lower(&file.plan);
    let mut trace = file.clone().into_trace(&program);
    let lang = Lang::or_environment(None);
    let words = lang.words();
    let part = shown::keep_few(&mut [&mut trace], Some(form), &words);
    shown::begin_at_zero(&mut trace);
    let part = part.map(|part| part + words.get("all_with_draw"));
    let title = title(file, &words) + &part.unwrap_or_default();
    let view = View { title, most: Some(form.most()), ..View::default() };
    let picture = Picture::new(&program, &trace, Some(&file.rounds), view);
    write(path, form, from_ref(&picture), &Paper { lang, plan: &file.plan })
}

/// `SmolLM2 on h100x2: tp 2 × pp 1`.
fn title(file: &TraceFile, words: &Words) -> String {
    let place = match &file.source {
        Source::Simulated => file.cluster.as_deref().unwrap_or(crate::cluster::LOCAL),
        Source::Measured { machine } => machine,
    };
    headline(&file.plan, place, words)
}

/// A plan and where it is.
pub fn headline(plan: &Plan, place: &str, words: &Words) -> String {
    let tp = plan.stages.first().map_or(0, |stage| stage.slices.len()).to_string();
    let pp = plan.stages.len().to_string();
    words.say("headline", &[("model", &plan.model.name), ("place", place), ("tp", &tp), ("pp", &pp)])
}

/// Writes pictures, and says what of them is left out.
pub fn write(path: &Path, form: Form, pictures: &[Picture], paper: &Paper) -> Result<(), Failure> {
    let pictures = limited(pictures, form.most());
    output::write_file(path, |file| file.write_all(&form.draw(&pictures, paper)))?;
    let words = Lang::En.words();
    let left_out: Vec<String> = pictures.iter().filter_map(|picture| picture.omission(&words)).collect();
    let left_out = if left_out.is_empty() { String::new() } else { format!(" ({})", left_out.join(" ")) };
    say(&format!("wrote {}{left_out}\n", path.display()));
    Ok(())
}

/// Pictures with at most so many bars together.
fn limited(pictures: &[Picture], most: usize) -> Cow<'_, [Picture]> {
    let each = most / pictures.len().max(1);
    if pictures.iter().all(|picture| picture.bars.len() <= each) {
        return Cow::Borrowed(pictures);
    }
    pictures.iter().map(|picture| picture.limited(each).into_owned()).collect()
}

/// Shows pictures on the terminal; beside JSON, on the other stream.
pub fn show(pictures: &[Picture], lang: Lang, json: bool) -> Result<(), Failure> {
    Screen { json }.show(&text(pictures, usize::MAX, lang))
}

/// The same as text, no wider than so many columns.
pub fn text(pictures: &[Picture], most: usize, lang: Lang) -> String {
    coloured(&terminal(pictures, columns().min(most), lang.into()))
}

/// Columns of the terminal; where there is none as many as fit everywhere.
fn columns() -> usize {
    terminal_size::terminal_size().map_or(80, |(terminal_size::Width(width), _)| usize::from(width).min(240))
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
    fn a_file_is_told_by_its_ending() {
        assert!(is_trace(Path::new("a.trace")) && !is_trace(Path::new("trace")));
        assert_eq!(Form::of(Path::new("a.b.svg")).ok(), Some(Form::Svg));
        assert_eq!(Form::of(Path::new("a.pftrace")).ok(), Some(Form::Perfetto));
        assert_eq!(Form::of(Path::new("A.SVG")).ok(), Some(Form::Svg));
        assert!(Form::of(Path::new("svg")).is_err() && Form::of(Path::new("a.png")).is_err());
    }
}
