//! Devices that fail: the run ends with an error that names them, and soon.

use headsaw::plan::{CutRequest, Exchange, Order, cut};
use headsaw::spec::cluster::DeviceId;
use headsaw::spec::model::{Dtype, Family};
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw_run::compute;
use headsaw_run::generate::{Engine, Flow, Options, RunError};
use headsaw_run::testing::{random_model, small_spec};
use headsaw_run::weights::ModelFile;
use headsaw_run::{Failure, Fault};
use std::time::{Duration, Instant};

fn engine(file: &ModelFile, tp: u32, pp: u32, exchange: Exchange) -> Engine {
    let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
    let workload = Workload { batch: 2, tokens: 4, micros: 2, context: 64, sequences: 2, numerics };
    let order = Order::Pipelined;
    let request = CutRequest { tp, pp, device_weights: vec![], lanes: 2, exchange, order };
    let plan = cut(file.spec(), workload, &request).unwrap();
    Engine::load(file, &plan, compute::cpu(None).unwrap(), &mut |_| {}).unwrap()
}

#[test]
fn a_device_that_dies_is_named_and_nobody_waits_for_it() {
    let spec = small_spec(Family::Llama);
    let file = ModelFile::from_bytes(random_model(&spec, 3, Dtype::Q8_0).leak()).unwrap();
    for (tp, pp) in [(2, 1), (4, 1), (1, 2), (2, 2)] {
        for exchange in [Exchange::Reduce, Exchange::Gather] {
            let mut engine = engine(&file, tp, pp, exchange);
            for device in 0..tp * pp {
                for round in [0, 5] {
                    let fault = Some(Fault { device: DeviceId(device), round });
                    let options = Options { fault, ..Options::greedy(20) };
                    let begun = Instant::now();
                    let result = engine.generate(&[vec![1, 2, 3], vec![4, 5]], &options, &mut |_| Flow::Continue);
                    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
                    match result {
                        Err(RunError::Failed(Failure::DeviceLost { device: lost, .. })) => {
                            assert_eq!(lost, DeviceId(device));
                        }
                        other => panic!("expected device {device} to be lost, got {other:?}"),
                    }
                }
            }
            // The engine is whole: the next run is as if nothing had happened.
            let report = engine.generate(&[vec![1, 2, 3]], &Options::greedy(4), &mut |_| Flow::Continue).unwrap();
            assert_eq!(report.outputs[0].tokens.len(), 4);
        }
    }
}

#[test]
fn weights_that_are_not_numbers_are_an_error_that_names_layer_and_step() {
    let spec = small_spec(Family::Llama);
    let mut bytes = random_model(&spec, 3, Dtype::F32);
    // The file ends with a matrix or a gain; poison its last number, then each quarter of the file's end.
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let file = ModelFile::from_bytes(bytes.leak()).unwrap();
    let mut engine = engine(&file, 2, 1, Exchange::Reduce);
    let error = engine.generate(&[vec![1, 2, 3]], &Options::greedy(4), &mut |_| Flow::Continue).unwrap_err();
    assert!(matches!(error, RunError::Failed(Failure::NotFinite { .. })), "{error}");
    assert!(error.to_string().contains("layer"), "{error}");
}

#[test]
fn prompts_that_cannot_be_taken_are_refused_with_what_can() {
    let spec = small_spec(Family::Llama);
    let file = ModelFile::from_bytes(random_model(&spec, 3, Dtype::Q8_0).leak()).unwrap();
    let mut engine = engine(&file, 1, 1, Exchange::Reduce);
    let mut refuse = |prompt: Vec<u32>, n: usize| {
        let error = engine.generate(&[prompt], &Options::greedy(n), &mut |_| Flow::Continue).unwrap_err();
        assert!(error.is_bad_input(), "{error}");
        error.to_string()
    };
    assert!(refuse(vec![], 1).contains("empty"));
    assert!(refuse(vec![1; 60], 10).contains("the context holds 64"));
    assert!(refuse(vec![spec.vocab], 1).contains(&format!("ends at {}", spec.vocab - 1)));
}
