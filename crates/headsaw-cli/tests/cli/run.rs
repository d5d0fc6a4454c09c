//! What a run prints and writes.

use super::{folder, good, headsaw_reading, json, parsed};
use serde_json::Value;

#[test]
fn run_gives_the_same_bits_under_every_cut() {
    let prompts =
        ["run", "demo", "-p", "In the beginning", "-p", "And he said", "-p", "The", "-n", "12", "--seed", "3"];
    let digest = |cut: &[&str]| {
        let shown = json(&[&prompts[..], &["--temperature", "0.7"], cut].concat());
        assert_eq!(shown["outputs"].as_array().unwrap().len(), 3);
        (shown["logits_digest"].clone(), shown["outputs"].clone())
    };
    let uncut = digest(&["--lanes", "1"]);
    let cuts: [&[&str]; 6] = [
        &["--lanes", "2"],
        &["--tp", "3", "--lanes", "1"],
        &["--tp", "2", "--pp", "2", "--exchange", "gather", "--lanes", "1"],
        &["--pp", "3", "--order", "sequential", "--prompt-chunk", "1"],
        &["--device-weights", "2:1:1", "--isa", "portable", "--lanes", "1"],
        &["--backend", "reference", "--tp", "8"],
    ];
    for cut in cuts {
        assert_eq!(digest(cut), uncut, "{cut:?}");
    }
}

#[test]
fn run_takes_prompts_from_everywhere() {
    let flag = json(&["run", "demo", "-p", "In the beginning", "-n", "4"]);
    let ran = headsaw_reading(&["run", "demo", "-p", "-", "-n", "4", "--json"], "In the beginning\n");
    assert_eq!(flag["outputs"], parsed(&ran.out)["outputs"]);
    assert_eq!(flag["outputs"][0]["finish_reason"], "length");
    assert_eq!(flag["outputs"][0]["tokens"].as_array().unwrap().len(), 4);
    let lines = "In the beginning\n\n{\"prompt\": \"In the beginning\"}\n";
    let both = parsed(&headsaw_reading(&["run", "demo", "--prompts", "-", "-n", "4", "--json"], lines).out);
    assert_eq!((&both["outputs"][0], &both["outputs"][1]), (&flag["outputs"][0], &flag["outputs"][0]));
    let text = flag["outputs"][0]["text"].as_str().unwrap();
    assert_eq!(good(&["run", "demo", "-p", "In the beginning", "-n", "4"]), format!("{text}\n"));
    let several = headsaw_reading(&["run", "demo", "--prompts", "-", "-n", "4"], lines).out;
    assert!(several.contains("prompt 2: In the beginning\n"), "{several}");
}

#[test]
fn a_stop_text_ends_a_text_before_it() {
    let run = ["run", "demo", "-p", "In the beginning", "-n", "12"];
    let whole = json(&run)["outputs"][0]["text"].as_str().unwrap().to_string();
    let middle: String = whole.chars().skip(8).take(3).collect();
    let stopped = json(&[&run[..], &["--stop", &middle]].concat());
    let output = &stopped["outputs"][0];
    let before = whole.split(&middle).next().unwrap();
    assert_eq!((output["text"].as_str().unwrap(), &output["finish_reason"]), (before, &Value::from("stop")));
    assert!(output["tokens"].as_array().unwrap().len() < 12);
    assert_eq!(good(&[&run[..], &["--stop", &middle]].concat()), format!("{before}\n"));
}

#[test]
fn logits_are_written_as_safetensors() {
    let path = folder("logits").join("logits.safetensors");
    let name = path.display().to_string();
    json(&["run", "demo", "-p", "In", "-p", "The", "-n", "3", "--ignore-eos", "--logits", &name]);
    let bytes = std::fs::read(&path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let vocab = json(&["inspect", "demo"])["model"]["vocab"].as_u64().unwrap() as usize;
    for prompt in ["prompt.0", "prompt.1"] {
        let tensor = tensors.tensor(prompt).unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (safetensors::Dtype::F32, &[3, vocab][..]));
    }
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
}
