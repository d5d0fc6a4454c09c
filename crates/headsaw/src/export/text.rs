//! An export as text: a script that starts the engine, YAML of flags.

use super::{Export, File, Flag};
use std::fmt::Write;

impl Flag {
    pub(super) fn with(name: &str, value: impl ToString) -> Flag {
        Flag { name: name.into(), value: Some(value.to_string()) }
    }

    pub(super) fn bare(name: &str) -> Flag {
        Flag { name: name.into(), value: None }
    }
}

impl Export {
    /// The script that sets the variables and starts the engine; none where there is nothing to start.
    pub fn script(&self) -> Option<String> {
        if self.program.is_empty() {
            return None;
        }
        let (package, version) = self.engine.package();
        let mut text = format!("#!/bin/sh\n# Checked with {package} {version}.\n");
        for (name, value) in &self.environment {
            writeln!(text, "export {name}={}", quoted(value)).expect("writing to a String");
        }
        let words: Vec<String> = self.program.iter().map(|word| quoted(word)).collect();
        text += &format!("exec {}", words.join(" "));
        for Flag { name, value } in &self.flags {
            let value = value.as_ref().map(|value| format!(" {}", quoted(value))).unwrap_or_default();
            write!(text, " \\\n  {name}{value}").expect("writing to a String");
        }
        Some(text + " \\\n  \"$@\"\n")
    }

    /// The flags as a YAML file, without those that differ from node to node.
    pub(super) fn yaml(&self, name: &str) -> File {
        let mut text = String::new();
        for Flag { name, value } in &self.flags {
            let key = name.trim_start_matches('-');
            match value {
                Some(value) if value.contains('$') => {}
                Some(value) => writeln!(text, "{key}: {value}").expect("writing to a String"),
                None => writeln!(text, "{key}: true").expect("writing to a String"),
            }
        }
        File { name: name.into(), text }
    }
}

/// A word for a shell. Words with `$NAME` are left to the shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,=+@%$".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_shell() {
        let words = ["--tp", "15,13", "$MASTER_ADDR:5000", "Et*13|t*15L", "it's", ""];
        let shown = ["--tp", "15,13", "$MASTER_ADDR:5000", "'Et*13|t*15L'", r"'it'\''s'", "''"];
        assert_eq!(words.map(quoted), shown);
    }
}
