//! Shaped links in the simulation: the runtime's formula, worked out by hand for small programs; and laws.

use headsaw::cost::{Collective, CostModel, Domain, HandOver, Load, Price};
use headsaw::lower::lower;
use headsaw::plan::{CutRequest, Exchange, Order, Plan, cut};
use headsaw::program::{Step, Work};
use headsaw::simulate::{Rounds, simulate};
use headsaw::spec::cluster::{DeviceId, Link, Links, read};
use headsaw::spec::model::{Dtype, Family, ModelSpec, Rope};
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw::units::{Bytes, BytesPerSecond, Seconds};
use headsaw::verify;
use proptest::prelude::*;

/// A second for each attention, nothing for the rest: what is left is the links'.
struct Made(Links);

impl Made {
    fn over(text: &str) -> Made {
        Made(Links::all(text.parse().unwrap()))
    }
}

impl CostModel for Made {
    fn compute(&self, _: DeviceId, step: Step, _: &Work, _: Load) -> Price {
        Price { seconds: Seconds(if step == Step::Attend { 1.0 } else { 0.0 }), streamed: Bytes(0) }
    }
    fn transfer(&self, _: DeviceId, _: DeviceId, _: Bytes) -> Seconds {
        Seconds(0.0)
    }
    fn collective(&self, _: Collective, _: &[DeviceId], _: &Work, _: Load) -> Seconds {
        Seconds(0.0)
    }
    fn hand_over(&self, _: DeviceId) -> HandOver {
        HandOver::default()
    }
    fn link(&self, first: DeviceId, last: DeviceId) -> Option<Link> {
        self.0.between(first, last)
    }
    fn kind(&self, _: DeviceId) -> u32 {
        0
    }
    fn domain(&self, device: DeviceId) -> Domain {
        Domain::undisturbed(device)
    }
}

const WIDTH: u32 = 128;
const LAYERS: u32 = 3;
const VOCAB: u32 = 64;
const TOKENS: u32 = 10;

fn model() -> ModelSpec {
    ModelSpec {
        name: "small".into(),
        family: Family::Llama,
        layers: LAYERS,
        width: WIDTH,
        heads: 4,
        kv_heads: 4,
        head_width: 32,
        ffn: 256,
        vocab: VOCAB,
        context: 64,
        norm_epsilon: 1e-5,
        rope: Some(Rope { theta: 10_000.0, scaling: None }),
        tied: true,
        dtype: Dtype::F16,
        mixed: vec![],
    }
}

fn plan(tp: u32, pp: u32, lanes: u32, exchange: Exchange) -> Plan {
    let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
    let workload = Workload { batch: 1, tokens: TOKENS, micros: 1, context: 64, sequences: 1, numerics };
    let request = CutRequest { tp, pp, device_weights: vec![], lanes, exchange, order: Order::Pipelined };
    cut(&model(), workload, &request).unwrap()
}

fn seconds(plan: &Plan, cost: &Made) -> f64 {
    let load = Load { sequences: 1, tokens: TOKENS, past: 0 };
    let program = lower(plan);
    let trace = simulate(&program, cost, &Rounds::equal(load, 1)).unwrap();
    assert_eq!(verify::trace(&program, &trace), vec![]);
    trace.seconds().0
}

fn near(got: f64, expected: f64) {
    assert!((got / expected - 1.0).abs() < 1e-12, "{got}, not {expected}");
}

/// A byte takes a second.
const SLOW: &str = "1B/s,0.25s";
const LATENCY: f64 = 0.25;

/// Two devices that reduce: half of the embedding, then after each half of a layer the whole of the other's sum; at the end
/// the other's logits. The lanes of a device share its port, and all wait for the last.
#[test]
fn sums_go_through_the_ports_one_after_another() {
    let row = f64::from(4 * WIDTH * TOKENS);
    let exchanges = f64::from(2 * LAYERS);
    let logits = f64::from(4 * VOCAB / 2);
    let ports = row / 2.0 + exchanges * row + logits;
    let alone = ports + (exchanges + 2.0) * LATENCY + f64::from(LAYERS);
    near(seconds(&plan(2, 1, 1, Exchange::Reduce), &Made::over(SLOW)), alone);
    near(seconds(&plan(2, 1, 2, Exchange::Reduce), &Made::over(SLOW)), alone);
}

