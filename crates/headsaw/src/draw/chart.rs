//! Curves as SVG: a few lines over sizes that double, told apart by colour, dash and mark, light and dark.

use super::scale::duration;
use super::svg::{escape, short};
use super::{Lang, Words};
use std::fmt::Write;

/// Some lines over one axis of sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Its headline.
    pub title: String,
    /// What the sizes are.
    pub x: String,
    /// What the heights are, and in what.
    pub y: (String, Unit),
    /// At most four.
    pub lines: Vec<Line>,
}

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What it is of.
    pub name: String,
    /// Size and height, in the order of sizes; sizes are above zero.
    pub points: Vec<(f64, f64)>,
}

/// What heights are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds, above zero, on a logarithmic axis.
    Seconds,
    /// How many times, from zero on.
    Times,
}

const WIDTH: f64 = 640.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 620.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 304.0;

/// Line i's dash.
const DASHES: [&str; 4] = ["none", "7 4", "2 4", "10 3 2 3"];
const STYLE: &str = "<style>svg { font: 15px sans-serif } .page { fill: #fff } .text { fill: #1f2328 } .title { font-weight: bold; \
font-size: 17px } .small { font-size: 13px } .middle { text-anchor: middle } .end { text-anchor: end } .grid { stroke: #8b949e; \
stroke-opacity: .45 } .line { fill: none; stroke-width: 2 } .l0 { stroke: #1a62c9; fill: #1a62c9 } .l1 { stroke: #a34a00; fill: \
#a34a00 } .l2 { stroke: #1a7f37; fill: #1a7f37 } .l3 { stroke: #8250df; fill: #8250df } .line { fill: none }
@media (prefers-color-scheme: dark) { .page { fill: #161b22 } .text { fill: #e6edf3 } .l0 { stroke: #6cb6ff; fill: #6cb6ff } .l1 { \
stroke: #f0a05e; fill: #f0a05e } .l2 { stroke: #56d364; fill: #56d364 } .l3 { stroke: #d2a8ff; fill: #d2a8ff } .line { fill: none } \
}</style>";

/// The chart, as text of an SVG file.
pub fn svg(chart: &Chart, lang: Lang) -> String {
    let words = &Words::of(lang);
    let points = || chart.lines.iter().flat_map(|line| &line.points);
    let sizes = Axis::doubling(points().map(|(x, _)| *x));
    let heights = Axis::of(chart.y.1, points().map(|(_, y)| *y));
    let height = BOTTOM + 56.0 + 24.0 * chart.lines.len() as f64;
    let mut body = text("text title", 16.0, 28.0, &chart.title) + &text("text small", 16.0, 50.0, &chart.y.0);
    body += &grid(&sizes, &heights, &chart.x);
    for (i, line) in chart.lines.iter().take(DASHES.len()).enumerate() {
        body += &drawn(i, line, &sizes, &heights);
        body += &named(i, &line.name);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"100%\" style=\"max-width: 960px\" \
         lang=\"{}\" role=\"img\" aria-labelledby=\"t d\">\n<title id=\"t\">{}</title>\n<desc id=\"d\">{}</desc>\n{STYLE}\n<rect class=\"page\" \
         width=\"{WIDTH}\" height=\"{height}\" rx=\"8\"/>\n{body}</svg>\n",
        words.tag(),
        escape(&chart.title),
        escape(&told(chart, words)),
    )
}

/// Numbers between two ends, logarithmic or not, with ticks.
struct Axis {
    ends: (f64, f64),
    logarithmic: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Sizes, a tick at each power of two.
    fn doubling(sizes: impl Iterator<Item = f64>) -> Axis {
        let (least, most) = ends(sizes);
        let all = (-20..40).map(|power| libm::exp2(f64::from(power)));
        let ticks = all.filter(|tick| (least..=most).contains(tick)).map(|tick| (tick, format!("{tick}"))).collect();
        Axis { ends: (least, most), logarithmic: true, ticks }
    }

    fn of(unit: Unit, heights: impl Iterator<Item = f64>) -> Axis {
        let (least, most) = ends(heights);
        let round = |power: i32| [1.0, 2.0, 5.0].map(|digit| digit * libm::pow(10.0, f64::from(power)));
        match unit {
            Unit::Seconds => {
                let all: Vec<f64> = (-12..6).flat_map(round).collect();
                let from = all.iter().copied().rfind(|tick| *tick <= least).unwrap_or(least);
                let to = all.iter().copied().find(|tick| *tick >= most).unwrap_or(most);
                let inside = all.into_iter().filter(|tick| (from..=to).contains(tick));
                Axis { ends: (from, to), logarithmic: true, ticks: inside.map(|tick| (tick, duration(tick))).collect() }
            }
            Unit::Times => {
                let step = (-6..9).flat_map(round).find(|step| 6.0 * step >= most).unwrap_or(most);
                let tick = |i: u32| (f64::from(i) * step, format!("{} ×", short(f64::from(i) * step)));
                let count = (most / step).ceil() as u32;
                Axis {
                    ends: (0.0, f64::from(count) * step),
                    logarithmic: false,
                    ticks: (0..=count).map(tick).collect(),
                }
            }
        }
    }

    /// Where a number lies between the ends, 0 to 1.
    fn share(&self, number: f64) -> f64 {
        let (from, to) = self.ends;
        let along = |number: f64| if self.logarithmic { libm::log2(number / from) } else { number - from };
        if to > from { along(number) / along(to) } else { 0.5 }
    }
}

/// Least and most; from 1 to 1 where there is nothing.
fn ends(numbers: impl Iterator<Item = f64>) -> (f64, f64) {
    let ends = numbers.fold((f64::INFINITY, 0.0f64), |(least, most), number| (least.min(number), most.max(number)));
    if ends.0 <= ends.1 { ends } else { (1.0, 1.0) }
}

fn across(sizes: &Axis, x: f64) -> f64 {
    short(LEFT + (RIGHT - LEFT) * sizes.share(x))
}

fn up(heights: &Axis, y: f64) -> f64 {
    short(BOTTOM - (BOTTOM - TOP) * heights.share(y))
}

fn grid(sizes: &Axis, heights: &Axis, x: &str) -> String {
    let mut body = String::new();
    for (tick, label) in &sizes.ticks {
        let at = across(sizes, *tick);
        body += &format!("<path class=\"grid\" d=\"M{at} {TOP}V{BOTTOM}\"/>\n");
        body += &text("text small middle", at, BOTTOM + 18.0, label);
    }
    for (tick, label) in &heights.ticks {
        let at = up(heights, *tick);
        body += &format!("<path class=\"grid\" d=\"M{LEFT} {at}H{RIGHT}\"/>\n");
        body += &text("text small end", LEFT - 8.0, at + 4.5, label);
    }
    body + &text("text small middle", (LEFT + RIGHT) / 2.0, BOTTOM + 38.0, x)
}

fn drawn(i: usize, line: &Line, sizes: &Axis, heights: &Axis) -> String {
    let places: Vec<(f64, f64)> = line.points.iter().map(|(x, y)| (across(sizes, *x), up(heights, *y))).collect();
    let path: Vec<String> = places.iter().map(|(x, y)| format!("{x} {y}")).collect();
    let mut body =
        format!("<path class=\"line l{i}\" stroke-dasharray=\"{}\" d=\"M{}\"/>\n", DASHES[i], path.join("L"));
    places.iter().for_each(|(x, y)| body += &mark(i, *x, *y));
    body
}

/// A circle, a square, a triangle, a diamond.
fn mark(i: usize, x: f64, y: f64) -> String {
    let shape = match i {
        0 => "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0",
        1 => "m-3.5 -3.5h7v7h-7z",
        2 => "m0 -5l4.5 8h-9z",
        _ => "m0 -5l5 5l-5 5l-5 -5z",
    };
    format!("<path class=\"l{i}\" d=\"M{x} {y}{shape}\"/>\n")
}

/// A line's sample and its name, below the chart.
fn named(i: usize, name: &str) -> String {
    let y = BOTTOM + 62.0 + 24.0 * i as f64;
    let sample = format!("<path class=\"line l{i}\" stroke-dasharray=\"{}\" d=\"M{LEFT} {y}h40\"/>\n", DASHES[i]);
    sample + &mark(i, LEFT + 20.0, y) + &text("text small", LEFT + 52.0, y + 4.5, name)
}

fn text(class: &str, x: f64, y: f64, text: &str) -> String {
    format!("<text class=\"{class}\" x=\"{}\" y=\"{}\">{}</text>\n", short(x), short(y), escape(text))
}

/// For those who do not see it: each line's points.
fn told(chart: &Chart, words: &Words) -> String {
    let height = |y: f64| match chart.y.1 {
        Unit::Seconds => duration(y),
        Unit::Times => format!("{y:.2} ×"),
    };
    let mut told = words.say("curve_said", &[("y", &chart.y.0), ("x", &chart.x)]);
    for line in &chart.lines {
        let points: Vec<String> = line.points.iter().map(|(x, y)| format!("{x}: {}", height(*y))).collect();
        write!(told, " {}: {}.", line.name, points.join(words.get("and"))).expect("writing to a String");
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(unit: Unit, points: Vec<(f64, f64)>) -> Chart {
        let line = Line { name: "a < b".into(), points };
        Chart { title: "t".into(), x: "heads".into(), y: ("time".into(), unit), lines: vec![line; 2] }
    }

    #[test]
    fn points_lie_where_their_axes_say() {
        let sizes = Axis::doubling([1.0, 2.0, 8.0].into_iter());
        assert_eq!([1.0, 2.0, 8.0].map(|x| sizes.share(x)), [0.0, 1.0 / 3.0, 1.0]);
        assert_eq!(sizes.ticks.iter().map(|(_, label)| &label[..]).collect::<Vec<_>>(), ["1", "2", "4", "8"]);
        let heights = Axis::of(Unit::Seconds, [3e-6, 4e-5].into_iter());
        let labels: Vec<&str> = heights.ticks.iter().map(|(_, label)| &label[..]).collect();
        assert_eq!(labels, ["2.00 µs", "5.00 µs", "10.0 µs", "20.0 µs", "50.0 µs"]);
        let times = Axis::of(Unit::Times, [1.0, 1.5].into_iter());
        assert_eq!((times.ends, times.ticks.len()), ((0.0, 1.5), 4));
    }

    #[test]
    fn nothing_and_one_point_can_be_drawn_too() {
        for points in [vec![], vec![(4.0, 1e-3)]] {
            for unit in [Unit::Seconds, Unit::Times] {
                let text = svg(&chart(unit, points.clone()), Lang::En);
                assert!(text.ends_with("</svg>\n") && text.contains("a &lt; b") && !text.contains("NaN"), "{text}");
            }
        }
    }
}
