//! `--link`, links of cluster files, and `auto`.

use super::{file, folder, headsaw, json, refused};
use serde_json::Value;

const RUN: [&str; 9] = ["run", "demo", "-p", "In the beginning", "-n", "6", "--tp", "2", "--lanes"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&RUN[..], &["1"], more].concat()
}

/// Two devices of threads, with that after the level's own fields.
fn cluster(folder: &std::path::Path, link: &str) -> String {
    let level =
        "[[levels]]\nname = 'n'\nlatency_seconds = 0\nbytes_per_second = 1e9\nefficiency = 1\nwiring = 'switch'\n";
    let text = format!("format = 1\ntitle = 'two'\n[[devices]]\nkind = 'local'\ncount = 2\n{level}{link}");
    file(folder, "two.toml", &text)
}

#[test]
fn a_link_is_felt_and_told_and_changes_no_bit() {
    let folder = folder("links");
    let (near, far) = (json(&with(&[])), json(&with(&["--link", "1GB/s,5ms"])));
    assert_eq!(near["logits_digest"], far["logits_digest"]);
    assert_eq!(near["cut"]["link"], Value::Null);
    assert_eq!(far["cut"]["link"], serde_json::json!({ "bytes_per_second": 1e9, "latency_seconds": 0.005 }));
    let seconds = |ran: &Value| ran["decode"]["seconds"].as_f64().unwrap();
    // Five more tokens, four layers, two exchanges each.
    assert!(seconds(&far) > 5.0 * 8.0 * 0.005, "{}", seconds(&far));
    let file = cluster(&folder, "link = { rate = '1 GB/s', latency = '5 ms' }");
    let filed = json(&with(&["--cluster", &file]));
    assert_eq!((&filed["cut"]["link"], &filed["logits_digest"]), (&far["cut"]["link"], &far["logits_digest"]));
    assert!(seconds(&filed) > 5.0 * 8.0 * 0.005);
    let wrong = cluster(&folder, "link = { rate = '1 Gb/s' }");
    refused(&with(&["--cluster", &wrong]), "two.toml: line 12: levels[0].link.rate: expected a rate as 1 Gbit/s");
    refused(&with(&["--cluster", &wrong]), "levels[0].link.latency: expected a time as 50 us");
}

#[test]
fn predictions_count_the_link() {
    let args = ["simulate", "smollm2-135m", "--tp", "2", "--lanes", "1", "--prompt", "512"];
    let seconds = |more: &[&str]| json(&[&args[..], more].concat())["seconds"].as_f64().unwrap();
    // 60 sums of 512 rows of 576 floats come into each device.
    let wire = 60.0 * 512.0 * 576.0 * 4.0 / 125e6;
    let more = seconds(&["--link", "1Gbit/s,0s"]) - seconds(&[]);
    assert!((more / wire - 1.0).abs() < 0.05, "{more} for {wire}");
    assert!(seconds(&["--link", "10Gbit/s,0s"]) < seconds(&["--link", "1Gbit/s,0s"]));
}

#[test]
fn auto_takes_the_fastest_and_says_why() {
    let args = ["simulate", "smollm2-135m", "--tp", "2", "--lanes", "1", "--prompt", "512"];
    let open = |link: &'static str| [&args[..], &["--exchange", "auto", "--overlap", "auto", "--link", link]].concat();
    let slow = json(&open("200Mbit/s,50us"));
    assert_eq!(slow["cut"]["exchange"], "gather", "fewer bytes");
    assert_eq!(slow["auto"]["taken"]["seconds"], slow["seconds"]);
    let tried = slow["auto"]["tried"].as_array().unwrap();
    assert_eq!(tried.len(), 6, "two exchanges, three overlaps: {tried:?}");
    assert!(tried.iter().all(|one| one["seconds"].as_f64() >= slow["seconds"].as_f64()));
    let told = headsaw(&open("200Mbit/s,50us")).err;
    assert!(told.contains("auto: gather ") && told.contains("reduce none "), "{told}");
    assert_eq!(json(&args)["auto"], Value::Null);

    let bench = ["bench", "demo", "-p", "64", "-n", "0", "-r", "1", "--tp", "2", "--lanes", "1"];
    let ran = json(&[&bench[..], &["--exchange", "auto", "--link", "10Mbit/s,50us"]].concat());
    assert_eq!((&ran["cut"]["exchange"], &ran["auto"]["taken"]["exchange"]), (&"gather".into(), &"gather".into()));
    let made = json(&["plan", "smollm2-135m", "--tp", "2", "--exchange", "auto", "--link", "200Mbit/s,50us"]);
    assert_eq!(made["plan"]["exchange"], "gather");
}

#[test]
fn links_that_cannot_be_are_refused() {
    refused(&with(&["--link", "fast"]), "write its rate and its latency, as 1Gbit/s,50us");
    refused(
        &["simulate", "llama-3.1-8b", "--cluster", "h100x8", "--link", "1Gbit/s,50us"],
        "--link 1 Gbit/s, 50 us: a link",
    );
    refused(&with(&["--cluster", "h100x2"]), "what runs here are threads of this machine, not h100");
}