/// The gather exchange: 36 bytes of each block of 32, with a sum of squares of 4 where it was normalised.
#[test]
fn parts_of_vectors_are_what_comes_in() {
    let blocks = |elements: u32, bytes: u32| f64::from(elements / 32 / 2 * bytes * TOKENS);
    let layer = 2.0 * blocks(WIDTH, 40) + blocks(WIDTH, 36) + blocks(256, 36);
    let last = blocks(WIDTH, 40) / f64::from(TOKENS); // of the one token that is sampled
    let ports = f64::from(4 * WIDTH * TOKENS) / 2.0 + f64::from(LAYERS) * layer + last + f64::from(4 * VOCAB / 2);
    let expected = ports + f64::from(4 * LAYERS + 3) * LATENCY + f64::from(LAYERS);
    near(seconds(&plan(2, 1, 1, Exchange::Gather), &Made::over(SLOW)), expected);
}

/// Two stages: the residual goes over once. The header that follows goes back, beside the end of the round.
#[test]
fn the_residual_goes_from_stage_to_stage() {
    let expected = f64::from(4 * WIDTH * TOKENS) + LATENCY + f64::from(LAYERS);
    near(seconds(&plan(1, 2, 1, Exchange::Reduce), &Made::over(SLOW)), expected);
}

#[test]
fn one_device_feels_no_link() {
    near(seconds(&plan(1, 1, 2, Exchange::Gather), &Made::over(SLOW)), f64::from(LAYERS));
}

#[test]
fn a_level_of_a_cluster_file_may_have_a_link() {
    let file = |link: &str| {
        let level = "{ name = 'n', latency_seconds = 0, bytes_per_second = 1e9, efficiency = 1, wiring = 'switch'";
        let devices = "devices = [{ kind = 'local', count = 4 }]";
        format!("format = 1\ntitle = 'mine'\n{devices}\nlevels = [\n{level}, link = {link} }}]")
    };
    let cluster = read("mine", &file("{ rate = '1 Gbit/s', latency = '50 us' }")).unwrap();
    assert_eq!(cluster.link(DeviceId(0), DeviceId(3)), Some("1Gbit/s,50us".parse().unwrap()));
    let again = read("mine", &headsaw::spec::cluster::write(&cluster)).unwrap();
    assert_eq!(again, cluster);
    let problems = read("mine", &file("{ rate = '1 Gb/s', latency = 50 }")).unwrap_err();
    let listed: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        listed,
        [
            "line 5: levels[0].link.rate: expected a rate as 1 Gbit/s, 200 Mbit/s, 1.25 GB/s or 10 MB/s, from 1 to 1e17 bytes a second, got \"1 Gb/s\"",
            "line 5: levels[0].link.latency: expected a time as 50 us, 0.2 ms, 800 ns or 1 s, from 0 to 1000 s, got 50",
        ]
    );
}

proptest! {
    /// Where lanes share nothing else. (With shared cores it may: who is done earlier may get in another's way.)
    #[test]
    fn a_faster_link_never_takes_longer(
        tp in 1u32..5, pp in 1u32..4, gather in any::<bool>(), rate in 1.0f64..1e6, more in 1.0f64..10.0, latency in 0.0f64..1.0,
    ) {
        let plan = plan(tp, pp, 1, if gather { Exchange::Gather } else { Exchange::Reduce });
        let over = |rate, latency| Made(Links::all(Link { rate: BytesPerSecond(rate), latency: Seconds(latency) }));
        let slow = seconds(&plan, &over(rate, latency));
        prop_assert!(seconds(&plan, &over(rate * more, latency)) <= slow * (1.0 + 1e-12));
        prop_assert!(seconds(&plan, &over(rate, latency / more)) <= slow * (1.0 + 1e-12));
    }
}
