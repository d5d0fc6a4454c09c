//! What holds the book together: links, two languages with the same chapters, figures with the commands that draw them,
//! and numbers of the text that a command of the chapter prints.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn links_of_the_pages_lead_somewhere_inside_the_book() {
    let Some(docs) = docs() else { return };
    let mut wrong = Vec::new();
    for page in [pages(&docs), pages(&docs.join("zh"))].concat() {
        let text = fs::read_to_string(&page).expect("a page");
        for link in links(&prose(&text)).into_iter().filter(|link| !link.contains("://")) {
            let file = link.split('#').next().unwrap_or_default();
            let target = page.parent().expect("a folder").join(file).canonicalize();
            if !file.is_empty() && !target.is_ok_and(|target| target.is_file() && target.starts_with(&docs)) {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let Some(docs) = docs() else { return };
    for folder in [docs.clone(), docs.join("zh")] {
        let summary = fs::read_to_string(folder.join("SUMMARY.md")).expect("a table of contents");
        let mut listed: Vec<PathBuf> = links(&summary).iter().map(|link| folder.join(link)).collect();
        listed.push(folder.join("SUMMARY.md"));
        listed.sort();
        assert_eq!(listed, pages(&folder));
    }
}

#[test]
fn both_languages_tell_the_same() {
    let Some(docs) = docs() else { return };
    let chapters = chapters(&docs);
    assert!(!chapters.is_empty());
    for english in chapters {
        let chinese = docs.join("zh").join(english.file_name().expect("a name"));
        let [english, chinese] =
            [english, chinese].map(|path| Outline::of(&fs::read_to_string(path).expect("a chapter")));
        assert_eq!(english, chinese);
    }
}

#[test]
fn every_figure_has_a_command_that_draws_it() {
    let Some(docs) = docs() else { return };
    for folder in [docs.clone(), docs.join("zh")] {
        let mut used = Vec::new();
        for chapter in chapters(&folder) {
            let text = fs::read_to_string(&chapter).expect("a chapter");
            for figure in Outline::of(&text).figures {
                let file = figure.strip_prefix("img/").expect("beside the chapter").to_string();
                let draws = |line: &str| {
                    line.starts_with("$ ") && [" > ", " -o "].iter().any(|to| line.ends_with(&(to.to_string() + &file)))
                };
                assert!(text.lines().any(draws), "{}: no command draws {file}", chapter.display());
                used.push(file);
            }
        }
        let img = folder.join("img");
        let kept = fs::read_dir(&img).expect("figures").map(|entry| entry.expect("an entry").file_name());
        for file in kept.map(|name| name.to_string_lossy().into_owned()) {
            // A picture of a page is a photograph of a run: it can not be drawn again to the byte.
            assert!(file.ends_with(".png") || used.contains(&file), "{}/{file} is in no chapter", img.display());
        }
    }
}

#[test]
fn numbers_of_the_text_are_printed_by_a_command_of_the_chapter() {
    let Some(docs) = docs() else { return };
    let (mut held, mut wrong) = (0, Vec::new());
    for chapter in [chapters(&docs), chapters(&docs.join("zh"))].concat() {
        let text = fs::read_to_string(&chapter).expect("a chapter");
        let mut printed = numbers(&blocks(&text));
        let (claims, quotients) = claims(&prose(&text));
        printed.extend(quotients);
        for number in claims {
            held += 1;
            if !printed.contains(&number) {
                wrong.push(format!("{}: {number}", chapter.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "no command of the chapter prints\n{}\n", wrong.join("\n"));
    assert!(held > 20, "only {held} numbers found");
}

#[test]
fn the_scanners_see_what_they_should() {
    assert_eq!(links("see [a](b.md#c), ![d](e.svg) and f(g)"), ["b.md#c", "e.svg"]);
    assert_eq!(numbers("1,847 actions, 1.50 × in h100x4 (.5) 12.0 µs, 6%."), [1847.0, 1.5, 0.5, 12.0, 6.0]);
    let text = "a 7 b, 1.5 times, 50 %; 3 × 2.\n\n4.5 + 3 = 7.5. 20 µs and 10%。又快 2.4 倍";
    assert_eq!(claims(text).0, [1.5, 50.0, 7.5, 20.0, 10.0, 2.4]);
    let outline = Outline::of("# a\n```console\n$ x --lang en\ny\n```\n![b](img/c.svg)\n## d\n");
    assert_eq!((outline.headings, &outline.commands[..]), (2, &["$ x".to_string()][..]));
    assert_eq!(outline.figures, ["img/c.svg"]);
}

/// The folder of the book; none in the published crate.
fn docs() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().ok()?;
    root.join("xtask/Cargo.toml").exists().then(|| root.join("docs"))
}

/// All pages of a folder, in order.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut pages: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    pages.sort();
    pages
}

/// Pages that tell the book's story, as `1-eight-heads.md`.
fn chapters(folder: &Path) -> Vec<PathBuf> {
    let numbered = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(|c: char| c.is_ascii_digit()))
    };
    pages(folder).into_iter().filter(numbered).collect()
}

/// What has to be the same in both languages.
#[derive(Debug, PartialEq)]
struct Outline {
    headings: usize,
    blocks: usize,
    /// Without the language that is asked for.
    commands: Vec<String>,
    /// As they are linked.
    figures: Vec<String>,
}

impl Outline {
    fn of(page: &str) -> Outline {
        let (blocks, prose) = (blocks(page), prose(page));
        let commands = blocks.lines().filter(|line| line.starts_with("$ "));
        let plain = |command: &str| {
            let asked = [" --lang en", " --lang zh", " lang=zh"];
            asked.iter().fold(command.to_string(), |command, lang| command.replace(lang, "")).replace(" -- >", " >")
        };
        let shown = |link: &String| link.ends_with(".svg");
        Outline {
            headings: prose.lines().filter(|line| line.starts_with('#')).count(),
            blocks: page.lines().filter(|line| line.starts_with("```")).count() / 2,
            commands: commands.map(plain).collect(),
            figures: links(&prose).into_iter().filter(shown).collect(),
        }
    }
}

/// What stands in code blocks, and what does not.
fn parts(page: &str) -> [String; 2] {
    let (mut parts, mut inside) = ([String::new(), String::new()], false);
    for line in page.lines() {
        let fence = line.starts_with("```");
        if !fence {
            parts[usize::from(inside)] += &format!("{line}\n");
        }
        inside ^= fence;
    }
    parts
}

fn blocks(page: &str) -> String {
    let [_, blocks] = parts(page);
    blocks
}

fn prose(page: &str) -> String {
    let [prose, _] = parts(page);
    prose
}

/// Where `[text](link)` lead.
fn links(text: &str) -> Vec<String> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link.to_string()).collect()
}

