//! A picture for a terminal: a row a lane, a column a slice of time, heads by digits and colours, steps by letters and
//! textures. What comes out is text in pieces with roles; whoever prints it chooses the colours.

use super::scale::{Axis, axis};
use super::together::Together;
use super::{Bar, Colour, Picture, Row};

/// A piece of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What it says.
    pub text: String,
    /// What it is.
    pub role: Part,
}

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The headline.
    Title,
    /// Words.
    Plain,
    /// Idle time and the axis.
    Faint,
    /// A bar, or its sample in the legend.
    Bar(Colour),
}

/// One line.
pub type Line = Vec<Piece>;

/// Rows that are drawn; of more lanes it is said how many there are.
const ROWS_MOST: usize = 48;
/// Columns of time at least, however narrow the terminal.
const COLUMNS_LEAST: usize = 16;
/// What no lane does.
const IDLE: char = '.';

/// What time is drawn on.
#[derive(Clone, Copy)]
struct Frame {
    /// Columns of names.
    gutter: usize,
    /// Columns of time.
    columns: usize,
    /// What these stand for.
    seconds: f64,
}

/// The pictures below each other, at most `width` columns wide where that leaves room for a bar.
pub fn terminal(pictures: &[Picture], width: usize) -> Vec<Line> {
    let together = &Together::new(pictures, usize::MAX);
    let names = together.pictures.iter().flat_map(|picture| picture.drawn().into_iter().take(ROWS_MOST));
    let gutter = names.map(|(row, _)| name(row).chars().count()).max().unwrap_or(0) + 1;
    let columns = width.saturating_sub(gutter + 1).max(COLUMNS_LEAST);
    let frame = Frame { gutter, columns, seconds: together.seconds };
    let mut lines = titled(together.title(), width);
    for picture in &together.pictures {
        let (title, summary) = together.above(picture);
        title.into_iter().for_each(|title| lines.extend(titled(title, width)));
        lines.extend(wrapped(&summary, width));
        lines.push(Vec::new());
        lines.extend(chart(picture, frame));
        lines.push(Vec::new());
    }
    lines.extend(legend(together, frame, width));
    together.pictures.iter().for_each(|picture| lines.extend(remarks(picture, width)));
    lines
}

/// Rows, and the axis below.
fn chart(picture: &Picture, frame: Frame) -> Vec<Line> {
    let (mut lines, mut device) = (Vec::new(), None);
    for (row, bars) in picture.drawn().into_iter().take(ROWS_MOST) {
        let first = device.replace(row.device) != Some(row.device);
        let indent =
            if first { String::new() } else { " ".repeat(name(row).chars().count() - row.name().chars().count()) };
        let name = if first { name(row) } else { indent + &row.name() };
        let mut line = words(Part::Plain, &format!("{name:<width$}", width = frame.gutter));
        line.extend(cells(picture, bars, frame));
        lines.push(line);
    }
    lines.extend(scale(picture, frame));
    lines
}

/// What is not drawn.
fn remarks(picture: &Picture, width: usize) -> Vec<Line> {
    let more = picture.drawn().len().saturating_sub(ROWS_MOST);
    let lanes = (more > 0).then(|| format!("{more} more lanes are not drawn."));
    lanes.into_iter().chain(picture.omission()).flat_map(|words| wrapped(&words, width)).collect()
}

/// Lines without their roles.
pub fn plain(lines: &[Line]) -> String {
    let line = |line: &Line| line.iter().map(|piece| &piece.text[..]).collect::<String>();
    lines.iter().map(|pieces| line(pieces).trim_end().to_string() + "\n").collect()
}

fn words(role: Part, text: &str) -> Line {
    vec![Piece { text: text.into(), role }]
}

/// A headline in lines of at most `width` columns.
fn titled(text: &str, width: usize) -> Vec<Line> {
    super::scale::wrap(text, width).iter().map(|line| words(Part::Title, line)).collect()
}

/// Words in lines of at most `width` columns.
fn wrapped(text: &str, width: usize) -> Vec<Line> {
    super::scale::wrap(text, width).iter().map(|line| words(Part::Plain, line)).collect()
}

fn name(row: &Row) -> String {
    format!("device {}  {}", row.device.0, row.name())
}

/// The bar that takes most of each column, or none: as many columns are busy as there is busy time, what a column shows
/// too much or too little is carried over to the next.
fn columns_of<'a>(picture: &Picture, bars: &'a [Bar], frame: Frame) -> Vec<Option<&'a Bar>> {
    let mut owed = 0.0;
    let shown = shares(picture, bars, frame).into_iter().map(|Column { bar, busy, .. }| {
        owed = if busy > 1e-6 { owed + busy } else { 0.0 };
        let bar = bar.filter(|_| busy > 1e-6 && owed >= 0.5);
        owed -= if bar.is_some() { 1.0 } else { 0.0 };
        bar
    });
    shown.collect()
}

/// A column of time on one lane.
#[derive(Clone, Copy, Default)]
struct Column<'a> {
    /// What takes most of it, and which share.
    bar: Option<&'a Bar>,
    most: f64,
    /// The share that is busy.
    busy: f64,
}

fn shares<'a>(picture: &Picture, bars: &'a [Bar], frame: Frame) -> Vec<Column<'a>> {
    let Frame { columns, seconds, .. } = frame;
    let from = picture.window.0;
    let place = |at: f64| (at - from) / seconds * columns as f64;
    let mut found = vec![Column::default(); columns];
    for bar in bars {
        let Some((start, end)) = picture.inside(bar) else { continue };
        let (start, end) = (place(start), place(end));
        let last = (end.ceil() as usize).min(columns);
        for (i, column) in found.iter_mut().enumerate().take(last).skip(start as usize) {
            let share = end.min(i as f64 + 1.0) - start.max(i as f64);
            column.busy += share;
            if share > column.most + 1e-9 {
                (column.bar, column.most) = (Some(bar), share);
            }
        }
    }
    found
}

