//! Tables of aligned columns; wide characters (CJK) take two places.

use crate::output::{BOLD, styled};
use unicode_width::UnicodeWidthStr;

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table.
#[derive(Debug)]
pub struct Table {
    head: Vec<String>,
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
}

/// Between columns.
const GAP: &str = "  ";

impl Table {
    /// A table with these columns; a heading that starts with `<` is of a column of words.
    pub fn new(columns: &[&str]) -> Table {
        let align = |c: &&str| if c.starts_with('<') { Align::Left } else { Align::Right };
        Table {
            head: columns.iter().map(|c| c.trim_start_matches('<').to_string()).collect(),
            align: columns.iter().map(align).collect(),
            rows: Vec::new(),
        }
    }

    /// One more row, a cell a column.
    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.head.len(), "a cell a column: {cells:?}");
        self.rows.push(cells);
    }

    /// Its columns, each with where its text stands, and its rows.
    pub fn parts(self) -> (Vec<(String, Align)>, Vec<Vec<String>>) {
        (self.head.into_iter().zip(self.align).collect(), self.rows)
    }

    /// The table, indented by two.
    pub fn show(&self) -> String {
        let width = |i: usize| {
            let cells = self.rows.iter().map(|row| row[i].width());
            cells.chain([self.head[i].width()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut text = format!("  {}\n", styled(BOLD, &self.line(&self.head, &widths)));
        for row in &self.rows {
            text.push_str(&format!("  {}\n", self.line(row, &widths)));
        }
        text
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = Vec::new();
        for ((cell, width), align) in cells.iter().zip(widths).zip(&self.align) {
            let space = " ".repeat(width - cell.width());
            line.push(match align {
                Align::Left => format!("{cell}{space}"),
                Align::Right => format!("{space}{cell}"),
            });
        }
        line.join(GAP).trim_end().to_string()
    }
}

/// Names and values below each other.
pub fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| format!("  {name}{}  {value}\n", " ".repeat(width - name.width()));
    facts.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_take_two_places() {
        let mut table = Table::new(&["<设备", "heads"]);
        table.row(vec!["甲".into(), "2".into()]);
        table.row(vec!["ab".into(), "10".into()]);
        let plain = anstream::adapter::strip_str(&table.show()).to_string();
        assert_eq!(plain, "  设备  heads\n  甲        2\n  ab       10\n");
    }
}
