//! Prompts from flags, files and standard input.

use crate::error::Failure;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where prompts come from.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Prompts")]
pub struct PromptArgs {
    /// A prompt; may be repeated, - reads it from standard input
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Vec<String>,
    /// A file of prompts: one a line, or JSON lines with a "prompt" field; - is standard input
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
}

/// Prompts are text that people wrote: more than this is a mistake.
const BYTES_MAX: u64 = 64 << 20;

impl PromptArgs {
    /// No prompt is named, nor where to read some.
    pub fn is_empty(&self) -> bool {
        self.prompt.is_empty() && self.prompts.is_none()
    }

    /// All prompts, those of `-p` first.
    pub fn read(&self) -> Result<Vec<String>, Failure> {
        let from_file = self.prompts.as_deref();
        let readers = self.prompt.iter().filter(|text| *text == "-").count();
        if readers + usize::from(from_file.is_some_and(is_stdin)) > 1 {
            return Err(Failure::input("-: standard input can be read once only"));
        }
        let mut prompts = Vec::new();
        for text in &self.prompt {
            prompts.push(if text == "-" { whole_stdin()? } else { text.clone() });
        }
        if let Some(path) = from_file {
            prompts.extend(lines(path)?);
        }
        check(&prompts)?;
        Ok(prompts)
    }
}

fn check(prompts: &[String]) -> Result<(), Failure> {
    if prompts.is_empty() {
        return Err(Failure::input("no prompt: give -p TEXT, or --prompts FILE with one a line"));
    }
    match prompts.iter().position(String::is_empty) {
        Some(i) => Err(Failure::Input(format!(
            "prompt {} of {} is empty: it needs at least one character",
            i + 1,
            prompts.len()
        ))),
        None => Ok(()),
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Standard input as one prompt, without the newline at its end.
fn whole_stdin() -> Result<String, Failure> {
    let text = read(Path::new("-"))?;
    Ok(text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text)).unwrap_or(&text).to_string())
}

fn read(path: &Path) -> Result<String, Failure> {
    let name = path.display().to_string();
    let failed = |e| Failure::reading(&name, &e);
    let mut source: Box<dyn Read> =
        if is_stdin(path) { Box::new(std::io::stdin()) } else { Box::new(std::fs::File::open(path).map_err(failed)?) };
    let mut bytes = Vec::new();
    source.by_ref().take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(Failure::Input(format!("{name}: more than {} MiB of prompts", BYTES_MAX >> 20)));
    }
    String::from_utf8(bytes)
        .map_err(|e| Failure::Input(format!("{name}: byte {}: not UTF-8 text", e.utf8_error().valid_up_to())))
}

/// One prompt a line; empty lines are left out.
fn lines(path: &Path) -> Result<Vec<String>, Failure> {
    let text = read(path)?;
    let mut prompts = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        prompts.push(if line.starts_with('{') { field(path, i + 1, line)? } else { line.to_string() });
    }
    if prompts.is_empty() {
        return Err(Failure::Input(format!("{}: no prompt in it; write one a line", path.display())));
    }
    Ok(prompts)
}

fn field(path: &Path, number: usize, line: &str) -> Result<String, Failure> {
    let at = |what: String| Failure::Input(format!("{}: line {number}: {what}", path.display()));
    let value: serde_json::Value = serde_json::from_str(line).map_err(|e| at(format!("not JSON: {e}")))?;
    let prompt = value.get("prompt").and_then(|prompt| prompt.as_str());
    prompt.map(str::to_string).ok_or_else(|| at("no \"prompt\" field with a text".into()))
}

/// A prompt short enough for a heading.
pub fn short(prompt: &str) -> String {
    let line: String = prompt.chars().map(|c| if c.is_control() { ' ' } else { c }).take(60).collect();
    if prompt.chars().count() > 60 { format!("{line}…") } else { line }
}
