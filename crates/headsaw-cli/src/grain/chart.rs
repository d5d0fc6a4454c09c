//! Bars of a curve in characters: they read the same without colours.

use crate::output::{BOLD, si, styled};
use unicode_width::UnicodeWidthStr;

/// A point of a curve.
pub struct Bar {
    /// Its size, as `8`.
    pub label: String,
    /// How long the bar is.
    pub seconds: f64,
    /// What stands behind it.
    pub notes: Vec<String>,
    /// What it is marked as.
    pub marks: Vec<&'static str>,
}

/// Places of the longest bar.
const WIDTH: usize = 28;
/// An eighth of a place to seven eighths.
const EIGHTHS: [&str; 7] = ["▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// A chart: a title, the columns (label, seconds, notes), and a line a point.
pub fn chart(title: &str, columns: &[&str], bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.seconds).fold(0.0, f64::max);
    let label = bars.iter().map(|bar| bar.label.width()).max().unwrap_or(0).max(columns[0].width());
    let notes = bars.iter().map(|bar| bar.notes.len()).max().unwrap_or(0);
    let width = |i: usize| {
        let notes = bars.iter().filter_map(|bar| bar.notes.get(i)).map(|note| note.width()).max().unwrap_or(0);
        notes.max(columns.get(2 + i).map_or(0, |column| column.width()))
    };
    let widths: Vec<usize> = (0..notes).map(width).collect();
    let line = |bar: &Bar| {
        let drawn = drawn(if most > 0.0 { bar.seconds / most } else { 0.0 });
        let mut line = format!("  {} {drawn} {:>8}", right(&bar.label, label), si(bar.seconds, "s"));
        for (note, width) in bar.notes.iter().zip(&widths) {
            line += &format!("  {}", right(note, *width));
        }
        for mark in &bar.marks {
            line += &format!("  ◂ {mark}");
        }
        line.trim_end().to_string() + "\n"
    };
    let mut heading = format!("  {} {} {}", right(columns[0], label), " ".repeat(WIDTH), right(columns[1], 8));
    for (column, width) in columns[2..].iter().zip(&widths) {
        heading += &format!("  {}", right(column, *width));
    }
    format!("\n{}\n{heading}\n{}", styled(BOLD, title), bars.iter().map(line).collect::<String>())
}

fn right(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(text.width())))
}

/// A bar of that share of the width, in eighths of a place; nothing that is there is left out.
fn drawn(share: f64) -> String {
    let eighths = ((8 * WIDTH) as f64 * share).round().max(1.0) as usize;
    let (full, rest) = (eighths / 8, eighths % 8);
    let end = if rest > 0 { EIGHTHS[rest - 1] } else { "" };
    let bar = format!("{}{end}", "█".repeat(full));
    format!("{bar}{}", " ".repeat(WIDTH.saturating_sub(bar.width())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(drawn(1.0), "█".repeat(WIDTH));
        assert_eq!(drawn(0.5).trim_end(), "█".repeat(WIDTH / 2));
        assert_eq!(drawn(0.25 + 0.5 / 28.0).trim_end(), format!("{}▌", "█".repeat(7)));
        assert_eq!(drawn(0.0).trim_end(), "▏");
    }

    #[test]
    fn marks_and_notes_stand_behind_the_bars() {
        let bar = |label: &str, seconds, marks| Bar { label: label.into(), seconds, notes: vec!["5 %".into()], marks };
        let text = chart(
            "Curve",
            &["heads", "time", "lost"],
            &[bar("1", 1e-6, vec![]), bar("16", 2e-6, vec!["knee", "here"])],
        );
        let plain = anstream::adapter::strip_str(&text).to_string();
        let lines: Vec<&str> = plain.lines().collect();
        assert_eq!(lines[1], "Curve");
        assert_eq!(lines[2], format!("  heads {}     time  lost", " ".repeat(WIDTH)));
        assert_eq!(lines[4], format!("     16 {}  2.00 µs   5 %  ◂ knee  ◂ here", "█".repeat(WIDTH)));
        assert!(lines.iter().all(|line| line.width() <= 80));
    }
}
