//! The grain of a device as a part of the page: sentences, numbers, tables, curves; all text comes with it.

use super::super::{Words, duration};
use super::curve::curve;
use super::escape;

/// What is said of the grain, in the page's language.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GrainView {
    /// The answer in a sentence.
    pub headline: String,
    /// What it is of: model, cut, load.
    pub facts: Vec<String>,
    /// The few numbers that matter most.
    pub numbers: Vec<Number>,
    /// The verdict in a sentence.
    pub verdict: String,
    /// Why.
    pub reasons: Vec<String>,
    /// The smallest grain that would do, in a sentence.
    pub smallest: String,
    /// The heading of what to change, and each change.
    pub change: (String, Vec<String>),
    /// Curves over the cut.
    pub curves: Vec<CurveView>,
    /// Levels, losses, overlaps.
    pub sheets: Vec<Sheet>,
}

/// A number with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number {
    /// What it is.
    pub name: String,
    /// The number, with its unit.
    pub value: String,
    /// A remark.
    pub note: String,
}

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub struct Sheet {
    /// Its heading.
    pub title: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows, a cell a column; the first names the row.
    pub rows: Vec<Vec<Cell>>,
    /// A remark below it.
    pub note: String,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its heading.
    pub name: String,
    /// It holds words, not numbers.
    pub words: bool,
}

/// A cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// The share that it is, where it is one: the darker the more.
    pub share: Option<f64>,
}

/// A curve of seconds over sizes of a cut.
#[derive(Debug, Clone, PartialEq)]
pub struct CurveView {
    /// Its heading.
    pub title: String,
    /// What the sizes are: `heads`.
    pub axis: String,
    /// What stands behind each point in the table: the heading of `notes`.
    pub notes: Vec<String>,
    /// Its points, from the smallest size to the largest.
    pub points: Vec<PointView>,
}

/// A point of a curve.
#[derive(Debug, Clone, PartialEq)]
pub struct PointView {
    /// The size.
    pub size: u32,
    /// Seconds, predicted.
    pub seconds: f64,
    /// Seconds, measured.
    pub measured: Option<f64>,
    /// Cells of the table.
    pub notes: Vec<String>,
    /// Words for what is special about it: `knee`.
    pub mark: Option<String>,
    /// It is what the plan has, and the word for that.
    pub here: Option<String>,
}

/// The section.
pub fn section(view: &GrainView, words: &Words) -> String {
    let mut text = format!(
        "<section id=\"grain\" aria-labelledby=\"grain-title\">\n<h2 id=\"grain-title\">{}</h2>\n<p class=\"strong\">{}</p>\n",
        words.get("grain"),
        said(&view.headline),
    );
    text += &format!("<p class=\"faint said-of\">{}</p>\n", escape(&view.facts.join(" · ")));
    text += &numbers(&view.numbers);
    text += &format!("<h3>{}</h3>\n<p class=\"said-of\">{}</p>\n", words.get("verdict"), said(&view.verdict));
    text += &list(&view.reasons);
    text += &format!("<p class=\"said-of\">{}</p>\n<h3>{}</h3>\n", said(&view.smallest), escape(&view.change.0));
    text += &changes(&view.change.1);
    text += &format!("<div class=\"curves\">\n{}</div>\n", curves(view, words));
    text += &view.sheets.iter().map(sheet).collect::<String>();
    text + "</section>\n"
}

/// A sentence as markup: no line ends between a number and what it counts.
fn said(text: &str) -> String {
    [" %", " ×", " ÷"]
        .iter()
        .fold(escape(text), |text, sign| text.replace(sign, &format!("\u{a0}{}", sign.trim_start())))
}

fn numbers(numbers: &[Number]) -> String {
    let one = |number: &Number| {
        let [name, value, note] = [&number.name, &number.value, &number.note].map(|text| said(text));
        format!("<div><dt>{name}</dt><dd>{value}</dd><dd class=\"faint\">{note}</dd></div>\n")
    };
    let all: String = numbers.iter().map(one).collect();
    if all.is_empty() { all } else { format!("<dl class=\"figures\">\n{all}</dl>\n") }
}

fn list(lines: &[String]) -> String {
    let items: String = lines.iter().map(|line| format!("<li>{}</li>\n", said(line))).collect();
    if items.is_empty() { items } else { format!("<ul class=\"said\">\n{items}</ul>\n") }
}

