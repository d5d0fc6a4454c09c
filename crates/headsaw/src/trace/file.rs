//! A trace as a file that people keep: the plan, what went through it, and when everything happened.

use super::{Load, Rounds, Source, Span, Trace};
use crate::plan::Plan;
use crate::program::Program;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// The format of trace files that this version writes and reads.
pub const FORMAT: u32 = 1;

/// Spans that a file may hold: what fits into a quarter of a gigabyte.
pub const SPANS_MOST: usize = 4_000_000;

/// A trace with all that is needed to read it. The program is not kept: the plan is lowered again.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceFile {
    /// 1.
    pub format: u32,
    /// Predicted, or measured on which machine.
    pub source: Source,
    /// What was played or run.
    pub plan: Plan,
    /// The cluster that it was predicted for, as named to headsaw.
    #[serde(default)]
    pub cluster: Option<String>,
    /// How links between devices were slowed down: `1Gbit/s,50us`.
    #[serde(default)]
    pub link: Option<String>,
    /// What each slot carried, round by round; a slot without rows was empty.
    pub rounds: Rounds,
    /// Lane by lane, each in order; in the file `[lane, action, round, start, end]`.
    #[serde(deserialize_with = "spans::read")]
    pub spans: Vec<Span>,
}

/// All but the long lists.
#[derive(Serialize)]
struct Head<'a> {
    format: u32,
    source: &'a Source,
    plan: &'a Plan,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: &'a Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: &'a Option<String>,
}

/// A text that is no trace file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct NoTrace {
    /// Where, from 1.
    pub line: usize,
    /// Where, from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
}

impl From<serde_json::Error> for NoTrace {
    fn from(error: serde_json::Error) -> NoTrace {
        let what = error.to_string();
        let what = what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what);
        NoTrace { line: error.line(), column: error.column(), what: what.into() }
    }
}

impl TraceFile {
    /// Reads a file's text. Whether its parts fit together is another question: `verify::traced` answers it.
    ///
    /// # Errors
    /// Where it is no JSON, lacks a field or has an unknown one, or is of another format; with the place.
    pub fn read(text: &str) -> Result<TraceFile, NoTrace> {
        let file: TraceFile = serde_json::from_str(text)?;
        if file.format != FORMAT {
            let what = format!("format: expected {FORMAT}, got {}", file.format);
            return Err(NoTrace { line: 1, column: 1, what });
        }
        Ok(file)
    }

    /// The file's text: a round a line, a span a line.
    pub fn text(&self) -> String {
        let TraceFile { format, source, plan, cluster, link, .. } = self;
        let head = Head { format: *format, source, plan, cluster, link };
        let mut text = serde_json::to_string_pretty(&head).expect("plain data");
        text.truncate(text.len() - "\n}".len());
        let round = |slots: &Vec<Load>| serde_json::to_string(slots).expect("plain data");
        list(&mut text, "rounds", self.rounds.0.iter().map(round));
        list(&mut text, "spans", self.spans.iter().map(spans::text));
        text + "\n}\n"
    }

    /// The trace of the program that the plan was lowered to.
    pub fn into_trace(self, program: &Program) -> Trace {
        Trace { source: self.source, lanes: Trace::lanes_of(program), spans: self.spans }
    }
}

/// Appends a field with an element a line.
fn list(text: &mut String, name: &str, items: impl Iterator<Item = String>) {
    write!(text, ",\n  \"{name}\": [").expect("writing to a String");
    for (i, item) in items.enumerate() {
        write!(text, "{}\n    {item}", if i > 0 { "," } else { "" }).expect("writing to a String");
    }
    *text += "\n  ]";
}

/// Spans as short lists.
mod spans {
    use super::{SPANS_MOST, Span};
    use crate::units::Seconds;
    use serde::Deserializer;
    use serde::de::{Error, SeqAccess, Visitor};
    use std::fmt;

    /// `[lane, action, round, start, end]`.
    type Row = (u32, u32, u32, f64, f64);

    pub fn text(span: &Span) -> String {
        let row: Row = (span.lane, span.action, span.round, span.start.0, span.end.0);
        serde_json::to_string(&row).expect("plain data")
    }

    pub fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Span>, D::Error> {
        from.deserialize_seq(Rows)
    }

    struct Rows;

    impl<'de> Visitor<'de> for Rows {
        type Value = Vec<Span>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("spans as [lane, action, round, start, end]")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Vec<Span>, A::Error> {
            let mut spans = Vec::new();
            let at =
                |i: usize, error| A::Error::custom(format!("spans[{i}], [lane, action, round, start, end]: {error}"));
            while let Some(row) = rows.next_element::<Row>().map_err(|error| at(spans.len(), error))? {
                if spans.len() == SPANS_MOST {
                    return Err(A::Error::custom(format!("spans: expected at most {SPANS_MOST}")));
                }
                let (lane, action, round, start, end) = row;
                spans.push(Span { lane, action, round, start: Seconds(start), end: Seconds(end) });
            }
            Ok(spans)
        }
    }
}
