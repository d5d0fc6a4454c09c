//! What is wrong with a cluster file, and where.

use std::cell::RefCell;
use std::fmt;

/// One thing that is wrong with a cluster file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line of the text, from 1.
    pub line: usize,
    /// The field, as a path: `kinds.h100.memory_bytes`, `levels[1].devices`; `syntax` where there is none yet.
    pub field: String,
    /// What would be accepted.
    pub expected: String,
    /// What there is.
    pub got: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: expected {}, got {}", self.line, self.field, self.expected, self.got)
    }
}

/// What there is where something is missing.
pub const NOTHING: &str = "nothing";

/// Problems as they are found in a text.
pub struct Findings<'a> {
    text: &'a str,
    /// Where lines end, but the last one: what is missing at the end is missed there.
    ends: Vec<usize>,
    found: RefCell<Vec<Problem>>,
}

impl<'a> Findings<'a> {
    /// None yet.
    pub fn new(text: &'a str) -> Findings<'a> {
        Findings {
            text,
            ends: text.trim_end().match_indices('\n').map(|(at, _)| at).collect(),
            found: RefCell::default(),
        }
    }

    /// One more, at a byte of the text.
    pub fn add(&self, at: usize, field: &str, expected: impl Into<String>, got: impl Into<String>) {
        let problem = Problem { line: self.line(at), field: field.into(), expected: expected.into(), got: got.into() };
        self.found.borrow_mut().push(problem);
    }

    /// One more, of a line that is no TOML.
    pub fn add_syntax(&self, at: usize, what: &str) {
        let start = self.ends[..self.line(at) - 1].last().map_or(0, |end| end + 1);
        let line = self.text[start..].chars().take(LINE_SHOWN).take_while(|letter| *letter != '\n').collect::<String>();
        self.add(at, SYNTAX, format!("TOML ({what})"), format!("{:?}", line.trim()));
    }

    /// Is there one at this field, or inside it?
    pub fn within(&self, field: &str) -> bool {
        let inside =
            |path: &str| path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        self.found.borrow().iter().any(|problem| inside(&problem.field))
    }

    /// All, by line. A line that is no TOML says so once and nothing else; what a broken text lacks may stand there.
    pub fn into_sorted(self) -> Vec<Problem> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|problem| problem.line);
        let broken: Vec<usize> = found.iter().filter(|p| p.field == SYNTAX).map(|p| p.line).collect();
        if !broken.is_empty() {
            found.retain(|p| p.field == SYNTAX || (p.got != NOTHING && broken.binary_search(&p.line).is_err()));
            found.dedup_by(|next, p| p.field == SYNTAX && p.line == next.line);
        }
        found
    }

    fn line(&self, at: usize) -> usize {
        self.ends.partition_point(|end| *end < at) + 1
    }
}

/// Letters of a line that are shown.
const LINE_SHOWN: usize = 60;

/// The field of what is no TOML.
const SYNTAX: &str = "syntax";
