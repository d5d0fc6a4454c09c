//! The words of a page in two languages, from one file.

use serde::Deserialize;
use std::collections::BTreeMap;

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lang {
    /// English.
    En,
    /// 中文.
    Zh,
}

const BOTH: &str = include_str!("words.json");

type Sentences = BTreeMap<String, String>;

/// All sentences, by key; some hold `{name}` for a value.
#[derive(Deserialize)]
pub struct Words {
    /// Those of the page alone. They are markup: our own, with `<kbd>` and the like.
    page: Sentences,
    /// Those that the scripts need too: text.
    pub script: Sentences,
}

impl Words {
    pub fn of(lang: Lang) -> Words {
        let mut both: BTreeMap<String, Words> = serde_json::from_str(BOTH).expect("our own file");
        let name = if lang == Lang::En { "en" } else { "zh" };
        both.remove(name).expect("both languages are there")
    }

    pub fn get(&self, key: &str) -> &str {
        self.script.get(key).or_else(|| self.page.get(key)).unwrap_or_else(|| panic!("words.json has {key}"))
    }

    /// With its values, which are taken as they are.
    pub fn say(&self, key: &str, values: &[(&str, &str)]) -> String {
        let put = |text: String, (name, value): &(&str, &str)| text.replace(&format!("{{{name}}}"), value);
        values.iter().fold(self.get(key).to_string(), put)
    }
}

#[cfg(test)]
mod tests {
    use super::super::SCRIPT;
    use super::*;

    /// Names of values in a sentence.
    fn values(text: &str) -> Vec<&str> {
        let mut names: Vec<&str> = text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn both_languages_say_the_same() {
        let (english, chinese) = (Words::of(Lang::En), Words::of(Lang::Zh));
        assert!(english.page.keys().eq(chinese.page.keys()) && english.script.keys().eq(chinese.script.keys()));
        for (key, text) in english.page.iter().chain(&english.script) {
            assert_eq!(values(text), values(chinese.get(key)), "{key}");
        }
    }

    #[test]
    fn the_scripts_have_the_words_that_they_say() {
        let words = Words::of(Lang::En);
        for part in SCRIPT.split("words.").skip(1).chain(SCRIPT.split("say(\"").skip(1)) {
            let end = part.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(part.len());
            assert!(words.script.contains_key(&part[..end]), "{}", &part[..end]);
        }
        assert!(
            ["own", "shared", "one", "uneven"]
                .iter()
                .all(|lanes| words.script.contains_key(&format!("formula_{lanes}")))
        );
    }
}
