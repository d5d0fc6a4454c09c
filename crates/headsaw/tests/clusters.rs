//! Cluster files and names: all presets read, all problems at once with their places, nothing panics.

use headsaw::spec::cluster::{DeviceId, Precision, Prices, Problem, presets, read, write};

use headsaw::units::{BytesPerSecond, Seconds};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use toml::{Table, Value};

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
exchange_overlap = 1

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
exchange_overlap = 0.5
lanes = "all"
prices.gpus = {}

[kinds.third]
title = "a third"
memory_bytes = 18446744073709551615
overlap = 0
exchange_overlap = 0
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

#[test]
fn peaks_are_those_of_units_at_the_clock() {
    for name in presets::names() {
        let kind = presets::find(name).expect(name).groups.remove(0).kind;
        let Prices::Gpu(gpu) = kind.prices else { continue };
        let peak = gpu.tensor(Precision::Bf16).expect("all multiply in half precision").0;
        let each = (peak / (f64::from(gpu.units) * gpu.clock_hertz)).log2();
        assert!((each - each.round()).abs() < 0.01, "{name}: 2^{each} operations a clock and unit");
        let exponentials = gpu.exponentials_per_second / (f64::from(gpu.units) * gpu.clock_hertz);
        let expected = if name == "gb300" { 32.0 } else { 16.0 };
        assert!((exponentials / expected - 1.0).abs() < 1e-3, "{name}: {exponentials} exponentials a clock and unit");
        let rates: Vec<f64> = gpu.tensor_flops_per_second.values().map(|rate| rate.0).collect();
        assert!(rates.iter().all(|rate| *rate > 1e14), "{name}: {rates:?}");
    }
}

#[test]
fn every_preset_cites_its_sources() {
    for name in presets::names() {
        let text = presets::text(name).expect(name);
        assert!(text.starts_with("# "), "{name} opens with where its figures come from");
        for line in text.lines().filter(|line| line.contains("_per_second = ") || line.contains("_bytes = ")) {
            assert!(line.contains(" # ") || name == "local", "{name}: no source: {line}");
        }
    }
}

#[test]
fn names_have_counts() {
    for (given, name, devices) in [
        ("h100", "h100", 8),
        ("H100x16", "h100x16", 16),
        ("a100-40x8", "a100-40gbx8", 8),
        ("gb200", "gb200", 72),
        ("mi300x", "mi300x", 8),
        ("mi300x4", "mi300xx4", 4),
        ("mi300xx4", "mi300xx4", 4),
        ("4090X2", "rtx4090x2", 2),
        ("h100x1048576", "h100x1048576", 1 << 20),
        ("h100x8+a100", "h100x8+a100", 16),
    ] {
        let cluster = presets::parse(given).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((&cluster.name[..], cluster.devices()), (name, devices), "{given}");
        assert_eq!(presets::parse(&cluster.name).as_ref(), Ok(&cluster), "a cluster's name names it");
    }
}

#[test]
fn bad_names_say_what_would_be_accepted() {
    for (given, says) in [
        ("h100x0", "h100x0: a count from 1 to 1048576 comes after the x, as in h100x8"),
        ("h100x-3", "a count from 1"),
        ("h100xx", "h100xx: "),
        ("h100x", "a count from 1"),
        ("h100x1048577", "a count from 1"),
        ("h100x99999999999999999999", "a count from 1"),
        ("h100x+3", "a count from 1"),
        ("h100x1048576+a100", "more than 1048576 devices in all"),
        ("x8", "the presets are local, "),
        ("", "the presets are local, "),
        ("h10x8", "did you mean h100x8?"),
        ("h1000", "did you mean h100?"),
        ("h100 x8", "did you mean h100x8?"),
        ("rtx409", "did you mean rtx4090?"),
        ("mi300y", "did you mean mi300"),
        ("h100x8+b20x8", "did you mean b200x8?"),
        ("a poem", "the presets are local, "),
    ] {
        let error = presets::parse(given).expect_err(given);
        assert!(error.contains(says), "{given}: {error}, not {says}");
    }
}

