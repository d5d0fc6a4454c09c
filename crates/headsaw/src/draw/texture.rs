//! Colours and textures of an SVG: light fills that stay apart for colour-blind eyes and carry dark letters in light and
//! dark pages (the "light" scheme of Paul Tol, "Colour Schemes", SRON/EPS/TN/09-002, 2021), and a texture for each step.

use super::{COLOURS, Colour, Kind};

/// Fills of heads or micro-batches, taken in turn; then other work, then exchanges.
pub const FILLS: [&str; 10] = ["#7ad", "#e86", "#ed8", "#fab", "#9df", "#4b9", "#bc3", "#aa0", "#ddd", "#b7bec9"];
/// The two greys where a bar is too thin for an outline: they stand out from light and dark pages.
pub const THIN_GREYS: [&str; 2] = ["#8c96a1", "#69747f"];
/// The style sheet.
pub fn style() -> String {
    let fills: String = FILLS
        .iter()
        .enumerate()
        .map(|(i, fill)| format!(" .c{i} {{ fill: {fill} }} .h{i} {{ stroke: {fill} }}"))
        .collect();
    let [other, exchange] = THIN_GREYS;
    format!(
        "<style>svg {{ font: 15px sans-serif }} .page {{ fill: #fff }} .text {{ fill: #1f2328 }} .faint {{ fill: #57606a }}
.title {{ font-weight: bold; font-size: 17px }} .bold {{ font-weight: bold }} .middle {{ text-anchor: middle }}
.small {{ font-size: 13px }} .lane {{ fill: none; stroke: #8b949e; stroke-dasharray: 3 4 }}
.grid {{ stroke: #8b949e; stroke-opacity: .45 }} .bar {{ stroke: #1f2328; stroke-width: .8 }}
.ink {{ fill: none; stroke: #1f2328; stroke-opacity: .5; stroke-width: 1.2 }} .dot {{ fill: #1f2328; fill-opacity: .5 }}
.in {{ fill: #111; text-anchor: middle; stroke-width: 4px; paint-order: stroke }}
.name {{ stroke: #fff; stroke-width: 5px; paint-order: stroke }}
{} .thin {{ stroke: #1f2328; stroke-opacity: .35; stroke-width: .5 }} .thin.c8 {{ fill: {other} }} .thin.c9 {{ fill: {exchange} }}
@media (prefers-color-scheme: dark) {{ .page {{ fill: #161b22 }} .name {{ stroke: #161b22 }} .text {{ fill: #e6edf3 }} .faint {{ fill: #9da7b3 }} }}</style>\n",
        fills.trim_start()
    )
}

/// Which fill a colour is.
pub fn fill(colour: Colour) -> u32 {
    match colour {
        Colour::Chunk(number) | Colour::Micro(number) => number % COLOURS,
        Colour::Other => COLOURS,
        Colour::Exchange => COLOURS + 1,
    }
}

/// The name of the pattern of a step in a colour.
pub fn pattern_name(kind: Kind, colour: Colour) -> String {
    format!("{}{}", kind.letter(), fill(colour))
}

/// A pattern: a square of the colour with the step's texture on it.
pub fn pattern(kind: Kind, colour: Colour) -> String {
    format!(
        "<pattern id=\"{}\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\"><rect class=\"c{}\" width=\"8\" \
         height=\"8\"/>{}</pattern>\n",
        pattern_name(kind, colour),
        fill(colour),
        texture(kind).svg()
    )
}

/// A step's texture, on a square of 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Texture {
    /// Strokes, as an SVG path.
    pub lines: &'static str,
    /// Middles of dots of radius 1.
    pub dots: &'static [(u32, u32)],
}

impl Texture {
    fn svg(&self) -> String {
        let lines = match self.lines {
            "" => String::new(),
            lines => format!("<path class=\"ink\" d=\"{lines}\"/>"),
        };
        let dot = |(x, y): &(u32, u32)| format!("<circle class=\"dot\" cx=\"{x}\" cy=\"{y}\" r=\"1\"/>");
        lines + &self.dots.iter().map(dot).collect::<String>()
    }
}

/// What is drawn on a square of a step.
pub fn texture(kind: Kind) -> Texture {
    let lines = |lines| Texture { lines, dots: &[] };
    let dots = |dots| Texture { lines: "", dots };
    match kind {
        Kind::Project => lines(""),
        Kind::Attend => lines("M-2 2L2 -2M0 8L8 0M6 10L10 6"),
        Kind::Merge => dots(&[(2, 2), (6, 6)]),
        Kind::Score => lines("M-2 6L2 10M0 0L8 8M6 -2L10 2"),
        Kind::Softmax => lines("M0 6L4 2L8 6"),
        Kind::Context => lines("M4 2V6M2 4H6"),
        Kind::GateUp => lines("M0 4H8"),
        Kind::Down => lines("M4 0V8"),
        Kind::Embed => lines("M0 2H4"),
        Kind::Norm => lines("M4 2V6"),
        Kind::Logits => lines("M0 2H8M0 6H8"),
        Kind::Sample => dots(&[(4, 4)]),
        kind if kind.category() == "collective" => lines("M0 0L8 8M0 8L8 0"),
        _ => lines("M2 0L6 4L2 8"),
    }
}
