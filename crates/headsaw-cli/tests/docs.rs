//! The commands that README.md and docs/ show are run, and what they show is held against what comes out.
//!
//! A page's console blocks are run in order in one folder of their own. A line shown must come out, in that order; lines
//! may be left out, `…` in a line stands for anything, numbers with a point may differ (speeds do; what the book's chapters
//! foretell does not), digests too as long as equal ones stay equal. `; echo $?` at the end of a command says that it fails,
//! and its last line how. Figures that a page shows and its commands draw are those of the `img` beside it, to
//! the byte.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The model that the pages call `smollm2.gguf`.
const MODEL: &str = "smollm2.gguf";
const VARIABLE: &str = "HEADSAW_SMOLLM2";

#[test]
fn commands_of_the_pages_do_what_they_show() {
    let Some(root) = repository() else { return };
    let readme = fs::read_to_string(root.join("README.md")).expect("a page");
    let (mut shown, mut wrong) = (0, Vec::new());
    for page in pages(&root) {
        let name = page.strip_prefix(&root).expect("below the root").display().to_string();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docs").join(name.replace('/', "-"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder of the page's own");
        let text = fs::read_to_string(&page).expect("a page");
        let run_before = if name == "README.zh-CN.md" { examples(&readme) } else { Vec::new() };
        let same = |one: &Example, other: &Example| (&one.command, &one.output) == (&other.command, &other.output);
        for example in examples(&text).into_iter().filter(|one| !run_before.iter().any(|other| same(one, other))) {
            shown += 1;
            match example.run(&folder, is_chapter(&page)) {
                Ok(()) => {}
                Err(what) => wrong.push(format!("{name}:{}: $ {}\n{what}", example.line, example.command)),
            }
        }
        wrong.extend(figures(&text).filter_map(|figure| other_than_drawn(&page, &folder, figure)));
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(shown > 12, "only {shown} commands found");
}

#[test]
fn fields_of_json_are_those_of_the_page() {
    let Some(root) = repository() else { return };
    let page = fs::read_to_string(root.join("docs/formats.md")).expect("the page of formats");
    let row = |start: &str| {
        let line = page.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no row {start}"));
        fields(&mut line[start.len()..].chars())
    };
    let verbs = [
        ("demo", "-n 2 --no-html"),
        ("inspect", "demo --tp 2"),
        ("plan", "demo --tp 2"),
        ("verify", "demo --tp 2 --lanes 1"),
        ("simulate", "demo --tp 2 --steps 3"),
        ("grain", "eight-heads --cluster h100x4"),
        ("run", "demo -p The -n 2"),
        ("bench", "demo -p 4 -n 2 -r 1"),
        ("calibrate", "--quick"),
        ("export", "llama-3.1-8b --tp 2 --to vllm"),
        ("completions", "bash"),
    ];
    for (verb, args) in verbs {
        let output = headsaw(&words(&format!("{verb} {args} --json"))).output().expect("headsaw runs");
        let object: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{verb}: {error}"));
        same_fields(verb, &object, &row(&format!("| `{verb}` |")));
        if verb == "run" {
            let cut =
                page.split_once("- `cut` is ").expect("the fields of a cut").1.split_once('}').expect("its end").0;
            same_fields("cut", &object["cut"], &fields(&mut cut[1..].chars()));
            same_fields("device", &object["devices"], &row("- device is {"));
        }
    }
    let measured = "grain demo --prompt 8 --cluster local --measure --measure-seconds 1 --json";
    let output = headsaw(&words(measured)).output().expect("headsaw runs");
    let object: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    same_fields("measured", &object["measured"], &row("- `measured` is {"));
    let trace = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fields.trace").display().to_string();
    let written = words(&format!("simulate eight-heads --cluster h100x4 --tp 4 --steps 3 -o {trace}"));
    assert!(headsaw(&written).output().expect("headsaw runs").status.success());
    for (verb, start) in [("verify", "`verify` of a trace"), ("compare", "`compare`"), ("draw", "`draw`")] {
        let output = headsaw(&words(&format!("{verb} {trace} --json"))).output().expect("headsaw runs");
        let object: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{verb}: {error}"));
        same_fields(start, &object, &row(&format!("| {start} |")));
    }
    let output = headsaw(&words("inspect h100x16 --json")).output().expect("headsaw runs");
    let object = serde_json::from_slice(&output.stdout).expect("JSON");
    same_fields("inspect of a cluster", &object, &row("| `inspect` of a cluster |"));
}

/// A command of a page, and what it shows below.
struct Example {
    line: usize,
    command: String,
    output: Vec<String>,
    fails: bool,
}

