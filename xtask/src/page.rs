//! `page`: opens our web pages in a headless Chromium and uses them: wheel, fingers, keys, sliders, and what axe-core finds.
//!
//! Chromium is `$CHROME`, or the one in the path; playwright-core and axe-core come from npm, kept beside the model.

use crate::command::{apt_get, cargo, check, root, succeeds};
use crate::fetch;
use anyhow::{Context, Result, ensure};
use headsaw::draw::html::{Example, Lanes, Name, Page, Timeline, html};
use headsaw::draw::{Lang, Picture, View};
use headsaw::plan::Overlap;
use headsaw::trace::Source;
use serde_json::{Value, json};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[allow(dead_code)] // the tests use all of it
#[path = "../../crates/headsaw/tests/shared/eight.rs"]
mod eight;

/// Raise it when `package.json` changes.
const PACKAGES: &str = "playwright-core-1.57.0";
const MANIFEST: [&str; 2] = ["package.json", "package-lock.json"];
const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"&{{data}}";

/// What a run needs.
pub struct Tools {
    chromium: PathBuf,
    modules: PathBuf,
}

/// Arguments of `page`.
#[derive(Default, clap::Args)]
pub struct Args {
    /// Keep a picture of every page, at both widths and in both themes, in this folder
    #[arg(long, value_name = "FOLDER")]
    screenshots: Option<PathBuf>,
}

/// Find or install what is needed, write the pages, use them.
pub fn run(args: &Args) -> Result<()> {
    let mut command = command(&tools()?)?;
    check(command.args(&args.screenshots))
}

/// The tests, ready to be started; their last line counts them as cargo's does.
pub fn command(tools: &Tools) -> Result<Command> {
    let folder = root().join("target/pages");
    fs::create_dir_all(&folder)?;
    write_pages(&folder)?;
    fs::write(folder.join("cases.json"), serde_json::to_string(&cases())?)?;
    let mut command = Command::new("node");
    command.arg(root().join("xtask/peers/page/page.mjs")).args([&tools.modules, &tools.chromium, &folder]);
    Ok(command)
}

/// Chromium and the packages; installed where that is surely wanted.
pub fn tools() -> Result<Tools> {
    need_node()?;
    let chromium = chromium().context("no Chromium: set CHROME to one, or on Debian: apt-get install chromium")?;
    Ok(Tools { chromium, modules: packages()? })
}

fn need_node() -> Result<()> {
    let runs = || ["node", "npm"].iter().all(|tool| succeeds(Command::new(tool).arg("--version")));
    if !runs() {
        apt_get(&["nodejs", "npm"])?;
    }
    ensure!(runs(), "`node` and `npm` do not run; install them, on Debian or Ubuntu: apt-get install nodejs npm");
    Ok(())
}

fn chromium() -> Option<PathBuf> {
    if let Some(path) = env::var_os("CHROME").filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    let found = || {
        let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
        let names = ["chromium", "chromium-browser", "google-chrome"];
        names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|path| path.is_file())
    };
    found().or_else(|| {
        apt_get(&["chromium"]).ok()?;
        found()
    })
}

/// The folder with both packages, as the lock file says.
fn packages() -> Result<PathBuf> {
    let folder = fetch::cache()?.join(PACKAGES);
    let modules = folder.join("node_modules");
    if ["playwright-core", "axe-core"].iter().all(|package| modules.join(package).join("package.json").is_file()) {
        return Ok(modules);
    }
    fs::create_dir_all(&folder)?;
    for name in MANIFEST {
        fs::copy(root().join("xtask/peers/page").join(name), folder.join(name))?;
    }
    let quiet = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"];
    check(Command::new("npm").args(quiet).current_dir(&folder).stdout(std::io::stderr()))?;
    Ok(modules)
}

fn write_pages(folder: &Path) -> Result<()> {
    let write = |name: &str, page: &Page| fs::write(folder.join(format!("{name}.html")), html(page));
    write("both", &both("8 heads over 4 devices, 3 steps", "a machine"))?;
    write("hostile", &both(HOSTILE, HOSTILE))?;
    let grain = "grain llama-3.1-8b --cluster h100x8 --prompt 512 --chunk 2";
    headsaw(&format!("{grain} --lang en"), &folder.join("grain-en.html"))?;
    headsaw(&format!("{grain} --lang zh"), &folder.join("grain-zh.html"))?;
    let many = "simulate llama-3.1-70b --cluster h100x16 --tp 8 --pp 2 --micro-batches 4 --lang en";
    headsaw(many, &folder.join("many.html"))
}

/// A page by the binary, as people get it.
fn headsaw(args: &str, file: &Path) -> Result<()> {
    let mut command = cargo(&["run", "--quiet", "-p", "headsaw-cli", "--"]);
    check(command.args(args.split(' ')).arg("-o").arg(file).stdout(Stdio::null()).stderr(Stdio::null()))
}

/// The example, predicted and "measured": the same program with other times.
fn both(title: &str, machine: &str) -> Page {
    let timeline = |name, source: Source, times| {
        let (program, rounds, mut trace) = eight::EXAMPLE.played(times);
        trace.source = source;
        let view = View { title: title.into(), ..View::default() };
        Timeline { name, picture: Picture::new(&program, &trace, Some(&rounds), view) }
    };
    let measured = Source::Measured { machine: machine.into() };
    let timelines = vec![
        timeline(Name::Predicted, Source::Simulated, [1e-3; 3]),
        timeline(Name::Measured, measured, [1.25e-3, 1.5e-3, 0.75e-3]),
    ];
    let example = Example::default();
    Page { title: title.into(), lang: Lang::En, timelines, grain: None, example, model: Some(example) }
}

/// Where the sliders are put, and what the simulation gives there; with costs of a unit, which it has not, the closed form.
fn cases() -> Vec<Value> {
    let mut cases = Vec::new();
    for steps in [[1.0; 3], [3.0, 0.5, 1.0], [0.5, 2.0, 1.25]] {
        for lanes in [Lanes::Own, Lanes::Shared, Lanes::One] {
            for (heads, devices, chunk) in
                [(8, 4, 1), (8, 4, 2), (8, 1, 3), (9, 3, 2), (5, 1, 1), (12, 2, 4), (3, 1, 3)]
            {
                for micros in [1, 2, 5] {
                    let example = Example { heads, devices, chunk, micros, steps, fixed: 0.0, lanes };
                    cases.push(simulated(&example));
                    let fixed = Example { fixed: 0.5, ..example };
                    cases.extend(fixed.outcome().map(|out| case(&fixed, out.units, out.overlapped, out.bubble)));
                }
            }
        }
    }
    cases
}

fn simulated(example: &Example) -> Value {
    let Example { heads, devices, chunk, micros, steps, .. } = *example;
    let held = heads.div_ceil(devices);
    let overlap = if micros > 1 { Overlap::Tokens } else { Overlap::Heads };
    let lanes = match example.lanes {
        Lanes::Own => eight::THREE,
        Lanes::Shared => eight::TWO,
        Lanes::One => eight::ONE,
    };
    let trace = eight::Case { heads: held, devices, lanes, chunk, micros, overlap, ..eight::EXAMPLE }.trace(steps);
    let occupancy = trace.occupancy();
    case(example, held.div_ceil(chunk) * micros, occupancy.span.0, occupancy.bubble)
}

fn case(example: &Example, units: u32, overlapped: f64, bubble: f64) -> Value {
    json!({ "example": example.json(), "units": units, "overlapped": overlapped, "bubble": bubble })
}
