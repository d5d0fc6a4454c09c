//! `headsaw export`: a plan as another engine takes it.

use crate::cut::{CutArgs, CutJson};
use crate::error::Failure;
use crate::output::{self, BAD, BOLD, complain, print, print_json, say, styled};
use crate::place::{self, ClusterArgs, Site};
use crate::subject::Subject;
use crate::verify;
use clap::ValueEnum;
use headsaw::export::{self, Broken, Engine, Export, File, Nearest, Request};
use headsaw::plan::Plan;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Write a plan as another engine takes it
///
/// Writes the flags, variables and files with which another engine cuts a model as the plan does, and says what could not be
/// said. A plan that the engine can not take, as one of uneven heads, is refused with the rule that it breaks and the
/// nearest plan that would do.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headsaw export plan.json --to vllm --model meta-llama/Llama-3.1-8B
  headsaw export llama-3.1-8b --tp 4 --pp 2 --cluster h100x8 --to megatron -o megatron.sh
  headsaw export plan.json --to torchtitan -o exported/     the order as schedule.csv beside a script
  headsaw export plan.json --to torch-pipelining -o schedule.csv
  headsaw export smollm2-135m --tp 2 --to vllm --nearest    9 heads do not divide: what would do instead")]
pub struct Args {
    /// A plan file (- for standard input); or a GGUF file, Hugging Face folder, config.json or preset
    #[arg(value_name = "PLAN|MODEL")]
    subject: String,
    /// The engine
    #[arg(long, value_name = "ENGINE")]
    to: EngineArg,
    /// What the engine is to load, in its own words: a folder, a name on the hub; for torchtitan MODULE:CONFIG
    /// [default: $MODEL, which the script's shell fills in]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Machines, each with as many of the devices [default: nodes of the cluster, or 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    nodes: Option<u32>,
    /// Where the engine refuses the plan, write the nearest one that it takes
    #[arg(long)]
    nearest: bool,
    /// A folder (made where there is none) for all files, or a file for the one of its kind: .sh, .yaml, .csv, .json, .py
    /// [default: all to standard output]
    #[arg(short, long, value_name = "DIR|FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    cut: CutArgs,
}

/// `--to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct EngineArg(Engine);

impl ValueEnum for EngineArg {
    fn value_variants<'a>() -> &'a [EngineArg] {
        const ALL: [EngineArg; Engine::ALL.len()] = {
            let mut all = [EngineArg(Engine::ALL[0]); Engine::ALL.len()];
            let mut i = 0;
            while i < all.len() {
                all[i] = EngineArg(Engine::ALL[i]);
                i += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        let (package, version) = self.0.package();
        Some(clap::builder::PossibleValue::new(self.0.name()).help(format!("{} ({package} {version})", self.0.title())))
    }
}

#[derive(Serialize)]
struct Json<'a> {
    model: &'a str,
    engine: &'static str,
    package: &'static str,
    version: &'static str,
    accepted: bool,
    refused: Vec<BrokenJson<'a>>,
    /// How the nearest plan differs from the one asked for, where the engine refuses that.
    nearest: Option<NearestJson<'a>>,
    cut: CutJson,
    environment: BTreeMap<&'a str, &'a str>,
    program: &'a [String],
    flags: Vec<FlagJson<'a>>,
    files: BTreeMap<&'a str, &'a str>,
    notes: &'a [String],
    written: &'a [PathBuf],
}

#[derive(Serialize)]
struct BrokenJson<'a> {
    rule: &'static str,
    what: &'a str,
}

#[derive(Serialize)]
struct NearestJson<'a> {
    differs: &'a [String],
    cut: CutJson,
}

#[derive(Serialize)]
struct FlagJson<'a> {
    name: &'a str,
    value: Option<&'a str>,
}

/// What there is to tell.
struct Told<'a> {
    args: &'a Args,
    plan: &'a Plan,
    broken: Vec<Broken>,
    nearest: Option<Nearest>,
    export: Option<Export>,
}

/// Writes the export, or says why there is none.
pub fn act(args: &Args, json: bool) -> Result<(), Failure> {
    let (plan, site) = Subject::find(&args.subject, &args.cut)?.placed(&args.cut, &args.cluster)?;
    let violations = place::violations(&plan, site.as_ref(), &args.cut);
    if !violations.is_empty() {
        return Err(verify::refuse(&args.subject, &violations));
    }
    let nodes = args.nodes.unwrap_or_else(|| nodes(&plan, site.as_ref()));
    let request = Request { model: args.model.clone(), nodes };
    let mut told = told(args, &plan, &request);
    let Some(export) = told.export.take() else {
        if json {
            print_json(&told.json(None, &[]))?;
        }
        return Err(told.refuse());
    };
    told.warn();
    let files = files(&told, &export)?;
    let written = match &args.output {
        Some(path) => write(path, &files)?,
        None => vec![],
    };
    if json {
        return print_json(&told.json(Some(&export), &written));
    }
    if args.output.is_none() {
        print(&shown(&files))?;
    }
    say(&noted(&export));
    Ok(())
}

/// Machines of the cluster's closest level that the plan's devices fill.
fn nodes(plan: &Plan, site: Option<&Site>) -> u32 {
    let devices = plan.devices.len() as u32;
    let in_node = site.and_then(|site| site.cluster.levels.first()?.devices).unwrap_or(devices);
    if in_node > 0 && devices > in_node && devices.is_multiple_of(in_node) { devices / in_node } else { 1 }
}