/// Lines that begin with flags of the command line.
fn changes(lines: &[String]) -> String {
    let one = |line: &String| {
        let end = line.find([':', '：', '(', '（']).filter(|_| line.starts_with("--")).unwrap_or(0);
        let (flags, rest) = line.split_at(end);
        let (flags, space) = (flags.trim_end(), if flags.ends_with(' ') { " " } else { "" });
        let flags = if flags.is_empty() { String::new() } else { format!("<code>{}</code>", escape(flags)) };
        format!("<li>{flags}{space}{}</li>\n", said(rest))
    };
    format!("<ul class=\"said flags\">\n{}</ul>\n", lines.iter().map(one).collect::<String>())
}

fn curves(view: &GrainView, words: &Words) -> String {
    let figure = |view: &CurveView| {
        format!(
            "<figure><figcaption>{}</figcaption>\n{}<details><summary>{}</summary>\n{}</details></figure>\n",
            escape(&view.title),
            curve(view, words),
            words.get("numbers"),
            sheet_table(&numbers_of(view, words)),
        )
    };
    view.curves.iter().filter(|view| view.points.len() > 1).map(figure).collect()
}

/// The table behind a curve.
fn numbers_of(view: &CurveView, words: &Words) -> Sheet {
    let measured = view.points.iter().any(|point| point.measured.is_some());
    let column = |name: &str, words| Column { name: name.into(), words };
    let cell = |text: String| Cell { text, share: None };
    let time = if measured { words.get("curve_predicted") } else { words.get("time") };
    let mut columns = vec![column(&view.axis, false), column(time, false)];
    columns.extend(measured.then(|| column(words.get("curve_measured"), false)));
    columns.extend(view.notes.iter().map(|name| column(name, false)));
    columns.push(column(words.get("marks"), true));
    let row = |point: &PointView| {
        let mut cells = vec![cell(point.size.to_string()), cell(duration(point.seconds))];
        let seconds = || point.measured.map_or("–".into(), duration);
        cells.extend(measured.then(|| cell(seconds())));
        cells.extend(point.notes.iter().cloned().map(cell));
        let marks: Vec<&str> = [&point.mark, &point.here].into_iter().flatten().map(String::as_str).collect();
        cells.push(cell(marks.join(words.get("comma"))));
        cells
    };
    Sheet { title: view.title.clone(), columns, rows: view.points.iter().map(row).collect(), note: String::new() }
}

fn sheet(sheet: &Sheet) -> String {
    let note =
        if sheet.note.is_empty() { String::new() } else { format!("<p class=\"small\">{}</p>\n", escape(&sheet.note)) };
    format!("<h3>{}</h3>\n{}{note}", escape(&sheet.title), sheet_table(sheet))
}

/// The table, which scrolls by itself where it is wider than the page.
fn sheet_table(sheet: &Sheet) -> String {
    let mut text = format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table>\n<thead><tr>",
        escape(&sheet.title)
    );
    for column in &sheet.columns {
        text += &heading(column);
    }
    text += "</tr></thead>\n<tbody>\n";
    for row in &sheet.rows {
        text += "<tr>";
        for (i, (cell, column)) in row.iter().zip(&sheet.columns).enumerate() {
            text += &cell_html(i, cell, column);
        }
        text += "</tr>\n";
    }
    text + "</tbody></table></div>\n"
}

fn heading(column: &Column) -> String {
    let class = if column.words { " class=\"words\"" } else { "" };
    match column.name.as_str() {
        "" => "<td></td>".into(),
        name => format!("<th scope=\"col\"{class}>{}</th>", escape(name)),
    }
}

fn cell_html(place: usize, cell: &Cell, column: &Column) -> String {
    if place == 0 {
        let inner = if cell.text.starts_with(' ') { " class=\"inner\"" } else { "" };
        return format!("<th scope=\"row\"{inner}>{}</th>", escape(cell.text.trim_start()));
    }
    let tenths = cell.share.map_or(0, |share| (10.0 * share).ceil().clamp(0.0, 10.0) as u32);
    let class = match (tenths, column.words) {
        (0, false) => String::new(),
        (0, true) => " class=\"words\"".into(),
        _ => format!(" class=\"share s{tenths}\""),
    };
    format!("<td{class}>{}</td>", escape(&cell.text))
}
