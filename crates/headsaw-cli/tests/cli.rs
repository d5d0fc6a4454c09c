//! The real binary, as people and scripts use it.

#[path = "cli/chat.rs"]
mod chat;
#[path = "cli/demo.rs"]
mod demo;
#[path = "cli/edited.rs"]
mod edited;
#[path = "cli/export.rs"]
mod export;
#[cfg(all(unix, not(feature = "download")))]
#[path = "cli/hub.rs"]
mod hub;
#[path = "cli/links.rs"]
mod links;
#[path = "cli/measure.rs"]
mod measure;
#[path = "cli/run.rs"]
mod run;
#[path = "cli/traces.rs"]
mod traces;

use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headsaw"));
    for name in ["HEADSAW_ISA", "HEADSAW_BACKEND", "HEADSAW_COLOR", "LC_ALL", "LC_MESSAGES", "LANG", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ended(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let ran = Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) };
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
    ran
}

fn headsaw(args: &[&str]) -> Ran {
    ended(command(args).spawn().unwrap())
}

fn headsaw_reading(args: &[&str], input: &str) -> Ran {
    let mut child = command(args).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(input.as_bytes()); // it may refuse before it reads
    drop(stdin);
    ended(child)
}

/// What a verb prints when all is well.
fn good(args: &[&str]) -> String {
    let ran = headsaw(args);
    assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
    ran.out
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn json(args: &[&str]) -> Value {
    parsed(&good(&[args, &["--json"]].concat()))
}

/// Bad input: exit code 2, nothing on stdout, a message that says this.
#[track_caller]
fn refused(args: &[&str], says: &str) {
    let ran = headsaw(args);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?}: {}", ran.err);
    assert!(ran.err.contains(says), "{args:?} should say {says:?}: {}", ran.err);
    assert!(ran.err.starts_with("error: "), "{args:?}: {}", ran.err);
}

/// A folder of a test's own, fresh.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

const VERBS: [&str; 13] = [
    "demo",
    "inspect",
    "verify",
    "plan",
    "simulate",
    "compare",
    "draw",
    "grain",
    "run",
    "bench",
    "calibrate",
    "export",
    "completions",
];

#[test]
fn help_of_every_verb() {
    insta::assert_snapshot!("help", good(&["--help"]));
    for verb in VERBS {
        let help = good(&[verb, "--help"]);
        assert!(help.contains("Examples:"), "{verb}");
        insta::assert_snapshot!(format!("help_{verb}"), help);
    }
}

#[test]
fn inspect_shows_shape_and_cuts() {
    insta::assert_snapshot!("inspect_smollm2", good(&["inspect", "smollm2-135m"]));
    insta::assert_snapshot!("inspect_gpt3", good(&["inspect", "gpt3-175b", "--tp", "7,8"]));
    let shown = json(&["inspect", "demo", "--tensors"]);
    assert_eq!(shown["model"]["heads"], 8);
    assert_eq!(shown["cuts"].as_array().unwrap().len(), 8);
    assert!(shown["tensors"].as_array().unwrap().len() > 4 * 8);
    assert!(good(&["inspect", "demo", "--tensors"]).contains("token_embd.weight"));
    let config = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128,
        "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 100, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 64}"#;
    let config = file(&folder("inspect"), "config.json", config);
    let shown = json(&["inspect", &config]);
    assert_eq!((&shown["model"]["width"], &shown["file"]), (&Value::from(64), &Value::Null));
}

#[test]
fn inspect_shows_clusters() {
    let shown = good(&["inspect", "H100x16"]);
    for line in ["h100x16", "count 16", "bf16, tensor cores 989 TFLOP/s", "exchange network"] {
        assert!(shown.lines().any(|shown| shown.split_whitespace().eq(line.split_whitespace())), "{line}: {shown}");
    }
    let mix = good(&["inspect", "h100x8+local"]);
    assert!(mix.lines().any(|line| line.split_whitespace().eq(["exchange", "network", "link"])), "{mix}");
    let shown = json(&["inspect", "localx3"]);
    assert_eq!((&shown["cluster"], &shown["devices"]), (&Value::from("localx3"), &Value::from(3)));
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(shown["groups"][0]["prices"]["table"]["cores"], cores);

    let folder = folder("clusters");
    let bad = "format = 1\ntitle = 'x'\nlevels = []\n[[devices]]\nkind = 'h10'\ncount = -1\nspeed = 3\n";
    let path = file(&folder, "mine.toml", bad);
    refused(
        &["inspect", &path],
        "mine.toml: line 5: devices[0].kind: expected one of [kinds] or a preset (did you mean h100?)",
    );
    refused(&["inspect", &path], "mine.toml: line 6: devices[0].count: expected a number of devices");
    refused(&["inspect", &path], "mine.toml: line 7: devices[0].speed: expected one of kind, count");
    let one = "format = 1\ntitle = 'x'\nlevels = []\n[[devices]]\nkind = 'h100'\ncount = 1\n";
    let path = file(&folder, "one.toml", one);
    assert_eq!(json(&["inspect", &path])["cluster"], "one");
    let noise = folder.join("noise.toml");
    std::fs::write(&noise, [0xff, 0xfe]).unwrap();
    refused(&["inspect", &noise.display().to_string()], "noise.toml: byte 0: not UTF-8");
    refused(&["inspect", "missing.toml"], "missing.toml: cannot be read");
    refused(&["inspect", "h10x8"], "did you mean h100x8?");
    refused(&["inspect", "h100x0"], "a count from 1 to 1048576");
    refused(&["inspect", "a poem"], "no such cluster; write a preset and a count, as h100x16");
    refused(&["inspect", "h100", "--tensors"], "a cluster; --tp and --tensors are for models");
}

