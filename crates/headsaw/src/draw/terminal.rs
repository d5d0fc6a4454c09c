//! A picture for a terminal: a row a lane, a column a slice of time, heads by digits and colours, steps by letters and
//! textures. What comes out is text in pieces with roles; whoever prints it chooses the colours.

use super::scale::{Axis, axis};
use super::together::Together;
use super::{Bar, Colour, Lang, Picture, Row, Words};
use unicode_width::UnicodeWidthStr;

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
    /// Columns of what rows belong to.
    group: usize,
    /// Columns of that and of names.
    gutter: usize,
    /// Columns of time.
    columns: usize,
    /// What these stand for.
    seconds: f64,
}

/// The pictures below each other, at most `width` columns wide where that leaves room for a bar.
pub fn terminal(pictures: &[Picture], width: usize, lang: Lang) -> Vec<Line> {
    let (together, words) = (&Together::new(pictures, usize::MAX), &Words::of(lang));
    let drawn = together.pictures.iter().flat_map(|picture| names(picture, words));
    let [group, own] = drawn.fold([0; 2], |[group, own], (of, name)| [of.width().max(group), name.width().max(own)]);
    let group = if group > 0 { group + 2 } else { 0 };
    let gutter = group + own + 1;
    let columns = width.saturating_sub(gutter + 1).max(COLUMNS_LEAST);
    let frame = Frame { group, gutter, columns, seconds: together.seconds };
    let mut lines = titled(together.title(), width);
    for picture in &together.pictures {
        let (title, summary) = together.above(picture, words);
        title.into_iter().for_each(|title| lines.extend(titled(title, width)));
        lines.extend(wrapped(&summary, width));
        lines.push(Vec::new());
        lines.extend(chart(picture, frame, words));
        lines.push(Vec::new());
    }
    lines.extend(legend(together, frame, width, words));
    together.pictures.iter().for_each(|picture| lines.extend(remarks(picture, width, words)));
    lines
}

/// Of each row that is drawn what it belongs to, which may be empty, and its name there.
fn names(picture: &Picture, words: &Words) -> Vec<(String, String)> {
    let names = picture.names(words);
    let one = |(row, _): (&Row, &[Bar])| match names.of(row) {
        (_, name) if !names.alone => (row.device_alone(words), name),
        names => names,
    };
    picture.drawn().into_iter().take(ROWS_MOST).map(one).collect()
}

/// Rows, and the axis below.
fn chart(picture: &Picture, frame: Frame, words: &Words) -> Vec<Line> {
    let (mut lines, mut before) = (Vec::new(), String::new());
    for ((group, name), (_, bars)) in names(picture, words).into_iter().zip(picture.drawn()) {
        let shown = padded(if group == before { "" } else { &group }, frame.group) + &name;
        let mut line = piece(Part::Plain, &padded(&shown, frame.gutter));
        line.extend(cells(picture, bars, frame));
        lines.push(line);
        before = group;
    }
    lines.extend(scale(picture, frame, words));
    lines
}

/// Text with space behind it, up to so many columns.
fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(text.width())))
}

/// What is not drawn.
fn remarks(picture: &Picture, width: usize, words: &Words) -> Vec<Line> {
    let more = picture.drawn().len().saturating_sub(ROWS_MOST);
    let lanes = (more > 0).then(|| words.say("lanes_more", &[("n", &more.to_string())]));
    lanes.into_iter().chain(picture.omission(words)).flat_map(|text| wrapped(&text, width)).collect()
}

/// Lines without their roles.
pub fn plain(lines: &[Line]) -> String {
    let line = |line: &Line| line.iter().map(|piece| &piece.text[..]).collect::<String>();
    lines.iter().map(|pieces| line(pieces).trim_end().to_string() + "\n").collect()
}

fn piece(role: Part, text: &str) -> Line {
    vec![Piece { text: text.into(), role }]
}

/// A headline in lines of at most `width` columns.
fn titled(text: &str, width: usize) -> Vec<Line> {
    super::scale::wrap(text, width).iter().map(|line| piece(Part::Title, line)).collect()
}

/// Words in lines of at most `width` columns.
fn wrapped(text: &str, width: usize) -> Vec<Line> {
    super::scale::wrap(text, width).iter().map(|line| piece(Part::Plain, line)).collect()
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
    let drawn = |run: &[Option<&Bar>]| match run[0] {
        None => Piece { text: IDLE.to_string().repeat(run.len()), role: Part::Faint },
        Some(bar) => Piece { text: filled(bar, run.len(), digits), role: Part::Bar(bar.colour) },
    };
    runs.map(drawn).collect()
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
fn scale(picture: &Picture, frame: Frame, words: &Words) -> Vec<Line> {
    let Frame { gutter, columns, seconds, .. } = frame;
    let Axis { unit, ticks } = axis(picture, seconds, columns / 10, words);
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
    let room = labels.iter().take_while(|letter| **letter == ' ').count() > unit.width() + 1;
    let unit = if room { unit } else { String::new() };
    let marks = " ".repeat(gutter) + &marks.into_iter().collect::<String>();
    let labels = labels[unit.width()..].iter().collect::<String>();
    vec![piece(Part::Faint, &marks), piece(Part::Faint, &(unit + &labels))]
}

/// Letters and textures of steps, colours of heads.
fn legend(together: &Together, frame: Frame, width: usize, words: &Words) -> Vec<Line> {
    let mut entries: Vec<Line> = Vec::new();
    let mut signs: Vec<(char, char, String)> = Vec::new();
    for kind in together.kinds() {
        match signs.last_mut() {
            Some((letter, fill, name)) if *fill == kind.fill() => {
                *name += &(words.get("and").to_string() + &words.kind(kind))
            }
            _ => {
                signs.push((if kind.exchanges() { kind.fill() } else { kind.letter() }, kind.fill(), words.kind(kind)))
            }
        }
    }
    for (letter, fill, name) in signs {
        entries.extend(wrapped(&format!("{letter}{fill}{fill} {name}"), width));
    }
    let (colours, again) = together.legend(words);
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
    entries.push(piece(Part::Faint, &format!("{IDLE}{IDLE} {}", words.get("idle"))));
    entries.extend(first.map(|picture| piece(Part::Faint, &column_words(picture, frame, words))));
    let mut lines = flow(entries, width);
    again.into_iter().for_each(|again| lines.extend(wrapped(&again, width)));
    lines
}

/// `a column is 1.25 ms`.
fn column_words(picture: &Picture, frame: Frame, words: &Words) -> String {
    let column = frame.seconds / frame.columns as f64;
    match picture.slot {
        Some(slot) => words.say("slot_is", &[("n", &format!("{:.1}", slot / column))]),
        None => words.say("column_is", &[("time", &super::duration(column))]),
    }
}

/// Entries side by side, in as many lines as they need.
fn flow(entries: Vec<Line>, width: usize) -> Vec<Line> {
    let long = |line: &Line| line.iter().map(|piece| piece.text.width()).sum::<usize>();
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
