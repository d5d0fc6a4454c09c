//! The grain of a device: the example to the slot, shares that add up, curves that bend where measured ones do.

use headsaw::cost::{Load, Priced};
use headsaw::grain::{Advice, Grain, LOSS, NoGrain, Question, ROWS_MOST, Reason, Word, grain};
use headsaw::lower::lower;
use headsaw::plan::{CutRequest, Exchange, Flow, HeadSteps, Order, Overlap, Plan, cut};
use headsaw::simulate::{Rounds, simulate};
use headsaw::spec::cluster::{self, Cluster};
use headsaw::spec::model::ModelSpec;
use headsaw::spec::presets;
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use proptest::prelude::*;

fn model(name: &str) -> ModelSpec {
    presets::find(name).expect("a preset")
}

fn on(name: &str) -> Cluster {
    cluster::presets::parse(name).expect("a cluster")
}

/// A plan of equal devices, with the steps on the lanes of the cluster's first kind.
fn plan(model: &ModelSpec, cluster: &Cluster, (tp, pp): (u32, u32), flow: Flow, exchange: Exchange) -> Plan {
    let numerics = Numerics { activations: Activations::Bf16, kv: KvDtype::F16 };
    let micros = flow.interleave;
    let workload = Workload { batch: 1, tokens: 512, micros, context: model.context, sequences: micros, numerics };
    let (steps, names) = HeadSteps::on(flow, &cluster.groups[0].kind.lanes);
    let lanes = names.len() as u32;
    let request = CutRequest { tp, pp, device_weights: vec![], lanes, exchange, order: Order::Pipelined };
    Plan { steps: Some(steps), ..cut(model, workload, &request).expect("a cut") }
}

fn flow(steps: &str, chunk: u32, overlap: Overlap) -> Flow {
    let interleave = if overlap == Overlap::Tokens { 2 } else { 1 };
    Flow { cut: steps.parse().expect("a cut"), chunk, interleave, overlap }
}

fn answer(plan: &Plan, cluster: &Cluster, rounds: &Rounds) -> Grain {
    grain(&Question { plan, cluster, rounds, loss: LOSS }).expect("an answer")
}

/// A preset over the devices of a cluster, three steps, overlap by heads.
fn usual(name: &str, (cluster, tp): (&str, u32), chunk: u32, rounds: &Rounds) -> Grain {
    let cluster = on(cluster);
    let plan = plan(&model(name), &cluster, (tp, 1), flow("3", chunk, Overlap::Heads), Exchange::Reduce);
    answer(&plan, &cluster, rounds)
}

fn prompt(tokens: u32) -> Rounds {
    Rounds::prompt_chunks(1, tokens, 1, 0)
}

#[test]
fn eight_heads_on_four_devices_are_six_units_in_four_slots() {
    let grain = usual("eight-heads", ("h100x4", 4), 1, &prompt(128));
    assert_eq!((grain.heads, grain.steps, grain.units), (2, 3, 6));
    assert_eq!((grain.slots.serial, grain.slots.pipelined), (6, 4));
    assert_eq!((grain.slots.lanes, grain.slots.on_lanes), (2, 4)); // project and merge share the tensor cores
    assert_eq!((grain.bubble, grain.speedups.ideal, grain.speedups.on_lanes), (0.5, 1.5, 1.5));
    assert!(grain.speedups.with_real_steps > 1.0 && grain.speedups.with_real_steps < 1.5);
    assert_eq!(grain.speedups.measured, None);
    let levels: Vec<&str> = grain.levels.iter().map(|level| level.level).collect();
    assert_eq!(levels, ["replica", "device", "chunk", "step", "step", "step"]);
    let units: Vec<u32> = grain.levels.iter().map(|level| level.units).collect();
    assert_eq!(units, [24, 6, 3, 1, 1, 1]);
}

#[test]
fn on_one_kind_of_lane_nothing_overlaps() {
    let grain = usual("eight-heads", ("localx4", 4), 1, &prompt(128));
    assert_eq!((grain.slots.lanes, grain.slots.on_lanes), (1, 6));
}

/// A model of one KV head, as aiconfigurator measured it.
fn one_kv_head() -> ModelSpec {
    let mut spec = model("llama-3.1-8b");
    (spec.heads, spec.kv_heads, spec.head_width) = (64, 1, 128);
    spec
}

