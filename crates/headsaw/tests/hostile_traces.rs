//! Trace files from a hostile hand: every answer is an error with a place, violations, or a sound trace.

#[allow(dead_code)] // not all of what tests share
mod shared;

use headsaw::trace::{FORMAT, TraceFile};
use headsaw::verify;
use proptest::prelude::*;
use serde_json::{Value, json};
use shared::eight::{Case, EXAMPLE};
use shared::hostile::change;

fn text() -> String {
    let case = Case { devices: 2, ..EXAMPLE };
    let (_, rounds, trace) = case.played([1e-3; 3]);
    let (source, spans) = (trace.source, trace.spans);
    TraceFile { format: FORMAT, source, plan: case.plan(), cluster: None, link: None, rounds, spans }.text()
}

/// A trace's answer, whatever the text: what is wrong.
fn answer(text: &str) -> Vec<String> {
    let file = match TraceFile::read(text) {
        Ok(file) => file,
        Err(error) => return vec![error.to_string()],
    };
    let small = file.plan.devices.len() as u32 * file.plan.lanes.min(64) * file.plan.workload.micros.min(64) <= 64;
    if !small && verify::plan(&file.plan).is_empty() {
        return Vec::new();
    }
    let found = match verify::traced(&file) {
        Ok(program) => verify::trace(&program, &file.into_trace(&program)),
        Err(found) => found,
    };
    assert!(found.len() <= 201);
    found.iter().map(ToString::to_string).collect()
}

/// The answer after one value of the file is changed.
fn changed(pointer: &str, value: Value) -> Vec<String> {
    let mut file: Value = serde_json::from_str(&text()).unwrap();
    *file.pointer_mut(pointer).unwrap() = value;
    answer(&file.to_string())
}

#[track_caller]
fn tells(found: &[String], says: &str) {
    assert!(found.first().is_some_and(|first| first.contains(says)), "{says}: {found:?}");
}

#[test]
fn what_is_wrong_has_its_place() {
    assert_eq!(answer(&text()), Vec::<String>::new());
    tells(&changed("/format", json!(2)), "format: expected 1, got 2");
    tells(&changed("/source", json!("dreamt")), "unknown variant `dreamt`");
    tells(&changed("/spans/7", json!([0, 0, 0, 0.5])), "spans[7], [lane, action, round, start, end]: invalid length 4");
    tells(&changed("/spans/7/1", json!("first")), "spans[7], [lane, action, round, start, end]: invalid type");
    tells(&changed("/spans/7/0", json!(-1)), "spans[7], [lane, action, round, start, end]: invalid value");
    tells(&changed("/spans/7/0", json!(99)), "spans[7]: expected lane 0 to ");
    tells(&changed("/spans/7/1", json!(u32::MAX)), "spans[7]: expected action 0 to ");
    tells(&changed("/spans/7/2", json!(1)), "spans[7]: expected round 0 to 0, got 1");
    tells(&changed("/spans/7/3", json!(-1)), "spans[7]: expected a start of 0 s or later");
    tells(&changed("/rounds/0", json!([])), "rounds[0]: expected a load for each of 1 micro-batches, got 0");
    let all = json!({"sequences": u32::MAX, "tokens": u32::MAX, "past": u32::MAX});
    tells(&changed("/rounds/0/0", all), "rounds[0][0]: expected at most 65536 rows");
    tells(&changed("/rounds/0/0/past", json!("none")), "invalid type: string \"none\"");
    tells(&changed("/plan/stages/0/layers", json!("0..99")), "plan: stages[0].layers");
    tells(&answer(&text().replace("\"rounds\"", "\"turns\"")), "unknown field `turns`");
    tells(&answer(&text().replacen("0.001", "1e999", 1)), "number out of range");
}

#[test]
fn errors_name_their_line() {
    let text = text();
    let line = text.lines().position(|line| line.trim_start().starts_with("\"spans\"")).unwrap() + 3;
    let broken: Vec<&str> =
        text.lines().enumerate().map(|(i, l)| if i + 1 == line { "[0, true]," } else { l }).collect();
    tells(&answer(&broken.join("\n")), &format!("line {line}, column 8: spans[1]"));
}

#[test]
fn depth_and_emptiness_are_errors() {
    for text in ["", "{}", "[]", "null", "\u{0}", &"[".repeat(100_000), &"{\"spans\":".repeat(100_000)] {
        assert!(!answer(text).is_empty());
    }
    tells(&changed("/spans", json!([])), "spans: expected those of 1 rounds, got of 0");
}

fn hostile_value() -> impl Strategy<Value = Value> {
    let values = [
        json!(0),
        json!(1),
        json!(-1),
        json!(65_536),
        json!(4_294_967_295u64),
        json!(18_446_744_073_709_551_615u64),
        json!(1e308),
        json!(-0.5),
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!([0, 0, 0, 0.0, 0.0]),
        json!("0..4294967295"),
        json!("measured"),
        json!({"measured": {"machine": "x"}}),
        json!({"sequences": 4_294_967_295u64, "tokens": 1, "past": 4_294_967_295u64}),
    ];
    prop::sample::select(values.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn changed_values_give_errors_or_violations(
        changes in prop::collection::vec((any::<prop::sample::Index>(), hostile_value()), 1..4),
    ) {
        let mut file: Value = serde_json::from_str(&text()).unwrap();
        change(&mut file, changes);
        answer(&file.to_string());
    }

    #[test]
    fn changed_bytes_give_errors_or_violations(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut text = text().into_bytes();
        let at = at.index(text.len());
        if cut { text.truncate(at) } else { text[at] = byte }
        let whole = text == self::text().into_bytes();
        let found = answer(&String::from_utf8_lossy(&text));
        prop_assert!(!cut || whole || !found.is_empty() || at + 1 >= self::text().len());
    }
}
