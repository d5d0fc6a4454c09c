//! What the pages and pictures of the repository say, held against the library. In the published crate there are none.
#![allow(clippy::duplicate_mod)] // two example programs play the same example

use headsaw::draw::Lang;
use headsaw::lower::lower;
use headsaw::plan::{CutRequest, Exchange, Order, Plan, cut};
use headsaw::program::{Gathered, Op, Program};
use headsaw::spec::presets;
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw::verify;
use std::fs;
use std::path::{Path, PathBuf};

#[allow(dead_code)]
#[path = "../examples/05_curves.rs"]
mod curves;
#[allow(dead_code)] // its main
#[path = "../examples/02_cut_nine_heads.rs"]
mod cut_nine_heads;
#[allow(dead_code)]
#[path = "../examples/01_eight_heads.rs"]
mod eight_heads;
#[allow(dead_code)]
#[path = "../examples/04_slots.rs"]
mod slots;
#[allow(dead_code)]
#[path = "../examples/03_sound_program.rs"]
mod sound_program;

/// The root of the repository; none in the published crate.
fn root() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join("xtask").is_dir().then_some(root)
}

/// A page of the repository; none in the published crate.
fn page(name: &str) -> Option<String> {
    root().map(|root| fs::read_to_string(root.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")))
}

/// Example programs that chapters of the book show, what they print, and the figures they draw: as they are now.
#[test]
fn the_book_shows_what_its_example_programs_print() {
    let Some(root) = root() else { return };
    let (mut shown, mut wrong) = (0, Vec::new());
    for folder in ["docs", "docs/zh"] {
        for file in fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
            let name = format!("{folder}/{}", file.file_name().unwrap().to_string_lossy());
            let text = if name.ends_with(".md") { page(&name).unwrap() } else { continue };
            for (command, lines) in commands(&text) {
                shown += 1;
                wrong.extend(
                    other(&root.join(folder), command, &lines).map(|what| format!("{name}: $ {command}\n{what}")),
                );
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(root.join("docs/1-eight-heads.md").exists() && shown > 8, "only {shown} commands found");
}

const RUN: &str = "$ cargo run -q -p headsaw --example ";

/// Commands of a page that run example programs, each with the lines that it shows.
fn commands(page: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut open = false;
    for line in page.lines() {
        match line.strip_prefix(RUN) {
            Some(command) => found.push((command, Vec::new())),
            None if open && !line.starts_with("$ ") && !line.starts_with("```") => {
                found.last_mut().unwrap().1.push(line);
                continue;
            }
            None => {}
        }
        open = line.starts_with(RUN);
    }
    found
}

/// What is wrong with a command that a page of a folder shows.
fn other(folder: &Path, command: &str, shown: &[&str]) -> Option<String> {
    let (program, file) = command.split_once(" > ").map_or((command, None), |(program, file)| (program, Some(file)));
    let (name, args) = program.split_once(" -- ").unwrap_or((program, ""));
    let printed = match name {
        "01_eight_heads" => eight_heads::svg(if args == "lang=zh" { Lang::Zh } else { Lang::En }),
        "04_slots" => slots::answer(&args.split(' ').collect::<Vec<_>>()).unwrap_or_else(|e| e),
        "05_curves" => curves::answer(args).unwrap_or_default(),
        _ => return Some("no such example".into()),
    };
    if let Some(file) = file {
        return other_figure(&folder.join("img").join(file), &printed);
    }
    let mut rest = printed.lines().map(str::trim_end);
    let missing =
        shown.iter().filter(|line| !matches!(**line, "…" | "")).find(|line| !rest.any(|other| other == **line));
    missing.map(|line| format!("does not print, at that place: {line}\nbut\n{printed}"))
}

/// What is wrong with a figure that is drawn otherwise now; `HEADSAW_FIGURES=update` writes it.
fn other_figure(kept: &Path, drawn: &str) -> Option<String> {
    if std::env::var("HEADSAW_FIGURES").is_ok_and(|what| what == "update") {
        fs::write(kept, drawn).unwrap();
    }
    let same = fs::read_to_string(kept).is_ok_and(|kept| kept == drawn);
    (!same).then(|| format!("{} is not what is drawn now; HEADSAW_FIGURES=update writes it", kept.display()))
}

#[test]
fn the_picture_is_what_the_example_draws() {
    let Some(picture) = page("docs/img/eight-heads.svg") else { return };
    assert_eq!(
        picture,
        eight_heads::svg(Lang::En),
        "cargo run -p headsaw --example 01_eight_heads > docs/img/eight-heads.svg"
    );
    for said in ["2 × 3 = 6 slots", "2 + 3 − 1 = 4 slots", "Idle: 6 of 12", "head 8", "<title", "<desc"] {
        assert!(picture.contains(said), "{said}");
    }
}

#[test]
fn the_page_of_the_cut_shows_what_its_example_prints() {
    let text = cut_nine_heads::text();
    assert!(text.contains("device 0: heads 0..5, KV heads 0..2, sends [0..5]"), "{text}");
    let Some(page) = page("docs/cut.md") else { return };
    assert!(page.contains(text.trim_end()), "docs/cut.md shows the output of 02_cut_nine_heads:\n{text}");
}

#[test]
fn a_program_with_a_hole_is_told_from_a_sound_one() {
    let text = sound_program::text();
    assert!(text.contains("1RECV_F0,1F0,1RECV_F1,1F1"), "{text}");
    assert!(text.contains("chan 8 from lane 0 to lane 2: expected a receive for each send"), "{text}");
}

/// SmolLM2-135M over two devices.
fn smollm2(exchange: Exchange) -> Program {
    let model = presets::find("smollm2-135m").unwrap();
    let numerics = Numerics { activations: Activations::Int8, kv: KvDtype::F16 };
    let workload = Workload { batch: 1, tokens: 1, micros: 1, context: 64, sequences: 1, numerics };
    let request = CutRequest { tp: 2, pp: 1, device_weights: vec![], lanes: 1, exchange, order: Order::Pipelined };
    lower(&cut(&model, workload, &request).unwrap())
}

/// What each device offers in the first layer, a token: exchange by exchange.
fn sent(exchange: Exchange) -> Vec<Vec<u64>> {
    let program = smollm2(exchange);
    let lanes = program.lanes.iter();
    lanes.map(|lane| lane.actions.iter().filter(|a| a.layer == Some(0)).map(|a| a.work.sent.0).collect()).collect()
}

#[test]
fn the_bytes_of_both_exchanges_are_as_the_page_says() {
    let totals = |exchange| sent(exchange).iter().map(|bytes| bytes.iter().sum::<u64>()).collect::<Vec<_>>();
    let (reduce, gather) = (totals(Exchange::Reduce), totals(Exchange::Gather));
    assert_eq!((&reduce[..], &gather[..]), (&[4608, 4608][..], &[1944, 1872][..]));
    assert_eq!(gather.iter().sum::<u64>() / 2, 1908);
    let parts: Vec<u64> = sent(Exchange::Gather)[0].iter().copied().filter(|bytes| *bytes > 0).collect();
    assert_eq!(parts, [360, 360, 360, 864], "norm, heads, norm, MLP columns");
    let exchanges = |exchange| {
        let program = smollm2(exchange);
        let collective = |op: &Op| {
            matches!(op, Op::AllReduce(..) | Op::AllGather(_, Gathered::Normed(_)))
                || matches!(op, Op::AllGather(_, Gathered::Attended | Gathered::Hidden))
        };
        program.lanes[0].actions.iter().filter(|a| a.layer == Some(0) && collective(&a.op)).count()
    };
    assert_eq!((exchanges(Exchange::Reduce), exchanges(Exchange::Gather)), (2, 4));
    let Some(page) = page("docs/cut.md") else { return };
    for number in ["4,608", "1,908", "1,944", "1,872", "360", "864"] {
        assert!(page.contains(number), "docs/cut.md says {number}");
    }
}

#[test]
fn the_plan_of_the_formats_page_holds_together() {
    let Some(page) = page("docs/formats.md") else { return };
    let (_, rest) = page.split_once("```jsonc\n").expect("a commented plan");
    let (block, _) = rest.split_once("```").expect("its end");
    let plain: String = block.lines().map(|line| line.split(" //").next().unwrap().to_string() + "\n").collect();
    let plan: Plan = serde_json::from_str(&plain).unwrap_or_else(|error| panic!("{error}:\n{plain}"));
    assert_eq!(verify::plan(&plan), []);
    assert_eq!(verify::program(&lower(&plan)), []);
    let fields: serde_json::Value = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
    for field in fields.as_object().unwrap().keys() {
        assert!(block.contains(&format!("\"{field}\"")), "the example shows {field}");
    }
}
