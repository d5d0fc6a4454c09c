//! `headsaw verify` of a trace file: did everything happen as the program says?

use crate::cut::{CutArgs, CutJson};
use crate::error::Failure;
use crate::lang::Lang;
use crate::output::{BOLD, GOOD, grouped, print, print_json, si, styled};
use crate::table::facts;
use crate::traced::Traced;
use crate::verify::{ViolationJson, refuse_as};
use headsaw::verify::CLOCK_TOLERANCE;
use serde::Serialize;

#[derive(Serialize)]
struct Json<'a> {
    model: &'a str,
    cut: CutJson,
    simulated: bool,
    place: &'a str,
    rounds: usize,
    spans: usize,
    seconds: f64,
    bubble: f64,
    sound: bool,
    violations: Vec<ViolationJson>,
}

/// Checks and shows.
pub fn act(given: &str, cut: &CutArgs, json: bool) -> Result<(), Failure> {
    if *cut != CutArgs::default() {
        return Err(Failure::Input(format!("{given}: a trace has a plan of its own; leave out the flags of the cut")));
    }
    let traced = Traced::open(given)?;
    let violations = traced.violations();
    if json {
        print_json(&Json {
            model: &traced.plan.model.name,
            cut: CutJson::of(&traced.plan),
            simulated: traced.is_simulated(),
            place: traced.place(),
            rounds: traced.rounds.0.len(),
            spans: traced.trace.spans.len(),
            seconds: traced.trace.seconds().0,
            bubble: traced.trace.occupancy().bubble,
            sound: violations.is_empty(),
            violations: violations.iter().map(ViolationJson::of).collect(),
        })?;
    } else if violations.is_empty() {
        print(&human(&traced))?;
    }
    if violations.is_empty() { Ok(()) } else { Err(refuse_as(given, "trace", &violations)) }
}

fn human(traced: &Traced) -> String {
    let title = crate::form::headline(&traced.plan, traced.place(), &Lang::En.words());
    let (how, clocks) = match traced.is_simulated() {
        true => ("simulated", String::new()),
        false => ("measured", format!(" (clocks of two lanes may differ by {})", si(CLOCK_TOLERANCE.0, "s"))),
    };
    let told = [
        ("trace", how.to_string()),
        ("rounds", grouped(traced.rounds.0.len() as u64)),
        ("actions", grouped(traced.trace.spans.len() as u64)),
        ("time", si(traced.trace.seconds().0, "s")),
    ];
    let sound = format!("trace sound: every lane did its actions in order, none before what it needs{clocks}");
    format!("{}\n{}\n{}\n", styled(BOLD, &title), facts(&told), styled(GOOD, &sound))
}
