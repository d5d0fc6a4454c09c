//! A Gantt chart as SVG: a row a lane, grouped by device; one file, light and dark, read without colour and aloud.
//!
//! It is 640 units wide, so that a letter is about 9 pixels high on a phone of 400 pixels, and grows to 960 pixels.

use super::scale::{Axis, axis, wrap};
use super::texture::{fill, pattern, pattern_name, style};
use super::together::Together;
use super::{Bar, Colour, Kind, Lang, Picture, Words};
use std::collections::BTreeSet;
use std::fmt::Write;
use unicode_width::UnicodeWidthStr;

/// Bars that are drawn; of a longer trace the beginning.
pub const BARS_MOST: usize = 2500;
/// Rows that are drawn; of more lanes it is said how many there are.
pub const ROWS_MOST: usize = 64;

const WIDTH: f64 = 640.0;
const MARGIN: f64 = 16.0;
/// Where time begins: right of the lanes' names.
const LEFT: f64 = 92.0;
const ROW: f64 = 24.0;
const GAP: f64 = 5.0;
/// Width of a letter at most, in the mean of a text, of 15 and 13 units; a wide one takes two.
const LETTER: f64 = 8.6;
const SMALL: f64 = 7.4;

/// The pictures below each other, as text of an SVG file.
pub fn svg(pictures: &[Picture], lang: Lang) -> String {
    let (together, words) = (&Together::new(pictures, BARS_MOST), &Words::of(lang));
    let mut page = Page { words, body: String::new(), y: MARGIN, seconds: together.seconds };
    page.lines("text title", LETTER + 1.4, together.title());
    for picture in &together.pictures {
        let (title, summary) = together.above(picture, words);
        title.into_iter().for_each(|title| page.lines("text bold", LETTER, title));
        page.lines("text", LETTER, &summary);
        page.y += 6.0;
        page.chart(picture);
    }
    page.legend(together);
    together.pictures.iter().for_each(|picture| page.remarks(picture));
    page.y += MARGIN / 2.0;
    page.finish(together)
}

/// A page that grows downwards.
struct Page<'a> {
    words: &'a Words,
    body: String,
    y: f64,
    /// What its width stands for.
    seconds: f64,
}

