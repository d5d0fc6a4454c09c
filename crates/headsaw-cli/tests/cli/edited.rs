//! Plans that were edited by hand; tables of many stages.

use super::{file, folder, good, headsaw, parsed, refused};
use serde_json::Value;

#[test]
fn an_edited_plan_is_held_to_the_cluster_that_it_names() {
    let folder = folder("edited");
    let args = ["plan", "llama-3.1-70b", "--cluster", "h100x4", "--tp", "4", "--context", "4096", "--steps", "3"];
    let plan = parsed(&good(&args));
    let edited = |change: &dyn Fn(&mut Value)| {
        let mut plan = plan.clone();
        change(&mut plan);
        file(&folder, "plan.json", &plan.to_string())
    };
    let other = edited(&|plan| plan["cluster"] = "rtx4090x4".into());
    for verb in ["verify", "simulate"] {
        refused(&[verb, &other], "memory of device 1 to device 3: expected at most 24.0 GiB");
    }
    let small = edited(&|plan| plan["devices"][0]["memory"] = 1.into());
    refused(&["verify", &small], "so says the plan in devices[0].memory: the h100 has ");
    let nowhere = edited(&|plan| plan["cluster"] = "nope".into());
    refused(&["verify", &nowhere], &format!("{nowhere}: field cluster: nope: no such cluster"));
    refused(&["verify", "llama-3.1-70b", "--plan", &nowhere], &format!("{nowhere}: field cluster: nope"));
    let secret = file(&folder, "secret", "a secret line");
    let reads = edited(&|plan| plan["cluster"] = secret.as_str().into());
    refused(&["verify", &reads], "expected a preset with a count, as h100x8, or a path that ends in .toml");
    assert!(!headsaw(&["verify", &reads]).err.contains("a secret line"));
    let long = edited(&|plan| plan["cluster"] = "y".repeat(5000).into());
    let told = headsaw(&["verify", &long]).err;
    assert!(told.contains(&format!("{}…: no such cluster", "y".repeat(80))) && told.len() < 1000, "{told}");
    let chunk = edited(&|plan| plan["steps"]["chunk"] = 99.into());
    refused(
        &["verify", &chunk],
        "steps.chunk: expected at least 1 head and at most 16, as a device of this plan holds",
    );
    let wide = edited(&|plan| plan["steps"]["chunk"] = 17.into());
    for verb in ["verify", "simulate", "grain"] {
        refused(&[verb, &wide], "plan.json: 1 thing is wrong with the plan");
        refused(&[verb, &wide], "steps.chunk: expected at least 1 head and at most 16, as a device of this plan holds");
    }
    let whole = edited(&|plan| plan["steps"]["chunk"] = 16.into());
    assert!(good(&["simulate", &whole]).contains("16 heads at a time"));
    let steps = edited(&|plan| plan["steps"] = Value::from(vec!["project|attend|merge"]));
    refused(&["verify", &steps], "expected `steps`, as {\"cut\": \"project|attend|merge\"");
}

#[test]
fn many_equal_stages_are_one_row() {
    let text = good(&["simulate", "llama-3.1-8b", "--cluster", "h100x32", "--pp", "32", "--prompt", "64"]);
    assert!(text.contains("1–30"), "{text}");
    assert!(text.contains("1 prompt of 64 tokens"), "{text}");
    assert!(text.lines().filter(|line| line.contains(" h100 ")).count() < 9, "{text}");
}
