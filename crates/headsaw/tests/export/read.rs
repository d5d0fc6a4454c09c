//! Reads an export back, on a road of its own: what would the engine cut?

use headsaw::export::{Engine, Export};
use headsaw::plan::{Order, Plan};
use serde_json::Value;
use std::collections::BTreeMap;

/// Is what the export says what the plan says?
pub fn check(export: &Export, plan: &Plan) -> Result<(), String> {
    let layers: Vec<u32> = plan.stages.iter().map(|stage| stage.layers.len() as u32).collect();
    let tp = plan.stages[0].slices.len() as u32;
    let read = match export.engine {
        Engine::Vllm => served(export, "--tensor-parallel-size", "--pipeline-parallel-size", "VLLM", plan),
        Engine::Sglang => served(export, "--tp-size", "--pp-size", "SGLANG", plan),
        Engine::Megatron => megatron(export, plan),
        Engine::Torchtitan => titan(export, plan),
        Engine::Deepspeed => deepspeed(export, plan),
        Engine::TorchPipelining => (tp, layers.clone()), // it says neither
    };
    if read != (tp, layers.clone()) {
        return Err(format!("says tp {} and stages {:?}; the plan has {tp} and {layers:?}", read.0, read.1));
    }
    let mut orders = export.files.iter().filter(|file| file.name.ends_with(".csv"));
    orders.try_for_each(|file| rows(&file.text, plan))
}

fn flag(export: &Export, name: &str) -> Option<u32> {
    let flag = export.flags.iter().find(|flag| flag.name == name)?;
    flag.value.as_ref().unwrap().parse().ok()
}

fn numbers(text: &str) -> Vec<u32> {
    text.split(',').map(|number| number.parse().expect("a number")).collect()
}

/// Equal stages, the first ones taking what is left over.
fn even(layers: u32, stages: u32) -> Vec<u32> {
    (0..stages).map(|i| (layers + stages - 1 - i) / stages).collect()
}

fn served(export: &Export, tp: &str, pp: &str, engine: &str, plan: &Plan) -> (u32, Vec<u32>) {
    let name = format!("{engine}_PP_LAYER_PARTITION");
    let partition = export.environment.iter().find(|(variable, _)| *variable == name).map(|(_, value)| numbers(value));
    let layers = partition.unwrap_or_else(|| vec![plan.model.layers]);
    assert_eq!(flag(export, pp), Some(layers.len() as u32));
    let yaml: BTreeMap<&str, &str> = export.files[0].text.lines().map(|line| line.split_once(": ").unwrap()).collect();
    for flag in export.flags.iter().filter(|flag| !flag.value.as_ref().unwrap().contains('$')) {
        assert_eq!(yaml[flag.name.trim_start_matches('-')], flag.value.as_deref().unwrap(), "the same in both");
    }
    (flag(export, tp).unwrap(), layers)
}

fn megatron(export: &Export, plan: &Plan) -> (u32, Vec<u32>) {
    let pp = flag(export, "--pipeline-model-parallel-size").unwrap();
    let layout = export.flags.iter().find(|flag| flag.name == "--pipeline-model-parallel-layout");
    let layers: Vec<u32> = match layout.and_then(|flag| flag.value.as_ref()) {
        Some(layout) => {
            let inside = layout.strip_prefix('E').unwrap().strip_suffix('L').unwrap();
            inside.split('|').map(|stage| stage.strip_prefix("t*").unwrap().parse().unwrap()).collect()
        }
        None => {
            let ends = [
                flag(export, "--decoder-first-pipeline-num-layers"),
                flag(export, "--decoder-last-pipeline-num-layers"),
            ];
            let left = plan.model.layers - ends.iter().flatten().sum::<u32>();
            let middle = pp - ends.iter().flatten().count() as u32;
            assert_eq!(left % middle.max(1), 0);
            let middle = (0..middle).map(|_| left / middle);
            ends[0].into_iter().chain(middle).chain(ends[1]).collect()
        }
    };
    assert_eq!(layers.len() as u32, pp);
    (flag(export, "--tensor-model-parallel-size").unwrap(), layers)
}

fn titan(export: &Export, plan: &Plan) -> (u32, Vec<u32>) {
    let pp = flag(export, "--parallelism.pipeline_parallel_degree").unwrap();
    let python = export.files.iter().find(|file| file.name.ends_with(".py"));
    let layers: Vec<u32> = match python {
        Some(file) => {
            let ranges = file.text.split("range(").skip(1).map(|rest| rest.split_once(')').unwrap().0);
            ranges.map(|range| range.split_once(", ").unwrap()).map(|(a, b)| number(b) - number(a)).collect()
        }
        None => {
            let less =
                |which: &str| flag(export, &format!("--parallelism.pipeline_parallel_{which}_stage_less_layers"));
            assert_eq!((less("first"), less("last")), if pp > 1 { (Some(0), Some(0)) } else { (None, None) });
            even(plan.model.layers, pp)
        }
    };
    assert_eq!(layers.len() as u32, pp);
    (flag(export, "--parallelism.tensor_parallel_degree").unwrap(), layers)
}

fn number(text: &str) -> u32 {
    text.parse().expect("a number")
}

fn deepspeed(export: &Export, plan: &Plan) -> (u32, Vec<u32>) {
    let config: Value = serde_json::from_str(&export.files[0].text).unwrap();
    let number = |value: &Value| value.as_u64().map_or(1, |number| number as u32);
    let [micro, steps] =
        ["train_micro_batch_size_per_gpu", "gradient_accumulation_steps"].map(|key| number(&config[key]));
    assert_eq!(number(&config["train_batch_size"]), micro * steps);
    let (tp, pp) = (number(&config["tensor_parallel"]["autotp_size"]), number(&config["pipeline"]["stages"]));
    (tp, even(plan.model.layers, pp))
}

/// Each stage does each micro-batch once, in the plan's order; without a plan in flight its backward follows at once.
fn rows(text: &str, plan: &Plan) -> Result<(), String> {
    let rows: Vec<Vec<&str>> = text.lines().map(|row| row.split(',').collect()).collect();
    if rows.len() != plan.stages.len() {
        return Err(format!("{} rows for {} stages", rows.len(), plan.stages.len()));
    }
    let micros = plan.workload.micros;
    for (stage, row) in rows.iter().enumerate() {
        let of = |word: &str| -> Vec<u32> {
            let head = format!("{stage}{word}");
            row.iter().filter_map(|cell| cell.strip_prefix(&head)?.parse().ok()).collect()
        };
        let all: Vec<u32> = (0..micros).collect();
        let (forwards, backwards) = (of("F"), of("B"));
        if forwards != all || !(backwards == all || backwards.is_empty()) {
            return Err(format!("stage {stage}: {row:?}"));
        }
        let (sends, waits, receives) = (of("SEND_F"), of("WAIT_SEND_F"), of("RECV_F"));
        let inner = backwards.is_empty();
        let (sent, received) = (inner && stage + 1 < rows.len(), inner && stage > 0);
        let expected = |is: bool| if is { all.clone() } else { vec![] };
        if sends != expected(sent) || waits != sends || receives != expected(received) {
            return Err(format!("stage {stage}: {row:?}"));
        }
        let alternate = plan.order == Order::Sequential || micros == 1;
        if !inner && (row[1] == format!("{stage}B0")) != alternate {
            return Err(format!("stage {stage}: {row:?}"));
        }
    }
    Ok(())
}
