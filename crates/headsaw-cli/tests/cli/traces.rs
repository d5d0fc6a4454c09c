//! Traces as files and pictures: written, checked, compared, drawn, and refused where they are none.

use super::{Ran, file, folder, good, headsaw, headsaw_reading, json, parsed, refused};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A trace of the example, and of the same on another cluster.
fn traces(name: &str) -> (PathBuf, [String; 2]) {
    let folder = folder(name);
    let write = |cluster: &str, name: &str| {
        let path = folder.join(name).display().to_string();
        let args = ["simulate", "eight-heads", "--cluster", cluster, "--tp", "2", "--steps", "3", "--chunk", "1"];
        good(&[&args[..], &["--for", "decode", "-p", "40", "-o", &path]].concat());
        path
    };
    let both = [write("h100x2", "one.trace"), write("a100x2", "other.trace")];
    (folder, both)
}

fn read(path: &str) -> Value {
    parsed(&std::fs::read_to_string(path).unwrap())
}

/// The same as if it were measured, every moment so many times as late; a pause before each round.
fn measured(folder: &Path, path: &str, times: f64) -> String {
    let mut trace = read(path);
    trace["source"] = json!({"measured": {"machine": "a machine"}});
    for span in trace["spans"].as_array_mut().unwrap() {
        for at in [3, 4] {
            span[at] = json!(7.0 + times * span[at].as_f64().unwrap());
        }
    }
    file(folder, "measured.trace", &trace.to_string())
}

#[test]
fn a_simulated_trace_is_sound() {
    let (_, [one, _]) = traces("trace-sound");
    let text = good(&["verify", &one]);
    assert!(text.contains("trace sound: every lane did its actions in order"), "{text}");
    let told = json(&["verify", &one]);
    assert_eq!((&told["sound"], &told["rounds"], &told["place"]), (&json!(true), &json!(4), &json!("h100x2")));
    assert_eq!(told["spans"], json!(read(&one)["spans"].as_array().unwrap().len()));
}

#[test]
fn what_is_wrong_with_a_trace_is_told_with_its_place() {
    let (folder, [one, _]) = traces("trace-wrong");
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut trace = read(&one);
        change(&mut trace);
        file(&folder, "changed.trace", &trace.to_string())
    };
    let early = changed(&|trace| trace["spans"][9][4] = json!(1.0));
    let ran = headsaw(&["verify", &early]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("wrong with the trace") && ran.err.contains("spans[10], device 0 lane 0"), "{}", ran.err);
    let found = headsaw(&["verify", &early, "--json"]);
    assert_eq!(parsed(&found.out)["sound"], json!(false));
    for verb in ["verify", "compare", "draw"] {
        refused(&[verb, &changed(&|trace| trace["spans"][3] = json!([0, 1]))], "changed.trace: line 1, column ");
        refused(&[verb, &changed(&|trace| trace["spans"][3][0] = json!(77))], "spans[3]: expected lane 0 to ");
        refused(&[verb, &changed(&|trace| trace["rounds"][0] = json!([]))], "rounds[0]: expected a load for each of");
        refused(&[verb, &changed(&|trace| trace["plan"]["lanes"] = json!(0))], "plan: lanes: expected 1 to 256");
        refused(&[verb, &file(&folder, "empty.trace", "")], "empty.trace: line 1, column 0: EOF");
        refused(&[verb, "nowhere.trace"], "nowhere.trace: cannot be read");
    }
    let link = changed(&|trace| trace["link"] = json!("fast"));
    refused(&["compare", &link], "\"fast\" is no link: write its rate and its latency, as 1Gbit/s,50us");
    refused(&["verify", &one, "--tp", "2"], "a trace has a plan of its own");
    refused(&["simulate", &one], "a trace, which `compare`, `draw` and `verify` take");
}