/// The measured table, H100: at 512 tokens 32 heads take 1.1 times as long as one; at 8192 time grows with the heads from
/// about 8; generation is flat.
#[test]
fn attention_over_heads_bends_where_it_was_measured_to_bend() {
    let cluster = on("h100x8");
    let plan = plan(&one_kv_head(), &cluster, (8, 1), flow("3", 1, Overlap::Heads), Exchange::Reduce);
    let times = |rounds: &Rounds| {
        let curve = answer(&plan, &cluster, rounds).curve;
        let at = move |heads: u32| curve.points.iter().find(|point| point.heads == heads).expect("a point").seconds;
        move |heads: u32, against: u32| at(heads) / at(against)
    };
    let (short, long, one) = (times(&prompt(512)), times(&prompt(8192)), times(&Rounds::generation(1, 4095, 1, 1)));
    assert!(short(32, 1) < 1.25 && short(64, 1) > 1.25, "{} {}", short(32, 1), short(64, 1));
    assert!(long(2, 1) > 1.25 && (long(64, 8) / 8.0 - 1.0).abs() < 0.1, "{} {}", long(2, 1), long(64, 8));
    assert!(one(64, 1) < 1.25, "{}", one(64, 1));
}

#[test]
fn knees_are_marked_where_a_quarter_is_added() {
    for rounds in [prompt(512), prompt(2048), prompt(8192), Rounds::generation(64, 2048, 1, 1)] {
        let curve = usual("llama-3.1-70b", ("h100x8", 8), 1, &rounds).curve;
        let limit = 1.25 * curve.points[0].seconds;
        let knee = curve.points.iter().position(|point| point.seconds >= limit);
        assert_eq!(curve.knee, knee);
        assert_eq!(curve.points.iter().position(|point| point.knee), knee);
        assert_eq!(curve.points[curve.choice.expect("the plan's")].heads, 8);
    }
}

/// Eight heads of a 70B model are enough for a GPU at 8192 tokens, and too few at 512.
#[test]
fn verdicts_follow_the_load_and_the_cut() {
    let word = |tp, rounds: &Rounds| usual("llama-3.1-70b", ("h100x8", tp), 1, rounds).verdict;
    let fine = word(8, &prompt(512));
    assert_eq!(fine.word, Word::TooFine);
    let as_long = fine.reasons.iter().any(|reason| matches!(reason, Reason::OneAsLongAs { heads, .. } if *heads >= 16));
    assert!(as_long, "{:?}", fine.reasons);
    let more = fine.change.iter().find(|advice| advice.rows > 1.0).expect("more tokens");
    assert!(more.rows <= 16.0 && more.tokens == Some(8192), "longer ones: more prompts do not do it: {more:?}");
    assert_eq!(word(8, &prompt(8192)).word, Word::Fits);
    let coarse = word(2, &prompt(8192));
    assert_eq!((coarse.word, coarse.change[0].tp), (Word::TooCoarse, Some(8)));
    assert_eq!(word(8, &Rounds::generation(1, 4095, 1, 1)).word, Word::TooFine);
}

/// A question, to change and to ask again.
#[derive(Clone)]
struct Asked {
    model: ModelSpec,
    cluster: &'static str,
    tp: u32,
    flow: Flow,
    loads: Vec<Load>,
}

impl Asked {
    fn answer(&self) -> Grain {
        let cluster = on(self.cluster);
        let plan = plan(&self.model, &cluster, (self.tp, 1), self.flow.clone(), Exchange::Reduce);
        answer(&plan, &cluster, &Rounds(vec![self.loads.clone()]))
    }

    /// With the flags of an advice.
    fn changed(&self, advice: &Advice) -> Asked {
        let mut asked = self.clone();
        asked.tp = advice.tp.unwrap_or(self.tp);
        asked.flow.chunk = advice.chunk.unwrap_or(self.flow.chunk);
        for load in &mut asked.loads {
            load.sequences = advice.sequences.unwrap_or(load.sequences);
            load.tokens = advice.tokens.unwrap_or(load.tokens);
        }
        if let Some(overlap) = advice.overlap {
            (asked.flow.overlap, asked.flow.interleave) = (overlap, 1);
            if overlap == Overlap::Tokens {
                (asked.flow.interleave, asked.loads) = (2, halves(asked.loads[0]));
            }
        }
        asked
    }
}

/// As the command line cuts a load: prompts in their middle; of sequences that generate the flags have halved them.
fn halves(load: Load) -> Vec<Load> {
    let tokens = load.tokens.div_ceil(2);
    let rest = Load { tokens: load.tokens - tokens, past: load.past + tokens, ..load };
    if load.tokens == 1 { vec![load; 2] } else { vec![Load { tokens, ..load }, rest] }
}

