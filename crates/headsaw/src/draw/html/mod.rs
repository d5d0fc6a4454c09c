//! One self-contained web page: timelines that zoom and pan, the grain of a device, and the example with sliders.
//!
//! The page loads nothing: style, scripts and data are inside, and its policy forbids all else. What comes from outside
//! (names of models, machines) is text in it, never markup.

mod curve;
mod data;
mod example;
mod grain;

pub use example::{Example, Lanes, Outcome};
pub use grain::{Cell, Column, CurveView, GrainView, Number, PointView, Sheet};

use super::{Lang, Picture, Words};

/// Actions of a timeline that a page holds: about a megabyte.
pub const BARS_MOST: usize = 20_000;

/// What a page shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Its headline.
    pub title: String,
    /// Its language.
    pub lang: Lang,
    /// Drawn under each other, on one axis; may be none.
    pub timelines: Vec<Timeline>,
    /// The grain of a device, where it was asked for.
    pub grain: Option<GrainView>,
    /// Where the sliders of the example begin.
    pub example: Example,
    /// The model and the cut at hand, for the button that sets the sliders so.
    pub model: Option<Example>,
}

/// A picture with a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// What it is.
    pub name: Name,
    /// What it shows; of a longer one the beginning is.
    pub picture: Picture,
}

/// What a timeline is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// Equal steps on lanes of their own.
    Ideal,
    /// Simulated.
    Predicted,
    /// As it was run.
    Measured,
    /// Anything else.
    Other(String),
}

const STYLE: &str = include_str!("page.css");
pub(super) const SCRIPT: &str = concat!(
    include_str!("base.js"),
    include_str!("actions.js"),
    include_str!("chart.js"),
    include_str!("moves.js"),
    include_str!("timelines.js"),
    include_str!("example.js"),
    include_str!("start.js"),
);
/// SHA-256 of style and script, which the page's policy allows; a test says what they have to be.
const STYLE_HASH: &str = "sha256-ynlECch+Q66txPjap7Rg14Roa60aKajf/AMItUwX9dI=";
const SCRIPT_HASH: &str = "sha256-/Rn5SjPMlQmaMtMzpj11myPvpwP0DiOEC6G8pqlNVMg=";

/// The page, as text of an HTML file.
pub fn html(page: &Page) -> String {
    let words = &Words::of(page.lang);
    let title = escape(&page.title);
    fill(include_str!("page.html"), |name| match name {
        "title" => title.clone(),
        "version" => env!("CARGO_PKG_VERSION").into(),
        "style" => lean(STYLE),
        "style_hash" => STYLE_HASH.into(),
        "script" => lean(SCRIPT),
        "script_hash" => SCRIPT_HASH.into(),
        "nav" => nav(page, words),
        "timelines" => timelines(page, words),
        "grain" => page.grain.as_ref().map(|view| grain::section(view, words)).unwrap_or_default(),
        "example" => example::section(&page.example, words),
        "data" => data::data(page, words),
        "footer" => words.say("footer", &[("version", env!("CARGO_PKG_VERSION"))]),
        word => words.get(word).into(),
    })
}

fn nav(page: &Page, words: &Words) -> String {
    let here = [("timelines", !page.timelines.is_empty()), ("grain", page.grain.is_some()), ("example", true)];
    let links: Vec<String> = here
        .into_iter()
        .filter(|(_, here)| *here)
        .map(|(id, _)| format!("<li><a href=\"#{id}\">{}</a></li>", words.get(id)))
        .collect();
    if links.len() < 2 { String::new() } else { format!("<nav><ul>{}</ul></nav>", links.concat()) }
}

fn timelines(page: &Page, words: &Words) -> String {
    let Some(first) = page.timelines.first() else { return String::new() };
    let lead = if first.picture.chunks.is_empty() { "timelines_lead_micro" } else { "timelines_lead" };
    fill(include_str!("timelines.html"), |name| match name {
        "timelines_lead" => words.get(lead).into(),
        word => words.get(word).into(),
    })
}

/// Without indentation and lines of comment, which no browser needs.
fn lean(text: &str) -> String {
    let needed = |line: &&str| !(line.is_empty() || line.starts_with("//") || line.starts_with("/**"));
    text.lines().map(str::trim_start).filter(needed).map(|line| format!("{line}\n")).collect()
}

/// The template with every `{{name}}` replaced, once: what is put in is not looked at again.
fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut parts = template.split("{{");
    let mut text = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let (name, rest) = part.split_once("}}").expect("our own templates close what they open");
        text += &value(name);
        text += rest;
    }
    text
}

/// Text as markup, also between quotes.
fn escape(text: &str) -> String {
    let plain: String = text.chars().filter(|letter| !letter.is_control()).collect();
    plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_not_looked_at_again() {
        assert_eq!(fill("a {{x}} b {{y}}", |name| format!("[{{{{{name}}}}}]")), "a [{{x}}] b [{{y}}]");
        assert_eq!(escape("<a href='x' \"&\u{0}>"), "&lt;a href=&#39;x&#39; &quot;&amp;&gt;");
    }
}