#[test]
fn a_trace_is_compared_with_its_prediction() {
    let (folder, [one, other]) = traces("trace-compare");
    let slow = measured(&folder, &one, 2.0);
    let told = json(&["compare", &slow]);
    let error = told["error"].as_f64().unwrap();
    assert!((error + 0.5).abs() < 1e-6, "{error}");
    assert_eq!(told["rounds"][0]["rows"], json!([1]));
    assert_eq!(told["rounds"][0]["count"], json!({"predicted": 4, "measured": 4}));
    let both = json(&["compare", &slow, &one]);
    assert_eq!(both["traces"]["predicted"]["name"], json!(one), "the simulation is the prediction, in any order");
    assert_eq!(both["steps"], told["steps"]);
    let text = good(&["compare", &one, &slow]);
    assert!(text.contains("predicted  measured") && text.contains("-50.0 %"), "{text}");
    assert!(good(&["compare", &one, &other]).contains("first"));
    let elsewhere = json(&["compare", &slow, "--cluster", "a100x2"]);
    assert!(elsewhere["seconds"]["predicted"].as_f64() > told["seconds"]["predicted"].as_f64());
    refused(&["compare", &one, &other, "--cluster", "h100x2"], "both traces are given");
    refused(&["compare", &one, "--cluster", "h100x1"], "--cluster h100x1: 1 device(s), and the plan has 2");
    let cut = folder.join("cut.trace").display().to_string();
    good(&["simulate", "eight-heads", "--cluster", "h100x4", "--tp", "4", "-o", &cut]);
    refused(&["compare", &one, &cut], "traces of different plans, which differ in stages");
    let prompt = folder.join("prompt.trace").display().to_string();
    let args = ["simulate", "eight-heads", "--cluster", "h100x2", "--tp", "2", "--steps", "3", "--chunk", "1"];
    good(&[&args[..], &["-p", "40", "-o", &prompt]].concat());
    refused(&["compare", &prompt, &one], "nothing to compare: no round of the same rows is whole in both");
}

#[test]
fn a_trace_that_should_not_be_trusted_is_compared_with_a_note() {
    let (folder, [one, _]) = traces("trace-note");
    let mut trace = read(&one);
    trace["spans"].as_array_mut().unwrap().swap(3, 4);
    let odd = file(&folder, "odd.trace", &trace.to_string());
    let ran = headsaw(&["compare", &odd]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("note: ") && ran.err.contains("spans[3]"), "{}", ran.err);
}

#[test]
fn traces_are_drawn_below_each_other() {
    let (folder, [one, _]) = traces("trace-draw");
    let slow = measured(&folder, &one, 2.0);
    let text = good(&["draw", &one, "--beside", &slow]);
    assert!(text.contains("Predicted: ") && text.contains("Measured on a machine: "), "{text}");
    assert_eq!(text.matches("device 1  lane 0").count(), 2);
    for (ending, says) in
        [("svg", "<svg"), ("json", "\"traceEvents\""), ("pftrace", "project"), ("html", "<!doctype html")]
    {
        let path = folder.join(format!("both.{ending}"));
        let name = path.display().to_string();
        good(&["draw", &slow, "--beside", &one, "--window", "0..100us", "-o", &name]);
        let bytes = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.to_lowercase().contains(&says.to_lowercase()), "{ending}");
        assert!(text.contains("a machine"), "{ending}");
    }
    let told = json(&["draw", &slow, "--round", "2", "-o", &folder.join("x.svg").display().to_string()]);
    let actions = read(&one)["spans"].as_array().unwrap().len() as u64 / 4;
    assert_eq!(told["pictures"][0]["actions"], json!(actions), "a fourth of four rounds");
    let text = std::fs::read_to_string(&one).unwrap();
    assert!(headsaw_reading(&["draw", "-"], &text).out.contains("Predicted: "), "from standard input");
    refused(&["draw", &one, "--round", "9"], "--round 9: ");
    refused(&["draw", &one, "-o", "x.png"], "--output x.png: expected a file that ends in .html, .svg, ");
    refused(&["draw", &one, "-o", "nowhere/x.svg"], "nowhere: no such folder");
    refused(&["draw", &one, "-o", "x.trace"], "--output x.trace: a picture ends in ");
    assert!(!Path::new("x.trace").exists());
}

