//! Cluster files and names: all presets read, all problems at once with their places, nothing panics.

use headsaw::spec::cluster::{Problem, presets, read, write};

const BAD: &str = r#"format = 2
titel = "a typing error"
colour = "red"

[[devices]]
kind = "h10"
count = 0

[[devices]]
kind = "mine"
count = "four"
weight = 2

[kinds.mine]
title = ""
memory_bytes = -3
overlap = 1.5

[kinds.mine.lanes]
project = "tensor"
softmax = 7

[kinds.mine.prices.gpu]
memory_bytes_per_second = nan
cache_bytes = 5e7
units = 0
clock_hertz = inf
tensor_flops_per_second = {}
vector_flops_per_second = -1.0
exponentials_per_second = 1e99

[kinds.other]
title = "another"
memory_bytes = 1000
overlap = 0.5
lanes = "all"
prices.gpus = {}

[kinds.third]
title = "a third"
memory_bytes = 18446744073709551615
overlap = 0
lanes = { project = "a", score = "a", softmax = "a", context = "a", attend = "a", merge = "a", mlp = "a", exchange = "a" }

[kinds.third.prices.gpu]
tensor_flops_per_second = { bf16 = 1e15, fp88 = 1e15, int8 = 0 }

[[levels]]
name = "inner"
devices = 8
latency_seconds = -1e-6
bytes_per_second = true
"#;

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

fn problems(text: &str) -> String {
    listed(&read("mine", text).expect_err("it is bad"))
}

#[test]
fn a_bad_file_is_told_all_at_once() {
    insta::assert_snapshot!(problems(BAD));
}

#[test]
fn every_preset_reads_and_survives_being_written() {
    for name in presets::names() {
        let preset = presets::find(name).expect(name);
        let text = write(&preset);
        let again =
            read(&preset.name, &text).unwrap_or_else(|problems| panic!("{name}: {}\n{text}", listed(&problems)));
        assert_eq!(again, preset, "{text}");
    }
}
