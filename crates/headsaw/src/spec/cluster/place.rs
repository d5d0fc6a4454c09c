//! A place in a cluster file: what stands there, and what is wrong with it.

use super::problem::{Findings, NOTHING};
use super::rules::{LIST_MAX, NAME_BYTES_MAX, Rule};
use crate::spec::names;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and where it stands.
pub type Node<'a> = Spanned<DeValue<'a>>;
/// Names of fields or variants.
pub type Names = &'static [&'static str];

/// A place in the text, with a value or without.
pub struct Place<'a> {
    /// Where problems go.
    pub found: &'a Findings<'a>,
    /// For people.
    pub path: String,
    /// The field that it is, or is in without a name of its own: rules go by it.
    pub field: &'a str,
    /// Byte of the text that speaks for it.
    at: usize,
    /// What stands here.
    pub value: Option<&'a DeValue<'a>>,
    /// Part of what was found wrong already.
    silent: bool,
}

impl<'a> Place<'a> {
    /// The whole text.
    pub fn root(found: &'a Findings<'a>, value: &'a DeValue<'a>) -> Place<'a> {
        Place { found, path: String::new(), field: "", at: 0, value: Some(value), silent: false }
    }

    /// A place inside of this one.
    pub fn inside(&self, path: String, field: &'a str, value: Option<&'a Node<'a>>) -> Place<'a> {
        let at = value.map_or(self.at, |value| value.span().start);
        Place { found: self.found, path, field, at, value: value.map(Spanned::get_ref), silent: self.silent }
    }

    /// The path of what has a name in this place.
    pub fn path_to(&self, name: &str) -> String {
        let bare = (1..=NAME_SHOWN).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let name = if bare { name.to_string() } else { quoted(name) };
        if self.path.is_empty() { name } else { format!("{}.{name}", self.path) }
    }

    /// Notes that this is not what is expected.
    pub fn wrong(&self, expected: &str) {
        if !self.silent {
            self.found.add(self.at, &self.path, expected, self.value.map_or(NOTHING.into(), shown));
        }
    }

    /// What stands in for a wrong value: nothing, and no more words about it.
    pub fn void(self) -> Place<'a> {
        Place { value: None, silent: true, ..self }
    }

    /// The number, where it is one that the rule allows.
    pub fn number<T: Copy>(
        &self,
        read: impl Fn(&DeValue) -> Option<T>,
        allowed: impl Fn(&Rule, T) -> bool,
    ) -> Option<T> {
        let rule = Rule::of(self.field);
        let number = self.value.and_then(read).filter(|number| allowed(rule, *number));
        if number.is_none() {
            self.wrong(rule.words);
        }
        number
    }

    /// A name or title.
    pub fn words(&self) -> &'a str {
        match self.value {
            Some(DeValue::String(text)) if is_name(text) => text,
            _ => {
                self.wrong("a name in quotes");
                "" // no name that is there is empty
            }
        }
    }

    /// The entries of a list.
    pub fn list(&self) -> &'a [Node<'a>] {
        match self.value {
            Some(DeValue::Array(list)) if list.is_empty() && self.field == "levels" => list,
            Some(DeValue::Array(list)) if (1..=LIST_MAX).contains(&list.len()) => list,
            _ => {
                self.wrong(&format!("a list of 1 to {LIST_MAX}"));
                &[]
            }
        }
    }

    /// The members of a table.
    pub fn table(&self, expected: &str) -> Option<&'a DeTable<'a>> {
        if let Some(DeValue::Table(table)) = self.value {
            return Some(table);
        }
        self.wrong(expected);
        None
    }

    /// What a struct has, present or not. What it does not have is wrong; a missing one that was meant by that is not
    /// wrong again.
    pub fn members(self, names: Names) -> Vec<(&'static str, Place<'a>)> {
        let Some(table) = self.table("a table") else {
            let void = self.void();
            return names.iter().map(|name| (*name, void.inside(String::new(), name, None))).collect();
        };
        let meant = self.strangers(table, names);
        let member = |name: &&'static str| {
            let place = self.inside(self.path_to(name), name, table.get(*name));
            (*name, Place { silent: place.silent || meant.contains(name), ..place })
        };
        names.iter().map(member).collect()
    }

    /// Notes members of other names; which ones are likely meant by them.
    pub fn strangers(&self, table: &DeTable, names: Names) -> Vec<&'static str> {
        let mut absent: Vec<&'static str> = names.iter().copied().filter(|name| !table.contains_key(*name)).collect();
        let mut meant = Vec::new();
        for (key, _) in table.iter().filter(|(key, _)| !names.contains(&key.get_ref().as_ref())) {
            let near = names::nearest(key.get_ref(), absent.iter().copied());
            absent.retain(|name| Some(*name) != near);
            meant.extend(near);
            self.unknown(key.span().start, key.get_ref(), names, near);
        }
        meant
    }

    /// Notes a name that is none of these.
    pub fn unknown(&self, at: usize, name: &str, names: Names, near: Option<&str>) {
        if !self.silent {
            self.found.add(at, &self.path_to(name), one_of(names, near), "an unknown field");
        }
    }
}

/// Letters of a name or value that are shown.
const NAME_SHOWN: usize = 40;

/// Can it be a name for people?
pub fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control)
}

fn short(text: &str) -> String {
    text.chars().take(NAME_SHOWN).collect()
}

/// Its beginning, in quotes.
pub fn quoted(text: &str) -> String {
    format!("{:?}", short(text))
}

/// These names, and the one that was likely meant.
pub fn one_of(names: Names, near: Option<&str>) -> String {
    let hint = near.map_or(String::new(), |name| format!(" (did you mean {name}?)"));
    if names.is_empty() { "no field here".into() } else { format!("one of {}{hint}", names.join(", ")) }
}

fn shown(value: &DeValue) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => short(&number.to_string()),
        DeValue::Float(number) => short(number.as_str()),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(date) => date.to_string(),
        DeValue::Array(list) if list.is_empty() => "an empty list".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(table) if table.is_empty() => "an empty table".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// A whole number; no field holds less than 0.
pub fn whole(value: &DeValue) -> Option<u64> {
    let DeValue::Integer(number) = value else { return None };
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A number.
pub fn float(value: &DeValue) -> Option<f64> {
    match value {
        DeValue::Float(number) => number.as_str().parse().ok(),
        _ => whole(value).map(|number| number as f64),
    }
}
