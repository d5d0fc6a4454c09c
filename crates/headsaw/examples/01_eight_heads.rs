//! The eight-head example as a picture: `cargo run -p headsaw --example 01_eight_heads > docs/img/eight-heads.svg`, and with
//! `-- lang=zh` in Chinese.

use headsaw::draw::{Kind, Lang, Words};
use headsaw::{shard, spec::presets};

const STEPS: [Kind; 3] = [Kind::Project, Kind::Attend, Kind::Merge];

const HEAD: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 824 444" lang="{lang}" role="img" aria-labelledby="t d">
<title id="t">{title}</title>
<desc id="d">{description}</desc>
<style>svg { font: 14px sans-serif } .page { fill: #fff } .text { fill: #1f2328 } .bold { font-weight: bold }
.h0 { fill: #1a62c9 } .h1 { fill: #a34a00 } .in { fill: #fff; text-anchor: middle } .idle { fill: none; stroke: #8b949e;
stroke-dasharray: 4 4 } @media (prefers-color-scheme: dark) { .page { fill: #161b22 } .text { fill: #e6edf3 } }</style>
<rect class="page" width="824" height="444" rx="8"/>
"##;

fn main() {
    let chinese = std::env::args().any(|arg| arg == "lang=zh");
    print!("{}", svg(if chinese { Lang::Zh } else { Lang::En }));
}

/// What only this picture says.
struct Said {
    description: &'static str,
    title: &'static str,
    serial: &'static str,
    overlapped: &'static str,
    idle: &'static str,
}

const ENGLISH: Said = Said {
    title: "8 heads over 4 devices",
    description:
        "Each of four devices holds two heads. One after the other, their three steps take six slots. With a lane for
each step head 2 is in project while head 1 is in attend, and four slots are enough.",
    serial: "On each device, one after the other: {sum} slots",
    overlapped: "Overlapped, a lane for each step: {sum} slots",
    idle: "Idle: {idle} of {all} lane-slots, the bubble.",
};

const CHINESE: Said = Said {
    title: "8 个头，4 个设备",
    description: "4 个设备，每个 2 个头。逐个执行时，三步要 6 个时间片；每步各有通道时，头 1 在做注意力，头 2 已在做投影，4 个时间片就够。",
    serial: "每个设备上逐个执行：{sum} 个时间片",
    overlapped: "每步一条通道，重叠执行：{sum} 个时间片",
    idle: "空闲：{all} 个通道时间片中的 {idle} 个，就是气泡。",
};

/// The picture: 8 heads over 4 devices; on each, 2 heads of 3 steps one after the other, and overlapped.
pub fn svg(lang: Lang) -> String {
    let (words, said) = (Words::of(lang), if lang == Lang::En { ENGLISH } else { CHINESE });
    let named = |key: &str, n: usize| words.say(key, &[("n", &n.to_string())]);
    let model = presets::find("eight-heads").expect("a preset");
    let devices = shard::cut_heads(&model, &[1.0; 4]);
    let (n, steps) = (devices[0].len(), STEPS.len());
    let (serial, slots) = (n * steps, n + steps - 1);
    let head = HEAD.replace("{lang}", words.get("lang")).replace("{title}", said.title);
    let mut svg = head.replace("{description}", said.description) + &text(24, 36, "bold", said.title);
    for (i, heads) in devices.iter().enumerate() {
        svg += &text(24 + 200 * i, 66, "", &named("device", i + 1));
        for (k, head) in heads.clone().enumerate() {
            svg += &cell(24 + 92 * k + 200 * i, 76, 88, k, &named("head", head as usize + 1));
        }
    }
    svg += &text(24, 150, "bold", &said.serial.replace("{sum}", &format!("{n} × {steps} = {serial}")));
    for at in 0..serial {
        let (step, head) = (STEPS[at % steps].word(lang), named("head", at / steps + 1));
        let label = words.say("of_heads", &[("step", step), ("heads", &head)]);
        svg += &cell(104 + 116 * at, 164, 112, at / steps, &label);
    }
    svg += &text(24, 240, "bold", &said.overlapped.replace("{sum}", &format!("{n} + {steps} − 1 = {slots}")));
    for (lane, step) in STEPS.iter().enumerate() {
        svg += &text(24, 276 + 40 * lane, "", step.word(lang));
        for (slot, head) in (0..slots).map(|slot| (slot, slot.wrapping_sub(lane))) {
            svg += &cell(104 + 116 * slot, 254 + 40 * lane, 112, head, &named("head", head.wrapping_add(1)));
        }
    }
    svg.extend((0..slots).map(|slot| text(140 + 116 * slot, 394, "", &named("slot_at", slot + 1))));
    let (idle, all) = ((slots * steps - serial).to_string(), (slots * steps).to_string());
    let idle = said.idle.replace("{idle}", &idle).replace("{all}", &all);
    svg + &text(24, 424, "", &idle) + "</svg>\n"
}

fn text(x: usize, y: usize, class: &str, text: &str) -> String {
    format!("<text class=\"text {class}\" x=\"{x}\" y=\"{y}\">{text}</text>\n")
}

/// A box in a head's colour; one of no head is idle.
fn cell(x: usize, y: usize, width: usize, head: usize, label: &str) -> String {
    let (class, label) = [("h0", label), ("h1", label)].get(head).copied().unwrap_or(("idle", ""));
    let shape = format!("<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"34\" rx=\"4\"/>");
    shape + &format!("<text class=\"in\" x=\"{}\" y=\"{}\">{label}</text>\n", x + width / 2, y + 23)
}