#[test]
fn a_mix_is_as_slow_as_its_slower_part() {
    let [h100, a100, mix] = ["h100", "a100", "a100x8+h100x4"].map(|name| presets::parse(name).expect(name));
    assert_eq!(mix.kind(DeviceId(7)).expect("an A100").name, "a100");
    assert_eq!(mix.kind(DeviceId(8)).expect("an H100").name, "h100");
    assert_eq!(mix.kind(DeviceId(12)), None);
    assert_eq!(mix.levels, a100.levels, "NVLink 3 and HDR are slower than NVLink 4 and NDR");
    let rack = presets::parse("gb200+h100").expect("a mix");
    assert_eq!(rack.levels[0].devices, Some(8), "the fewer");
    assert_eq!(rack.levels[0].bytes_per_second, h100.levels[0].bytes_per_second);
    let local = presets::parse("localx2+gb200").expect("a mix");
    let own = presets::find("local").expect("a preset").levels;
    let slow = local.levels.iter().all(|level| level.bytes_per_second == own[0].bytes_per_second);
    assert!(slow && own.len() == 1, "the last level of one part stands for what it lacks");
    assert_eq!(read(&local.name, &write(&local)).as_ref(), Ok(&local));
}

#[test]
fn syntax_errors_stand_beside_wrong_values() {
    let text = "format = 1\ntitle = 'x\ndevices = []\nlevels = [{ name = 'a', latency_seconds = -1, bytes_per_second = 1e9 }]\nx = = 2\n";
    insta::assert_snapshot!(problems(text));
    assert_eq!(problems(&"#".repeat((1 << 20) + 1)), "line 1: size: expected at most 1048576 bytes, got 1048577\n");
    assert!(problems("").lines().all(|line| line.starts_with("line 1: ")), "{}", problems(""));
}

/// What is said of an H100 node changed like this, without lines: they change with what is known of an H100.
fn changed_node(change: impl Fn(&mut Table)) -> String {
    let mut file: Table = presets::text("h100").expect("a preset").parse().expect("TOML");
    change(&mut file);
    let text = file.to_string();
    let problems = read("mine", &text).expect_err("it is bad");
    let without = |problem: &Problem| {
        let line = text.lines().nth(problem.line - 1).expect("a line of the text");
        let field = problem.field.rsplit('.').next().expect("a field");
        assert!(line.contains(field) || line.starts_with("[["), "{field}: {line}");
        format!("{}: {}, {}\n", problem.field, problem.expected, problem.got)
    };
    problems.iter().map(without).collect()
}

#[test]
fn fields_are_held_against_each_other() {
    let entry = |list: &str, i: usize, field: &'static str, value: Value| {
        let list = list.to_string();
        move |file: &mut Table| {
            drop(file[&list][i].as_table_mut().expect("a table").insert(field.into(), value.clone()))
        }
    };
    let many = |file: &mut Table| {
        let run = file["devices"][0].clone();
        file["devices"].as_array_mut().expect("a list").push(run);
        file["devices"][0]["count"] = Value::from(1 << 20);
    };
    let listed = [
        changed_node(entry("devices", 0, "count", Value::from((1 << 20) + 1))),
        changed_node(many),
        changed_node(|file| drop(file["levels"][0].as_table_mut().expect("a table").remove("devices"))),
        changed_node(entry("levels", 1, "devices", Value::from(4))),
        changed_node(entry("levels", 1, "devices", Value::from(8))),
        changed_node(|file| {
            entry("levels", 1, "devices", Value::from(16))(file);
            entry("devices", 0, "count", Value::from(17))(file);
        }),
        changed_node(entry("devices", 0, "kind", Value::from("H100x"))),
        changed_node(|file| file["levels"] = Value::Array(Vec::new())),
        changed_node(entry("levels", 0, "wiring", Value::from("mesh"))),
        changed_node(entry(
            "levels",
            0,
            "wiring",
            Value::Table([("switch".to_string(), Value::from(1))].into_iter().collect()),
        )),
        changed_node(entry("levels", 0, "wiring", Value::from("swich"))),
    ];
    insta::assert_snapshot!(listed.join("\n"));
}

#[test]
fn a_kind_of_a_preset_need_not_be_described() {
    let mut file: Table = presets::text("h100").expect("a preset").parse().expect("TOML");
    file.remove("kinds");
    file["devices"][0]["kind"] = Value::from("A100-80");
    let cluster = read("mine", &file.to_string()).unwrap_or_else(|problems| panic!("{}", listed(&problems)));
    assert_eq!(cluster.groups[0].kind, presets::find("a100").expect("a preset").groups[0].kind);
    assert_eq!(read("mine", &write(&cluster)), Ok(cluster));
}

#[test]
fn the_file_of_the_page_reads() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats.md");
    let Ok(page) = std::fs::read_to_string(page) else { return }; // the published crate has no pages
    let text = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a cluster file");
    let cluster = read("page", text).unwrap_or_else(|problems| panic!("{}", listed(&problems)));
    assert_eq!(cluster.devices(), 24);
}

