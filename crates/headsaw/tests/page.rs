//! The web page: whole, safe whatever names it is given, and with the numbers of the simulation. What its scripts do is
//! tested in a browser, by `cargo xtask page`.

#[allow(dead_code)] // not all of what tests share
mod shared;

use headsaw::draw::html::{
    Cell, Column, CurveView, Example, GrainView, Lanes, Name, Number, Page, PointView, Sheet, Timeline, html,
};
use headsaw::draw::{Lang, Picture, View};
use headsaw::plan::Overlap;
use headsaw::trace::Source;
use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};
use shared::eight::{Case, EXAMPLE, ONE, THREE, TWO};

const HOSTILE: &str = "</script><script>alert(1)</script><!--\"'&\u{0}\u{2028}{{data}}";

fn timeline(title: &str) -> Timeline {
    let (program, rounds, trace) = EXAMPLE.played([1e-3; 3]);
    let view = View { title: title.into(), ..View::default() };
    Timeline { name: Name::Predicted, picture: Picture::new(&program, &trace, Some(&rounds), view) }
}

fn page(text: &str) -> Page {
    let mut other = timeline(text);
    other.name = Name::Other(text.into());
    other.picture.source = Source::Measured { machine: text.into() };
    let text = || text.to_string();
    let cell = |share| Cell { text: text(), share };
    let point = |size| PointView {
        size,
        seconds: 1e-3,
        measured: Some(2e-3),
        notes: vec![text()],
        mark: Some(text()),
        here: Some(text()),
    };
    let grain = GrainView {
        headline: text(),
        facts: vec![text()],
        numbers: vec![Number { name: text(), value: text(), note: text() }],
        verdict: text(),
        reasons: vec![text()],
        smallest: text(),
        change: (text(), vec![text()]),
        curves: vec![CurveView { title: text(), axis: text(), notes: vec![text()], points: vec![point(1), point(2)] }],
        sheets: vec![Sheet {
            title: text(),
            columns: vec![Column { name: text(), words: true }, Column { name: text(), words: false }],
            rows: vec![vec![cell(None), cell(Some(0.3))]],
            note: text(),
        }],
    };
    let example = Example::default();
    let timelines = vec![timeline(&text()), other];
    Page { title: text(), lang: Lang::En, timelines, grain: Some(grain), example, model: Some(example) }
}

/// What stands between two marks.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start = text.find(from).unwrap_or_else(|| panic!("{from}")) + from.len();
    &text[start..start + text[start..].find(to).unwrap_or_else(|| panic!("{to}"))]
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let of_three = |three: &[u8]| {
        let bits = (0..3).fold(0u32, |bits, i| bits << 8 | u32::from(*three.get(i).unwrap_or(&0)));
        let letter =
            |i: usize| if i <= three.len() { LETTERS[(bits >> (18 - 6 * i)) as usize & 63] as char } else { '=' };
        (0..4).map(letter).collect::<String>()
    };
    bytes.chunks(3).map(of_three).collect()
}

#[test]
fn the_policy_allows_the_pages_own_style_and_script_and_nothing_else() {
    let page = html(&page("a model"));
    let hash = |text: &str| format!("sha256-{}", base64(&Sha256::digest(text)));
    let style = hash(between(&page, "<style>", "</style>"));
    let script = hash(between(&page, "<script type=\"module\">", "</script>"));
    let policy = between(&page, "Content-Security-Policy\" content=\"", "\"");
    let expected =
        format!("default-src 'none'; script-src '{script}'; style-src '{style}'; base-uri 'none'; form-action 'none'");
    assert_eq!(policy, expected, "put these into draw/html/mod.rs");
    for outside in ["http:", "https:", "url(", "@import", "src=", "fetch(", "XMLHttp", "innerHTML", "eval("] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn names_are_never_markup() {
    let page = html(&page(HOSTILE));
    assert_eq!(page.matches("<script").count(), 2, "data and script");
    assert_eq!(page.matches("</script>").count(), 2);
    assert!(!page.contains("alert(1)</") && !page.contains("<!--"));
    let data: Value = serde_json::from_str(data_of(&page)).expect("JSON");
    assert_eq!(data["timelines"][1]["name"], HOSTILE);
}

fn data_of(page: &str) -> &str {
    between(page, "id=\"data\">", "</script>")
}

#[test]
fn a_page_without_data_is_small() {
    for lang in [Lang::En, Lang::Zh] {
        let text = html(&Page {
            title: "x".into(),
            lang,
            timelines: vec![timeline("x")],
            grain: None,
            example: Example::default(),
            model: None,
        });
        let bars: Value = serde_json::from_str(data_of(&text)).expect("JSON");
        let weight = text.len() - bars["timelines"].to_string().len();
        assert!(weight < 60_000, "{weight} bytes");
        assert!(!text.contains("{{") && text.contains("<dd data-out=\"overlapped\">4</dd>"));
    }
}

#[test]
fn all_actions_are_in_the_page() {
    let timeline = timeline("x");
    let picture = timeline.picture.clone();
    let page = Page { timelines: vec![timeline], ..page("x") };
    let data: Value = serde_json::from_str(data_of(&html(&page))).expect("JSON");
    let told = &data["timelines"][0];
    let column = |name: &str| told["bars"][name].as_array().expect("a column").clone();
    assert_eq!(column("start").len(), picture.bars.len());
    for (i, bar) in picture.bars.iter().enumerate() {
        let nanoseconds = |seconds: f64| (seconds * 1e12).round() / 1e3;
        assert_eq!(column("start")[i], nanoseconds(bar.start));
        assert_eq!(column("length")[i], nanoseconds(bar.end - bar.start));
        assert_eq!((&column("first")[i], &column("last")[i]), (&bar.heads.start.into(), &bar.heads.end.into()));
        assert_eq!(data["kinds"][column("kind")[i].as_u64().unwrap() as usize]["key"], bar.kind.name());
        assert_eq!(column("flops")[i], bar.work.unwrap().flops.0);
    }
    let rows = told["rows"].as_array().expect("rows");
    let lanes: u64 = rows.iter().map(|row| row["count"].as_u64().unwrap()).sum();
    assert!(rows.len() >= 12 && lanes <= picture.bars.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The closed forms of the sliders, on lanes of their own and shared, against the program that is simulated.
    #[test]
    fn the_closed_forms_are_what_is_simulated(
        held in 1u32..9, parts in 1u32..4, micros in 1u32..4, lanes in 0usize..3, times in prop::array::uniform3(0.01f64..5.0),
    ) {
        let chunk = held.div_ceil(parts);
        let heads = chunk * parts;
        let which = [Lanes::Own, Lanes::Shared, Lanes::One][lanes];
        let overlap = if micros > 1 { Overlap::Tokens } else { Overlap::Heads };
        let case = Case { heads, devices: 2, chunk, micros, overlap, lanes: [THREE, TWO, ONE][lanes], ..EXAMPLE };
        let example = Example { heads: 2 * heads, devices: 2, chunk, micros, steps: times, fixed: 0.0, lanes: which };
        let outcome = example.outcome().expect("even chunks");
        let occupancy = case.trace(times).occupancy();
        prop_assert!((outcome.overlapped / occupancy.span.0 - 1.0).abs() < 1e-9, "{:?} for {:?}", outcome, occupancy);
        prop_assert!((outcome.bubble - occupancy.bubble).abs() < 1e-9, "{:?} for {:?}", outcome, occupancy);
    }
}