impl Example {
    /// Where all is `foretold` by models, numbers are held too.
    fn run(&self, folder: &Path, foretold: bool) -> Result<(), String> {
        let model = std::env::var(VARIABLE).ok();
        if self.command.contains(MODEL) && model.is_none() {
            println!("skipped: $ {} ({VARIABLE} is not set; `cargo xtask test` sets it)", self.command);
            return Ok(());
        }
        let model = model.unwrap_or_default();
        let (pipe, file) =
            self.command.split_once(" > ").map_or((&self.command[..], None), |(p, f)| (p, Some(f.trim())));
        let (mut input, mut errors, mut code) = (Vec::new(), String::new(), 0);
        for command in pipe.split(" | ") {
            let words = words(command).into_iter().map(|word| if word == MODEL { model.clone() } else { word });
            let words: Vec<String> = words.collect();
            if words[0] == "echo" {
                input = (words[1..].join(" ") + "\n").into_bytes();
                continue;
            }
            let args =
                if words[0] == "headsaw" { &words[1..] } else { &words["cargo run --release --".split(' ').count()..] };
            let mut command = headsaw(args);
            command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().map_err(|error| error.to_string())?;
            let _ = child.stdin.take().expect("a pipe").write_all(&input); // it may not want any
            let output = child.wait_with_output().map_err(|error| error.to_string())?;
            input = output.stdout;
            errors += &String::from_utf8_lossy(&output.stderr);
            code = output.status.code().unwrap_or(-1);
        }
        match file {
            Some(file) => fs::write(folder.join(file), &input).map_err(|error| error.to_string())?,
            None => errors.insert_str(0, &String::from_utf8_lossy(&input)),
        }
        if self.fails {
            errors += &format!("\n{code}");
        } else if code != 0 {
            return Err(format!("exit code {code}:\n{errors}"));
        }
        self.compare(&errors, foretold && ["simulate", "grain", "inspect", "verify"].contains(&self.verb()))
    }

    fn verb(&self) -> &str {
        self.command.strip_prefix("headsaw ").and_then(|rest| rest.split(' ').next()).unwrap_or_default()
    }

    fn compare(&self, actual: &str, exact: bool) -> Result<(), String> {
        let (mut digests_shown, mut digests) = (BTreeMap::new(), BTreeMap::new());
        let alike = |line: &str, digests: &mut _| if exact { spaced(line) } else { normal(line, digests) };
        let actual: Vec<String> = actual.lines().map(|line| alike(line, &mut digests)).collect();
        let mut rest = &actual[..];
        for line in &self.output {
            let wanted = alike(line, &mut digests_shown);
            match rest.iter().position(|line| fits(&wanted, line)) {
                Some(at) => rest = &rest[at + 1..],
                None => return Err(format!("does not print, at that place: {wanted}\nbut\n{}", actual.join("\n"))),
            }
        }
        if self.fails && self.output.last().is_none_or(|line| Some(line) != actual.last()) {
            return Err(format!("ends with {:?}", actual.last()));
        }
        Ok(())
    }
}

/// What may differ from run to run made alike: space, numbers with a point (but not sizes), digests.
fn normal(line: &str, digests: &mut BTreeMap<String, usize>) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut normal = Vec::new();
    for (i, word) in words.iter().enumerate() {
        let size = words.get(i + 1).is_some_and(|next| next.ends_with("iB"));
        let next = digests.len();
        if word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            normal.push(format!("digest {}", digests.entry(word.to_string()).or_insert(next)));
        } else if word.contains('.') && word.parse::<f64>().is_ok() && !size {
            normal.push("#".into());
        } else {
            normal.push(word.to_string());
        }
    }
    normal.join(" ")
}

