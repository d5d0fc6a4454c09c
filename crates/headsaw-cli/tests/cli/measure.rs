//! `grain` as a page, and `--measure` on the model inside headsaw: what it says, not how long things take.

use super::{folder, good, headsaw, json, refused};

const MEASURE: [&str; 7] = ["grain", "demo", "--measure", "--measure-seconds", "1", "--cluster", "local"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&MEASURE[..], more].concat()
}

#[test]
fn grain_measures_the_cuts_of_its_curves() {
    let grain = json(&with(&["--prompt", "32"]));
    let measured = &grain["measured"];
    let points = measured["points"].as_array().unwrap();
    let on = |curve: &str| points.iter().filter(|point| point["curve"] == curve).count();
    assert_eq!([on("plan"), on("serial"), on("shared"), on("uncut")], [1; 4]);
    assert_eq!([on("tp"), on("steps"), on("overlap")], [4, 3, 3]);
    assert!(points.iter().all(|point| point["measured_seconds"].as_f64().unwrap() > 0.0), "{points:?}");
    assert!(measured["rounds"].as_u64() >= Some(1));
    for point in points {
        let [error, predicted, measured] =
            ["error", "predicted_seconds", "measured_seconds"].map(|name| point[name].as_f64().unwrap());
        assert!((predicted / measured - 1.0 - error).abs() < 1e-9);
    }
    assert!(grain["speedups"]["measured"].as_f64() > Some(0.0));
    let curve = |name: &str| grain[name].as_array().unwrap().clone();
    assert!(curve("chunk_curve").iter().all(|point| point["measured_seconds"].as_f64() > Some(0.0)));
    assert!(curve("steps_curve").iter().all(|point| point["measured_seconds"].is_null() == (point["size"] == 5)));
    let claims: Vec<_> = measured["claims"].as_array().unwrap().iter().map(|c| c["about"].as_str().unwrap()).collect();
    assert_eq!(claims, ["shared", "uncut", "tp", "chunk", "steps", "overlap"]);
}

#[test]
fn a_measurement_is_told_and_drawn_beside_the_prediction() {
    let path = folder("grain_measured").join("grain.html").display().to_string();
    let generating = ["--for", "decode", "--prompt", "24", "--batch", "1", "--lang", "en", "-o", &path];
    let said = good(&with(&generating));
    for part in ["Predicted beside measured", "lanes without steps", "by prediction", "◂ here", "measured"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(page.contains("class=\"measured\"") && page.contains("Predicted beside measured"));
    let chinese = good(&with(&["--prompt", "16", "--lang", "zh"]));
    assert!(chinese.contains("预测与实测") && chinese.contains("实测"), "{chinese}");
}

#[test]
fn a_machine_that_nobody_describes_is_measured_first() {
    let ran = headsaw(&["grain", "demo", "--measure", "--measure-seconds", "1", "--prompt", "16", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let (own, usual) = (super::parsed(&ran.out), json(&["grain", "demo", "--prompt", "16"]));
    assert_eq!(own["cut"]["tp"], usual["cut"]["tp"]);
    assert_ne!(own["levels"][0]["seconds"], usual["levels"][0]["seconds"], "not the figures of another machine");
}

#[test]
fn what_can_not_be_measured_is_refused() {
    for (args, says) in [
        (&["--pp", "2"][..], "one stage is measured"),
        (&["--batch", "2"], "one sequence in one micro-batch"),
        (&["--micro-batches", "2"], "one sequence in one micro-batch"),
        (&["--overlap", "tokens"], "tried beside the others"),
        (&["--prompt", "32", "--prompt-chunk", "8"], "one sequence in one micro-batch"),
    ] {
        refused(&with(args), says);
    }
    let measure = ["--measure", "--cluster"];
    refused(&[&["grain", "llama-3.1-8b"], &measure[..], &["h100"]].concat(), "threads of this machine, not h100");
    refused(&["grain", "smollm2-135m", "--measure"], "a shape without weights");
    refused(&["grain", "demo", "--measure-seconds", "3"], "--measure");
}

#[test]
fn grain_writes_the_page_that_it_tells() {
    let path = folder("grain_page").join("grain.html").display().to_string();
    let ran = headsaw(&["grain", "eight-heads", "--cluster", "h100x4", "--lang", "en", "-o", &path]);
    assert_eq!((ran.code, ran.err), (0, format!("wrote {path}\n")));
    let page = std::fs::read_to_string(&path).unwrap().replace('\u{a0}', " ");
    let first = ran.out.lines().next().unwrap();
    for said in [first, "<h2 id=\"timelines-title\">", "class=\"curves\"", "project", "<h3>Verdict</h3>"] {
        assert!(page.contains(said), "{said}");
    }
}