/// Whoever follows the advice is told no worse, and pays the price that was named.
#[test]
fn what_to_change_keeps_its_word() {
    let models = ["eight-heads", "smollm2-135m", "qwen2-7b", "llama-3.1-8b", "llama-3.1-70b"];
    let (mut kinds, mut count) = ([false; 4], 0);
    for (name, cluster) in models.into_iter().flat_map(|name| [(name, "h100x8"), (name, "a100x8")]) {
        let model = model(name);
        for tp in [1, 2, 4, 8] {
            for (sequences, tokens, past) in [(1, 128, 0), (1, 512, 0), (1, 2048, 0), (4, 2048, 0), (64, 1, 2048)] {
                let loads = vec![Load { sequences, tokens, past }];
                let asked = Asked { model: model.clone(), cluster, tp, flow: flow("3", 1, Overlap::Heads), loads };
                let before = asked.answer();
                for advice in &before.verdict.change {
                    let (after, at) = (asked.changed(advice).answer(), (name, cluster, tp, tokens, advice));
                    keeps_its_word(&before, advice, &after, &at);
                    let kind = [advice.tp.is_some(), advice.rows > 1.0, advice.overlap.is_some(), true];
                    kinds[kind.iter().position(|is| *is).expect("a kind")] = true;
                    count += 1;
                }
            }
        }
    }
    assert!(kinds == [true; 4] && count > 200, "{kinds:?} {count}");
}

fn keeps_its_word(before: &Grain, advice: &Advice, after: &Grain, at: &dyn std::fmt::Debug) {
    let longer = after.levels[1].seconds / before.levels[1].seconds;
    assert!((longer / advice.longer - 1.0).abs() < 0.05, "{at:?}: {longer}");
    let loss = |grain: &Grain| grain.curve.points[grain.curve.choice.expect("the plan's")].loss;
    assert!((loss(after) - advice.loss).abs() < 0.01 && (loss(before) - advice.loss_now).abs() < 1e-9, "{at:?}");
    assert!(advice.sequences.unwrap_or(1) * advice.tokens.unwrap_or(1) <= ROWS_MOST, "{at:?}");
    if advice.overlap.is_some() {
        return; // faster is what is promised; the word is then of one half of the tokens, and its loss is told
    }
    let is_new = advice.tp.is_some() || advice.rows > 1.0;
    assert!(!is_new || after.verdict.word != before.verdict.word, "{at:?}");
    assert!(after.verdict.word != Word::TooFine || before.verdict.word == Word::TooFine, "{at:?}");
    assert!(advice.chunk.is_none() || after.verdict.chunk == Word::Fits, "{at:?}");
}

#[test]
fn no_devices_are_advised_that_change_nothing() {
    let small = usual("smollm2-135m", ("h100x8", 8), 1, &prompt(2048)).verdict;
    assert!(small.change.iter().all(|advice| advice.tp.is_none()), "{:?}", small.change);
    let one = usual("llama-3.1-8b", ("h100x8", 8), 1, &prompt(2048)).verdict;
    let fewer = one.change.iter().find(|advice| advice.tp == Some(1)).expect("one device");
    assert!(fewer.longer > 2.0 && fewer.devices == 0.125 && fewer.loss <= LOSS, "{fewer:?}");
}

/// Two roads: layers on a line, and all of them played.
#[test]
fn a_replica_is_what_its_whole_program_takes() {
    let cluster = on("h100x8");
    for (tp, pp, chunks) in [(8, 1, 1), (2, 2, 4), (1, 4, 3), (4, 2, 1)] {
        let spec = model("llama-3.1-8b");
        let mut plan = plan(&spec, &cluster, (tp, pp), flow("3", 4, Overlap::Heads), Exchange::Reduce);
        plan.workload.micros = chunks;
        let rounds = Rounds::prompt_chunks(1, 512, chunks, 0);
        let replica = answer(&plan, &cluster, &rounds).levels.swap_remove(0);
        let played = simulate(&lower(&plan), &Priced::new(&plan, &cluster), &rounds).expect("an end").seconds().0;
        assert!((replica.seconds / played - 1.0).abs() < 1e-9, "{tp} x {pp}: {} {played}", replica.seconds);
        let flops = 2.0 * spec.parameters() as f64 * 512.0 * f64::from(chunks);
        assert!((replica.flops / flops - 1.0).abs() < 0.15, "{} of about {flops}", replica.flops);
    }
}

