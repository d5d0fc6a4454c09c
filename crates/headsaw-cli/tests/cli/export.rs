//! `headsaw export`, as people and scripts use it.

use super::{command, ended, file, folder, good, headsaw, headsaw_reading, json, parsed, refused};
use serde_json::Value;
use std::fs;

#[test]
fn flags_go_to_stdout_and_notes_to_stderr() {
    let args = ["export", "smollm2-135m", "--tp", "3", "--exchange", "gather", "--to", "sglang"];
    let ran = headsaw(&args);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.starts_with("sglang.sh\n#!/bin/sh\n"), "{}", ran.out);
    assert!(ran.out.contains("--tp-size 3"), "{}", ran.out);
    assert!(ran.err.contains("exchange gather"), "{}", ran.err);
    let shown = json(&args);
    assert_eq!((&shown["engine"], &shown["accepted"]), (&Value::from("sglang"), &Value::from(true)));
    assert_eq!(shown["flags"][0]["name"], "--model-path");
    assert_eq!(shown["nearest"], Value::Null);
    assert!(shown["files"]["sglang.yaml"].as_str().unwrap().contains("tp-size: 3"));
}

#[test]
fn an_uneven_cut_is_refused_and_the_nearest_written() {
    let args = ["export", "smollm2-135m", "--tp", "2", "--to", "vllm"];
    refused(&args, "heads: tp divides the 9 heads; the plan's devices have 5 and 4");
    refused(&args, "pp 2 instead of 1");
    let ran = headsaw(&[&args[..], &["--json"]].concat());
    assert_eq!(ran.code, 2);
    let shown = parsed(&ran.out);
    assert_eq!((&shown["accepted"], &shown["refused"][0]["rule"]), (&Value::from(false), &Value::from("heads")));
    assert_eq!((&shown["nearest"]["cut"]["pp"], &shown["flags"]), (&Value::from(2), &Value::Array(vec![])));

    let folder = folder("nearest").join("out");
    let to = folder.display().to_string();
    let ran = headsaw(&[&args[..], &["--nearest", "-o", &to]].concat());
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    assert!(ran.err.contains("written instead: tp 1 instead of 2"), "{}", ran.err);
    let script = fs::read_to_string(folder.join("vllm.sh")).unwrap();
    assert!(script.contains("export VLLM_PP_LAYER_PARTITION=15,15\n"), "{script}");
    let plan = folder.join("plan.json").display().to_string();
    assert_eq!(json(&["verify", &plan])["cut"]["pp"], 2);
    let again = json(&["export", &plan, "--to", "vllm"]);
    assert_eq!(again["files"]["vllm.yaml"], fs::read_to_string(folder.join("vllm.yaml")).unwrap());
}

#[test]
fn a_file_is_the_one_of_its_kind() {
    let folder = folder("exported");
    let path = |name: &str| folder.join(name).display().to_string();
    let cut = ["export", "llama-3.1-8b", "--tp", "2", "--pp", "2"];
    good(&[&cut[..], &["--to", "torchtitan", "-o", &path("order.csv")]].concat());
    assert_eq!(fs::read_to_string(path("order.csv")).unwrap(), "0F0,0F1,0B0,0B1\n1F0,1F1,1B0,1B1\n");
    refused(&[&cut[..], &["--to", "megatron", "-o", &path("x.csv")]].concat(), "there are megatron.sh");
    refused(&[&cut[..], &["--to", "megatron", "-o", &path("none/x.sh")]].concat(), "no such folder");
    refused(&[&cut[..], &["--to", "megatrn"]].concat(), "megatron");
}

#[test]
fn plans_come_from_files_pipes_and_clusters() {
    let plan = good(&["plan", "llama-3.1-70b", "--tp", "8", "--pp", "2", "--cluster", "h100x16"]);
    let args = ["export", "-", "--to", "megatron", "--json"];
    let shown = parsed(&headsaw_reading(&args, &plan).out);
    let program: Vec<&str> = shown["program"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(program[..3], ["torchrun", "--nproc-per-node=8", "--nnodes=2"]);
    let broken = plan.replacen("\"0..40\"", "\"0..41\"", 1);
    assert_ne!(broken, plan);
    let path = file(&folder("export_plan"), "plan.json", &broken);
    refused(&["export", &path, "--to", "vllm"], "held twice");
    let mut child = command(&["export", "llama-3.1-8b", "--tp", "2", "--to", "vllm", "--nodes", "0"]);
    assert_eq!(ended(child.spawn().unwrap()).code, 2);
    refused(&["export", "llama-3.1-8b", "--tp", "4", "--to", "vllm", "--nodes", "3"], "nodes: ");
}
