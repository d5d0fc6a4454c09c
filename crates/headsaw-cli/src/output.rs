//! Where words go: data to stdout, talk to stderr.

use crate::error::Failure;
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use std::io::Write;
use std::path::Path;

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
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.is_dir() { Ok(()) } else { Err(Failure::Input(format!("{}: no such folder", folder.display()))) }
}

/// Writes a file under another name first, so that a half-written file is never seen under its own.
pub fn write_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<(), Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let written = std::fs::File::create(&draft).and_then(|file| {
        let mut buffered = std::io::BufWriter::new(file);
        write(&mut buffered)?;
        buffered.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&draft, path)
    });
    written.map_err(|e| {
        let _ = std::fs::remove_file(&draft);
        Failure::Failed(format!("{}: cannot be written: {e}", path.display()))
    })
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

/// Bytes as lowercase hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 1000, 134_515_008].map(grouped), ["0", "999", "1,000", "134,515,008"]);
    }
}
