//! What a machine can hold of the order of the house: which room may name which, and what a file may not contain.
//!
//! Each test gathers everything that is wrong before it fails. Away from the repository (in the published crate) there
//! is nothing to hold, and the tests that look beyond this crate pass.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The rooms of the library, the top-level modules of `src`, in the order in which data flows: a room may name itself
/// and earlier ones.
const ROOMS: &[&str] = &[
    "units", "spec", "shard", "plan", "program", "trace", "lower", "cost", "verify", "simulate", "grain", "search",
    "export", "draw",
];

/// What of `std` the library may not name: files, clock, threads, environment, network, other programs.
const IMPURE: &[&str] = &["fs", "time", "thread", "env", "net", "process"];

const LINES_MAX: usize = 800;
const ARCHITECTURE_LINES_MAX: usize = 150;

#[test]
fn a_room_names_only_earlier_rooms() {
    let src = library().join("src");
    let mut wrong = Vec::new();
    for path in sources(&src) {
        let inside = path.strip_prefix(&src).expect("found below src");
        let module = module_path(inside);
        let Some(room) = module.first() else { continue };
        let Some(rank) = rank(room) else {
            wrong.push(format!("{}: room {room} has no place in the order; give it one in ROOMS", inside.display()));
            continue;
        };
        for (line, text) in statements(&path) {
            for later in rooms_named(&text, module.len()).iter().filter(|named| self::rank(named) > Some(rank)) {
                wrong.push(format!("{}:{line}: {room} names {later}, a later room", inside.display()));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn the_library_is_pure() {
    let mut wrong = Vec::new();
    for path in sources(&library().join("src")) {
        for (line, text) in statements(&path) {
            for head in heads_after(&text, "std::").iter().filter(|head| IMPURE.contains(&head.as_str())) {
                wrong.push(format!("{}:{line}: std::{head}", path.display()));
            }
            if words(&text).any(|word| word == "unsafe") {
                wrong.push(format!("{}:{line}: unsafe", path.display()));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn the_runtime_does_not_know_the_command_line() {
    let Some(root) = repository() else { return };
    let runtime = root.join("crates/headsaw-run");
    let mut files = sources(&runtime);
    files.push(runtime.join("Cargo.toml"));
    files.retain(|path| words(&read(path)).any(|word| word == "clap"));
    assert_none(&files.iter().map(|path| format!("{}: clap", path.display())).collect::<Vec<_>>());
}

#[test]
fn every_file_says_what_it_is_and_is_short() {
    let root = repository().unwrap_or_else(library);
    let mut wrong = Vec::new();
    for path in sources(&root) {
        let text = read(&path);
        if !text.trim_start().starts_with("//!") {
            wrong.push(format!("{}: opens with no //! line that says what it is", path.display()));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{}: {lines} lines, at most {LINES_MAX}", path.display()));
        }
    }
    assert_none(&wrong);
}

#[test]
fn no_file_names_a_folder_of_somebodys_machine() {
    let Some(root) = repository() else { return };
    // In two pieces each, or this file would name them.
    let folders = [("/ho", "me/"), ("/ro", "ot/"), ("/wo", "rk/"), ("/Us", "ers/")].map(|(a, b)| format!("{a}{b}"));
    let mut wrong = Vec::new();
    for path in tracked(&root) {
        let Ok(text) = fs::read_to_string(&path) else { continue }; // binary, or deleted and not yet committed
        for (index, line) in text.lines().enumerate() {
            for folder in folders.iter().filter(|folder| names_folder(line, folder)) {
                wrong.push(format!("{}:{}: {folder}", path.display(), index + 1));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn the_readmes_tell_the_same() {
    let Some(root) = repository() else { return };
    let (english, chinese) = (root.join("README.md"), root.join("README.zh-CN.md"));
    if !english.exists() || !chinese.exists() {
        eprintln!("skipped: not both READMEs exist");
        return;
    }
    let (english, chinese) = (outline(&read(&english)), outline(&read(&chinese)));
    assert_eq!(english.headings, chinese.headings, "number of headings");
    assert_eq!(english.blocks.len(), chinese.blocks.len(), "number of code blocks");
    for (one, other) in english.blocks.iter().zip(&chinese.blocks) {
        match other.chars().any(is_chinese) {
            true => assert_eq!(numbers(one), numbers(other), "what headsaw says in Chinese has the same numbers"),
            false => assert_eq!(one, other, "other code blocks are the same in both, comments included"),
        }
    }
}

fn is_chinese(letter: char) -> bool {
    ('\u{4e00}'..'\u{a000}').contains(&letter)
}

/// Digits that stand together, in order; without pictures and what they stand on, which are as wide as words leave room.
fn numbers(block: &str) -> Vec<&str> {
    let drawn = |line: &&str| line.contains("..") || line.starts_with("ms ") || line.starts_with("一列");
    let said = block.lines().filter(|line| !drawn(line));
    said.flat_map(|line| line.split(|letter: char| !letter.is_ascii_digit()))
        .filter(|digits| !digits.is_empty())
        .collect()
}

#[test]
fn the_architecture_fits_in_one_reading() {
    let Some(path) = repository().map(|root| root.join("ARCHITECTURE.md")).filter(|path| path.exists()) else { return };
    let lines = read(&path).lines().count();
    assert!(lines <= ARCHITECTURE_LINES_MAX, "ARCHITECTURE.md has {lines} lines, at most {ARCHITECTURE_LINES_MAX}");
}

#[test]
fn the_scanner_sees_what_it_should() {
    assert_eq!(rooms_named("use crate::spec::model::ModelSpec;", 1), ["spec"]);
    assert_eq!(rooms_named("use crate::{plan::{Plan, Slice}, units};", 1), ["plan", "units"]);
    assert_eq!(rooms_named("use {crate::draw::svg, crate::trace};", 1), ["draw", "trace"]);
    assert_eq!(rooms_named("let x = super::super::cost::price(super::model());", 2), ["cost"]);
    assert_eq!(rooms_named("use super::draw;", 1), ["draw"]);
    assert_eq!(rooms_named("use mycrate::draw;", 1), [""; 0]);
    assert_eq!(heads_after("use std::{fmt, fs::File, ops::{Add, Mul}};", "std::"), ["fmt", "fs", "ops"]);
    assert_eq!(module_path(Path::new("spec/model.rs")), ["spec", "model"]);
    assert_eq!(module_path(Path::new("spec/mod.rs")), ["spec"]);
    assert_eq!(module_path(Path::new("lib.rs")), [""; 0]);
    let text = "//! head\nuse crate::{\n    units, // crate::draw\n    spec,\n};\nfn f() {}\n";
    assert_eq!(statements_of(text)[1], (2, "use crate::{units,spec,};".to_string()));
    assert!(words("#![forbid(unsafe_code)]").all(|word| word != "unsafe"));
    let folder = concat!("/ro", "ot/");
    assert!(names_folder(&format!("cd {folder}x"), folder));
    assert!(!names_folder(&format!("https://example.org{folder}x"), folder));
    let markdown = outline("# a\n```sh\n# no heading\n```\n## b\n");
    assert_eq!((markdown.headings, markdown.blocks), (2, vec!["```sh\n# no heading\n```\n".to_string()]));
}

fn rank(room: &str) -> Option<usize> {
    ROOMS.iter().position(|known| *known == room)
}

/// The rooms that a statement names, in a module `depth` levels below the crate's root.
fn rooms_named(text: &str, depth: usize) -> Vec<String> {
    let mut named = heads_after(text, "crate::");
    named.extend(heads_after(text, &"super::".repeat(depth)));
    named.retain(|name| rank(name).is_some());
    named
}

/// The first names after each occurrence of `prefix`: of `a::b` it is `a`, of `{a::b, c}` they are `a` and `c`.
fn heads_after(text: &str, prefix: &str) -> Vec<String> {
    let mut heads = Vec::new();
    for (at, _) in text.match_indices(prefix) {
        if text[..at].ends_with(|letter: char| is_word(letter) || letter == ':') {
            continue;
        }
        let rest = &text[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => heads.extend(group_heads(group)),
            None => heads.extend(words(rest).next().map(String::from)),
        }
    }
    heads
}

/// The first names of the members of a group, whose opening brace is already gone.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut members) = (0, vec![String::new()]);
    for letter in group.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => members.push(String::new()),
            _ if depth == 0 => members.last_mut().expect("never empty").push(letter),
            _ => {}
        }
    }
    members.iter().filter_map(|member| words(member).next()).map(String::from).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !is_word(letter)).filter(|word| !word.is_empty())
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Whether a line names that folder of the file system, and not one of that name elsewhere, as in a URL.
fn names_folder(line: &str, folder: &str) -> bool {
    let outside = |letter: char| is_word(letter) || "./-~*}".contains(letter);
    line.match_indices(folder).any(|(at, _)| !line[..at].ends_with(outside))
}

/// `spec/model.rs` is `spec::model`, `spec/mod.rs` is `spec`, `lib.rs` is the root.
fn module_path(inside: &Path) -> Vec<String> {
    let without = inside.with_extension("");
    let mut names: Vec<String> = without.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    if names == ["lib"] || names.last().is_some_and(|last| last == "mod") {
        names.pop();
    }
    names
}

fn statements(path: &Path) -> Vec<(usize, String)> {
    statements_of(&read(path))
}

/// Lines without comments, each with its number; a `use` over several lines comes in one piece.
fn statements_of(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default().trim();
        match found.last_mut() {
            Some((_, statement)) if open => statement.push_str(code),
            _ => {
                open = words(code).take(2).any(|word| word == "use");
                found.push((index + 1, code.to_string()));
            }
        }
        open &= !code.ends_with(';');
    }
    found
}

struct Outline {
    headings: usize,
    blocks: Vec<String>,
}

/// Headings and code blocks of a Markdown text.
fn outline(text: &str) -> Outline {
    let mut found = Outline { headings: 0, blocks: Vec::new() };
    let mut inside = false;
    for line in text.lines() {
        let fence = line.trim_start().starts_with("```");
        if fence && !inside {
            found.blocks.push(String::new());
        }
        if fence || inside {
            let block = found.blocks.last_mut().expect("opened by a fence");
            *block += line;
            *block += "\n";
        } else if line.starts_with('#') {
            found.headings += 1;
        }
        inside ^= fence;
    }
    found
}

fn library() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The root of the repository; none in the published crate.
fn repository() -> Option<PathBuf> {
    let root = library().join("../..").canonicalize().ok()?;
    root.join("xtask/Cargo.toml").exists().then_some(root)
}

/// All Rust files below a folder, without what is built or hidden.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path));
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Files that git knows or would add; none where there is no git.
fn tracked(root: &Path) -> Vec<PathBuf> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let Ok(output) = Command::new("git").args(list).current_dir(root).output() else { return Vec::new() };
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    names.split('\0').filter(|name| !name.is_empty()).map(|name| root.join(name)).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
