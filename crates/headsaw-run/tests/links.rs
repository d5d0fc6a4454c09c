//! Shaped links between devices: they cost time, never a bit, and a run that ends does not wait for them.

use headsaw::plan::{CutRequest, Exchange, Flow as HeadFlow, HeadSteps, Order, Overlap, Plan, cut};
use headsaw::spec::cluster::{DeviceId, Links};
use headsaw::spec::model::{Dtype, Family};
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw_run::compute;
use headsaw_run::generate::{Engine, Flow, Options, Report, RunError};
use headsaw_run::testing::{random_model, small_spec};
use headsaw_run::weights::ModelFile;
use headsaw_run::{Failure, Fault};
use std::time::{Duration, Instant};

fn model() -> ModelFile {
    ModelFile::from_bytes(random_model(&small_spec(Family::Llama), 3, Dtype::Q8_0).leak()).unwrap()
}

fn engine(file: &ModelFile, tp: u32, pp: u32, lanes: u32, exchange: Exchange) -> Engine {
    load(file, &plan(file, tp, pp, lanes, exchange))
}

fn load(file: &ModelFile, plan: &Plan) -> Engine {
    Engine::load(file, plan, compute::cpu(None).unwrap(), &mut |_| {}).unwrap()
}

fn plan(file: &ModelFile, tp: u32, pp: u32, lanes: u32, exchange: Exchange) -> Plan {
    let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
    let workload = Workload { batch: 1, tokens: 4, micros: 2, context: 64, sequences: 2, numerics };
    let order = Order::Pipelined;
    let request = CutRequest { tp, pp, device_weights: vec![], lanes, exchange, order };
    cut(file.spec(), workload, &request).unwrap()
}

fn over(link: &str, tokens: usize) -> Options {
    Options { links: Links::all(link.parse().unwrap()), ..Options::greedy(tokens) }
}

fn run(engine: &mut Engine, options: &Options) -> Report {
    let prompts = [(1..11).collect::<Vec<u32>>(), vec![4, 5, 6]];
    engine.generate(&prompts, options, &mut |_| Flow::Continue).unwrap()
}

#[test]
fn a_link_changes_no_bit() {
    let file = model();
    let expected = run(&mut engine(&file, 1, 1, 1, Exchange::Reduce), &Options::greedy(5)).outputs;
    for (tp, pp, lanes) in [(2, 1, 1), (2, 1, 2), (3, 1, 1), (1, 2, 2), (2, 2, 1)] {
        for exchange in [Exchange::Reduce, Exchange::Gather] {
            let mut engine = engine(&file, tp, pp, lanes, exchange);
            for link in ["100Mbit/s,20us", "1Gbit/s,0s", "1e17B/s,300us"] {
                let got = run(&mut engine, &over(link, 5));
                assert_eq!(got.outputs, expected, "tp {tp} pp {pp} lanes {lanes} {exchange:?} {link}");
            }
        }
    }
}

/// With an exchange lane that waits while others compute.
#[test]
fn a_link_changes_no_bit_where_exchanges_hide() {
    let file = model();
    let expected = run(&mut engine(&file, 1, 1, 1, Exchange::Reduce), &Options::greedy(5)).outputs;
    for exchange in [Exchange::Reduce, Exchange::Gather] {
        for (overlap, cut, interleave) in [(Overlap::None, "3", 1), (Overlap::Heads, "3", 1), (Overlap::Tokens, "1", 2)]
        {
            let mut plan = plan(&file, 2, 1, 2, exchange);
            let flow = HeadFlow { cut: cut.parse().unwrap(), chunk: 1, interleave, overlap };
            plan.steps = Some(HeadSteps::in_turn(flow, 2));
            let mut engine = load(&file, &plan);
            for link in ["100Mbit/s,20us", "1GB/s,300us"] {
                assert_eq!(run(&mut engine, &over(link, 5)).outputs, expected, "{exchange:?} {overlap:?} {link}");
            }
        }
    }
}

/// Two exchanges a layer, each no shorter than the latency; and each byte that comes in takes its time.
#[test]
fn a_link_takes_its_time() {
    let file = model();
    let spec = file.spec();
    let exchanges = 2 * spec.layers;
    let bytes = f64::from(4 * spec.width * exchanges * 10); // of ten tokens, once each
    let mut two = engine(&file, 2, 1, 1, Exchange::Reduce);
    let seconds = run(&mut two, &over("1GB/s,1ms", 1)).prefill.seconds;
    assert!(seconds >= f64::from(exchanges) * 1e-3, "{seconds}");
    let seconds = run(&mut two, &over("1MB/s,0us", 1)).prefill.seconds;
    assert!(seconds >= bytes / 1e6, "{seconds} for {bytes} bytes");
}

#[test]
fn lanes_of_one_device_feel_no_link() {
    let file = model();
    let begun = Instant::now();
    run(&mut engine(&file, 1, 1, 2, Exchange::Gather), &over("1B/s,1000s", 2));
    assert!(begun.elapsed() < Duration::from_secs(60));
}

/// The others wait for what would be there in a quarter of an hour.
#[test]
fn nobody_waits_for_a_link_when_the_run_has_ended() {
    let file = model();
    for (tp, pp, lost) in [(2, 1, 1), (1, 2, 1), (2, 2, 2)] {
        let mut engine = engine(&file, tp, pp, 1, Exchange::Reduce);
        let fault = Some(Fault { device: DeviceId(lost), round: 0 });
        let begun = Instant::now();
        let options = Options { fault, ..over("1GB/s,1000s", 4) };
        let result = engine.generate(&[vec![1, 2, 3]], &options, &mut |_| Flow::Continue);
        assert!(matches!(result, Err(RunError::Failed(Failure::DeviceLost { .. }))), "{result:?}");
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}