/// Two roads: devices that do the same stand for each other, and all of them played.
#[test]
fn the_layer_of_the_plan_lies_on_the_curves() {
    let cluster = on("h100x8");
    for tp in [1, 2, 3, 5, 8] {
        let whole = flow("3", 32, Overlap::None);
        let plan = plan(&model("llama-3.1-8b"), &cluster, (tp, 1), whole, Exchange::Reduce);
        let grain = answer(&plan, &cluster, &prompt(512));
        let device = grain.levels[1].seconds;
        let on_curve = grain.tp_curve.points[grain.tp_curve.choice.expect("the plan's")].seconds;
        assert!((device / on_curve - 1.0).abs() < 1e-12, "{tp}: {device} {on_curve}");
        assert!((device / grain.overlaps.here.none - 1.0).abs() < 1e-12, "{tp}");
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let cluster = on("h100x8");
    let plan = plan(&model("eight-heads"), &cluster, (8, 1), flow("3", 1, Overlap::Heads), Exchange::Reduce);
    let ask = |cluster: &Cluster, rounds: &Rounds, loss| grain(&Question { plan: &plan, cluster, rounds, loss });
    let few = ask(&on("h100x4"), &prompt(128), LOSS);
    assert_eq!(few.unwrap_err(), NoGrain::Devices { needed: 8, there: 4 });
    for loads in [Rounds::prompt_chunks(1, 128, 2, 0), prompt(0), Rounds(vec![])] {
        assert_eq!(ask(&cluster, &loads, LOSS).unwrap_err(), NoGrain::Loads(1));
    }
    for loss in [0.0, 1.0, -1.0, f64::NAN] {
        assert_eq!(ask(&cluster, &prompt(128), loss).unwrap_err(), NoGrain::Loss);
    }
}

prop_compose! {
    fn case()(
        (name, all) in prop::sample::select(vec![
            ("eight-heads", 8u32), ("smollm2-135m", 9), ("llama-3.1-8b", 32), ("gpt3-175b", 96), ("qwen2-7b", 28),
        ]),
        cluster in prop::sample::select(vec!["h100x16", "a100x16", "h100x8+a100x8", "l40sx16", "localx16"]),
        tp in 1u32..9, pp in 1u32..3, chunk in 1u32..12, decode in any::<bool>(), gather in any::<bool>(),
        steps in prop::sample::select(vec!["1", "2", "3", "5"]),
        overlap in prop::sample::select(vec![Overlap::None, Overlap::Heads, Overlap::Tokens]),
        tokens in 2u32..3000, sequences in 1u32..40,
    ) -> (Plan, Cluster, Rounds) {
        let cluster = on(cluster);
        let exchange = if gather { Exchange::Gather } else { Exchange::Reduce };
        let plan = plan(&model(name), &cluster, (tp.min(all), pp), flow(steps, chunk, overlap), exchange);
        let tokens = if decode { 1 } else { tokens };
        let rounds = Rounds::prompt_chunks(sequences, tokens, plan.workload.micros, 100);
        (plan, cluster, rounds)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn shares_of_a_level_are_shares((plan, cluster, rounds) in case()) {
        let grain = answer(&plan, &cluster, &rounds);
        for level in &grain.levels {
            let (lost, at) = (level.lost, (level.level, level.lost));
            prop_assert!(lost.each().iter().all(|(_, share)| (0.0..=1.0).contains(share)), "{:?}", at);
            prop_assert!(lost.all() <= 1.0 + 1e-9, "{:?} adds up to {}", at, lost.all());
            prop_assert!(level.seconds > 0.0 && level.bytes > 0.0, "{:?}", level);
        }
        let curves = [&grain.chunk_curve, &grain.steps_curve, &grain.tp_curve];
        for point in curves.iter().flat_map(|curve| &curve.points) {
            prop_assert!(point.seconds > 0.0 && (0.0..1.0).contains(&point.loss), "{:?}", point);
        }
        prop_assert!(grain.slots.on_lanes <= grain.slots.serial && grain.slots.pipelined <= grain.slots.on_lanes);
        prop_assert!(grain.smallest_efficient.chunk <= grain.heads.max(1));
    }

    /// More heads are never done in much less time; somewhat less where tiles or parts come out even.
    #[test]
    fn attention_over_heads_grows((plan, cluster, rounds) in case()) {
        let points = answer(&plan, &cluster, &rounds).curve.points;
        for pair in points.windows(2) {
            prop_assert!(pair[1].seconds >= 0.75 * pair[0].seconds, "{:?}", pair);
        }
        let (first, last) = (points[0], points[points.len() - 1]);
        prop_assert!(last.seconds >= 0.999 * first.seconds && last.seconds <= f64::from(last.heads) * 1.001 * first.seconds);
    }
}