/// One change of a text.
#[derive(Debug, Clone)]
enum Change {
    Cut(Index, usize),
    Put(Index, &'static str),
    Swap(Index, Index),
    Drop(Index),
    End(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let words = [
        "-",
        "0",
        "nan",
        "inf",
        "1e999",
        "\"",
        "'",
        "=",
        "\n",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        ".",
        ",",
        "#",
        "é",
        "\0",
        "x = 1\n",
        "[kinds]\n",
        "[[levels]]\n",
        "\"\"\"",
        "true",
        "1979-05-27",
    ];
    prop_oneof![
        (any::<Index>(), 1usize..40).prop_map(|(at, length)| Change::Cut(at, length)),
        (any::<Index>(), select(words.to_vec())).prop_map(|(at, word)| Change::Put(at, word)),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Change::Swap(a, b)),
        any::<Index>().prop_map(Change::Drop),
        any::<Index>().prop_map(Change::End),
    ]
}

fn changed(text: &str, change: &Change) -> String {
    if text.is_empty() {
        return String::new();
    }
    let mut letters: Vec<char> = text.chars().collect();
    let mut lines: Vec<&str> = text.split('\n').collect();
    match change {
        Change::Cut(at, length) => {
            let at = at.index(letters.len());
            letters.drain(at..(at + length).min(letters.len()));
        }
        Change::Put(at, word) => {
            let at = at.index(letters.len());
            letters.splice(at..at, word.chars());
        }
        Change::Swap(a, b) => {
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            lines.swap(a, b);
            return lines.join("\n");
        }
        Change::Drop(at) => {
            lines.remove(at.index(lines.len()));
            return lines.join("\n");
        }
        Change::End(at) => letters.truncate(at.index(letters.len())),
    }
    letters.into_iter().collect()
}

proptest! {
    #[test]
    fn a_changed_file_reads_or_says_where_it_does_not(
        name in select(presets::names().collect::<Vec<_>>()),
        changes in prop::collection::vec(change(), 1..6),
    ) {
        let text = changes.iter().fold(presets::text(name).expect("a preset").to_string(), |text, change| changed(&text, change));
        match read(name, &text) {
            Ok(cluster) => prop_assert_eq!(read(name, &write(&cluster)), Ok(cluster)),
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                for (i, problem) in problems.iter().enumerate() {
                    prop_assert!((1..=text.lines().count().max(1)).contains(&problem.line), "{}\n{}", problem, text);
                    prop_assert!(!problem.expected.is_empty() && !problem.got.is_empty() && !problem.field.is_empty());
                    prop_assert!(!problems[..i].contains(problem), "twice: {}\n{}", problem, text);
                }
            }
        }
    }

    #[test]
    fn what_is_written_reads(
        parts in prop::collection::vec((select(presets::names().collect::<Vec<_>>()), 1u32..1000), 1..4),
        overlap in 0.0..=1.0f64,
        rate in 1.0..1e16f64,
        latency in 0.0..1.0f64,
    ) {
        let name = parts.iter().map(|(name, count)| format!("{name}x{count}")).collect::<Vec<_>>().join("+");
        let mut cluster = presets::parse(&name).expect("a name");
        for level in &mut cluster.levels {
            level.latency_seconds = Seconds(latency);
            level.bytes_per_second = BytesPerSecond(rate);
        }
        for group in &mut cluster.groups {
            group.kind.overlap = overlap;
            if let Prices::Gpu(gpu) = &mut group.kind.prices {
                gpu.memory_bytes_per_second = BytesPerSecond(rate);
            }
        }
        prop_assert_eq!(read(&cluster.name, &write(&cluster)), Ok(cluster));
    }
}

/// Quadratic work on any of these would take minutes.
#[test]
fn large_hostile_texts_are_refused_soon() {
    let long = |unit: &str| unit.repeat((1 << 19) / unit.len());
    let many = (0..40_000).map(|i| format!("k{i}=1\n")).collect::<String>();
    let texts = [
        long("=\n"),
        long("a=\n"),
        long("\n"),
        long("["),
        long("[[a]]\n"),
        long("[[devices]]\nkind='q'\n"),
        long("[a.b.c.d.e.f]\n"),
        format!("a=[{}]", long("1,")),
        format!("a={}", long("{a=")),
        format!("a='{}'", long("x")),
        format!("{} = 1", long("k")),
        format!("[kinds]\n{many}"),
        many,
    ];
    for text in texts {
        assert!(read("hostile", &text).is_err());
    }
}
