//! A curve of the grain as inline SVG: seconds over sizes, what the plan has, the knee, and what was measured.

use super::super::scale::step;
use super::super::{Words, duration};
use super::escape;
use super::grain::{CurveView, PointView};
use std::fmt::Write;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 402.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 178.0;

/// Sizes stand at equal distances: they are about doubled from one to the next.
pub fn curve(view: &CurveView, words: &Words) -> String {
    let seconds = view.points.iter().flat_map(|point| [Some(point.seconds), point.measured]).flatten();
    let most = seconds.fold(0.0, f64::max);
    let mut text = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
        escape(&spoken(view, words))
    );
    text += &grid(most);
    let at = |i: usize, seconds: f64| (x(i, view.points.len()), y(seconds, most));
    let line: Vec<(f64, f64)> = view.points.iter().enumerate().map(|(i, point)| at(i, point.seconds)).collect();
    let last = line.last().map_or(LEFT, |place| place.0);
    let path = path(&line);
    writeln!(text, "<path class=\"area\" d=\"{path}L{last:.1} {BOTTOM}L{:.1} {BOTTOM}Z\"/>", line[0].0)
        .expect("String");
    writeln!(text, "<path class=\"line\" d=\"{path}\"/>").expect("String");
    text += &measured(view, most, words);
    for (i, point) in view.points.iter().enumerate() {
        text += &mark(point, i, &line, words);
    }
    text += &sizes(view);
    text + "</svg>\n"
}

fn x(i: usize, count: usize) -> f64 {
    LEFT + 14.0 + i as f64 * (RIGHT - LEFT - 28.0) / (count.max(2) - 1) as f64
}

fn y(seconds: f64, most: f64) -> f64 {
    BOTTOM - (BOTTOM - TOP) * if most > 0.0 { seconds / most } else { 0.0 }
}

fn path(places: &[(f64, f64)]) -> String {
    let one = |(i, (x, y)): (usize, &(f64, f64))| format!("{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" });
    places.iter().enumerate().map(one).collect()
}

/// Lines at round times.
fn grid(most: f64) -> String {
    let step = step(most / 4.0);
    let count = if step > 0.0 { (most / step + 1e-9).floor() as u32 } else { 0 };
    let one = |i: u32| {
        let (seconds, end) = (f64::from(i) * step, RIGHT);
        let y = y(seconds, most);
        let label = if i == 0 { "0".into() } else { tick(seconds) };
        format!(
            "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{end}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\n",
            LEFT - 8.0,
            y + 4.0
        )
    };
    (0..=count).map(one).collect()
}

/// A round time without its zeros: `5 µs`, `1.5 ms`.
fn tick(seconds: f64) -> String {
    let shown = duration(seconds);
    let (number, unit) = shown.split_once(' ').unwrap_or((&shown, ""));
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number} {unit}")
}

/// The point `i` of a line, and what it is: said where the line is not.
fn mark(point: &PointView, i: usize, line: &[(f64, f64)], words: &Words) -> String {
    let (x, y) = line[i];
    let (class, radius) = if point.here.is_some() { ("here", 6.0) } else { ("dot", 3.5) };
    let told = format!("{}: {}", point.size, duration(point.seconds));
    let circle = format!(
        "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"><title>{told}</title></circle>\n"
    );
    let marks: Vec<&str> = [&point.here, &point.mark].into_iter().flatten().map(String::as_str).collect();
    if marks.is_empty() {
        return circle;
    }
    let anchor = match x {
        x if x < LEFT + 40.0 => "start",
        x if x > RIGHT - 40.0 => "end",
        _ => "middle",
    };
    let beside = [i.checked_sub(1), Some(i + 1)].into_iter().flatten().filter_map(|i| line.get(i));
    let rises = beside.fold(0.0, |most: f64, (_, other)| most.max(y - other));
    let below = rises > 8.0 && y + 24.0 < BOTTOM || y - 12.0 < TOP - 8.0;
    let falls = anchor == "start" && line.get(i + 1).is_some_and(|(_, next)| *next > y + 8.0);
    let (x, place) = match (falls, below) {
        (true, _) => (x + 12.0, y - 2.0), // beside it: the line goes away below
        (false, true) => (x, y + 22.0),
        (false, false) => (x, y - 12.0),
    };
    let said = escape(&marks.join(words.get("comma")));
    circle + &format!("<text class=\"strong\" x=\"{x:.1}\" y=\"{place:.1}\" text-anchor=\"{anchor}\">{said}</text>\n")
}

fn measured(view: &CurveView, most: f64, words: &Words) -> String {
    let count = view.points.len();
    let places: Vec<(f64, f64)> =
        view.points.iter().enumerate().filter_map(|(i, point)| Some((x(i, count), y(point.measured?, most)))).collect();
    let Some((_, end)) = places.last() else { return String::new() };
    let mut text = format!("<path class=\"measured\" d=\"{}\"/>\n", path(&places));
    for (x, y) in &places {
        let (x, y) = (x - 3.5, y - 3.5);
        writeln!(text, "<rect class=\"square\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"7\" height=\"7\"/>").expect("String");
    }
    let up = (end - 10.0).max(TOP - 12.0);
    text + &format!(
        "<text class=\"strong\" x=\"{RIGHT}\" y=\"{up:.1}\" text-anchor=\"end\">{}</text>\n",
        words.get("curve_measured")
    )
}

/// Below the points: as many as there is room for.
fn sizes(view: &CurveView) -> String {
    let count = view.points.len();
    let every = count.div_ceil(12).max(1);
    let one = |(i, point): (usize, &PointView)| {
        format!("<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", x(i, count), BOTTOM + 18.0, point.size)
    };
    let shown = view.points.iter().enumerate().filter(|(i, point)| i % every == 0 || point.here.is_some());
    let labels: String = shown.map(one).collect();
    let middle = f64::midpoint(LEFT, RIGHT);
    labels
        + &format!("<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", HEIGHT - 6.0, escape(&view.axis))
}

/// The curve in a sentence.
fn spoken(view: &CurveView, words: &Words) -> String {
    let one = |point: &PointView| {
        let also = |seconds| format!(", {} {}", words.get("curve_measured"), duration(seconds));
        let measured = point.measured.map_or(String::new(), also);
        let here = point.here.as_ref().map_or(String::new(), |here| format!(" ({here})"));
        format!("{}: {}{measured}{here}", point.size, duration(point.seconds))
    };
    let points: Vec<String> = view.points.iter().map(one).collect();
    format!("{}; {}", view.title, points.join("; "))
}