impl Page<'_> {
    fn add(&mut self, element: &str) {
        self.body += element;
        self.body += "\n";
    }

    fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        self.add(&format!("<text class=\"{class}\" x=\"{}\" y=\"{}\">{}</text>", short(x), short(y), escape(text)));
    }

    /// Words below each other, as wide as the page.
    fn lines(&mut self, class: &str, letter: f64, text: &str) {
        for line in wrap(text, ((WIDTH - 2.0 * MARGIN) / letter) as usize) {
            self.y += 20.0;
            self.text(MARGIN, self.y - 4.0, class, &line);
        }
    }

    fn chart(&mut self, picture: &Picture) {
        let (top, axis) = (self.y, axis(picture, self.seconds, 6, self.words));
        let (mut rows, mut heading, names) = (String::new(), String::new(), picture.names(self.words));
        for (row, bars) in picture.drawn().into_iter().take(ROWS_MOST) {
            let (group, name) = names.of(row);
            if group != heading {
                self.y += 22.0;
                rows += &line_of("text small bold name", MARGIN, self.y - 6.0, &group);
                heading = group;
            }
            rows += &self.row(picture, &name, bars);
        }
        self.grid(picture, &axis, top + if heading.is_empty() { 0.0 } else { 20.0 });
        self.body += &rows;
        self.labels(picture, &axis);
    }

    /// The name of a lane, the line of its idle time, its bars.
    fn row(&mut self, picture: &Picture, name: &str, bars: &[Bar]) -> String {
        let middle = self.y + ROW / 2.0;
        let mut text = line_of("text small", MARGIN + 8.0, middle + 4.5, name);
        let (left, right) = (LEFT, WIDTH - MARGIN);
        writeln!(text, "<path class=\"lane\" d=\"M{left} {middle}H{right}\"/>").expect("writing to a String");
        for bar in bars {
            text += &self.bar(picture, bar).unwrap_or_default();
        }
        self.y += ROW + GAP;
        text
    }

    fn bar(&self, picture: &Picture, bar: &Bar) -> Option<String> {
        let (start, end) = picture.inside(bar)?;
        let (x, right) = (self.place(picture, start), self.place(picture, end));
        let width = (right - x).max(0.4);
        let dress = match width < 3.0 {
            true => format!("class=\"thin c{}\"", fill(bar.colour)),
            false => format!("class=\"bar\" fill=\"url(#{})\"", pattern_name(bar.kind, bar.colour)),
        };
        let mut text = format!(
            "<rect {dress} x=\"{}\" y=\"{}\" width=\"{}\" height=\"{ROW}\"><title>{}</title></rect>\n",
            short(x),
            short(self.y),
            short(width),
            escape(&told(picture, bar, self.words)),
        );
        if let Some(label) = label(bar, width, self.words) {
            text +=
                &line_of(&format!("in small h{}", fill(bar.colour)), x + width / 2.0, self.y + ROW / 2.0 + 4.5, &label);
        }
        Some(text)
    }

    fn grid(&mut self, picture: &Picture, axis: &Axis, top: f64) {
        let bottom = self.y;
        for tick in &axis.ticks {
            let x = short(self.place(picture, tick.at));
            self.add(&format!("<path class=\"grid\" d=\"M{x} {top}V{bottom}\"/>"));
        }
    }

    fn labels(&mut self, picture: &Picture, axis: &Axis) {
        self.y += 14.0;
        for tick in &axis.ticks {
            let half = tick.label.len() as f64 * SMALL / 2.0;
            let x = self.place(picture, tick.at).min(WIDTH - MARGIN / 2.0 - half);
            self.text(x, self.y, "text small middle", &tick.label);
        }
        self.text(MARGIN + 8.0, self.y, "faint small", &axis.unit);
        self.y += 14.0;
    }

    /// Steps by texture, then heads by colour.
    fn legend(&mut self, together: &Together) {
        let steps = signs(together, self.words).into_iter().map(|(kind, name)| {
            let colour = if kind.exchanges() { Colour::Exchange } else { Colour::Other };
            let letter = kind.letter().to_string();
            let signed = || self.words.say("signed", &[("letter", &letter), ("name", &name)]);
            (pattern_name(kind, colour), if kind.exchanges() { name.clone() } else { signed() })
        });
        self.samples(&steps.collect::<Vec<_>>());
        let (colours, again) = together.legend(self.words);
        let samples: Vec<(String, String)> =
            colours.into_iter().map(|(colour, name)| (pattern_name(Kind::Project, colour), name)).collect();
        self.samples(&samples);
        again.into_iter().for_each(|again| self.lines("faint small", SMALL, &again));
    }

    fn samples(&mut self, samples: &[(String, String)]) {
        let mut x = MARGIN;
        for (pattern, name) in samples {
            let width = 23.0 + name.width() as f64 * SMALL + 8.0;
            if x > MARGIN && x + width > WIDTH - MARGIN {
                (x, self.y) = (MARGIN, self.y + 24.0);
            }
            let (at, y) = (short(x), short(self.y));
            self.add(&format!(
                "<rect class=\"bar\" fill=\"url(#{pattern})\" x=\"{at}\" y=\"{y}\" width=\"18\" height=\"16\"/>"
            ));
            self.text(x + 23.0, self.y + 12.5, "text small", name);
            x += width;
        }
        self.y += if samples.is_empty() { 0.0 } else { 24.0 };
    }

    /// What is not drawn.
    fn remarks(&mut self, picture: &Picture) {
        let more = picture.drawn().len().saturating_sub(ROWS_MOST);
        if more > 0 {
            self.lines("faint small", SMALL, &self.words.say("lanes_more", &[("n", &more.to_string())]));
        }
        if let Some(left_out) = picture.omission(self.words) {
            self.lines("faint small", SMALL, &left_out);
        }
    }

    /// Where a moment is drawn.
    fn place(&self, picture: &Picture, seconds: f64) -> f64 {
        let share = if self.seconds > 0.0 { (seconds - picture.window.0) / self.seconds } else { 0.0 };
        LEFT + share * (WIDTH - MARGIN - LEFT)
    }

    fn finish(self, together: &Together) -> String {
        let height = self.y.ceil();
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"100%\" style=\"max-width: \
             960px\" lang=\"{}\" role=\"img\" aria-labelledby=\"t d\">\n<title id=\"t\">{}</title>\n<desc id=\"d\">{}</desc>\n",
            self.words.tag(),
            escape(together.title()),
            escape(&descriptions(together, self.words)),
        );
        text += &style();
        text += "<defs>\n";
        for (kind, colour) in patterns(together, self.words) {
            text += &pattern(kind, colour);
        }
        write!(
            text,
            "</defs>\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\" rx=\"8\"/>\n{}</svg>\n",
            self.body
        )
        .expect("writing to a String");
        text
    }
}

