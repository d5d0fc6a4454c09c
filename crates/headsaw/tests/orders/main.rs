//! Orders: their texts, what PyTorch's pipelining said of them, and proofs that they do not lock up.
//!
//! `cargo xtask orders` asks PyTorch and writes `verdicts.json`; here it is held against the texts of today.

mod cases;

use cases::{Case, ORDERS};
use headsaw::lower::lower;
use headsaw::plan::Order;
use headsaw::program::{Action, Carries, Lane, MicroId, Op, Program, Step};
use headsaw::verify;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// What PyTorch said: BLAKE3 of a text, and which text it is or why it was refused.
#[derive(Deserialize)]
struct Verdicts {
    accepted: BTreeMap<String, String>,
    refused: BTreeMap<String, [String; 2]>,
}

fn verdicts() -> Verdicts {
    serde_json::from_str(include_str!("verdicts.json")).expect("written by cargo xtask orders")
}

fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_string()
}

fn asked_again(hash: &str) -> String {
    format!("{hash}: not refereed; run `cargo xtask orders`")
}

#[test]
fn every_order_was_accepted_by_pytorch() {
    let Verdicts { accepted, .. } = verdicts();
    let written: BTreeSet<String> = cases::all().iter().map(|case| hash(&case.text())).collect();
    let missing: Vec<&String> = written.iter().filter(|hash| !accepted.contains_key(*hash)).collect();
    assert!(missing.is_empty(), "{}", asked_again(missing[0]));
    assert_eq!(accepted.len(), written.len(), "verdicts on texts that nobody writes any more");
}

#[test]
fn every_fault_was_refused_by_pytorch() {
    let Verdicts { accepted, refused, .. } = verdicts();
    let broken = cases::broken();
    assert_eq!(broken.len(), refused.len());
    for (name, text) in broken {
        let hash = hash(&text);
        assert!(!accepted.contains_key(&hash), "{name}");
        let [fault, reason] = refused.get(&hash).unwrap_or_else(|| panic!("{name}: {}", asked_again(&hash)));
        assert_eq!(fault, name);
        assert!(!reason.is_empty(), "{name}");
    }
}

#[test]
fn no_order_locks_up() {
    for case in cases::all() {
        let plan = case.plan();
        assert_eq!(verify::plan(&plan), vec![], "{}", case.name());
        assert_eq!(verify::program(&lower(&plan)), vec![], "{}", case.name());
    }
}

/// The faults of the texts, in programs.
#[test]
fn faults_lock_up_or_are_told() {
    let plan = Case { layers: cases::CUTS[2].0, ..cases::pairs(ORDERS[1])[1][0] }.plan();
    let sound = lower(&plan);
    let residual = |op: Op| matches!(op, Op::Send(chan) | Op::Recv(chan) if carries_residual(&sound, chan.index()));
    let receives = |action: &Action| matches!(action.op, Op::Recv(_)) && residual(action.op);
    let sends = |action: &Action| matches!(action.op, Op::Send(_)) && residual(action.op);
    let works = |action: &Action| action.op == Op::Compute(Step::Project);
    let middle = |program: &Program| program.lanes.iter().position(|lane| lane.stage.0 == 1).expect("three stages");
    for what in [&receives as &dyn Fn(&Action) -> bool, &sends, &works] {
        let mut lost = sound.clone();
        let lane = middle(&lost);
        let at = lost.lanes[lane].actions.iter().position(what).expect("it does that");
        let action = lost.lanes[lane].actions.remove(at);
        assert_ne!(verify::program(&lost), vec![], "lost");
        lost.lanes[lane].actions.push(action);
        assert_ne!(verify::program(&lost), vec![], "too late");
    }
}

fn carries_residual(program: &Program, chan: usize) -> bool {
    matches!(program.chans[chan].carries, Carries::Residual { .. })
}

