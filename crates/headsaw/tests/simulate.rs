//! Simulations on presets and on clusters that somebody wrote: what must hold whatever the figures are.

use headsaw::cost::{Load, Priced, predict};
use headsaw::lower::lower;
use headsaw::plan::{CutRequest, Exchange, Flow, HeadSteps, Order, Overlap, Plan, cut};
use headsaw::simulate::{Rounds, Stuck, simulate};
use headsaw::spec::cluster::{Cluster, DeviceId, presets as clusters};
use headsaw::spec::presets;
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw::verify;

fn plan(tp: u32, pp: u32, micros: u32, exchange: Exchange) -> Plan {
    let numerics = Numerics { activations: Activations::Bf16, kv: KvDtype::F16 };
    let workload = Workload { batch: 1, tokens: 256, micros, context: 2048, sequences: micros, numerics };
    let request = CutRequest { tp, pp, device_weights: vec![], lanes: 1, exchange, order: Order::Pipelined };
    cut(&presets::find("llama-3.1-8b").unwrap(), workload, &request).unwrap()
}

fn stepped(plan: Plan, cluster: &Cluster, overlap: Overlap, interleave: u32) -> Plan {
    let flow = Flow { cut: "5".parse().unwrap(), chunk: 2, interleave, overlap };
    let (steps, names) = HeadSteps::on(flow, &cluster.groups[0].kind.lanes);
    Plan { lanes: names.len() as u32, steps: Some(steps), ..plan }
}

fn seconds(plan: &Plan, cluster: &Cluster) -> Result<f64, Stuck> {
    assert_eq!(verify::plan(plan), vec![]);
    let load = Load { sequences: 1, tokens: 256, past: 0 };
    let rounds = Rounds::equal(load, plan.workload.micros);
    simulate(&lower(plan), &Priced::new(plan, cluster), &rounds).map(|trace| trace.seconds().0)
}

#[test]
fn the_slower_kind_of_a_mix_decides_in_both_roads() {
    let cluster = clusters::parse("h100x4+a100x4").unwrap();
    let plan = plan(8, 1, 1, Exchange::Reduce);
    let load = Load { sequences: 1, tokens: 256, past: 0 };
    let closed = predict(&plan, &Priced::new(&plan, &cluster), load).unwrap().0;
    let played = seconds(&plan, &cluster).unwrap();
    assert!((closed / played - 1.0).abs() < 1e-12, "{closed} {played}");
    let fast = clusters::parse("h100x8").unwrap();
    assert!(seconds(&plan, &fast).unwrap() < played);
}

/// Lanes that stand still while the device exchanges, and take turns otherwise, come to their end all the same.
#[test]
fn lanes_that_leave_each_other_nothing_still_end() {
    let mut cluster = clusters::parse("h100x4").unwrap();
    (cluster.groups[0].kind.overlap, cluster.groups[0].kind.exchange_overlap) = (0.0, 0.0);
    for (overlap, interleave) in [(Overlap::Heads, 1), (Overlap::Tokens, 2)] {
        for exchange in [Exchange::Reduce, Exchange::Gather] {
            let plan = stepped(plan(2, 2, 2, exchange), &cluster, overlap, interleave);
            let took = seconds(&plan, &cluster).expect("an end");
            assert!(took.is_finite() && took > 0.0);
        }
    }
}

#[test]
fn a_price_without_end_is_told() {
    let mut cluster = clusters::parse("h100x2").unwrap();
    cluster.levels.iter_mut().for_each(|level| level.bytes_per_second.0 = 0.0);
    let told = seconds(&plan(2, 1, 1, Exchange::Reduce), &cluster).unwrap_err();
    assert!(
        matches!(&told, Stuck::Endless(_)) && told.to_string().contains("of device 0 takes no finite time"),
        "{told}"
    );
}

/// Who sits where in a stage may be edited: the same devices exchange in the same time.
#[test]
fn the_order_of_a_stages_devices_does_not_move_them() {
    let cluster = clusters::parse("h100x8").unwrap();
    let straight = plan(8, 1, 1, Exchange::Reduce);
    let mut mixed = straight.clone();
    for (slice, device) in mixed.stages[0].slices.iter_mut().zip([7, 0, 3, 1, 6, 2, 5, 4]) {
        slice.device = DeviceId(device);
    }
    let [straight, mixed] = [straight, mixed].map(|plan| seconds(&plan, &cluster).unwrap());
    assert!((mixed / straight - 1.0).abs() < 1e-6, "{straight} {mixed}");
}

/// The same trace on every run, however lanes disturb each other.
#[test]
fn a_simulation_is_repeated_to_the_bit() {
    let cluster = clusters::parse("h100x4").unwrap();
    let plan = stepped(plan(2, 2, 4, Exchange::Gather), &cluster, Overlap::Heads, 1);
    let rounds = Rounds::generation(1, 100, 4, 3);
    let program = lower(&plan);
    let trace = || simulate(&program, &Priced::new(&plan, &cluster), &rounds).unwrap();
    assert_eq!(trace(), trace());
}

/// Two lanes of a CPU device read together what one lane reads alone.
#[test]
fn lanes_share_the_cache_of_keys_and_values() {
    let mut cluster = clusters::parse("local").unwrap();
    if let headsaw::spec::cluster::Prices::Table(table) = &mut cluster.groups[0].kind.prices {
        table.cores = 8;
        table.bytes_per_second.0 = 1e12;
    }
    let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
    let workload = Workload { batch: 1, tokens: 1, micros: 1, context: 2048, sequences: 1, numerics };
    let took = |lanes: u32| {
        let (exchange, order) = (Exchange::Reduce, Order::Pipelined);
        let request = CutRequest { tp: 1, pp: 1, device_weights: vec![], lanes, exchange, order };
        let plan = cut(&presets::find("llama-3.1-8b").unwrap(), workload, &request).unwrap();
        let rounds = Rounds::generation(1, 2000, 1, 1);
        simulate(&lower(&plan), &Priced::new(&plan, &cluster), &rounds).unwrap().seconds().0
    };
    let (one, four) = (took(1), took(4));
    assert!((0.22..0.3).contains(&(four / one)), "{one} s with one lane, {four} s with four");
}