#[test]
fn verify_shows_who_holds_what() {
    let cut = ["verify", "smollm2-135m", "--tp", "4", "--pp", "2", "--lanes", "1"];
    insta::assert_snapshot!("verify_smollm2", good(&cut));
    let gather =
        ["verify", "eight-heads", "--device-weights", "2:1", "--exchange", "gather", "--lanes", "1", "--ranks"];
    insta::assert_snapshot!("verify_eight_heads", good(&gather));
    let listing = ["verify", "eight-heads", "--tp", "8", "--lanes", "1", "--program"];
    assert!(good(&listing).contains("0PROJECT0.L3"));
    let found = json(&cut);
    assert_eq!(found["sound"], true);
    assert_eq!(found["devices"].as_array().unwrap().len(), 8);
    assert_eq!(found["program"]["exchanges_per_layer"], 2);
    assert_eq!(found["program"]["bytes_sent_per_token_layer_device"]["max"], 4608);
}

/// Without what better constants of a cluster change: durations, rates, shares; sizes stay.
fn without_times(text: &str) -> String {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let next = |i: usize| words.get(i + 1).copied().unwrap_or("");
        let hides = |(i, word): (usize, &&str)| {
            let number = word.parse::<f64>().is_ok() && word.contains('.') && !next(i).ends_with("iB");
            let unit = ["s", "ms", "µs", "ns", "%", "tokens/s"].contains(&next(i));
            if number || unit { "#".to_string() } else { word.to_string() }
        };
        let joined = words.iter().enumerate().map(hides).collect::<Vec<_>>().join(" ");
        ["ms", "µs", "ns"].iter().fold(joined, |text, unit| text.replace(&format!("# {unit}"), "# s"))
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn simulate_foretells_prompts_and_generation() {
    let prompts = ["simulate", "llama-3.1-8b", "--cluster", "h100x8", "--tp", "8"];
    insta::assert_snapshot!("simulate_prefill", without_times(&good(&prompts)));
    let decode = [&prompts[..], &["--for", "decode", "--batch", "16"]].concat();
    insta::assert_snapshot!("simulate_decode", without_times(&good(&decode)));
    let steps = [&prompts[..], &["--steps", "3", "--chunk", "2"]].concat();
    insta::assert_snapshot!("simulate_steps", without_times(&good(&steps)));
    for args in [&prompts[..], &decode, &steps] {
        let shown = json(args);
        let seconds = shown["seconds"].as_f64().unwrap();
        if let Some(closed) = shown["closed_form_seconds"].as_f64() {
            // While generating, the window begins where the round before ended, a part of which is beside this one.
            assert!((closed / seconds - 1.0).abs() < 0.01, "{closed} {seconds}");
        }
        for device in shown["devices"].as_array().unwrap() {
            let part = |name: &str| device[name].as_f64().unwrap();
            let sum = part("busy_seconds") + part("exchange_seconds") + part("waiting_seconds");
            assert!((sum / seconds - 1.0).abs() < 1e-9 && part("busy_seconds") > 0.3 * seconds, "{device}");
        }
    }
    let whole = json(&prompts);
    let again = json(&prompts);
    assert_eq!((&whole["seconds"], &whole["devices"]), (&again["seconds"], &again["devices"]));
    let rate = whole["tokens_per_second"].as_f64().unwrap();
    assert!((rate * whole["seconds"].as_f64().unwrap() - 2048.0).abs() < 1e-6);
}

#[test]
fn equal_replicas_cost_what_one_costs() {
    let on = |cluster: &str| json(&["simulate", "llama-3.1-70b", "--cluster", cluster, "--tp", "8", "--pp", "4"]);
    let (one, many) = (on("h100x32"), on("h100x16384"));
    assert_eq!(
        (&one["seconds"], &one["actions"], one["replicas"].as_u64()),
        (&many["seconds"], &many["actions"], Some(1))
    );
    assert_eq!(many["replicas"], 512);
    let ratio = many["tokens_per_second_all"].as_f64().unwrap() / one["tokens_per_second_all"].as_f64().unwrap();
    assert!((ratio - 512.0).abs() < 1e-9);
    let replicas = |cluster: &str, tp: &str| {
        json(&["simulate", "demo", "--tp", tp, "--cluster", cluster, "--lanes", "1"])["replicas"].clone()
    };
    let gpus =
        |cluster: &str, tp: &str| json(&["simulate", "demo", "--tp", tp, "--cluster", cluster])["replicas"].clone();
    assert_eq!((gpus("h100x4+a100x4", "2"), gpus("h100x4+a100x4", "8")), (2.into(), 1.into()), "of the first kind");
    assert_eq!(gpus("h100x4+h100x4", "2"), 4, "of one kind, written twice");
    assert_eq!((replicas("localx8", "1"), replicas("localx8", "2")), (1.into(), 1.into()), "they share the cores");
}

#[test]
fn overlaps_stand_side_by_side_and_auto_is_the_fastest() {
    let args = ["simulate", "llama-3.1-8b", "--cluster", "h100x8", "--tp", "4", "--steps", "3", "--chunk", "4"];
    let shown = json(&[&args[..], &["--overlap", "auto"]].concat());
    let overlaps = shown["overlaps"].as_array().unwrap();
    assert_eq!(overlaps.len(), 3);
    let least = overlaps.iter().map(|one| one["seconds"].as_f64().unwrap()).fold(f64::INFINITY, f64::min);
    assert_eq!(shown["seconds"].as_f64(), Some(least));
    let chosen = overlaps.iter().find(|one| one["seconds"].as_f64() == Some(least)).unwrap();
    assert_eq!(shown["cut"]["steps"]["overlap"], chosen["overlap"]);
    assert_eq!(overlaps[2]["micro_batches"], 2, "tokens take two");
    let tokens = json(&[&args[..], &["--overlap", "tokens"]].concat());
    assert_eq!(tokens["seconds"], overlaps[2]["seconds"]);
    assert_eq!((&tokens["cut"]["micro_batches"], &tokens["cut"]["prompt_chunk"]), (&2.into(), &1024.into()));
    let one = json(&[&args[..], &["--order", "sequential", "--overlap", "auto"]].concat());
    assert_eq!(one["overlaps"].as_array().unwrap().len(), 2, "tokens need two in flight");
    assert!(json(&["simulate", "demo", "--tp", "2"])["overlaps"].as_array().unwrap().is_empty());
}

#[test]
fn an_overlap_that_does_not_fit_is_not_taken() {
    let args = ["simulate", "llama-3.1-8b", "--cluster", "h100", "--prompt", "16384", "--prompt-chunk", "8192"];
    let args = [&args[..], &["--context", "65536", "--steps", "5", "--chunk", "1", "--overlap"]].concat();
    let with = |overlap: &'static str| [&args[..], &[overlap]].concat();
    let shown = json(&with("auto"));
    assert_eq!(shown["cut"]["steps"]["overlap"], "heads");
    let bytes = |field: &str| shown["devices"][0][field].as_u64().unwrap();
    assert!(bytes("memory_bytes_peak") <= bytes("memory_bytes"));
    let tried: Vec<&Value> = shown["overlaps"].as_array().unwrap().iter().map(|one| &one["overlap"]).collect();
    assert_eq!(tried, ["none", "heads"]);
    assert!(good(&with("auto")).contains("does not fit: memory of device 0"));
    refused(&with("tokens"), "memory of device 0: expected at most 79.6 GiB");
}

#[test]
fn prompts_go_through_in_chunks() {
    let simulate = ["simulate", "demo", "--lanes", "1"];
    let cut = |more: &[&str]| json(&[&simulate[..], more].concat())["cut"].clone();
    let shown = cut(&["-p", "500", "--prompt-chunk", "128"]);
    assert_eq!((&shown["micro_batches"], &shown["prompt_chunk"]), (&4.into(), &128.into()), "the last has 116");
    let shown = cut(&["-p", "500", "--pp", "2"]);
    assert_eq!((&shown["micro_batches"], &shown["prompt_chunk"]), (&2.into(), &250.into()));
    assert_eq!(cut(&["-p", "1", "--pp", "4"])["micro_batches"], 1);
    let shown = cut(&["-p", "200", "--batch", "4", "--prompt-chunk", "100"]);
    assert_eq!((&shown["prompt_chunk"], &shown["batch"]), (&100.into(), &4.into()), "of one sequence");
    let of_a_grain = json(&["grain", "demo", "--cluster", "h100x2", "-p", "200", "--batch", "4"]);
    assert_eq!(of_a_grain["cut"]["prompt_chunk"], of_a_grain["load"]["tokens"]);
    assert_eq!(cut(&["-p", "200", "--batch", "4", "--prompt-chunk", "64", "--for", "decode"])["prompt_chunk"], 64);
    // A plan keeps its chunks: three of them through two slots, the last of which carries nothing.
    let folder = folder("chunks");
    let plan = good(&["plan", "demo", "--lanes", "1", "--pp", "2", "--prompt-chunk", "100", "--context", "300"]);
    let plan = file(&folder, "plan.json", &plan);
    let (three, four) = (json(&["simulate", &plan]), json(&["simulate", &plan, "--context", "400", "-p", "400"]));
    assert_eq!((&three["prompt"], &three["cut"]["micro_batches"]), (&300.into(), &2.into()));
    assert_eq!(three["actions"], four["actions"]);
    assert!(three["seconds"].as_f64().unwrap() < 0.85 * four["seconds"].as_f64().unwrap());
}

#[test]
fn plans_keep_to_their_cluster() {
    let folder = folder("placed");
    let path = folder.join("plan.json").display().to_string();
    good(&[
        "plan",
        "llama-3.1-8b",
        "--tp",
        "2",
        "--steps",
        "3",
        "--cluster",
        "h100x8",
        "--context",
        "4096",
        "-o",
        &path,
    ]);
    let plan = parsed(&std::fs::read_to_string(&path).unwrap());
    assert_eq!((&plan["cluster"], &plan["lanes"]), (&"h100x8".into(), &2.into()));
    assert_eq!(plan["steps"]["lanes"], serde_json::json!([0, 1, 0]));
    assert_eq!(plan["workload"]["numerics"]["activations"], "bf16");
    assert!(plan["devices"][1]["memory"].as_u64().unwrap() > 70 << 30);
    assert_eq!(plan["devices"][1]["name"], "h100 1");
    assert_eq!(json(&["simulate", &path])["cluster"], "h100x8");
    assert_eq!(json(&["simulate", &path, "--cluster", "a100x4"])["replicas"], 2);
    assert_eq!(json(&["verify", &path])["program"]["exchanges_per_layer"], 2);
    let local = good(&["plan", "demo", "--steps", "5", "--lanes", "3"]);
    assert_eq!(parsed(&local)["steps"]["lanes"], serde_json::json!([0, 1, 2, 0, 1]));
    refused(&["verify", &path, "--tp", "16"], "devices: expected at most 8, as h100x8 has (tp × pp), got 16");
    refused(&["verify", &path, "--cluster", "h100x1"], "devices: expected at most 1");
}

#[test]
fn what_can_not_be_simulated_is_refused() {
    let on = |more: &[&str]| headsaw(&[&["simulate", "llama-3.1-8b", "--cluster", "h100x8"], more].concat());
    let cases: [&[&str]; 14] = [
        &["--prompt", "200000"],
        &["--prompt", "131072", "--for", "decode"],
        &["--prompt", "4096", "--context", "1024"],
        &["--prompt", "100000"],
        &["--prompt-chunk", "1"],
        &["--batch", "64"],
        &["--batch", "4294967295"],
        &["--dp", "9"],
        &["--tp", "64"],
        &["--chunk", "33"],
        &["--steps", "4"],
        &["--lanes", "2"],
        &["--overlap", "tokens", "--micro-batches", "1"],
        &["--overlap", "tokens", "--prompt", "1"],
    ];
    let mut said = String::new();
    for case in cases {
        let ran = on(case);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{case:?}: {}", ran.err);
        said += &format!("{}\n{}\n", case.join(" "), ran.err);
    }
    insta::assert_snapshot!("simulate_refused", said);
    let too_large = headsaw(&["simulate", "llama-3.1-70b", "--cluster", "h100x8", "--tp", "1", "--dtype", "bf16"]);
    assert_eq!(too_large.code, 2);
    assert!(too_large.err.contains("(--tp 2 --pp 1 would fit), got 13"), "{}", too_large.err);
    refused(
        &["verify", "llama-3.1-405b", "--cluster", "h100x8", "--tp", "8"],
        "no cut over the 8 devices of h100x8 fits",
    );
    refused(&["plan", "llama-3.1-70b", "--cluster", "h100x8", "--tp", "2"], "--tp 4 --pp 1 would fit");
    for cluster in ["h100x0", "h100x99999999999", "", "+"] {
        refused(&["simulate", "smolm2-135m", "--cluster", cluster], "--cluster ");
    }
    refused(
        &["simulate", "demo", "--cluster", "localx8", "--dp", "2"],
        "--dp 2: the devices of localx8 share the cores",
    );
    let all_at_once: [(&[&str], [&str; 2]); 4] = [
        (&["smolm2-135m", "--cluster", "h10x8"], ["did you mean smollm2-135m?", "--cluster h10x8: no such cluster"]),
        (&["demo", "-p", "600", "--tp", "9"], ["--prompt 600: the model was made for 512", "--tp 9 of 8 heads"]),
        (&["demo", "--cluster", "h10x8", "--tp", "99"], ["did you mean h100x8?", "--tp 99 of 8 heads"]),
        (&["demo", "--cluster", "h100x2", "--tp", "4", "--dp", "2"], ["at most 2, as h100x2 has", "--dp 2: "]),
    ];
    for (args, says) in all_at_once {
        says.iter().for_each(|says| refused(&[&["simulate"], args].concat(), says));
    }
    for verb in ["plan", "verify", "grain"] {
        let both = ["did you mean h100x8?\n", "--tp 99 of 8 heads"];
        both.iter().for_each(|says| refused(&[verb, "demo", "--cluster", "h10x8", "--tp", "99"], says));
    }
    let folder = folder("no_simulation");
    let bad = file(&folder, "bad.toml", "format = 1\n[[devices]]\nkind = \"h10\"\ncount = -8\n");
    let ran = headsaw(&["simulate", "demo", "--cluster", &bad]);
    let lines: Vec<&str> = ran.err.trim_start_matches("error: ").lines().collect();
    assert!(lines.len() > 2, "{}", ran.err);
    assert!(lines.iter().all(|line| line.starts_with(&format!("--cluster {bad}: line "))), "{}", ran.err);
    let text = good(&["plan", "demo", "--lanes", "1"]);
    for (from, to) in [("\"micros\": 1", "\"micros\": 0"), ("\"tokens\": 512", "\"tokens\": 0")] {
        assert!(text.contains(from), "{from}");
        let plan = file(&folder, "plan.json", &text.replace(from, to));
        refused(&["simulate", &plan], "expected 1 to ");
        refused(&["simulate", &plan, "--for", "decode"], "expected 1 to ");
    }
}

/// Asked for more steps than there are kernels, a run says which it takes, and gives the same bits.
#[test]
fn steps_run_as_kernels_take_them_and_leave_a_trace() {
    let folder = folder("steps");
    let digest = |args: &[&str]| {
        let ran = headsaw(&[&["run", "demo", "-p", "x", "-n", "3", "--json"], args].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        (json["logits_digest"].as_str().unwrap().to_string(), ran.err)
    };
    let (whole, _) = digest(&["--lanes", "1"]);
    let trace = folder.join("run.trace").display().to_string();
    let (five, said) = digest(&["--tp", "2", "--steps", "5", "--lanes", "2", "--trace", &trace]);
    assert_eq!(five, whole);
    assert!(said.contains("runs as project|attend|merge: score, softmax and context are one kernel here"), "{said}");
    assert!(good(&["verify", &trace]).contains("trace sound"));
    let json: serde_json::Value = serde_json::from_str(&good(&["compare", &trace, "--json"])).unwrap();
    assert!(json["seconds"]["measured"].as_f64().unwrap() > 0.0);
    let page = folder.join("run.html").display().to_string();
    digest(&["--chunk", "2", "--exchange", "gather", "--lanes", "1", "--tp", "2", "--trace", &page]);
    assert!(std::fs::read_to_string(&page).unwrap().starts_with("<!doctype html>"));
    refused(&["run", "demo", "-p", "x", "--trace", "x.txt"], "--trace");
    refused(&["draw", &trace, "--window", "900s..901s"], "--window: ");
    let text = std::fs::read_to_string(&trace).unwrap();
    let hollow = format!("{}\"spans\": []\n}}\n", &text[..text.find("\"spans\"").unwrap()]);
    refused(&["verify", &file(&folder, "hollow.trace", &hollow)], "spans: expected those of");
    good(&["grain", "demo", "--order", "sequential"]);
}

#[test]
fn a_plan_is_written_read_edited_and_refused() {
    let folder = folder("plan");
    let path = folder.join("plan.json").display().to_string();
    let printed = good(&["plan", "smollm2-135m", "--tp", "3", "--lanes", "1"]);
    good(&["plan", "smollm2-135m", "--tp", "3", "--lanes", "1", "-o", &path]);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, printed);
    good(&["verify", &path]);
    assert_eq!(headsaw_reading(&["verify", "-"], &text).code, 0);
    assert_eq!(json(&["verify", &path, "--lanes", "2"])["cut"]["lanes"], 2, "flags override");
    assert_eq!(json(&["verify", "smollm2-135m", "--plan", &path, "--tp", "2"])["cut"]["tp"], 2);

    let gap = file(&folder, "gap.json", &text.replace(r#""heads": "3..6""#, r#""heads": "4..7""#));
    refused(&["verify", &gap], "3..4 held by nobody");
    refused(&["verify", &gap], "6..7 held twice");
    let ran = headsaw(&["verify", &gap, "--json"]);
    let found = parsed(&ran.out);
    assert_eq!((ran.code, &found["sound"]), (2, &Value::from(false)));
    assert_eq!(found["violations"].as_array().unwrap().len(), 2);

    let broken = file(&folder, "broken.json", "{\"format\": 1,\n \"model\": 3}");
    refused(&["verify", &broken], "line 2, column");
    refused(&["verify", &path, "--plan", &path], "a plan already");
    let absurd = file(&folder, "absurd.json", &text.replace(r#""kv_heads": 3"#, r#""kv_heads": 0"#));
    refused(&["verify", &absurd], "kv_heads is 0");
    refused(&["verify", &absurd, "--tp", "2"], "kv_heads is 0");
    let never = file(&folder, "never.json", &text.replace(r#""micros": 1"#, r#""micros": 0"#));
    refused(&["verify", &never], "workload.micros");
    refused(&["verify", "qwen2-1.5b", "--plan", &path], "a plan for SmolLM2-135M");
    refused(&["run", "demo", "-p", "x", "--plan", &path], "heads 9 there and 8 here");
}

#[test]
fn a_plan_of_a_file_runs_and_is_held_to_its_hash() {
    let folder = folder("hash");
    let text = good(&["plan", "demo", "--tp", "3", "--lanes", "1", "--context", "64"]);
    let plan = file(&folder, "plan.json", &text);
    let run = ["run", "demo", "-p", "And", "-n", "4"];
    let planned = json(&[&run[..], &["--plan", &plan]].concat());
    assert_eq!(planned["cut"]["tp"], 3);
    assert_eq!(planned["logits_digest"], json(&run)["logits_digest"]);
    let hash = json(&["inspect", "demo"])["file"]["hash"].as_str().unwrap().to_string();
    let other = file(&folder, "other.json", &text.replace(&hash, &"0".repeat(64)));
    refused(&[&run[..], &["--plan", &other]].concat(), "with the hash 000000000000…");
}

#[test]
fn bad_input_is_refused_with_exit_code_2() {
    let folder = folder("refused");
    let noise = file(&folder, "noise.gguf", "no GGUF at all, only words");
    let empty = file(&folder, "empty.txt", "\n\n");
    let jsonl = file(&folder, "bad.jsonl", "{\"prompt\": \"x\"}\n{\"text\": \"y\"}\n");
    let long = "word ".repeat(1000);
    refused(&["inspect", "smolm2-135m"], "did you mean smollm2-135m?");
    refused(&["inspect", "a poem"], "the presets are eight-heads, ");
    refused(&["inspect", "missing.gguf"], "missing.gguf: no such file");
    refused(&["inspect", &noise], "noise.gguf: ");
    refused(&["inspect", &folder.display().to_string()], "config.json");
    refused(&["inspect", "smollm2-135m", "--tp", "10"], "--tp 10 of 9 heads");
    refused(&["verify", "smollm2-135m", "--tp", "10"], "takes --tp 1 to 9");
    refused(&["verify", "smollm2-135m", "--pp", "31"], "--pp 31 of 30 layers");
    refused(&["verify", "smollm2-135m", "--tp", "0"], "0 is not in 1..");
    refused(&["verify", "smollm2-135m", "--tp", "2", "--device-weights", "1:2:3"], "names 3 devices and --tp 2 has 2");
    refused(&["verify", "smollm2-135m", "--device-weights", "1:x"], "write 2:1:1");
    refused(&["verify", "smollm2-135m", "--device-weights", "1:nan"], "a weight is a number");
    refused(&["verify", "smollm2-135m", "--context", "8193"], "made for at most 8192 tokens");
    refused(&["verify", "smollm2-135m", "--dtype", "f32", "--kv-dtype", "f16"], "--kv-dtype f16");
    refused(&["verify", "smollm2-135m", "--dtype", "f32", "--kv-dtype", "bf16"], "--kv-dtype bf16");
    refused(&["verify", "missing.json"], "missing.json: cannot be read");
    refused(&["verify", "smollm2-135m", "--lanes", "256", "--micro-batches", "1024"], "actions of all lanes");
    refused(&["run", "smollm2-135m", "-p", "x"], "a shape without weights");
    refused(&["run", "demo"], "no prompt");
    refused(&["run", "demo", "-p", ""], "prompt 1 of 1 is empty");
    refused(&["run", "demo", "-p", "-", "--prompts", "-"], "read once only");
    refused(&["run", "demo", "--prompts", &empty], "no prompt in it");
    refused(&["run", "demo", "--prompts", &jsonl], "line 2: no \"prompt\" field");
    refused(&["run", "demo", "--prompts", "missing.txt"], "missing.txt: cannot be read");
    refused(&["run", "demo", "-p", &long], "the context holds 512");
    refused(&["run", "demo", "-p", "x", "-n", "600"], "has room for");
    refused(&["run", "demo", "-p", "x", "--tp", "9"], "--tp 9 of 8 heads");
    refused(&["run", "demo", "-p", "x", "--temperature", "-1"], "temperature");
    refused(&["run", "demo", "-p", "x", "--top-p", "0"], "top-p");
    refused(&["run", "demo", "-p", "x", "--stop", ""], "--stop");
    refused(&["run", "demo", "-p", "x", "--logits", "missing/l.safetensors"], "missing: no such folder");
    refused(&["run", "demo", "-p", "x", "--backend", "reference", "--isa", "portable"], "--isa");
    refused(&["bench", "demo", "-p", "0", "-n", "0"], "nothing to measure");
    refused(&["bench", "demo", "-p", "513"], "the context holds 512");
    refused(&["demo", "-n", "600"], "the context holds 512");
    refused(&["demo", "-p", ""], "an empty prompt");
    refused(&["sing"], "unrecognized subcommand");
    refused(&["completions", "tcsh"], "invalid value 'tcsh'");
}

#[test]
fn bench_measures_both() {
    let shown = json(&["bench", "demo", "-p", "16", "-n", "4", "-r", "2", "--lanes", "1"]);
    for test in ["prompt", "generation"] {
        let rates = &shown[test]["tokens_per_second"];
        let [min, median, max] = ["min", "median", "max"].map(|name| rates[name].as_f64().unwrap());
        assert!(0.0 < min && min <= median && median <= max, "{rates}");
    }
    assert!(shown["weight_bytes_per_token"].as_u64().unwrap() > 1 << 20);
    assert_eq!(json(&["bench", "demo", "-p", "0", "-n", "2", "-r", "1"])["prompt"], Value::Null);
}

#[test]
fn calibrate_writes_a_cluster_that_can_be_read() {
    let folder = folder("calibrate");
    let path = folder.join("here.toml").display().to_string();
    let shown = good(&["calibrate", "--quick", "-o", &path]);
    assert!(["memory", "cache", "Q4_1", "attention", "lay out"].iter().all(|word| shown.contains(word)), "{shown}");
    good(&["inspect", &path]);
    let text = good(&["calibrate", "--quick", "--isa", "portable", "--dtypes", "q4_1,Q6_K", "-o", "-"]);
    assert!(text.contains("portable kernels"), "{text}");
    let portable = json(&["inspect", &file(&folder, "text.toml", &text)]);
    let products = portable["groups"][0]["prices"]["table"]["products"].as_array().unwrap().iter();
    let of: BTreeSet<&str> = products.map(|point| point["weights"].as_str().unwrap()).collect();
    assert_eq!(of, ["q4_1", "q6_k"].into());
    refused(&["calibrate", "--dtypes", "Q4_1,Q4_K_M"], "no type of weights; those that run here are F32, F16");
    let measured = json(&["calibrate", "--quick", "-o", &path]);
    assert_eq!(measured["file"], Value::from(path.as_str()));
    let measured = measured["table"]["products"].as_array().unwrap();
    assert_eq!(measured.len(), 11 * 6, "each type of weights with each number of tokens");
    refused(&["calibrate", "-o", "no/such/folder.toml"], "no such folder");
    refused(&["calibrate", "--backend", "reference", "--isa", "avx2"], "no instruction sets");
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish", "nushell"] {
        let script = good(&["completions", shell]);
        assert!(VERBS.iter().all(|verb| script.contains(verb)) && script.contains("device-weights"), "{shell}");
        assert_eq!(json(&["completions", shell])["script"].as_str().unwrap(), script);
    }
}

#[test]
fn colours_only_where_they_are_wanted() {
    let plain = good(&["inspect", "eight-heads"]);
    assert!(!plain.contains('\u{1b}'));
    assert!(good(&["inspect", "eight-heads", "--color", "always"]).contains('\u{1b}'));
    let forced = ended(command(&["inspect", "eight-heads"]).env("CLICOLOR_FORCE", "1").spawn().unwrap());
    assert!(forced.out.contains('\u{1b}'));
    let never = command(&["inspect", "eight-heads", "--color", "never"]).env("CLICOLOR_FORCE", "1").spawn().unwrap();
    assert_eq!(ended(never).out, plain);
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let listing = ["verify", "smollm2-135m", "--tp", "4", "--lanes", "1", "--program"];
    let run = ["run", "demo", "-p", "x", "-n", "400", "--ignore-eos"];
    for args in [&listing[..], &run] {
        let mut child = command(args).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 1]).unwrap();
        drop(out);
        let ran = ended(child);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_run_with_what_is_done() {
    // Slow enough to be interrupted: the plain kernels.
    let args = ["run", "demo", "-p", "In the beginning", "-n", "500", "--ignore-eos", "--backend", "reference"];
    let mut child = command(&args).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 1]).unwrap();
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let ran = ended(child);
    assert_eq!(ran.code, 130, "{}", ran.err);
    assert!(ran.out.ends_with('\n') && ran.err.contains("logits digest"), "{}\n{}", ran.out, ran.err);
}

/// An answer of `grain` without what changes when a constant is fitted anew: numbers behind the verdict, long bars.
fn without_numbers(text: &str) -> String {
    let at = text.find(" 0.0").expect("the time of a unit");
    let (heads, rest) = text.split_at(at);
    let mut masked = String::new();
    for letter in rest.chars() {
        let shown = match letter {
            '0'..='9' => '#',
            '▏' | '▎' | '▍' | '▌' | '▋' | '▊' | '▉' => '█',
            other => other,
        };
        let again = masked.ends_with(shown) && "#█".contains(shown);
        let point = letter == '.' && masked.ends_with('#');
        if !again && !point {
            masked.push(shown);
        }
    }
    let line = |line: &str| {
        line.split_whitespace().collect::<Vec<_>>().join(" ").replace("# µs", "# s").replace("# ms", "# s")
    };
    heads.to_string() + &masked.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn grain_answers_in_the_words_of_the_article() {
    let cases = [
        ("eight_heads", vec!["eight-heads", "--cluster", "h100x4"]),
        ("prefill_512", vec!["llama-3.1-8b", "--cluster", "h100x8", "--prompt", "512"]),
        ("prefill_8192", vec!["llama-3.1-8b", "--cluster", "h100x8", "--prompt", "8192"]),
        ("decode", vec!["llama-3.1-8b", "--cluster", "h100x8", "--for", "decode", "--prompt", "4095"]),
    ];
    for (name, args) in cases {
        for lang in ["en", "zh"] {
            let said = good(&[&["grain"], &args[..], &["--lang", lang]].concat());
            assert!(!said.contains('\u{1b}'), "no colours into a pipe");
            insta::assert_snapshot!(format!("grain_{name}_{lang}"), without_numbers(&said));
        }
    }
    let first = |args: &[&str]| good(&[&["grain", "eight-heads", "--cluster", "h100x4"], args].concat());
    let english = first(&[]);
    assert!(english.starts_with("The grain of a GPU: 2 heads × 3 steps = 6 units a layer, 0.0"), "{english}");
    let chinese = first(&["--lang", "zh"]);
    assert!(chinese.starts_with("每个 GPU 的粒度：2 个头 × 3 步 = 每层 6 个单元，每单元 0.0"), "{chinese}");
    let chunked = first(&["--chunk", "2"]);
    assert!(
        chunked.starts_with("The grain of a GPU: 2 heads in 1 chunk of 2 × 3 steps = 3 units a layer"),
        "{chunked}"
    );
    let device = good(&["grain", "demo", "--tp", "4", "--cluster", "localx4"]);
    assert!(device.starts_with("The grain of a device: 2 heads × 3 steps = 6 units a layer"), "{device}");
}

#[test]
fn grain_is_wide_as_a_terminal() {
    for lang in ["en", "zh"] {
        let said = good(&["grain", "llama-3.1-70b", "--cluster", "h100x8", "--prompt", "8192", "--lang", lang]);
        let rows = said.lines().filter(|line| line.starts_with("  ") && !line.contains("- ") && !line.contains('。'));
        for row in rows.filter(|row| row.contains('█') || row.contains("µs")) {
            assert!(row.chars().count() <= 84, "{row}");
        }
    }
}

#[test]
fn grain_has_the_fields_that_scripts_rely_on() {
    let grain = json(&["grain", "eight-heads", "--cluster", "h100x4", "--prompt", "128"]);
    assert_eq!((&grain["slots"]["serial"], &grain["slots"]["pipelined"]), (&Value::from(6), &Value::from(4)));
    assert_eq!((&grain["slots"]["on_lanes"], &grain["bubble"]), (&Value::from(4), &Value::from(0.5)));
    assert_eq!(grain["speedups"]["ideal"], 1.5);
    assert!(grain["speedups"]["measured"].is_null());
    assert_eq!(grain["verdict"], "too_fine");
    let levels: Vec<&str> = grain["levels"].as_array().unwrap().iter().map(|l| l["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["replica", "device", "chunk", "step", "step", "step"]);
    let curve = grain["curve"].as_array().unwrap();
    assert_eq!((&curve[0]["heads"], &curve[curve.len() - 1]["heads"]), (&Value::from(1), &Value::from(8)));
    assert!(curve.iter().all(|point| point["seconds"].as_f64().unwrap() > 0.0));
    // A plan keeps its cut; one without steps gets three.
    let plan = file(&folder("grain"), "plan.json", &good(&["plan", "llama-3.1-8b", "--tp", "2"]));
    let planned = json(&["grain", &plan, "--cluster", "h100x8", "--prompt", "512"]);
    assert_eq!((&planned["heads"], &planned["units"]), (&Value::from(16), &Value::from(48)));
    let loss =
        |loss| json(&["grain", "llama-3.1-8b", "--cluster", "h100x8", "--loss", loss])["smallest_efficient"].clone();
    assert!(loss("20%")["heads"].as_u64() < loss("5%")["heads"].as_u64());
    assert_eq!(loss("0.2"), loss("20%"));
}

#[test]
fn grain_refuses_what_it_can_not_answer() {
    for (args, says) in [
        (vec!["llama-3.1-8b", "--cluster", "h10x8"], "did you mean h100x8?"),
        (vec!["lama-3.1-8b", "--cluster", "h100x8"], "did you mean llama-3.1-8b?"),
        (vec!["llama-3.1-8b", "--cluster", "h100x0"], "a count from 1 to"),
        (vec!["llama-3.1-8b", "--cluster", "h100x4", "--tp", "8"], "at most 4"),
        (vec!["llama-3.1-70b", "--cluster", "h100x8", "--tp", "1"], "would fit"),
        (vec!["llama-3.1-8b", "--cluster", "h100x8", "--chunk", "9"], "take 1 to 4"),
        (vec!["eight-heads", "--cluster", "h100x4", "--prompt", "513"], "made for 512 tokens"),
        (vec!["eight-heads", "--cluster", "h100x4", "-o", "x.svg"], "--output x.svg: expected .html"),
    ] {
        refused(&[&["grain"], &args[..]].concat(), says);
    }
    for loss in ["0%", "100%", "-1", "x", "NaN"] {
        let ran = headsaw(&["grain", "eight-heads", "--cluster", "h100x4", &format!("--loss={loss}")]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{loss}");
        assert!(ran.err.contains("a loss is above 0 % and below 100 %"), "{}", ran.err);
    }
}

#[test]
fn lanes_that_share_cores_are_told_where_nobody_reads_json() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let lanes = |count: usize| count.min(256).to_string();
    let run = |count: usize, json: &[&str]| {
        headsaw(&[&["run", "demo", "-p", "The", "-n", "1", "--lanes", &lanes(count)], json].concat())
    };
    let crowded = run(cores + 1, &[]);
    let note = crowded.err.lines().filter(|line| line.contains(&format!("{} lanes share {cores}", cores + 1)));
    assert_eq!(note.count(), 1, "{}", crowded.err);
    assert!(!run(cores + 1, &["--json"]).err.contains("lanes share"));
    assert!(!run(1, &[]).err.contains("lanes share"));
}

#[test]
fn mistaken_steps_and_chunks_get_a_tip() {
    refused(&["run", "demo", "-p", "The", "--steps", "-1"], "write 1, 2, 3, 5");
    refused(&["simulate", "eight-heads", "--cluster", "h100x8", "--tp", "8", "--chunk", "2"], "at most; take 1");
}
