//! Where words go: data to stdout, talk to stderr.

use crate::error::Failure;
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Headings.
pub const BOLD: Style = Style::new().bold();
/// What is right.
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
/// What is wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// `text` in a style; the stream takes the style out where colours are not wanted.
pub fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Prints to stdout at once.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| Failure::writing("stdout", &e))
}

/// Says something to whoever watches; nobody watching is no failure.
pub fn say(text: &str) {
    let mut err = anstream::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// Says what went wrong.
pub fn complain(message: &str) {
    say(&format!("{} {message}\n", styled(BAD, "error:")));
}

/// Prints one JSON object.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::failed)?;
    print(&(text + "\n"))
}

/// Prints one JSON object as one line, for a verb that prints several.
pub fn print_json_line(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(Failure::failed)?;
    print(&(text + "\n"))
}

/// Where a verb's own words go: to stdout, unless that is kept for JSON.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// `--json` was given.
    pub json: bool,
}

impl Screen {
    /// Shows text.
    pub fn show(self, text: &str) -> Result<(), Failure> {
        if self.json {
            say(text);
            return Ok(());
        }
        print(text)
    }
}

/// A path that cannot be written is better known before the run.
pub fn writable(path: &Path) -> Result<(), Failure> {
    let path = &target(path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(Failure::Input(format!("{}: no such folder", folder.display())));
    }
    if path.is_dir() {
        return Err(Failure::Input(format!("{}: a folder; give the name of a file", path.display())));
    }
    if is_special(path) {
        return Ok(());
    }
    let draft = draft(path);
    let tried = fs::File::create(&draft).and_then(|_| fs::remove_file(&draft));
    tried.map_err(|e| Failure::Input(format!("{}: cannot be written: {e}", path.display())))
}

/// Writes a file under another name first, so that a half-written file is never seen under its own. A device or a pipe
/// is written to as it is.
pub fn write_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let path = &target(path);
    let written = if is_special(path) { write_into(path, write) } else { replace(path, write) };
    written.map_err(|e| Failure::Failed(format!("{}: cannot be written: {e}", path.display())))
}

/// What a link leads to: that is what is meant.
fn target(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

/// There is something under this name, and it is no file.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| !meta.is_file())
}

fn draft(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.part", std::process::id()))
}

fn write_into(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut buffered = io::BufWriter::new(fs::OpenOptions::new().write(true).open(path)?);
    write(&mut buffered)?;
    buffered.flush()
}

fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let draft = draft(path);
    let written = fs::File::create(&draft).and_then(|file| {
        if let Ok(before) = fs::metadata(path) {
            file.set_permissions(before.permissions())?;
        }
        let mut buffered = io::BufWriter::new(file);
        write(&mut buffered)?;
        buffered.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&draft, path)
    });
    written.inspect_err(|_| {
        let _ = fs::remove_file(&draft);
    })
}

/// So many of something: `1 prompt`, `2 prompts`, `2 micro-batches`.
pub fn counted(number: u64, what: &str) -> String {
    let ending = match number {
        1 => "",
        _ if what.ends_with("ch") => "es",
        _ => "s",
    };
    format!("{} {what}{ending}", grouped(number))
}

/// A number with its thousands apart: `134,515,008`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three significant digits and a multiple of the unit: `989 TFLOP/s`, `3.35 TB/s`, `2.00 µs`.
pub fn si(number: f64, unit: &str) -> String {
    const MULTIPLES: [(f64, &str); 10] = [
        (1e18, "E"),
        (1e15, "P"),
        (1e12, "T"),
        (1e9, "G"),
        (1e6, "M"),
        (1e3, "k"),
        (1.0, ""),
        (1e-3, "m"),
        (1e-6, "µ"),
        (1e-9, "n"),
    ];
    let fits = |(multiple, _): &&(f64, &str)| number >= 0.9995 * multiple;
    let (multiple, prefix) =
        MULTIPLES.iter().find(fits).unwrap_or(if number == 0.0 { &MULTIPLES[6] } else { &MULTIPLES[9] });
    let value = number / multiple;
    let digits = if value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {prefix}{unit}")
}

/// Bytes as lowercase hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiples_of_units() {
        let shown = [
            (989.4e12, "989 T"),
            (3.35e12, "3.35 T"),
            (1.9789e15, "1.98 P"),
            (999.7, "1.00 k"),
            (2e-6, "2.00 µ"),
            (0.0, "0.00 "),
        ];
        for (number, expected) in shown {
            assert_eq!(si(number, ""), expected);
        }
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 1000, 134_515_008].map(grouped), ["0", "999", "1,000", "134,515,008"]);
    }
}
