//! Cuts text into words before any merging.

use fancy_regex::{Regex, RegexBuilder};
use std::borrow::Cow;
use unicode_normalization::UnicodeNormalization;

/// GPT-2's pattern.
pub(crate) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Llama 3's: numbers in threes.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 2's: digit by digit.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Mistral's tekken: words also end between capitals and small letters.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// What llama.cpp does where a file names no pattern.
const DEFAULT: [&str; 4] = [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"];

/// The names of patterns in GGUF files (`tokenizer.ggml.pre`) that are known here, for messages.
pub(crate) const NAMES: &str = "gpt-2, default, smollm, llama-bpe, qwen2 or tekken";

/// The patterns of one name, and whether a word that is a token is taken whole.
pub(crate) fn by_name(name: &str) -> Option<(Vec<&'static str>, bool)> {
    Some(match name {
        "default" => (DEFAULT.to_vec(), false),
        "gpt-2" | "gpt2" => (vec![GPT2], false),
        "smollm" | "refact" | "starcoder" | "codeshell" | "minerva-7b" => (vec![r"\p{N}", GPT2], false),
        "llama3" | "llama-v3" | "llama-bpe" | "falcon3" => (vec![LLAMA3], true),
        "qwen2" | "deepseek-r1-qwen" => (vec![QWEN2], false),
        "tekken" => (vec![TEKKEN], true),
        _ => return None,
    })
}

/// Patterns that are applied one after the other; what matches, and what lies between, are the words.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    patterns: Vec<Regex>,
    /// Canonical composition (NFC) first.
    compose: bool,
}

/// Longest pattern, and most memory that a compiled one may take.
const PATTERN_BYTES_MAX: usize = 4096;
const COMPILED_BYTES_MAX: usize = 2 << 20;
/// Most patterns.
const PATTERNS_MAX: usize = 8;

impl Splitter {
    pub(crate) fn new<'a>(patterns: impl IntoIterator<Item = &'a str>, compose: bool) -> Result<Splitter, String> {
        let patterns = patterns.into_iter().map(compile).collect::<Result<Vec<Regex>, String>>()?;
        if patterns.len() > PATTERNS_MAX {
            return Err(format!("{} patterns; at most {PATTERNS_MAX} are taken", patterns.len()));
        }
        Ok(Splitter { patterns, compose })
    }

    pub(crate) fn normalise<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.compose && !unicode_normalization::is_nfc(text) {
            Cow::Owned(text.nfc().collect())
        } else {
            Cow::Borrowed(text)
        }
    }

    /// The words of `text`, in order, nothing left out.
    pub(crate) fn words<'a>(&self, text: &'a str) -> Result<Vec<&'a str>, String> {
        let mut words = vec![text];
        for pattern in &self.patterns {
            let mut finer = Vec::with_capacity(words.len());
            for word in words {
                cut(pattern, word, &mut finer)?;
            }
            words = finer;
        }
        Ok(words)
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("a pattern of {} bytes; at most {PATTERN_BYTES_MAX} are taken", pattern.len()));
    }
    RegexBuilder::new(pattern)
        .delegate_size_limit(COMPILED_BYTES_MAX)
        .delegate_dfa_size_limit(COMPILED_BYTES_MAX)
        .build()
        .map_err(|e| format!("a pattern that does not compile: {e}"))
}

fn cut<'a>(pattern: &Regex, word: &'a str, into: &mut Vec<&'a str>) -> Result<(), String> {
    let mut at = 0;
    for found in pattern.find_iter(word) {
        let found = found.map_err(|e| format!("the word pattern gives up on this text: {e}"))?;
        if found.start() > at {
            into.push(&word[at..found.start()]);
        }
        if !found.as_str().is_empty() {
            into.push(found.as_str());
        }
        at = found.end();
    }
    if at < word.len() {
        into.push(&word[at..]);
    }
    Ok(())
}
