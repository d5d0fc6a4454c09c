//! JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it, for the filter `tojson`.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};
use std::fmt::Write as _;

/// Deepest nesting.
const DEPTH_MAX: usize = 64;
/// Widest indentation of a level.
const INDENT_MAX: usize = 16;

/// `indent`: spaces a level, each item on a line of its own; none: all on one line.
pub(super) fn write(state: &State, value: &Value, indent: Option<usize>) -> Result<String, Error> {
    if indent.is_some_and(|indent| indent > INDENT_MAX) {
        return Err(bad(format!("tojson: an indent above {INDENT_MAX}")));
    }
    let mut writer = Writer { state, indent, text: String::new(), depth: 0 };
    writer.value(value)?;
    Ok(writer.text)
}

fn bad(what: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}

struct Writer<'a> {
    state: &'a State<'a, 'a>,
    indent: Option<usize>,
    text: String,
    depth: usize,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value) -> Result<(), Error> {
        self.state.consume_fuel(1)?;
        match value.kind() {
            ValueKind::None | ValueKind::Undefined => self.text.push_str("null"),
            ValueKind::Bool => self.text.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => {
                let _ = write!(self.text, "{value}");
            }
            ValueKind::String => self.string(value.as_str().unwrap_or_default())?,
            ValueKind::Seq | ValueKind::Iterable => {
                let each = |w: &mut Self, item: Value| w.value(&item);
                self.items(['[', ']'], value, each)?;
            }
            ValueKind::Map => self.items(['{', '}'], value, |w, key| {
                w.string(&key.to_string())?;
                w.text.push_str(": ");
                w.value(&value.get_item(&key)?)
            })?,
            kind => return Err(bad(format!("tojson: {kind} has no JSON"))),
        }
        Ok(())
    }

    fn items(
        &mut self,
        [open, close]: [char; 2],
        value: &Value,
        each: impl Fn(&mut Self, Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(bad(format!("tojson: nested deeper than {DEPTH_MAX}")));
        }
        self.text.push(open);
        let mut any = false;
        for item in value.try_iter()? {
            if any {
                self.text.push_str(if self.indent.is_some() { "," } else { ", " });
            }
            any = true;
            self.line();
            each(self, item)?;
        }
        self.depth -= 1;
        if any {
            self.line();
        }
        self.text.push(close);
        Ok(())
    }

    fn line(&mut self) {
        if let Some(indent) = self.indent {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n(' ', indent * self.depth));
        }
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        self.state.consume_fuel(text.len() as u64 / 64)?;
        self.text.push('"');
        for c in text.chars() {
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                c if c < ' ' => {
                    let _ = write!(self.text, "\\u{:04x}", c as u32);
                }
                c => self.text.push(c),
            }
        }
        self.text.push('"');
        Ok(())
    }
}
