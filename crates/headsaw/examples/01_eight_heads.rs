//! The eight-head example as a picture: `cargo run -p headsaw --example 01_eight_heads > docs/img/eight-heads.svg`

use headsaw::{shard, spec::presets};

const STEPS: [&str; 3] = ["project", "attend", "merge"];

const HEAD: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 824 444" role="img" aria-labelledby="t d">
<title id="t">Eight heads over four devices</title>
<desc id="d">Each of four devices holds two heads. One after the other, their three steps take six slots. With a lane for
each step head 2 is in project while head 1 is in attend, and four slots are enough.</desc>
<style>svg { font: 14px sans-serif } .page { fill: #fff } .text { fill: #1f2328 } .bold { font-weight: bold }
.h0 { fill: #1a62c9 } .h1 { fill: #a34a00 } .in { fill: #fff; text-anchor: middle } .idle { fill: none; stroke: #8b949e;
stroke-dasharray: 4 4 } @media (prefers-color-scheme: dark) { .page { fill: #161b22 } .text { fill: #e6edf3 } }</style>
<rect class="page" width="824" height="444" rx="8"/>
"##;

fn main() {
    print!("{}", svg());
}

/// The picture: 8 heads over 4 devices; on each, 2 heads of 3 steps one after the other, and overlapped.
pub fn svg() -> String {
    let model = presets::find("eight-heads").expect("a preset");
    let devices = shard::cut_heads(&model, &[1.0; 4]);
    let (n, steps) = (devices[0].len(), STEPS.len());
    let (serial, slots) = (n * steps, n + steps - 1);
    let mut svg = HEAD.to_string() + &text(24, 36, "bold", &format!("{} heads over 4 devices", model.heads));
    for (i, heads) in devices.iter().enumerate() {
        svg += &text(24 + 200 * i, 66, "", &format!("device {}", i + 1));
        for (k, head) in heads.clone().enumerate() {
            svg += &cell(24 + 92 * k + 200 * i, 76, 88, k, &format!("head {}", head + 1));
        }
    }
    svg += &text(24, 150, "bold", &format!("On each device, one after the other: {n} × {steps} = {serial} slots"));
    for at in 0..serial {
        let label = format!("head {}: {}", at / steps + 1, STEPS[at % steps]);
        svg += &cell(104 + 116 * at, 164, 112, at / steps, &label);
    }
    svg += &text(24, 240, "bold", &format!("Overlapped, a lane for each step: {n} + {steps} − 1 = {slots} slots"));
    for (lane, name) in STEPS.iter().enumerate() {
        svg += &text(24, 276 + 40 * lane, "", name);
        for (slot, head) in (0..slots).map(|slot| (slot, slot.wrapping_sub(lane))) {
            svg += &cell(104 + 116 * slot, 254 + 40 * lane, 112, head, &format!("head {}", head.wrapping_add(1)));
        }
    }
    svg.extend((0..slots).map(|slot| text(140 + 116 * slot, 394, "", &format!("slot {}", slot + 1))));
    let idle = format!("Idle: {} of {} lane-slots, the bubble.", slots * steps - serial, slots * steps);
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
