//! The demo on the terminal: sentences, slots, digests, one layer, tables; 80 columns.

use super::example::Example;
use super::stage::{Ran, Stage};
use super::words::{self, Words};
use super::{EVEN, STEPS, Slots};
use crate::form;
use crate::lang::Lang;
use crate::output::{BAD, BOLD, GOOD, si, styled};
use crate::table::{Table, facts};
use headsaw::draw::Picture;
use headsaw::grain::Speedups;
use headsaw::trace::Pair;
use headsaw::units::Bytes;
use unicode_width::UnicodeWidthStr;

/// Columns that are enough.
const COLUMNS: usize = 80;

/// The two cuts.
pub fn opening(stage: &Stage, each: u32, slots: Slots) -> String {
    let (words, spec) = (stage.words, &stage.model.spec);
    let size = Bytes(stage.model.file.as_ref().map_or(0, |file| file.bytes())).to_string();
    format!(
        "{}\n\n{}\n{}\n{}\n{}\n",
        styled(BOLD, &(words.opening)(spec.layers, spec.heads, &size)),
        (words.heads)(spec.heads, EVEN, each),
        (words.steps)(each, STEPS, slots.serial),
        slots_table(stage.lang, each, slots),
        (words.slots)(each, STEPS, slots.serial, slots.pipelined, 100.0 * bubble(slots, each)),
    )
}

/// The 3 steps of each head in their slots: step `s` of head `h` in slot `h + s`.
fn slots_table(lang: Lang, heads: u32, slots: Slots) -> String {
    let words = words::of(lang);
    let headings: Vec<String> = (1..=slots.pipelined).map(|slot| format!("<{}", (words.slot)(slot))).collect();
    let mut columns = vec!["<"];
    columns.extend(headings.iter().map(String::as_str));
    let mut table = Table::new(&columns);
    for (step, name) in (0..STEPS).zip(["project", "attend", "merge"]) {
        let cell = |slot: u32| match slot.checked_sub(step) {
            Some(head) if head < heads => (words.head)(head + 1),
            _ => "·".into(),
        };
        table.row(std::iter::once(lang.step(name)).chain((0..slots.pipelined).map(cell)).collect());
    }
    table.show()
}

/// Idle lane-slots over all lane-slots.
fn bubble(slots: Slots, heads: u32) -> f64 {
    1.0 - f64::from(heads) / f64::from(slots.pipelined)
}

/// What was generated, uncut.
pub fn text(stage: &Stage, ran: &Ran) -> String {
    let text = wrapped(&format!("{}{}", stage.args.prompt, ran.text), COLUMNS - 2);
    format!("\n{}\n{text}\n", styled(BOLD, stage.words.uncut))
}

/// Lines of at most so many columns where there are spaces, indented by two.
fn wrapped(text: &str, columns: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && line.width() + 1 + word.width() > columns {
                lines.push(std::mem::take(&mut line));
            }
            line += if line.is_empty() { "" } else { " " };
            line += word;
        }
        lines.push(line);
    }
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

/// A digest a run, under the heads of its devices.
pub fn digests(words: &Words, runs: [&Ran; 3], equal: bool) -> String {
    let lines: Vec<(&str, String)> = runs.iter().map(|ran| (ran.heads.as_str(), ran.digest.clone())).collect();
    let verdict = if equal { styled(GOOD, words.same) } else { styled(BAD, words.different) };
    format!("{}\n{}{verdict}\n\n", styled(BOLD, words.digests), facts(&lines))
}

/// One layer predicted and measured, where the time goes, and what overlapping gains.
pub fn example(stage: &Stage, example: &Example, slots: Slots) -> String {
    let words = stage.words;
    let pictures = [&example.layer.predicted, &example.layer.measured].map(of_first_device);
    format!(
        "{}\n{}\n{}{}\n{}\n{}{}\n",
        dense(&form::text(&pictures, COLUMNS, stage.lang)),
        styled(BOLD, &(words.predicted)(example.tokens, example.rounds)),
        steps(stage, example),
        words.calibrate,
        styled(BOLD, words.gains),
        speedups(words, &example.grain.speedups, slots, example.rounds),
        why(words, example),
    )
}

/// Without empty lines.
fn dense(text: &str) -> String {
    text.lines().filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}

/// The lanes of the first device alone.
fn of_first_device(picture: &Picture) -> Picture {
    let rows: Vec<_> = picture.devices().next().map(<[_]>::to_vec).unwrap_or_default();
    let bars = picture.bars.iter().filter(|bar| (bar.row as usize) < rows.len()).cloned().collect();
    Picture { rows, bars, flows: Vec::new(), ..picture.clone() }
}

/// The steps of heads, exchanges, all else, and the whole passage.
fn steps(stage: &Stage, example: &Example) -> String {
    let words = stage.words;
    let mut table = Table::new(&words.columns);
    let mut row = |name: &str, pair: Pair<f64>| {
        let error = pair.error().map_or("–".into(), |error| format!("{:+.0} %", 100.0 * error));
        table.row(vec![name.into(), si(pair.predicted, "s"), si(pair.measured, "s"), error]);
    };
    let named = |name: &str| ["project", "attend", "merge", "exchange"].contains(&name);
    let (named, rest): (Vec<_>, Vec<_>) = example.steps().into_iter().partition(|(name, _)| named(name));
    named.into_iter().for_each(|(name, pair)| row(&stage.lang.step(name), pair));
    let sum = |side: fn(&Pair<f64>) -> f64| rest.iter().map(|(_, pair)| side(pair)).sum();
    row(words.rest, Pair { predicted: sum(|pair| pair.predicted), measured: sum(|pair| pair.measured) });
    row(words.passage, example.times());
    table.show()
}

/// The four numbers.
fn speedups(words: &Words, gains: &Speedups, slots: Slots, rounds: usize) -> String {
    let times = |gain: f64| format!("{gain:.2} ×");
    let [ideal, on_lanes, real] = words.gain_names;
    let counted = format!("{} → {}", slots.serial, slots.pipelined);
    let mut table = Table::new(&["<", words.slots_heading, words.gain_heading]);
    table.row(vec![ideal.into(), counted, times(gains.ideal)]);
    table.row(vec![on_lanes.into(), String::new(), times(gains.on_lanes)]);
    table.row(vec![real.into(), String::new(), times(gains.with_real_steps)]);
    table.row(vec![(words.measured)(rounds), String::new(), gains.measured.map_or("–".into(), times)]);
    table.show()
}

/// Why the measured gain is none, where it is none.
fn why(words: &Words, example: &Example) -> String {
    if example.grain.speedups.measured.is_none_or(|gain| gain >= 1.0) {
        return String::new();
    }
    let plan = &example.forecast.plan;
    let lanes = plan.devices.len() * plan.lanes as usize;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if lanes > cores { (words.shared)(lanes, cores) } else { words.fine.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_heads_of_three_steps_take_four_slots() {
        let slots = Slots { serial: 2 * STEPS, pipelined: 2 + STEPS - 1 };
        assert_eq!(bubble(slots, 2), 0.5);
        let text = anstream::adapter::strip_str(&slots_table(Lang::En, 2, slots)).to_string();
        assert!(text.contains("project  head 1  head 2  ·       ·"), "{text}");
        assert!(text.contains("merge    ·       ·       head 1  head 2"), "{text}");
    }

    #[test]
    fn lines_end_at_spaces() {
        assert_eq!(wrapped("one two three\nfour", 7), "  one two\n  three\n  four\n");
        assert_eq!(wrapped("seventeen", 7), "  seventeen\n");
    }
}
