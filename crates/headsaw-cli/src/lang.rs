//! Languages: which there are, and which the environment asks for.

use clap::ValueEnum;

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Lang {
    /// English
    En,
    /// 中文
    Zh,
}

impl Lang {
    /// The one that the environment asks for, by the usual order of variables.
    pub fn from_environment() -> Lang {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let wanted = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find_map(set).unwrap_or_default();
        if wanted.to_lowercase().starts_with("zh") { Lang::Zh } else { Lang::En }
    }
}
