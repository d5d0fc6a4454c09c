//! Plans from a hostile hand: every answer is a list of violations or a sound program, soon and in bounded memory.

#[allow(dead_code)] // not all of what tests share
mod shared;

use headsaw::lower::lower;
use headsaw::plan::{CutRequest, Exchange, Order, Plan, cut};
use headsaw::spec::presets;
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw::verify;
use proptest::prelude::*;
use serde_json::{Value, json};
use shared::hostile::change;

fn plan(exchange: Exchange) -> Value {
    let model = presets::find("eight-heads").unwrap();
    let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
    let workload = Workload { batch: 1, tokens: 16, micros: 2, context: 64, sequences: 2, numerics };
    let request = CutRequest { tp: 3, pp: 2, device_weights: vec![], lanes: 2, exchange, order: Order::Pipelined };
    let mut plan = serde_json::to_value(cut(&model, workload, &request).unwrap()).unwrap();
    plan["devices"][1]["memory"] = json!(1u64 << 40);
    plan["model"]["mixed"] = json!([{"weights": "v", "layers": "0..1, 2..3", "dtype": "f16"}]);
    plan
}

fn hostile_value() -> impl Strategy<Value = Value> {
    let values = [
        json!(0),
        json!(1),
        json!(-1),
        json!(7),
        json!(256),
        json!(65_536),
        json!(4_294_967_295u64),
        json!(18_446_744_073_709_551_615u64),
        json!(1e308),
        json!(0.5),
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!("0..0"),
        json!("0..4294967295"),
        json!("5..3"),
        json!("3"),
        json!("gather"),
        json!("Llama"),
        json!("gpt"),
        json!("x".repeat(1000)),
    ];
    prop::sample::select(values.to_vec())
}

/// A plan's answer, whatever the plan.
fn answer(text: &str) {
    let Ok(plan) = serde_json::from_str::<Plan>(text) else { return };
    let violations = verify::plan(&plan);
    let small = plan.devices.len() as u32 * plan.lanes.min(64) * plan.workload.micros.min(64) <= 64;
    if violations.is_empty() {
        verify::memory(&plan, &lower(&plan));
    }
    if violations.is_empty() && small {
        assert_eq!(verify::program(&lower(&plan)), vec![]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn changed_values_give_violations_or_a_sound_program(
        gather in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), hostile_value()), 1..4),
    ) {
        let mut plan = plan(if gather { Exchange::Gather } else { Exchange::Reduce });
        change(&mut plan, changes);
        answer(&plan.to_string());
    }

    #[test]
    fn changed_bytes_give_an_error_or_an_answer(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut text = plan(Exchange::Reduce).to_string().into_bytes();
        let at = at.index(text.len());
        if cut { text.truncate(at) } else { text[at] = byte }
        answer(&String::from_utf8_lossy(&text));
    }
}

#[test]
fn nested_depth_is_an_error() {
    let deep = "[".repeat(100_000);
    assert!(serde_json::from_str::<Plan>(&deep).is_err());
    assert!(serde_json::from_str::<Plan>(&format!("{{\"format\": {deep}")).is_err());
}

/// Many lanes in one stage, as many devices as a file may name: refused or answered within seconds.
#[test]
fn wide_plans_are_answered() {
    let model = presets::find("eight-heads").unwrap();
    let mut wide = model.clone();
    (wide.heads, wide.kv_heads, wide.head_width, wide.width, wide.layers) = (256, 256, 2, 512, 1);
    let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
    let workload = Workload { batch: 1, tokens: 1, micros: 1, context: 16, sequences: 1, numerics };
    for (lanes, exchange) in [(16, Exchange::Gather), (64, Exchange::Reduce), (64, Exchange::Gather)] {
        let order = Order::Pipelined;
        let request = CutRequest { tp: 256, pp: 1, device_weights: vec![], lanes, exchange, order };
        let plan = cut(&wide, workload, &request).unwrap();
        assert_eq!(verify::plan(&plan), vec![]);
        assert_eq!(verify::program(&lower(&plan)), vec![]);
    }
    let request = CutRequest {
        tp: 2,
        pp: 1,
        device_weights: vec![],
        lanes: 1,
        exchange: Exchange::Reduce,
        order: Order::Pipelined,
    };
    let mut plan = cut(&model, workload, &request).unwrap();
    plan.devices = vec![plan.devices[0].clone(); 1_000_000];
    assert_eq!(verify::plan(&plan).len(), 1);
    plan.devices.truncate(60_000);
    assert!(verify::plan(&plan).len() <= 201);
}

#[test]
fn chunks_hold_no_more_heads_than_a_device() {
    let mut plan = plan(Exchange::Reduce);
    let answer = |plan: &Value| verify::plan(&serde_json::from_value::<Plan>(plan.clone()).unwrap());
    plan["steps"] = json!({"cut": "3", "lanes": [0, 1, 0], "chunk": 3, "overlap": "heads"});
    assert_eq!(answer(&plan), vec![]);
    for chunk in [0, 4, 8, u32::MAX] {
        plan["steps"]["chunk"] = json!(chunk);
        let found = answer(&plan);
        assert_eq!((found[0].at.as_str(), found[0].got.as_str()), ("steps.chunk", chunk.to_string().as_str()));
    }
}
