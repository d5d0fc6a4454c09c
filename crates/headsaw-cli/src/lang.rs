//! Languages: which there are, and which the environment asks for.

use clap::ValueEnum;
use headsaw::draw::{self, Kind, Words};

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Lang {
    /// English
    En,
    /// 中文
    Zh,
}

impl Lang {
    /// The one that is asked for, or else the environment's.
    pub fn or_environment(asked: Option<Lang>) -> Lang {
        asked.unwrap_or_else(Lang::from_environment)
    }

    /// The words of pictures in it.
    pub fn words(self) -> Words {
        Words::of(self.into())
    }

    /// What a step is called in it, or several in one (`score+softmax`), or all exchanges together.
    pub fn step(self, name: &str) -> String {
        let word = |name: &str| match Kind::named(name) {
            Some(kind) => kind.word(self.into()).to_string(),
            None if name == "exchange" => self.words().get("exchange_lane").into(),
            None => name.into(),
        };
        name.split('+').map(word).collect::<Vec<_>>().join("+")
    }

    /// The one that the environment asks for, by the usual order of variables.
    fn from_environment() -> Lang {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let wanted = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find_map(set).unwrap_or_default();
        if wanted.to_lowercase().starts_with("zh") { Lang::Zh } else { Lang::En }
    }
}

impl From<Lang> for draw::Lang {
    fn from(lang: Lang) -> draw::Lang {
        match lang {
            Lang::En => draw::Lang::En,
            Lang::Zh => draw::Lang::Zh,
        }
    }
}
