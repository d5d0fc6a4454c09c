//! A comparison in tables.

use super::steps;
use crate::lang::Lang;
use crate::output::{BOLD, counted, grouped, si, styled};
use crate::table::{Table, facts};
use crate::traced::Traced;
use headsaw::program::{Lane, Role};
use headsaw::spec::cluster::DeviceId;
use headsaw::spec::short;
use headsaw::trace::{self, Comparison, Figures, Kind, Pair, Spent};

/// Lanes and devices that are told; of more it is said how many there are.
const ROWS_MOST: usize = 48;

/// Everything, for people.
pub fn human(traces: &Pair<Traced>, comparison: &Comparison, whole: &Pair<Figures>) -> String {
    let names = traces.map(|traced| short(&traced.name));
    let [one, other] = labels(traces);
    let title = crate::form::headline(&traces.measured.plan, traces.measured.place(), &Lang::En.words());
    let who = |traced: &Traced, name: &str| {
        let how = if traced.is_simulated() { "for" } else { "measured on" };
        format!("{name}, {how} {}", short(traced.place()))
    };
    let told = [(one, who(&traces.predicted, &names.predicted)), (other, who(&traces.measured, &names.measured))];
    let mut text = format!("{}\n{}", styled(BOLD, &title), facts(&told));
    let mut part = |title: &str, (table, more): (Table, Option<String>)| {
        text += &format!("\n{}\n{}", styled(BOLD, title), table.show());
        more.into_iter().for_each(|more| text += &format!("  {more}\n"));
    };
    part("All rounds that both have", (totals(whole, [one, other]), alone(comparison)));
    part("Rounds, one of each kind", (kinds(comparison, [one, other]), None));
    part("Steps, of all lanes together", (steps_table(whole, [one, other]), None));
    part("Lanes, busy", lanes(traces, whole, [one, other]));
    part(&format!("Devices, {one} and {other}"), devices(traces, whole));
    text
}

/// `predicted`, `measured`; of two of a kind `first`, `second`.
fn labels(traces: &Pair<Traced>) -> [&'static str; 2] {
    match (traces.predicted.is_simulated(), traces.measured.is_simulated()) {
        (true, false) => ["predicted", "measured"],
        _ => ["first", "second"],
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// `+4.2 %`.
fn error(pair: Pair<f64>) -> String {
    pair.error().map_or("–".into(), |error| format!("{:+.1} %", 100.0 * error))
}

fn time(seconds: f64) -> String {
    si(seconds, "s")
}

/// Both, and how far they are apart.
fn cells(pair: Pair<f64>) -> [String; 3] {
    [time(pair.predicted), time(pair.measured), error(pair)]
}

fn totals(whole: &Pair<Figures>, [one, other]: [&str; 2]) -> Table {
    let mut table = Table::new(&["<", one, other, "error"]);
    let mut row = |name: &str, cells: [String; 3]| table.row([vec![name.into()], cells.to_vec()].concat());
    row("time", cells(whole.map(|figures| figures.seconds)));
    let bubble = whole.map(|figures| figures.bubble);
    row("bubble", [percent(bubble.predicted), percent(bubble.measured), String::new()]);
    row("overlap", cells(whole.map(Figures::overlap)));
    table
}

/// What is not compared.
fn alone(comparison: &Comparison) -> Option<String> {
    let rows: Vec<String> = comparison.alone.iter().take(4).map(|rows| rows_words(rows)).collect();
    (!rows.is_empty()).then(|| format!("Left out, as only one has whole rounds of these rows: {}", rows.join("; ")))
}

/// `512`, `4 × 128`, `128, 128, 96`.
pub fn rows_words(rows: &[u32]) -> String {
    let count = |rows: u32| grouped(u64::from(rows));
    match rows {
        [one] => count(*one),
        [first, ..] if rows.iter().all(|other| other == first) => format!("{} × {}", rows.len(), count(*first)),
        _ if rows.len() > 6 => format!("{}, …, {}", count(rows[0]), count(rows[rows.len() - 1])),
        _ => rows.iter().map(|rows| count(*rows)).collect::<Vec<_>>().join(", "),
    }
}

fn kinds(comparison: &Comparison, [one, other]: [&str; 2]) -> Table {
    let (bubble, overlap) = (["bubble", ""], ["overlap", ""]);
    let columns = [&["<rows", "rounds", one, other, "error"][..], &bubble, &overlap].concat();
    let mut table = Table::new(&columns);
    for Kind { rows, rounds, figures } in &comparison.kinds {
        let bubble = figures.map(|figures| percent(figures.bubble));
        let overlap = figures.map(|figures| time(figures.overlap()));
        let name = vec![rows_words(rows), rounds.measured.to_string()];
        let seconds = cells(figures.map(|figures| figures.seconds)).to_vec();
        let rest = vec![bubble.predicted, bubble.measured, overlap.predicted, overlap.measured];
        table.row([name, seconds, rest].concat());
    }
    table
}

fn steps_table(whole: &Pair<Figures>, [one, other]: [&str; 2]) -> Table {
    let mut table = Table::new(&["<step", one, other, "error"]);
    for (step, pair) in steps(whole) {
        table.row([vec![step.into()], cells(pair).to_vec()].concat());
    }
    table
}

fn lanes(traces: &Pair<Traced>, whole: &Pair<Figures>, [one, other]: [&str; 2]) -> (Table, Option<String>) {
    let mut table = Table::new(&["device", "<lane", one, other, "error"]);
    let lanes = &traces.measured.program.lanes;
    let name = |lane: &Lane| match lane.role {
        Role::Compute => lane.number.to_string(),
        Role::Exchange => "exchange".into(),
    };
    for (i, lane) in lanes.iter().enumerate().take(ROWS_MOST) {
        let pair = whole.map(|figures| figures.lanes[i]);
        table.row([vec![lane.device.0.to_string(), name(lane)], cells(pair).to_vec()].concat());
    }
    (table, more(lanes.len(), "lane"))
}

fn devices(traces: &Pair<Traced>, whole: &Pair<Figures>) -> (Table, Option<String>) {
    let mut table = Table::new(&["device", "busy", "", "exchange", "", "waiting", "", "overlap", ""]);
    let devices = trace::devices(&traces.measured.program);
    for (i, DeviceId(device)) in devices.iter().copied().enumerate().take(ROWS_MOST) {
        let part = |part: fn(&Spent) -> f64| {
            let pair = whole.map(|figures| part(&figures.devices[i]));
            [time(pair.predicted), time(pair.measured)]
        };
        let parts: [fn(&Spent) -> f64; 4] =
            [|spent| spent.busy, |spent| spent.exchange, |spent| spent.waiting, |spent| spent.overlap];
        let parts = parts.map(part).concat();
        table.row([vec![device.to_string()], parts].concat());
    }
    (table, more(devices.len(), "device"))
}

fn more(count: usize, what: &str) -> Option<String> {
    (count > ROWS_MOST).then(|| format!("and {} more", counted((count - ROWS_MOST) as u64, what)))
}