/// Equal stages and uneven ones take the same turns; all devices of a stage take those of their stage.
#[test]
fn texts_of_each_order() {
    for order in ORDERS {
        let mut golden = String::new();
        for [even, uneven] in cases::pairs(order) {
            let text = even.text();
            assert_eq!(uneven.text(), text, "{}", uneven.name());
            let (names, enters) = ([even, uneven].map(|case| case.name()), enters(&lower(&even.plan())));
            golden += &format!("{}\n{}\n{enters}\n{text}\n", names[0], names[1]);
        }
        insta::assert_snapshot!(order.0, golden);
    }
    for case in cases::shared() {
        let alone = Case { devices: 1, ..case }.text();
        let rows: String = alone.lines().map(|row| format!("{row}\n").repeat(3)).collect();
        assert_eq!(case.text(), rows, "{}", case.name());
    }
}

/// What lets each slot into the first stage, as the program's headers say: `enters: 0 at once, then after 0`.
fn enters(program: &Program) -> String {
    let mut slots = Vec::new();
    for (slot, open, after) in entries(program) {
        let open = if open { "at once, then " } else { "" };
        slots.push(format!("{} {open}after {}", slot.0, after.0));
    }
    format!("enters: {}", slots.join("; "))
}

/// For each slot: whether it may enter when the program starts, and whose token lets it in.
fn entries(program: &Program) -> Vec<(MicroId, bool, MicroId)> {
    let mut found = Vec::new();
    for (id, chan) in program.chans.iter().enumerate() {
        let Carries::Header(slot) = chan.carries else { continue };
        if chan.to.0 == 0 {
            let sent = |action: &&Action| matches!(action.op, Op::Send(chan) if chan.index() == id);
            let sends: Vec<&Action> = program.lanes[chan.from.index()].actions.iter().filter(sent).collect();
            assert_eq!(sends.len(), 1, "one header a round for slot {}", slot.0);
            found.push((slot, chan.initial > 0, sampled(program, sends[0])));
        }
    }
    found
}

/// The slot whose sampled token an action waits for.
fn sampled(program: &Program, action: &Action) -> MicroId {
    let samples = |other: &&Action| other.op == Op::Compute(Step::Sample) && action.needs.contains(&other.makes[0]);
    program.lanes.iter().flat_map(|lane| &lane.actions).find(samples).expect("a token sampled before").micro
}

#[test]
fn a_slot_waits_for_its_own_token_or_for_the_slot_before() {
    for case in cases::all() {
        let last = case.micros - 1;
        for (MicroId(slot), open, MicroId(after)) in entries(&lower(&case.plan())) {
            let (starts, before) = match case.order {
                Order::Sequential => (slot == 0, slot.checked_sub(1).unwrap_or(last)),
                Order::Pipelined => (true, slot), // decode: no token of another slot is waited for
            };
            assert_eq!((open, after), (starts, before), "{}", case.name());
        }
    }
}

/// A chunk of a prompt reads the keys and values that the chunks before it have made in the same layer: every lane makes
/// them chunk by chunk, and a chunk's attention needs its own.
#[test]
fn chunks_of_a_prompt_come_to_each_layer_in_turn() {
    for case in cases::all() {
        let turns: Vec<MicroId> = (0..case.micros).map(MicroId).collect();
        for lane in &lower(&case.plan()).lanes {
            for (of, micros) in projections(lane) {
                assert_eq!(micros, turns, "{}: {of:?}", case.name());
            }
        }
    }
}

/// For each layer and unit, the micro-batches whose keys and values a lane makes.
fn projections(lane: &Lane) -> BTreeMap<(Option<u32>, Option<u32>), Vec<MicroId>> {
    let mut found: BTreeMap<_, Vec<MicroId>> = BTreeMap::new();
    for action in lane.actions.iter().filter(|action| action.op == Op::Compute(Step::Project)) {
        let unit = action.unit.as_ref().map(|unit| unit.number);
        found.entry((action.layer, unit)).or_default().push(action.micro);
    }
    found
}
