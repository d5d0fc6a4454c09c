//! The words of all pictures and pages in two languages, from one file.

use super::Kind;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// 中文.
    Zh,
}

const BOTH: &str = include_str!("words.json");

type Sentences = BTreeMap<String, String>;

/// All sentences of a language, by key; some hold `{name}` for a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// Whose they are.
    pub lang: Lang,
    all: All,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct All {
    /// Those of every picture: text.
    picture: Sentences,
    /// Those of the page alone. They are markup: our own, with `<kbd>` and the like.
    page: Sentences,
    /// Those that the scripts of the page need besides the pictures': text.
    script: Sentences,
}

impl Words {
    /// Those of a language.
    pub fn of(lang: Lang) -> Words {
        let mut both: BTreeMap<String, All> = serde_json::from_str(BOTH).expect("our own file");
        let name = if lang == Lang::En { "en" } else { "zh" };
        Words { lang, all: both.remove(name).expect("both languages are there") }
    }

    /// The sentence of a key of `words.json`.
    pub fn get(&self, key: &str) -> &str {
        let All { picture, page, script } = &self.all;
        let found = picture.get(key).or_else(|| script.get(key)).or_else(|| page.get(key));
        found.unwrap_or_else(|| panic!("words.json has {key}"))
    }

    /// With its values, which are taken as they are.
    pub fn say(&self, key: &str, values: &[(&str, &str)]) -> String {
        let mut parts = self.get(key).split('{');
        let mut text = parts.next().unwrap_or_default().to_string();
        for part in parts {
            let (name, rest) = part.split_once('}').expect("our own sentences close what they open");
            let value = values.iter().find(|(known, _)| *known == name);
            text += value.unwrap_or_else(|| panic!("{key} needs {name}")).1;
            text += rest;
        }
        text
    }

    /// What the scripts of the page need.
    pub(super) fn script(&self) -> BTreeMap<&str, &str> {
        self.all.picture.iter().chain(&self.all.script).map(|(key, text)| (&key[..], &text[..])).collect()
    }

    /// A kind beside the letter of its bars: where its word is another than its name, both.
    pub(super) fn kind(&self, kind: Kind) -> String {
        match kind.word(self.lang) {
            word if word == kind.name() || kind.exchanges() => word.into(),
            word => format!("{word} {}", kind.name()),
        }
    }

    /// The language as pages name it.
    pub(super) fn tag(&self) -> &str {
        self.get("lang")
    }
}

#[cfg(test)]
mod tests {
    use super::super::html::SCRIPT;
    use super::*;

    /// Names of values in a sentence.
    fn values(text: &str) -> Vec<&str> {
        let mut names: Vec<&str> = text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn both_languages_say_the_same() {
        let (english, chinese) = (Words::of(Lang::En).all, Words::of(Lang::Zh).all);
        let parts = |all: All| [all.picture, all.page, all.script];
        let mut keys = Vec::new();
        for (english, chinese) in parts(english).iter().zip(parts(chinese)) {
            assert!(english.keys().eq(chinese.keys()));
            for (key, text) in english {
                assert_eq!(values(text), values(&chinese[key]), "{key}");
                keys.push(key.clone());
            }
        }
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all, "a key of two parts");
    }

    #[test]
    fn the_scripts_have_the_words_that_they_say() {
        let words = Words::of(Lang::En);
        let words = words.script();
        for part in SCRIPT.split("words.").skip(1).chain(SCRIPT.split("say(\"").skip(1)) {
            let end = part.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(part.len());
            assert!(words.contains_key(&part[..end]), "{}", &part[..end]);
        }
        assert!(
            ["own", "shared", "one", "uneven"].iter().all(|lanes| words.contains_key(&*format!("formula_{lanes}")))
        );
    }

    #[test]
    fn values_are_put_in_once() {
        let said = Words::of(Lang::Zh).say("of_heads", &[("step", "{heads}"), ("heads", "头 2")]);
        assert_eq!(said, "{heads}，头 2");
    }

    #[test]
    fn a_letter_is_told_by_its_english_name() {
        let words = [Lang::En, Lang::Zh].map(Words::of);
        assert_eq!(words.each_ref().map(|words| words.kind(Kind::Attend)), ["attend", "注意力 attend"]);
        assert_eq!(words.each_ref().map(|words| words.kind(Kind::Softmax)), ["softmax", "softmax"]);
        assert_eq!(words.each_ref().map(|words| words.kind(Kind::SendHeader)), ["send header", "发送报头"]);
    }
}
