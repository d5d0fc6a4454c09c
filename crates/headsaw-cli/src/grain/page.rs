//! The answer as a part of the web page: the same sentences and tables as on the terminal, and the curves.

use super::told::{Teller, percent, shares};
use crate::output::si;
use crate::table::{Align, Table};
use headsaw::draw::html::{Cell, Column, CurveView, GrainView, Number, PointView, Sheet};
use headsaw::grain::{Curve, HeadPoint, Point};

/// All of it.
pub fn view(teller: &Teller) -> GrainView {
    let words = teller.words;
    let changes = teller.changes();
    let changes = if changes.is_empty() { vec![words.no_change.into()] } else { changes };
    let (overlaps, flips) = teller.overlaps_table();
    GrainView {
        headline: teller.headline(),
        facts: teller.facts().to_vec(),
        numbers: teller.speedups().into_iter().map(|[name, value, note]| Number { name, value, note }).collect(),
        verdict: teller.judged(),
        reasons: [teller.reasons(), teller.claims()].concat(),
        smallest: teller.smallest(),
        change: (words.change.into(), changes),
        curves: curves(teller),
        sheets: [
            Some(sheet(words.levels, teller.levels_table(), String::new())),
            Some(losses(teller)),
            Some(sheet(words.overlaps, overlaps, flips)),
            beside(teller),
        ]
        .into_iter()
        .flatten()
        .collect(),
    }
}

/// What was measured, beside what was predicted.
fn beside(teller: &Teller) -> Option<Sheet> {
    let (table, note) = teller.beside_table()?;
    Some(sheet(teller.words.beside, table, note))
}

fn sheet(title: &str, table: Table, note: String) -> Sheet {
    let (columns, rows) = table.parts();
    let columns = columns.into_iter().map(|(name, align)| Column { name, words: align == Align::Left });
    let cells = |row: Vec<String>| row.into_iter().map(|text| Cell { text, share: None }).collect();
    Sheet { title: title.into(), columns: columns.collect(), rows: rows.into_iter().map(cells).collect(), note }
}

/// Losses, the larger the darker.
fn losses(teller: &Teller) -> Sheet {
    let mut sheet = sheet(teller.words.losses, teller.losses_table(), String::new());
    for (row, level) in sheet.rows.iter_mut().zip(&teller.grain.levels) {
        let [lost @ .., _] = shares(level);
        for (cell, share) in row[2..].iter_mut().zip(lost) {
            cell.share = (share >= 5e-4).then_some(share);
        }
    }
    sheet
}

fn curves(teller: &Teller) -> Vec<CurveView> {
    let (grain, words) = (teller.grain, teller.words);
    let [heads, chunk, steps, tp] = words.charts;
    let mark = |there: bool, word: &str| there.then(|| word.to_string());
    let [knee, here, enough] = words.marks;
    let of_heads = |point: &HeadPoint| PointView {
        size: point.heads,
        seconds: point.seconds,
        measured: None,
        notes: vec![si(point.half_seconds, "s"), si(point.exchange_seconds, "s"), percent(point.loss)],
        mark: mark(point.knee, knee),
        here: mark(point.choice, here),
    };
    let of_size = |point: &Point| PointView {
        size: point.size,
        seconds: point.seconds,
        measured: point.measured_seconds,
        notes: vec![percent(point.loss)],
        mark: mark(point.knee, enough),
        here: mark(point.choice, here),
    };
    let other = |title: &str, axis: &str, curve: &Curve<Point>| CurveView {
        title: title.into(),
        axis: axis.into(),
        notes: vec![words.columns[7].into()],
        points: curve.points.iter().map(of_size).collect(),
    };
    let notes = [words.columns[5], words.columns[6], words.columns[7]].map(String::from).to_vec();
    let points = grain.curve.points.iter().map(of_heads).collect();
    vec![
        CurveView { title: heads.into(), axis: words.columns[0].into(), notes, points },
        other(chunk, words.columns[1], &grain.chunk_curve),
        other(steps, words.columns[2], &grain.steps_curve),
        other(tp, words.columns[3], &grain.tp_curve),
    ]
}
