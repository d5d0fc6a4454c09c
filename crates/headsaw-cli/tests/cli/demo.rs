//! `headsaw demo`: bits, figures, and the page that it writes.

use super::{command, ended, folder, good, json, parsed};
use serde_json::{Value, json as value};
use std::fs;

#[test]
fn the_demo_gives_the_same_bits_under_every_cut() {
    let shown = json(&["demo", "-n", "16", "--no-html"]);
    assert_eq!(shown["equal"], true);
    assert_eq!(shown["digest_uncut"], shown["digest_cut"]);
    assert_eq!(shown["digest_uncut"], shown["digest_uneven"]);
    assert_eq!(shown["digest_cut"].as_str().unwrap().len(), 64);
    assert_eq!(shown["slots"], value!({ "serial": 6, "pipelined": 4 }));
    assert_eq!(shown["devices"].as_array().unwrap().len(), 4);
    assert_eq!(shown["devices"][1]["heads"], value!([2, 4]));
    assert!(shown["text"].as_str().unwrap().len() > 16);
}

#[test]
fn the_demo_measures_what_it_predicts() {
    let shown = json(&["demo", "-n", "2", "--no-html"]);
    let positive = |number: &Value| assert!(number.as_f64().unwrap() > 0.0, "{number} in {shown}");
    positive(&shown["predicted_seconds"]);
    positive(&shown["measured_seconds"]);
    positive(&shown["speedups"]["measured"]);
    assert_eq!(shown["speedups"]["ideal"], 1.5);
    assert!(shown["rounds"].as_u64().unwrap() >= 3 && shown["html"].is_null());
    let steps = shown["steps"].as_array().unwrap();
    for name in ["project", "attend", "merge", "exchange"] {
        let step = steps.iter().find(|step| step["step"] == name).unwrap_or_else(|| panic!("no {name} in {steps:?}"));
        positive(&step["predicted"]);
        positive(&step["measured"]);
    }
}

#[test]
fn the_demo_speaks_two_languages() {
    let english = good(&["demo", "-n", "2", "--no-html"]);
    for says in
        ["The same bits under every cut.", "4 slots instead of 6", "Predicted: ", "Measured on ", "as it was run"]
    {
        assert!(english.contains(says), "{says:?} in {english}");
    }
    let wide = english.lines().find(|line| line.chars().count() > 80);
    assert_eq!(wide, None, "80 columns are enough");
    assert!(good(&["demo", "-n", "2", "--no-html", "--lang", "zh"]).contains("无论怎么切，每一位都相同。"));
    let chinese = ended(command(&["demo", "-n", "2", "--no-html"]).env("LANG", "zh_CN.UTF-8").spawn().unwrap());
    assert!(chinese.out.contains("按头切"), "{}", chinese.out);
}

#[test]
fn the_demo_writes_its_page_unless_it_shall_not() {
    let folder = folder("demo-page");
    let run = |args: &[&str]| ended(command(args).current_dir(&folder).spawn().unwrap());
    let files = || fs::read_dir(&folder).unwrap().count();
    assert_eq!((run(&["demo", "-n", "2", "--no-html"]).code, files()), (0, 0));
    let shown = run(&["demo", "-n", "2", "--json", "--lang", "zh"]);
    assert_eq!((parsed(&shown.out)["html"].as_str(), files()), (Some("headsaw-demo.html"), 1), "{}", shown.err);
    let page = fs::read_to_string(folder.join("headsaw-demo.html")).unwrap();
    for says in ["id=\"timelines\"", "id=\"grain\"", "id=\"example\"", "lang=\"zh"] {
        assert!(page.contains(says), "{says} in the page");
    }
    assert_eq!(page.matches("\"rows\":").count(), 3, "the ideal, the predicted and the measured timeline");
}

#[test]
fn where_the_page_can_not_be_written_the_demo_does_not_begin() {
    let folder = folder("demo-no-page");
    fs::create_dir(folder.join("headsaw-demo.html")).unwrap();
    let ran = ended(command(&["demo", "-n", "2"]).current_dir(&folder).spawn().unwrap());
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
    assert!(ran.err.contains("headsaw-demo.html") && ran.err.contains("--no-html"), "{}", ran.err);
}