/// Words of a text, numbers and units apart.
fn words(text: &str) -> Vec<String> {
    let spaced = text.replace('%', " % ").replace('×', " × ");
    let between = |c: char| c.is_whitespace() || "()[];:：，、（）*`".contains(c);
    spaced.split(between).filter(|word| !word.is_empty()).map(String::from).collect()
}

/// All numbers of a text; a comma between thousands is no end of one.
fn numbers(text: &str) -> Vec<f64> {
    words(text).iter().filter_map(|word| number(word)).collect()
}

fn number(word: &str) -> Option<f64> {
    word.trim_end_matches(['.', ',']).replace(',', "").parse().ok()
}

/// Units whose numbers are claims even without a decimal point.
const UNITS: [&str; 6] = ["%", "µs", "ms", "times", "倍", "TFLOP/s"];

/// Numbers of a text with a decimal point or a unit, and apart from them the right results of quotients `a ÷ b = c`. Of
/// other sums only what comes out counts.
fn claims(prose: &str) -> (Vec<f64>, Vec<f64>) {
    let text = prose.replace("\n\n", ". ").replace('\n', " ").replace(['。', '；'], ". ");
    let (mut claims, mut quotients) = (Vec::new(), Vec::new());
    for sentence in text.split(". ").filter(|sentence| !sentence.starts_with('|')) {
        let words = words(sentence);
        let mut said = Vec::new();
        for (i, word) in words.iter().enumerate() {
            let Some(number) = number(word) else { continue };
            let measured = words.get(i + 1).is_some_and(|next| UNITS.contains(&next.as_str()));
            let [a, by, b, equals] = [4, 3, 2, 1].map(|back| i.checked_sub(back).map_or("", |at| &words[at]));
            if by == "÷" && equals == "=" && rounded(self::number(a), self::number(b), word) == Some(number) {
                quotients.push(number);
                continue;
            }
            if equals == "=" && by != "÷" {
                said.clear(); // what it is the sum of
            }
            said.extend((measured || word.trim_end_matches('.').contains('.')).then_some(number));
        }
        claims.extend(said);
    }
    (claims, quotients)
}

/// `a ÷ b` with as many digits as `like` has.
fn rounded(a: Option<f64>, b: Option<f64>, like: &str) -> Option<f64> {
    let digits = like.trim_end_matches(['.', ',']).split_once('.').map_or(0, |(_, digits)| digits.len());
    format!("{:.digits$}", a? / b?).parse().ok()
}
