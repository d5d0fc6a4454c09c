//! Cuts text into words before any merging.
//!
//! Patterns run in linear time and bounded memory (the `regex` crate, which has no look-around). The one look-around that
//! vocabularies use, `\s+(?!\S)` at the end, is done by hand: spaces before a word leave their last one to the word.

use regex::{Regex, RegexBuilder};
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
    patterns: Vec<Pattern>,
    /// Canonical composition (NFC) first.
    compose: bool,
}

/// A pattern without look-around.
#[derive(Debug)]
struct Pattern {
    /// With `leaves_last`, the last group is the spaces of its last alternative.
    regex: Regex,
    /// Spaces that are followed by something else leave their last one.
    leaves_last: bool,
}

/// Longest pattern.
const PATTERN_BYTES_MAX: usize = 4096;
/// Most memory for each of a pattern's automata.
const COMPILED_BYTES_MAX: usize = 1 << 20;
/// Most patterns.
const PATTERNS_MAX: usize = 6;

impl Splitter {
    pub(crate) fn new<'a>(patterns: impl IntoIterator<Item = &'a str>, compose: bool) -> Result<Splitter, String> {
        let patterns: Vec<&str> = patterns.into_iter().collect();
        if patterns.len() > PATTERNS_MAX {
            return Err(format!("{} patterns; at most {PATTERNS_MAX} are taken", patterns.len()));
        }
        let patterns = patterns.into_iter().map(Pattern::new).collect::<Result<_, _>>()?;
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
    pub(crate) fn words<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let mut words = vec![text];
        for pattern in &self.patterns {
            let mut finer = Vec::with_capacity(words.len());
            words.into_iter().for_each(|word| pattern.cut(word, &mut finer));
            words = finer;
        }
        words
    }
}

impl Pattern {
    fn new(pattern: &str) -> Result<Pattern, String> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(format!("a pattern of {} bytes; at most {PATTERN_BYTES_MAX} are taken", pattern.len()));
        }
        let front = pattern.strip_suffix(r"|\s+").unwrap_or(pattern).strip_suffix(r"|\s+(?!\S)");
        let text = front.map_or(pattern.into(), |front| format!(r"{front}|(\s+)"));
        let regex = RegexBuilder::new(&text).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX).build();
        let regex = regex.map_err(|e| format!("a pattern that does not compile: {e}"))?;
        Ok(Pattern { regex, leaves_last: front.is_some() })
    }

    fn cut<'a>(&self, text: &'a str, into: &mut Vec<&'a str>) {
        // `start`: of what is not yet cut; `at`: where to search
        let (mut start, mut at) = (0, 0);
        while let Some(found) = self.regex.find_at(text, at) {
            let end = found.end() - self.left(text, found.start(), found.end());
            if end == found.start() {
                let Some(next) = text[end..].chars().next() else { break };
                at = end + next.len_utf8();
                continue;
            }
            if start < found.start() {
                into.push(&text[start..found.start()]);
            }
            into.push(&text[found.start()..end]);
            (start, at) = (end, end);
        }
        if start < text.len() {
            into.push(&text[start..]);
        }
    }

    /// Bytes that a match leaves to the next word: its last character, where it is several spaces before something else.
    fn left(&self, text: &str, start: usize, end: usize) -> usize {
        let found = &text[start..end];
        let last = found.chars().next_back().map_or(0, char::len_utf8);
        let spaces =
            self.leaves_last && last < found.len() && end < text.len() && found.chars().all(char::is_whitespace);
        let group = self.regex.captures_len() - 1;
        let in_group = || self.regex.captures_at(text, start).is_some_and(|c| c.get(group).is_some());
        if spaces && in_group() { last } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT, GPT2, LLAMA3, QWEN2, Splitter, TEKKEN};
    use proptest::prelude::*;
    use std::sync::LazyLock;
    use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior};

    /// Each pattern by us, and by the `tokenizers` crate, whose patterns have look-around.
    static PATTERNS: LazyLock<Vec<(Splitter, Split)>> = LazyLock::new(|| {
        let both = |pattern: &str| {
            let ours = Splitter::new([pattern], false).expect("it compiles");
            let pattern = SplitPattern::Regex(pattern.into());
            let theirs = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).expect("it compiles");
            (ours, theirs)
        };
        [GPT2, LLAMA3, QWEN2, TEKKEN].map(both).into()
    });
    static FOUR: LazyLock<Splitter> = LazyLock::new(|| Splitter::new(DEFAULT, false).expect("they compile"));

    fn words(split: &Split, text: &str) -> Vec<String> {
        let mut words = PreTokenizedString::from(text);
        split.pre_tokenize(&mut words).expect("it splits");
        let words = words.get_splits(OffsetReferential::Original, OffsetType::Byte);
        words.into_iter().map(|(word, _, _)| word.to_string()).filter(|word| !word.is_empty()).collect()
    }

    proptest! {
        #[test]
        fn same_words_as_with_look_around(text in r"[a-cA-C0-9 \n\r\t'sS.,!/_é你\u{301}\u{a0}\u{3000}ǅ½]{0,40}") {
            for (ours, theirs) in PATTERNS.iter() {
                prop_assert_eq!(ours.words(&text), words(theirs, &text), "{:?}", ours);
            }
        }

        #[test]
        fn nothing_is_left_out(text in r"\PC{0,40}[ \n]{0,4}\PC{0,9}") {
            prop_assert_eq!(FOUR.words(&text).concat(), text);
        }
    }
}
