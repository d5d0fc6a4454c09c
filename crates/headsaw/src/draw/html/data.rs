//! The data of a page: what its scripts read, as JSON that can stand between script tags.

use super::super::texture::{FILLS, THIN_GREYS, fill, texture};
use super::super::together::Together;
use super::super::{Bar, COLOURS, Kind, Names, Picture, Row, Words, grouped};
use super::{BARS_MOST, Example, Name, Page};
use crate::trace::Source;
use serde_json::{Value, json};

/// All of it, with `<`, `>`, `&` escaped: no text in it can end the script.
pub fn data(page: &Page, words: &Words) -> String {
    let kinds: Vec<Value> = Kind::ALL.iter().map(|kind| kind_json(*kind, words)).collect();
    let pictures: Vec<Picture> = page.timelines.iter().map(|timeline| timeline.picture.clone()).collect();
    let shown = Together::new(&pictures, BARS_MOST * pictures.len()).pictures;
    let timelines: Vec<Value> = page
        .timelines
        .iter()
        .zip(&shown)
        .map(|(timeline, picture)| timeline_json(&timeline.name, picture, words))
        .collect();
    let data = json!({
        "words": words.script(), "kinds": kinds, "fills": FILLS, "thin": THIN_GREYS, "own": COLOURS, "timelines": timelines,
        "example": page.example.json(), "model": page.model.as_ref().map(Example::json),
    });
    data.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn kind_json(kind: Kind, words: &Words) -> Value {
    let ink = texture(kind);
    json!({
        "key": kind.name(), "name": kind.word(words.lang), "legend": words.kind(kind), "letter": kind.letter(), "exchanges": kind.exchanges(),
        "lines": ink.lines, "dots": ink.dots,
    })
}

fn timeline_json(name: &Name, picture: &Picture, words: &Words) -> Value {
    let name = match name {
        Name::Ideal => words.get("ideal"),
        Name::Predicted => words.get("predicted"),
        Name::Measured => words.get("measured"),
        Name::Other(name) => name,
    };
    json!({
        "name": name, "summary": summary(picture, words), "total": picture.seconds(), "slot": picture.slot,
        "rows": rows(picture, words), "bars": bars(picture), "flows": picture.flows,
    })
}

/// How long it takes, what is idle, where it is from, what is left out.
fn summary(picture: &Picture, words: &Words) -> String {
    let length = picture.length(picture.seconds(), words);
    let idle = format!("{:.1} %", 100.0 * picture.bubble());
    let mut said = vec![words.say("busy", &[("bubble", &idle), ("time", &length)])];
    if let Source::Measured { machine } = &picture.source {
        said.push(words.say("measured_on", &[("machine", machine)]));
    }
    if picture.window.0 > picture.whole.0 {
        said.push(words.say("offset", &[("time", &super::super::duration(picture.window.0 - picture.whole.0))]));
    }
    if picture.left_out > 0 {
        said.push(words.say("left_out", &[("n", &grouped(picture.left_out))]));
    }
    said.join(words.get("space"))
}

/// A number with at most two decimals.
pub fn short(number: f64) -> String {
    ((number * 100.0).round() / 100.0).to_string()
}

/// Lanes with the places of their bars; those that only exchange and need no time for it are not drawn.
fn rows(picture: &Picture, words: &Words) -> Vec<Value> {
    let mut first = 0;
    let mut lanes: Vec<LaneRow> = Vec::new();
    for (i, row) in (0..).zip(&picture.rows) {
        let count = picture.bars[first..].iter().take_while(|bar| bar.row == i).count();
        let takes_time = picture.bars[first..first + count].iter().any(|bar| picture.inside(bar).is_some());
        lanes.push(LaneRow { row, first, count, drawn: !row.exchanges || takes_time });
        first += count;
    }
    let names = picture.names(words);
    lanes.iter().map(|lane| lane.json(names)).collect()
}

/// A lane, and the places of its bars.
struct LaneRow<'a> {
    row: &'a Row,
    first: usize,
    count: usize,
    drawn: bool,
}

impl LaneRow<'_> {
    fn json(&self, names: Names) -> Value {
        let row = self.row;
        let device = if names.staged { row.device_name(names.words) } else { row.device_alone(names.words) };
        let (group, name) = names.of(row);
        json!({
            "device": row.device.0, "label": device, "group": group, "name": name, "drawn": self.drawn,
            "first": self.first, "count": self.count,
        })
    }
}

/// Columns, a value a bar; times are nanoseconds from the beginning of the picture.
fn bars(picture: &Picture) -> Value {
    let each = |value: &dyn Fn(&Bar) -> Value| Value::Array(picture.bars.iter().map(value).collect());
    let nanoseconds = |seconds: f64| json!((seconds * 1e12).round() / 1e3);
    let kind = |bar: &Bar| Kind::ALL.iter().position(|kind| *kind == bar.kind).expect("all kinds are there");
    json!({
        "kind": each(&|bar| json!(kind(bar))),
        "fill": each(&|bar| json!(fill(bar.colour))),
        "first": each(&|bar| json!(bar.heads.start)),
        "last": each(&|bar| json!(bar.heads.end)),
        "micro": each(&|bar| json!(bar.micro)),
        "round": each(&|bar| json!(bar.round)),
        "layer": each(&|bar| json!(bar.layer)),
        "flops": each(&|bar| json!(bar.work.map(|work| work.flops.0))),
        "bytes": each(&|bar| json!(bar.work.map(|work| work.bytes.0))),
        "start": each(&|bar| nanoseconds(bar.start - picture.window.0)),
        "length": each(&|bar| nanoseconds(bar.end - bar.start)),
    })
}