/// Runs of equal columns.
fn cells(picture: &Picture, bars: &[Bar], frame: Frame) -> Line {
    let columns = columns_of(picture, bars, frame);
    let same = |a: &Option<&Bar>, b: &Option<&Bar>| match (a, b) {
        (Some(a), Some(b)) => std::ptr::eq(*a, *b),
        (None, None) => true,
        _ => false,
    };
    let digits = picture.chunks.last().is_none_or(|heads| heads.start < 10);
    let runs = columns.chunk_by(same);
    let piece = |run: &[Option<&Bar>]| match run[0] {
        None => Piece { text: IDLE.to_string().repeat(run.len()), role: Part::Faint },
        Some(bar) => Piece { text: filled(bar, run.len(), digits), role: Part::Bar(bar.colour) },
    };
    runs.map(piece).collect()
}

/// `P2=====`: the step's letter, the first head, the step's texture; less where there is less room. In one column the
/// head alone, where all heads are digits.
fn filled(bar: &Bar, columns: usize, digits: bool) -> String {
    let head = bar.number().map_or(String::new(), |number| number.to_string());
    let whole = format!("{}{head}", if bar.kind.exchanges() { bar.kind.fill() } else { bar.kind.letter() });
    let label = [whole, head].into_iter().find(|label| !label.is_empty() && label.len() <= columns);
    let label = label.filter(|_| columns > 1 || digits).unwrap_or_default();
    let fill = bar.kind.fill().to_string();
    label.clone() + &fill.repeat(columns - label.len())
}

/// Ticks, and what they say.
fn scale(picture: &Picture, frame: Frame) -> Vec<Line> {
    let Frame { gutter, columns, seconds } = frame;
    let Axis { unit, ticks } = axis(picture, seconds, columns / 10);
    let from = picture.window.0;
    let mut marks = vec!['-'; columns + 1];
    let mut labels = vec![' '; gutter + columns + 1];
    let mut free = 0;
    for tick in &ticks {
        let column = ((tick.at - from) / seconds * columns as f64).round() as usize;
        marks[column.min(columns)] = '+';
        let start =
            (gutter + column).saturating_sub(tick.label.len() / 2).min(labels.len().saturating_sub(tick.label.len()));
        if start >= free {
            tick.label.chars().enumerate().for_each(|(i, letter)| labels[start + i] = letter);
            free = start + tick.label.len() + 1;
        }
    }
    let unit_text = format!("{unit} ");
    let room = labels.iter().take_while(|letter| **letter == ' ').count() > unit_text.chars().count();
    if room {
        unit_text.chars().enumerate().for_each(|(i, letter)| labels[i] = letter);
    }
    let marks = " ".repeat(gutter) + &marks.into_iter().collect::<String>();
    vec![words(Part::Faint, &marks), words(Part::Faint, &labels.into_iter().collect::<String>())]
}

/// Letters and textures of steps, colours of heads.
fn legend(together: &Together, frame: Frame, width: usize) -> Vec<Line> {
    let mut entries: Vec<Line> = Vec::new();
    let mut signs: Vec<(char, char, String)> = Vec::new();
    for kind in together.kinds() {
        match signs.last_mut() {
            Some((letter, fill, name)) if *fill == kind.fill() => *name += &format!(", {}", kind.name()),
            _ => signs.push((
                if kind.exchanges() { kind.fill() } else { kind.letter() },
                kind.fill(),
                kind.name().into(),
            )),
        }
    }
    for (letter, fill, name) in signs {
        entries.extend(wrapped(&format!("{letter}{fill}{fill} {name}"), width));
    }
    let (colours, again) = together.legend();
    let first = together.pictures.first();
    for (colour, name) in colours {
        let sample = match colour {
            Colour::Chunk(chunk) => first.map_or(chunk, |picture| picture.chunks[chunk as usize].start),
            Colour::Micro(number) => number,
            Colour::Other | Colour::Exchange => continue,
        };
        let sample = Piece { text: format!(" {sample} "), role: Part::Bar(colour) };
        entries.push(vec![sample, Piece { text: format!(" {name}"), role: Part::Plain }]);
    }
    entries.push(words(Part::Faint, &format!("{IDLE}{IDLE} idle")));
    entries.extend(first.map(|picture| words(Part::Faint, &column_words(picture, frame))));
    let mut lines = flow(entries, width);
    again.into_iter().for_each(|again| lines.extend(wrapped(&again, width)));
    lines
}

/// `a column is 1.25 ms`.
fn column_words(picture: &Picture, frame: Frame) -> String {
    let column = frame.seconds / frame.columns as f64;
    match picture.slot {
        Some(slot) => format!("a slot is {:.1} columns", slot / column),
        None => format!("a column is {}", super::duration(column)),
    }
}

/// Entries side by side, in as many lines as they need.
fn flow(entries: Vec<Line>, width: usize) -> Vec<Line> {
    let long = |line: &Line| line.iter().map(|piece| piece.text.chars().count()).sum::<usize>();
    let mut lines: Vec<Line> = Vec::new();
    for entry in entries {
        match lines.last_mut() {
            Some(line) if long(line) + 2 + long(&entry) <= width => {
                line.push(Piece { text: "  ".into(), role: Part::Plain });
                line.extend(entry);
            }
            _ => lines.push(entry),
        }
    }
    lines
}