#[test]
fn pictures_are_drawn_by_the_ending_of_the_file() {
    let folder = folder("pictures");
    let draw = |name: &str, more: &[&str]| {
        let path = folder.join(name).display().to_string();
        let args = ["simulate", "eight-heads", "--cluster", "h100x4", "--tp", "4", "--steps", "3", "--chunk", "1"];
        let ran = headsaw(&[&args[..], &["-o", &path], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        (ran, std::fs::read(&path).unwrap())
    };
    let (ran, svg) = draw("a.svg", &["--gantt"]);
    assert!(ran.out.contains("P== project") && ran.err.contains("wrote "), "{} {}", ran.out, ran.err);
    assert!(String::from_utf8(svg).unwrap().contains("attend, head 7"));
    let (ran, chrome) = draw("a.json", &["--gantt", "--json"]);
    assert!(ran.err.contains("A~~ attend"), "beside JSON the picture is talk: {}", ran.err);
    assert_eq!(parsed(&ran.out)["actions"], 219);
    let chrome = parsed(&String::from_utf8(chrome).unwrap());
    let spans = chrome["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X");
    assert_eq!(spans.count(), 219);
    let page = String::from_utf8(draw("a.html", &["--lang", "zh"]).1).unwrap();
    assert!(page.contains("<html lang=\"zh-CN\">") && page.contains("eight heads，h100x4"), "{page}");
    let (ran, svg) = draw("b.svg", &["--gantt", "--lang", "zh"]);
    assert!(ran.out.contains("P== 投影 project") && ran.out.contains("设备 3  通道 0"), "{}", ran.out);
    assert!(String::from_utf8(svg).unwrap().contains("注意力，头 7"));
    let (all, (ran, part)) = (draw("a.pftrace", &[]).1, draw("b.pftrace", &["--window", "0..50us"]));
    assert!(!part.is_empty() && part.len() < all.len() && ran.err.contains("actions outside are left out"));
    let simulate = ["simulate", "demo", "--lanes", "1"];
    refused(
        &[&simulate[..], &["-o", "x.png"]].concat(),
        "expected a file that ends in .html, .svg, .json or .pftrace, or in .trace",
    );
    refused(&[&simulate[..], &["--window", "0..1ms", "-o", "x.trace"]].concat(), "a part of what?");
    refused(&[&simulate[..], &["--window", "0..1ms"]].concat(), "a part of what?");
    let wrong = headsaw(&[&simulate[..], &["--gantt", "--window", "2ms..1ms"]].concat());
    assert!(wrong.code == 2 && wrong.err.contains("ends before it begins"), "{}", wrong.err);
}

#[test]
fn a_trace_keeps_its_link() {
    let path = folder("trace-link").join("shaped.trace").display().to_string();
    good(&["simulate", "demo", "--tp", "2", "--lanes", "1", "--link", "1Gbit/s,50us", "-p", "16", "-o", &path]);
    assert_eq!(read(&path)["link"], json!("1 Gbit/s, 50 us"));
    let told = json(&["compare", &path]);
    assert!(told["error"].as_f64().unwrap().abs() < 1e-9, "{}", told["error"]);
}

/// Of a long run two rounds are drawn, with the same axis whoever draws; all of them where they are asked for.
#[test]
fn of_a_long_run_two_rounds_are_drawn() {
    let folder = folder("long");
    let path = |name: &str| folder.join(name).display().to_string();
    let (trace, drawn, at_once) = (path("long.trace"), path("drawn.SVG"), path("at-once.svg"));
    good(&["run", "demo", "-p", "In the", "-n", "12", "--lanes", "1", "--trace", &trace]);
    good(&["run", "demo", "-p", "In the", "-n", "12", "--lanes", "1", "--trace", &at_once]);
    good(&["draw", &trace, "-o", &drawn]);
    for (file, how) in [(&drawn, "(--all draws all)"), (&at_once, "(for all keep a .trace file: headsaw draw --all)")] {
        let picture = std::fs::read_to_string(file).unwrap();
        // The title may be broken into lines anywhere.
        let said = picture.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("; rounds ") && said.contains(how), "{file}: {said}");
        assert!(picture.contains(">0</text>"), "{file}: the axis begins at zero");
    }
    let all = good(&["draw", &trace, "--all"]);
    assert!(!all.contains("; rounds "), "{all}");
    assert!(all.lines().all(|line| line.chars().count() <= 80), "{all}");
    let some = good(&["draw", &trace]);
    assert!(some.contains("; rounds "), "{some}");
    let whole = headsaw(&["draw", &trace, "--all", "--json"]);
    let part = headsaw(&["draw", &trace, "--json"]);
    let actions = |ran: &Ran| parsed(&ran.out)["pictures"][0]["actions"].as_u64().unwrap();
    assert!(actions(&whole) > actions(&part), "{} {}", whole.out, part.out);
}

#[test]
fn a_file_that_is_no_trace_is_refused_in_its_own_words() {
    let ran = headsaw_reading(&["draw", "-"], "[]");
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("expected a trace, an object with `format`"), "{}", ran.err);
    assert!(!ran.err.contains("struct"), "{}", ran.err);
}