fn told<'a>(args: &'a Args, plan: &'a Plan, request: &Request) -> Told<'a> {
    let EngineArg(engine) = args.to;
    let (broken, export) = match export::export(plan, engine, request) {
        Ok(export) => return Told { args, plan, broken: vec![], nearest: None, export: Some(export) },
        Err(broken) => (broken, None),
    };
    let nearest = export::nearest(plan, engine, request);
    let instead = nearest.as_ref().filter(|_| args.nearest);
    let export = instead.and_then(|near| export::export(&near.plan, engine, request).ok()).or(export);
    Told { args, plan, broken, nearest, export }
}

impl Told<'_> {
    fn json<'a>(&'a self, export: Option<&'a Export>, written: &'a [PathBuf]) -> Json<'a> {
        let EngineArg(engine) = self.args.to;
        let (package, version) = engine.package();
        let near = self.nearest.as_ref();
        Json {
            model: &self.plan.model.name,
            engine: engine.name(),
            package,
            version,
            accepted: self.broken.is_empty(),
            refused: self.broken.iter().map(|b| BrokenJson { rule: b.rule.name(), what: &b.what }).collect(),
            nearest: near.map(|near| NearestJson { differs: &near.differs, cut: CutJson::of(&near.plan) }),
            cut: CutJson::of(self.plan),
            environment: export.iter().flat_map(|e| &e.environment).map(|(n, v)| (&n[..], &v[..])).collect(),
            program: export.map_or(&[], |export| &export.program),
            flags: export
                .iter()
                .flat_map(|export| &export.flags)
                .map(|flag| FlagJson { name: &flag.name, value: flag.value.as_deref() })
                .collect(),
            files: export.iter().flat_map(|e| &e.files).map(|file| (&file.name[..], &file.text[..])).collect(),
            notes: export.map_or(&[], |export| &export.notes),
            written,
        }
    }

    /// All rules that the plan breaks, and what would do.
    fn refuse(&self) -> Failure {
        let near = match &self.nearest {
            Some(near) => format!("\n  nearest that it takes: {} (--nearest writes it)", near.differs.join("; ")),
            None => String::new(),
        };
        complain(&format!("{}{near}", self.reasons()));
        Failure::Told(2)
    }

    fn reasons(&self) -> String {
        let EngineArg(engine) = self.args.to;
        let lines: String = self.broken.iter().map(|broken| format!("\n  {} {broken}", styled(BAD, "✗"))).collect();
        format!("{}: {} {} can not take this plan{lines}", self.args.subject, engine.title(), engine.package().1)
    }

    /// Says that what is written is another plan, where it is.
    fn warn(&self) {
        if let Some(near) = &self.nearest {
            let note = format!("{}\n  written instead: {}\n", self.reasons(), near.differs.join("; "));
            say(&format!("{} {note}", styled(BAD, "note:")));
        }
    }
}

/// The engine's files, the script that starts it, and the plan where it is not the one that was given.
fn files(told: &Told, export: &Export) -> Result<Vec<File>, Failure> {
    let mut files = Vec::new();
    if let Some(text) = export.script() {
        files.push(File { name: format!("{}.sh", export.engine.name()), text });
    }
    files.extend(export.files.iter().cloned());
    if let Some(near) = &told.nearest {
        let text = serde_json::to_string_pretty(&near.plan).map_err(Failure::failed)? + "\n";
        files.push(File { name: "plan.json".into(), text });
    }
    Ok(files)
}

/// All into a folder; into a file the first of its kind.
fn write(path: &Path, files: &[File]) -> Result<Vec<PathBuf>, Failure> {
    let folder = path.is_dir() || path.extension().is_none();
    let pairs: Vec<(PathBuf, &File)> = if folder {
        fs::create_dir_all(path).map_err(|e| Failure::Input(format!("{}: cannot be made: {e}", path.display())))?;
        files.iter().map(|file| (path.join(&file.name), file)).collect()
    } else {
        let alike = |file: &&File| Path::new(&file.name).extension() == path.extension();
        let Some(file) = files.iter().find(alike) else {
            let names: Vec<&str> = files.iter().map(|file| &file.name[..]).collect();
            let what = format!("{}: there is no file of this kind; there are {}", path.display(), names.join(", "));
            return Err(Failure::Input(what));
        };
        vec![(path.to_path_buf(), file)]
    };
    for (path, file) in &pairs {
        output::writable(path)?;
        output::write_file(path, |to| to.write_all(file.text.as_bytes()))?;
        say(&format!("wrote {}\n", path.display()));
    }
    Ok(pairs.into_iter().map(|(path, _)| path).collect())
}

/// The files one after the other; what is the plan's own is left to `-o`.
fn shown(files: &[File]) -> String {
    let engine = files.iter().filter(|file| file.name != "plan.json");
    let texts: Vec<String> = engine.map(|file| format!("{}\n{}", styled(BOLD, &file.name), file.text)).collect();
    texts.join("\n")
}

fn noted(export: &Export) -> String {
    let (package, version) = export.engine.package();
    let notes: String = export.notes.iter().map(|note| format!("\n  - {note}")).collect();
    format!("{} checked with {package} {version}{notes}\n", styled(BOLD, export.engine.title()))
}