/// At most two decimals.
pub(super) fn short(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

fn line_of(class: &str, x: f64, y: f64, text: &str) -> String {
    format!("<text class=\"{class}\" x=\"{}\" y=\"{}\">{}</text>\n", short(x), short(y), escape(text))
}

pub(super) fn escape(text: &str) -> String {
    let allowed = |letter: &char| !letter.is_control() && !matches!(letter, '\u{fffe}' | '\u{ffff}');
    let plain: String = text.chars().filter(allowed).collect();
    plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The longest name that fits into a bar.
fn label(bar: &Bar, width: f64, words: &Words) -> Option<String> {
    let (step, letter) = (bar.kind.word(words.lang), bar.kind.letter());
    let (start, end) = (bar.heads.start, bar.heads.end);
    let names = match bar.heads.is_empty() {
        true if bar.kind.exchanges() => vec![step.to_string()],
        true => {
            let number = bar.number().map_or(String::new(), |number| number.to_string());
            vec![step.to_string(), format!("{letter}{number}"), letter.to_string()]
        }
        false if bar.heads.len() == 1 => {
            let head = super::heads_words(&bar.heads, words);
            vec![bar.label(words), head, format!("{letter}{start}"), start.to_string()]
        }
        false => {
            let heads = format!("{start}–{}", end - 1);
            vec![bar.label(words), format!("{letter} {heads}"), heads, start.to_string()]
        }
    };
    names.into_iter().find(|name| name.width() as f64 * SMALL + 4.0 <= width)
}

/// What is told of a bar when it is pointed at.
fn told(picture: &Picture, bar: &Bar, words: &Words) -> String {
    let mut what = bar.label(words);
    if let Some(layer) = bar.layer {
        what = words.say("in_layer", &[("what", &what), ("n", &layer.to_string())]);
    }
    let (start, end) = (picture.moment(bar.start, words), picture.moment(bar.end, words));
    words.say("when", &[("what", &what), ("n", &bar.micro.to_string()), ("start", &start), ("end", &end)])
}

/// Steps that take time, one of each texture, with all its names.
fn signs(together: &Together, words: &Words) -> Vec<(Kind, String)> {
    let mut signs: Vec<(Kind, String)> = Vec::new();
    for kind in together.kinds() {
        match signs.iter_mut().find(|(sign, _)| sign.letter() == kind.letter()) {
            Some((_, name)) => *name += &(words.get("and").to_string() + &words.kind(kind)),
            None => signs.push((kind, words.kind(kind))),
        }
    }
    signs
}

/// All patterns that bars and legend need, each once.
fn patterns(together: &Together, words: &Words) -> Vec<(Kind, Colour)> {
    let mut wanted: Vec<(Kind, Colour)> = Vec::new();
    for picture in &together.pictures {
        let drawn = picture.bars.iter().filter(|bar| picture.inside(bar).is_some());
        wanted.extend(drawn.map(|bar| (bar.kind, bar.colour)));
    }
    wanted.extend(together.kinds().into_iter().filter(|kind| !kind.exchanges()).map(|kind| (kind, Colour::Other)));
    wanted.extend(together.legend(words).0.into_iter().map(|(colour, _)| (Kind::Project, colour)));
    wanted.sort_unstable();
    let mut names = BTreeSet::new();
    wanted.retain(|(kind, colour)| names.insert(pattern_name(*kind, *colour)));
    wanted
}

/// For those who do not see them.
fn descriptions(together: &Together, words: &Words) -> String {
    together.pictures.iter().map(|picture| description(picture, words)).collect::<Vec<_>>().join(" ")
}

/// What a picture shows, in words.
fn description(picture: &Picture, words: &Words) -> String {
    let (busy, seconds) = (picture.busy(), picture.seconds());
    let mut text = format!("{} {}", picture.summary(words), words.get("rows_said"));
    for (row, busy) in picture.rows.iter().zip(&busy).take(ROWS_MOST) {
        let share = if seconds > 0.0 { 100.0 * busy / seconds } else { 0.0 };
        let said =
            [("device", &*row.device_alone(words)), ("lane", &row.name(words)), ("share", &format!("{share:.0} %"))];
        write!(text, " {}", words.say("row_busy", &said)).expect("writing to a String");
    }
    text
}
