//! Exports: what is written for each engine, which rule refuses what, and what the engines themselves said.
//!
//! `cargo xtask export-check` asks the engines and writes `verdicts.json`; here it is held against the exports of today.

#[allow(dead_code)] // `cargo xtask export-check` uses all of it
mod cases;
#[allow(dead_code)] // not all of what tests share
#[path = "../shared/plans.rs"]
mod plans;
mod read;

use cases::{Case, bad, good, plan, text, with_layers};
use headsaw::export::{Engine, Request, Rule, export, nearest};
use headsaw::plan::Plan;
use headsaw::verify;
use proptest::prelude::*;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// What an engine said: BLAKE3 of what was written for a good plan, and of a bad one as if there were no rules.
#[derive(Deserialize)]
struct Verdicts {
    version: String,
    accepted: BTreeMap<String, Vec<String>>,
    refused: BTreeMap<String, Refused>,
}

/// A plan that headsaw refuses; what the engine itself said, where there was something to ask it.
#[derive(Deserialize)]
struct Refused {
    hash: Option<String>,
    engine: Option<String>,
}

fn verdicts() -> BTreeMap<String, Verdicts> {
    serde_json::from_str(include_str!("verdicts.json")).expect("written by cargo xtask export-check")
}

fn hash(case: &Case) -> Option<String> {
    case.draft().map(|export| blake3::hash(text(&export).as_bytes()).to_string())
}

#[test]
fn every_good_export_was_accepted_by_its_engine() {
    let verdicts = verdicts();
    for engine in Engine::ALL {
        let again = format!("run `cargo xtask export-check {}`", engine.name());
        let stored = verdicts.get(engine.name()).unwrap_or_else(|| panic!("never asked; {again}"));
        assert_eq!(stored.version, engine.package().1, "{again}");
        let mut written: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for case in good(engine) {
            written.entry(hash(&case).expect("a good plan is written")).or_default().push(case.name);
        }
        assert_eq!(written, stored.accepted, "{engine:?}: other exports than those that it was asked about; {again}");
    }
}

#[test]
fn what_engines_said_to_bad_plans_is_stored() {
    let verdicts = verdicts();
    for engine in Engine::ALL {
        let again = format!("run `cargo xtask export-check {}`", engine.name());
        let stored = &verdicts[engine.name()].refused;
        let cases = bad(engine);
        assert_eq!(stored.len(), cases.len(), "{engine:?}: {again}");
        for case in &cases {
            let Refused { hash: asked, engine: said } = &stored[&case.name];
            assert_eq!(*asked, hash(case), "{engine:?} {}: {again}", case.name);
            assert_eq!(said.is_some(), asked.is_some(), "{engine:?} {}", case.name);
            assert!(said.as_ref().is_none_or(|words| !words.is_empty()), "{engine:?} {}", case.name);
        }
    }
}