/// Space made alike, and nothing else.
fn spaced(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Is `line` as `wanted` says, where `…` is anything?
fn fits(wanted: &str, line: &str) -> bool {
    let parts: Vec<&str> = wanted.split('…').map(str::trim).collect();
    let [first, middle @ .., last] = &parts[..] else { return wanted == line };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Commands in the console blocks of a page that run headsaw; others (git, cargo install) are not ours to run.
fn examples(page: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let (mut inside, mut ours) = (false, false);
    for (index, line) in page.lines().enumerate() {
        if line.starts_with("```") {
            inside = !inside && (line == "```console" || line == "```sh");
            ours = false;
            continue;
        }
        let Some(command) = line.strip_prefix("$ ").filter(|_| inside) else {
            if inside && ours && !line.trim().is_empty() && line.trim() != "…" {
                found.last_mut().expect("ours").output.push(line.to_string());
            }
            continue;
        };
        ours = command.starts_with("headsaw ")
            || command.contains("| headsaw ")
            || command.starts_with("cargo run --release -- ");
        if ours {
            let (command, fails) =
                command.strip_suffix("; echo $?").map_or((command, false), |command| (command, true));
            found.push(Example { line: index + 1, command: command.into(), output: Vec::new(), fails });
        }
    }
    found
}

/// A command line in words; only single quotes are understood.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut quoted, mut open) = (vec![String::new()], false, false);
    for letter in command.trim().chars() {
        match letter {
            '\'' => (quoted, open) = (!quoted, true),
            ' ' if !quoted => {
                if open || !words.last().expect("never empty").is_empty() {
                    words.push(String::new());
                }
                open = false;
            }
            _ => words.last_mut().expect("never empty").push(letter),
        }
    }
    words
}

fn headsaw(args: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headsaw"));
    for name in ["HEADSAW_ISA", "HEADSAW_BACKEND", "HEADSAW_COLOR", "LC_ALL", "LC_MESSAGES", "LANG", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command.args(args);
    command
}

/// A field of an object, and the fields inside it where the page names them.
struct Field {
    name: String,
    inside: Vec<Field>,
}

/// Names in backticks, with those in braces inside the name before; what stands in parentheses is a remark.
fn fields(text: &mut std::str::Chars) -> Vec<Field> {
    let mut found: Vec<Field> = Vec::new();
    while let Some(letter) = text.next() {
        match letter {
            '`' => found.push(Field { name: text.by_ref().take_while(|c| *c != '`').collect(), inside: Vec::new() }),
            '{' => found.last_mut().expect("a name before its braces").inside = fields(text),
            '(' => drop(text.by_ref().find(|c| *c == ')')),
            '}' => break,
            _ => {}
        }
    }
    found
}

fn same_fields(at: &str, value: &Value, fields: &[Field]) {
    let value = value.get(0).unwrap_or(value); // the first of a list speaks for all
    let Some(object) = value.as_object() else { return assert!(value.as_array().is_some_and(Vec::is_empty), "{at}") };
    let mut expected: Vec<&str> = fields.iter().map(|field| &field.name[..]).collect();
    expected.sort_unstable();
    let mut got: Vec<&str> = object.keys().map(String::as_str).collect();
    got.sort_unstable();
    assert_eq!(got, expected, "fields of {at}: left printed, right in docs/formats.md");
    for field in fields.iter().filter(|field| !field.inside.is_empty()) {
        same_fields(&format!("{at}.{}", field.name), &object[&field.name], &field.inside);
    }
}

/// Is a page a chapter of the book, as `1-eight-heads.md`?
fn is_chapter(page: &Path) -> bool {
    page.file_name().is_some_and(|name| name.to_string_lossy().starts_with(|first: char| first.is_ascii_digit()))
}

/// Names of the figures that a page shows.
fn figures(page: &str) -> impl Iterator<Item = &str> {
    page.split("img/").skip(1).filter_map(|rest| rest.split_once(".svg)")).map(|(name, _)| name)
}

/// What is wrong where the commands of a page have drawn a figure that is not the one in `img` beside the page;
/// `HEADSAW_FIGURES=update` puts it there.
fn other_than_drawn(page: &Path, folder: &Path, figure: &str) -> Option<String> {
    let drawn = fs::read_to_string(folder.join(figure).with_extension("svg")).ok()?;
    let kept = page.with_file_name("img").join(figure).with_extension("svg");
    if std::env::var("HEADSAW_FIGURES").is_ok_and(|what| what == "update") {
        fs::write(&kept, &drawn).expect("a folder of figures");
    }
    let same = fs::read_to_string(&kept).is_ok_and(|kept| kept == drawn);
    (!same).then(|| format!("{} is not what is drawn now; HEADSAW_FIGURES=update writes it", kept.display()))
}

/// README.md and all pages of docs/, in both languages; of README.zh-CN.md what is not in README.md too.
fn pages(root: &Path) -> Vec<PathBuf> {
    let files =
        |folder: &str| fs::read_dir(root.join(folder)).expect("docs").map(|entry| entry.expect("an entry").path());
    let docs = files("docs").chain(files("docs/zh"));
    let mut pages: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    pages.extend(["README.md", "README.zh-CN.md"].map(|name| root.join(name)));
    pages.sort();
    pages
}

/// The root of the repository; none in the published crate.
fn repository() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().ok()?;
    root.join("xtask/Cargo.toml").exists().then_some(root)
}

#[test]
fn the_comparison_has_teeth() {
    let mut digests = BTreeMap::new();
    assert_eq!(normal("  prompt   5  0.070  71.2", &mut digests), "prompt 5 # #");
    assert_eq!(normal("92.1 MiB", &mut digests), "92.1 MiB");
    let [a, b] = ["a", "b"].map(|letter| normal(&letter.repeat(64), &mut digests));
    assert!(a != b && a == normal(&"a".repeat(64), &mut digests));
    assert!(fits("0 … 0..2 …", "0 0 0..2 757 KiB") && fits("… end", "the end") && fits("same", "same"));
    assert!(!fits("0 … 0..2", "0 0 0..3") && !fits("same", "same?") && !fits("x …", "y"));
    assert_eq!(words("run 'a  b' -n 2"), ["run", "a  b", "-n", "2"]);
    let found = examples("```console\n$ headsaw x; echo $?\nerror\n2\n$ git y\nz\n```\n$ headsaw no\n");
    assert_eq!(
        (found.len(), &found[0].output[..], found[0].fails),
        (1, &["error".to_string(), "2".to_string()][..], true)
    );
}
