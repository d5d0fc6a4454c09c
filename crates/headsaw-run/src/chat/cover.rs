//! Special tokens that somebody wrote in a message are covered before the template sees it, so that they stay text.

use std::borrow::Cow;
use std::collections::BTreeSet;

/// Stand-ins for first characters of special tokens: private characters that occur in none of the texts. The template
/// sees messages as they are but for these, and can trim, cut and compare them; once the special tokens that it wrote
/// itself are found, the characters come back.
#[derive(Debug)]
pub(super) struct Cover {
    taken: BTreeSet<char>,
    /// A character, and what stands for it.
    pairs: Vec<(char, char)>,
}

impl Cover {
    /// Stand-ins that are in none of these texts.
    pub(super) fn unlike<'a>(texts: impl Iterator<Item = &'a str>) -> Cover {
        Cover { taken: texts.flat_map(str::chars).filter(|c| *c >= FIRST).collect(), pairs: Vec::new() }
    }

    /// `text`, with a stand-in wherever a special token begins, or may once something follows the text. None where no
    /// private character is left.
    pub(super) fn over(&mut self, text: &str, begins: impl Fn(&str) -> bool) -> Option<String> {
        let cover = |(at, c)| if begins(&text[at..]) { self.stand_in(c) } else { Some(c) };
        text.char_indices().map(cover).collect()
    }

    fn stand_in(&mut self, c: char) -> Option<char> {
        if let Some((_, for_it)) = self.pairs.iter().find(|(known, _)| *known == c) {
            return Some(*for_it);
        }
        let free = (FIRST..=LAST).find(|free| !self.taken.contains(free))?;
        self.taken.insert(free);
        self.pairs.push((c, free));
        Some(free)
    }

    /// The text as it was.
    pub(super) fn off<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let original = |c: char| self.pairs.iter().find(|(_, for_it)| *for_it == c).map_or(c, |(c, _)| *c);
        if self.pairs.iter().any(|(_, for_it)| text.contains(*for_it)) {
            return text.chars().map(original).collect();
        }
        Cow::Borrowed(text)
    }
}

/// Unicode's last plane is for private use, and as good as never used.
const FIRST: char = '\u{100000}';
const LAST: char = '\u{10FFFD}';

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(text: &str) -> String {
        let mut cover = Cover::unlike([text].into_iter());
        let begins = |rest: &str| ["<|end|>", "[X]", "#"].iter().any(|s| rest.starts_with(s) || s.starts_with(rest));
        let over = cover.over(text, begins).unwrap();
        assert_eq!(cover.off(&over), text);
        assert_eq!(over.chars().count(), text.chars().count());
        over
    }

    #[test]
    fn only_first_characters_of_special_tokens_are_covered() {
        assert_eq!(covered("a < b, |end|> é"), "a < b, |end|> é");
        assert_eq!(covered("a <|end|> b"), "a \u{100000}|end|> b");
        assert_eq!(covered("a <|en"), "a \u{100000}|en", "the rest may follow");
        assert_eq!(covered("[X] # [X]"), "\u{100000}X] \u{100001} \u{100000}X]");
        assert_eq!(covered("\u{100000}#"), "\u{100000}\u{100001}");
    }

    #[test]
    fn somebody_who_uses_up_all_private_characters_is_refused() {
        let all: String = (FIRST..=LAST).collect();
        assert_eq!(Cover::unlike([&all[..]].into_iter()).over("#", |_| true), None);
    }
}