prop_compose! {
    /// A plan whose stages are where somebody has put them.
    fn any_stages()(plan in plans::any_plan(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 8)) -> Plan {
        let mut plan = plan;
        let (pp, mut left) = (plan.stages.len() as u32, plan.model.layers);
        let layers: Vec<u32> = (0..pp).zip(&cuts).map(|(i, at)| {
            let behind = pp - 1 - i;
            let taken = if behind == 0 { left } else { 1 + at.index((left - behind) as usize) as u32 };
            left -= taken;
            taken
        }).collect();
        with_layers(&mut plan, &layers);
        plan
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_plan_is_said_as_it_is_or_refused(plan in any_stages(), which in 0usize..6, nodes in 1u32..4) {
        let engine = Engine::ALL[which];
        let model = (engine == Engine::Torchtitan).then(|| "llama3:small".to_string());
        let request = Request { model, nodes };
        prop_assert_eq!(verify::plan(&plan), vec![]);
        match export(&plan, engine, &request) {
            Ok(export) => prop_assert_eq!(read::check(&export, &plan), Ok(())),
            Err(broken) => {
                prop_assert!(!broken.is_empty());
                prop_assert!(broken.iter().all(|b| b.to_string().starts_with(b.rule.name()) && b.rule != Rule::Plan));
                let near = nearest(&plan, engine, &request);
                if let Some(near) = &near {
                    let export = export(&near.plan, engine, &request).expect("the nearest plan is taken");
                    prop_assert_eq!(read::check(&export, &near.plan), Ok(()));
                }
            }
        }
    }

    #[test]
    fn heads_that_differ_are_never_exported(plan in plans::any_plan()) {
        let held: BTreeSet<usize> = plan.slices().map(|(_, slice)| slice.heads.len()).collect();
        let cutting = Engine::ALL.into_iter().filter(|engine| *engine != Engine::TorchPipelining);
        for engine in cutting.filter(|_| held.len() > 1) {
            let broken = export(&plan, engine, &Request { model: Some("llama3:small".into()), nodes: 1 });
            prop_assert!(broken.is_err_and(|broken| broken.iter().any(|b| b.rule == Rule::Heads)), "{:?}", engine);
        }
    }
}

#[test]
fn what_is_written_for_each_engine() {
    for engine in Engine::ALL {
        let mut golden = String::new();
        for case in good(engine).iter().filter(|case| case.plan.model.layers < 100).step_by(3) {
            let export = export(&case.plan, engine, &case.request).unwrap();
            let notes: String = export.notes.iter().map(|note| format!("- {note}\n")).collect();
            golden += &format!("# {}\n{}{notes}\n", case.name, text(&export));
        }
        insta::assert_snapshot!(engine.name(), golden);
    }
}

#[test]
fn twenty_good_plans_say_what_the_plan_says() {
    for engine in Engine::ALL {
        let cases = good(engine);
        let exports: Vec<_> = cases.iter().map(|case| export(&case.plan, engine, &case.request)).collect();
        for (case, export) in cases.iter().zip(&exports) {
            let export = export.as_ref().unwrap_or_else(|broken| panic!("{engine:?} {}: {broken:?}", case.name));
            read::check(export, &case.plan).unwrap_or_else(|what| panic!("{engine:?} {}: {what}", case.name));
        }
        let texts: BTreeSet<String> = exports.iter().flatten().map(text).collect();
        assert!(texts.len() >= 12, "{engine:?}: only {} different texts", texts.len());
        assert_eq!(cases.len(), 20, "{engine:?}");
    }
}

#[test]
fn bad_plans_are_refused_by_their_rule() {
    for engine in Engine::ALL {
        let cases = bad(engine);
        assert!(cases.len() >= 10, "{engine:?}: {}", cases.len());
        let mut golden = String::new();
        for Case { name, plan, request, breaks, .. } in &cases {
            let broken = export(plan, engine, request).expect_err(name);
            let rules: Vec<Rule> = broken.iter().map(|broken| broken.rule).collect();
            assert!(rules.contains(&breaks.unwrap()), "{engine:?} {name}: {broken:?}");
            golden += &format!("# {name}\n");
            golden += &broken.iter().map(|broken| format!("{broken}\n")).collect::<String>();
            golden += &match nearest(plan, engine, request) {
                Some(near) => format!("nearest: {}\n\n", near.differs.join("; ")),
                None => "nearest: none\n\n".into(),
            };
        }
        insta::assert_snapshot!(format!("{}_refused", engine.name()), golden);
    }
}

#[test]
fn the_nearest_plan_is_a_plan_that_is_taken() {
    for engine in Engine::ALL {
        let found: Vec<Case> = bad(engine).into_iter().filter(|case| case.breaks != Some(Rule::Plan)).collect();
        let mut near = 0;
        for case in &found {
            let Some(found) = nearest(&case.plan, engine, &case.request) else { continue };
            near += 1;
            assert_eq!(verify::plan(&found.plan), vec![], "{engine:?} {}", case.name);
            let export = export(&found.plan, engine, &case.request).expect(&case.name);
            read::check(&export, &found.plan).unwrap();
            assert!(!found.differs.is_empty(), "{engine:?} {}", case.name);
        }
        assert!(near > 2, "{engine:?}: nearest plans of {near} of {}", found.len());
    }
}

#[test]
fn all_devices_work_in_the_nearest_plan_where_they_can() {
    let request = Request::default();
    let near = |preset, tp, pp| nearest(&plan(preset, tp, pp), Engine::Vllm, &request).unwrap();
    assert_eq!(
        near("smollm2-135m", 4, 1).differs,
        [
            "tp 1 instead of 4",
            "pp 4 instead of 1",
            "stages of 8, 8, 7 and 7 layers instead of 30",
            "heads on a device: 9 instead of 3, 2, 2 and 2",
        ]
    );
    let both = near("qwen2-7b", 8, 1);
    assert_eq!((both.plan.stages.len(), both.plan.stages[0].slices.len(), both.plan.devices.len()), (2, 4, 8));
    let mut uneven = plan("smollm2-135m", 2, 2);
    with_layers(&mut uneven, &[20, 10]);
    let kept = nearest(&uneven, Engine::Deepspeed, &request).unwrap();
    assert_eq!(kept.plan.stages.len(), 4, "{:?}", kept.differs);
    assert_eq!(nearest(&plan("qwen3-4b", 1, 1), Engine::Torchtitan, &request), None);
    let mut none = plan("smollm2-135m", 1, 1);
    none.stages.clear();
    assert_eq!(nearest(&none, Engine::Vllm, &request), None);
}

#[test]
fn a_model_of_ones_own() {
    let request = Request { model: Some("my.models:small".into()), nodes: 1 };
    let export = export(&plan("qwen3-4b", 2, 1), Engine::Torchtitan, &request).unwrap();
    assert!(text(&export).contains("--module my.models \\\n  --config small"), "{}", text(&export));
    let request = Request { model: Some("my/model's".into()), nodes: 1 };
    let export = headsaw::export::export(&plan("qwen3-4b", 2, 1), Engine::Vllm, &request).unwrap();
    assert!(text(&export).contains(r"exec vllm serve 'my/model'\''s' "), "{}", text(&export));
}
