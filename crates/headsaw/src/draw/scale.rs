//! Time in words, and where an axis has its ticks.

use super::{Picture, Words};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A mark of an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    /// Seconds.
    pub at: f64,
    /// What it says; without a unit.
    pub label: String,
}

/// An axis with at most so many ticks.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// `ms`, `slots`.
    pub unit: String,
    /// In order, all inside the window.
    pub ticks: Vec<Tick>,
}

const UNITS: [(f64, &str); 4] = [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")];

/// The largest unit that a time has one of.
fn unit(seconds: f64) -> (f64, &'static str) {
    UNITS.into_iter().find(|(one, _)| seconds.abs() >= 0.9995 * one).unwrap_or(UNITS[3])
}

/// Three significant digits: `1.25 ms`, `40.0 µs`.
pub fn duration(seconds: f64) -> String {
    if seconds == 0.0 {
        return "0 s".into();
    }
    let (one, name) = unit(seconds);
    let value = seconds / one;
    let digits = match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {name}")
}

/// The axis of so many seconds from the beginning of a picture on: ticks 1, 2 or 5 times a power of ten apart.
pub fn axis(picture: &Picture, seconds: f64, most: usize, words: &Words) -> Axis {
    let (from, to) = (picture.window.0, picture.window.0 + seconds);
    match picture.slot {
        Some(slot) => {
            let ticks = ticks(picture.whole.0, (from, to), slot, most, 1.0);
            Axis { unit: words.get("slots_unit").into(), ticks }
        }
        None => {
            let (one, name) = unit(from.abs().max(to.abs()));
            Axis { unit: name.into(), ticks: ticks(0.0, (from, to), one, most, 0.0) }
        }
    }
}

/// Ticks from `zero` on, counted in `one`.
fn ticks(zero: f64, (from, to): (f64, f64), one: f64, most: usize, least: f64) -> Vec<Tick> {
    let (from, to) = ((from - zero) / one, (to - zero) / one);
    let step = step((to - from) / most.max(1) as f64).max(least);
    let enough = step > 0.0 && step.is_finite();
    let first = (from / step - 1e-6).ceil();
    let count = if enough { ((to / step + 1e-6).floor() - first + 1.0).clamp(0.0, most as f64 + 2.0) } else { 0.0 };
    let digits = (-libm::log10(step).floor()).clamp(0.0, 9.0) as usize;
    let tick = |i: usize| (first + i as f64) * step;
    (0..count as usize)
        .map(|i| Tick { at: zero + tick(i) * one, label: format!("{:.digits$}", tick(i) + 0.0) })
        .collect()
}

/// The next number of 1, 2, 5 times a power of ten.
pub fn step(least: f64) -> f64 {
    if least.is_nan() || least <= 0.0 {
        return 0.0;
    }
    let power = libm::pow(10.0, libm::log10(least).floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|step| *step >= least * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

/// Words in lines of at most `width` columns; a longer word has a line of its own. Chinese breaks anywhere but before a
/// mark that closes and after one that opens.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (space, piece) in text.split_whitespace().flat_map(pieces) {
        match lines.last_mut() {
            Some(line) if line.width() + usize::from(space) + piece.width() <= width => {
                *line += if space { " " } else { "" };
                *line += piece;
            }
            _ => lines.push(piece.into()),
        }
    }
    lines
}

/// A word in pieces between which a line may end, each with whether a space goes before it.
fn pieces(word: &str) -> Vec<(bool, &str)> {
    let wide = |letter: char| letter.width() == Some(2);
    let ends = |before: char, after: char| {
        (wide(before) || wide(after)) && !"，。：；、）？！…".contains(after) && !"（".contains(before)
    };
    let (mut pieces, mut start) = (Vec::new(), 0);
    for ((_, before), (at, after)) in word.char_indices().zip(word.char_indices().skip(1)) {
        if ends(before, after) {
            pieces.push((start == 0, &word[start..at]));
            start = at;
        }
    }
    pieces.push((start == 0, &word[start..]));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        let shown = [(0.0, "0 s"), (1.5, "1.50 s"), (0.00125, "1.25 ms"), (4e-5, "40.0 µs"), (9.9999e-4, "1.00 ms")];
        for (seconds, words) in shown {
            assert_eq!(duration(seconds), words);
        }
        assert_eq!(duration(3e-12), "0.00 ns");
    }

    #[test]
    fn lines_end_at_spaces_and_inside_of_chinese() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("seventeen", 7), ["seventeen"]);
        assert_eq!(wrap("预测：1.25 ms；空闲（全部）。", 9), ["预测：", "1.25 ms；", "空闲（全", "部）。"]);
        assert_eq!(wrap("预测：1.25 ms", 40), ["预测：1.25 ms"]);
    }

    #[test]
    fn ticks_are_round_numbers_inside_the_window() {
        let labels = |window, one| {
            let ticks = ticks(0.0, window, one, 5, 0.0);
            ticks.into_iter().map(|tick| tick.label).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(labels((0.0, 4.0), 1.0), "0 1 2 3 4");
        assert_eq!(labels((0.0, 0.0123), 1e-3), "0 5 10");
        assert_eq!(labels((1.0, 1.001), 1.0), "1.0000 1.0002 1.0004 1.0006 1.0008 1.0010");
        assert_eq!(labels((0.0, 0.0), 1.0), "");
        assert_eq!((step(0.3), step(2.0), step(f64::NAN)), (0.5, 2.0, 0.0));
    }
}
