//! Pictures: goldens of the eight-head example, and laws that hold for the picture of any trace.

#[allow(dead_code)] // not all of what tests share
mod shared;

use headsaw::cost::Load;
use headsaw::draw::terminal::{plain, terminal};
use headsaw::draw::{Lang, Picture, Reading, View, Words, chrome::chrome, perfetto::perfetto, svg, svg::svg};
use headsaw::lower::lower;
use headsaw::plan::{Overlap, Plan};
use headsaw::simulate::{Rounds, simulate};
use headsaw::spec::cluster::DeviceId;
use headsaw::trace::{Source, Trace};
use headsaw::units::{Bytes, Seconds};
use proptest::prelude::*;
use serde_json::Value;
use shared::eight::{Case, EXAMPLE, PerHead, TWO};
use shared::plans::any_units;
use std::collections::{BTreeMap, BTreeSet};
use std::slice::from_ref;
use unicode_width::UnicodeWidthStr;

/// A head of a step takes a millisecond, which is a slot.
const MILLISECONDS: [f64; 3] = [1e-3; 3];

fn example(lanes: [u32; 3]) -> Picture {
    let (program, rounds, trace) = Case { lanes, ..EXAMPLE }.played(MILLISECONDS);
    let title = "8 heads over 4 devices, 3 steps".to_string();
    let view = View { title, slot: Some(Seconds(1e-3)), ..View::default() };
    let mut picture = Picture::new(&program, &trace, Some(&rounds), view);
    picture.memory = vec![Reading { device: DeviceId(0), at: 0.0, bytes: Bytes(1 << 20) }];
    picture
}

/// With a Chinese headline.
fn in_chinese(picture: Picture) -> Picture {
    Picture { title: "8 个头，4 个设备，每个头 3 步".into(), ..picture }
}

#[test]
fn the_example_in_a_terminal() {
    insta::assert_snapshot!("terminal_three_lanes", plain(&terminal(&[example([0, 1, 2])], 80, Lang::En)));
    insta::assert_snapshot!("terminal_two_lanes", plain(&terminal(&[example(TWO)], 80, Lang::En)));
    insta::assert_snapshot!("terminal_two_lanes_zh", plain(&terminal(&[in_chinese(example(TWO))], 80, Lang::Zh)));
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for width in [40, 57, 80, 120] {
        let mut pictures = beside();
        pictures[1].title = "a model with a long name on a machine with a longer one: tp 4 × pp 1".into();
        for lang in [Lang::En, Lang::Zh] {
            for line in plain(&terminal(&pictures, width, lang)).lines() {
                assert!(line.width() <= width, "{width}: {line}");
            }
        }
    }
}

#[test]
fn the_example_as_svg() {
    insta::assert_snapshot!("svg_three_lanes", svg(&[example([0, 1, 2])], Lang::En));
    insta::assert_snapshot!("svg_two_lanes", svg(&[example(TWO)], Lang::En));
    insta::assert_snapshot!("svg_two_lanes_zh", svg(&[in_chinese(example(TWO))], Lang::Zh));
}

#[test]
fn the_example_as_chrome_json() {
    insta::assert_snapshot!("chrome_three_lanes", chrome(&[example([0, 1, 2])]));
    insta::assert_snapshot!("chrome_two_lanes", chrome(&[example(TWO)]));
}

#[test]
fn the_example_for_perfetto() {
    let told = |lanes| Decoded::of(&perfetto(&[example(lanes)])).text();
    insta::assert_snapshot!("perfetto_three_lanes", told([0, 1, 2]));
    insta::assert_snapshot!("perfetto_two_lanes", told(TWO));
}

/// The example, and the same with an attend that took twice as long.
fn beside() -> [Picture; 2] {
    let (program, rounds, mut trace) = EXAMPLE.played([1e-3, 2e-3, 1e-3]);
    trace.source = Source::Measured { machine: "a machine".into() };
    for span in &mut trace.spans {
        (span.start, span.end) = (Seconds(span.start.0 + 1.0), Seconds(span.end.0 + 1.0));
    }
    let view = View { title: "The same, measured".into(), ..View::default() };
    [example([0, 1, 2]), Picture::new(&program, &trace, Some(&rounds), view)]
}

#[test]
fn pictures_below_each_other_have_one_scale() {
    let pictures = beside();
    insta::assert_snapshot!("terminal_beside", plain(&terminal(&pictures, 80, Lang::En)));
    insta::assert_snapshot!("terminal_beside_zh", plain(&terminal(&pictures, 80, Lang::Zh)));
    let drawn = svg(&pictures, Lang::En);
    sound_svg(&drawn).unwrap();
    for says in ["Predicted: 4 slots", "Measured on a machine: 6.00 ms"] {
        assert!(drawn.contains(says), "{says}");
    }
}

#[test]
fn pictures_beside_each_other_have_tracks_and_flows_of_their_own() {
    let pictures = beside();
    let decoded = Decoded::of(&perfetto(&pictures));
    let bars: Vec<&headsaw::draw::Bar> = pictures.iter().flat_map(|picture| &picture.bars).collect();
    assert_eq!(decoded.slices.len(), bars.len());
    assert_eq!(decoded.tracks.values().filter(|(_, parent)| *parent == 0).count(), 2);
    let (first, second) = decoded.slices.split_at(pictures[0].bars.len());
    assert_eq!((first[0].start, second[0].start), (0, 0), "they begin together");
    let flows = |slices: &[Slice]| slices.iter().flat_map(|slice| slice.flows.concat()).collect::<BTreeSet<_>>();
    assert!(flows(first).is_disjoint(&flows(second)));
    let file: Value = serde_json::from_str(&chrome(&pictures)).unwrap();
    let names = file["traceEvents"].as_array().unwrap().iter().filter(|event| event["name"] == "process_name");
    let names: BTreeSet<&str> = names.map(|event| event["args"]["name"].as_str().unwrap()).collect();
    assert!(
        names.contains("predicted: device 3, stage 0") && names.contains("measured: device 3, stage 0"),
        "{names:?}"
    );
    assert_eq!(file["otherData"]["beside"][0]["source"], "a machine");
}

#[test]
fn half_of_the_lane_slots_are_idle() {
    let picture = example([0, 1, 2]);
    assert!((picture.bubble() - 0.5).abs() < 1e-12);
    let on_first = picture.busy_lanes().into_iter().filter(|(device, ..)| device.0 == 0);
    let slots: Vec<(f64, u32)> = on_first.map(|(_, at, lanes)| ((at * 1e3).round(), lanes)).collect();
    assert_eq!(slots, [(0.0, 1), (1.0, 2), (3.0, 1), (4.0, 0)], "one lane, two, two, one");
}

#[test]
fn a_window_leaves_out_what_is_outside() {
    let (program, rounds, trace) = EXAMPLE.played(MILLISECONDS);
    let view = View { from: Some(Seconds(1.2e-3)), to: Some(Seconds(1.8e-3)), ..View::default() };
    let picture = Picture::new(&program, &trace, Some(&rounds), view);
    assert_eq!(picture.bars.iter().filter(|bar| picture.inside(bar).is_some()).count(), 8, "two lanes of four devices");
    assert_eq!(picture.left_out + picture.bars.len(), trace.spans.len());
    assert!(
        picture.left_out > 0
            && picture.omission(&Words::of(Lang::En)).unwrap().starts_with("Shown: 1.20 ms to 1.80 ms")
    );
}

/// Many layers: an SVG shows the beginning and says so, the other forms show all.
#[test]
fn long_traces_are_cut_and_say_so() {
    let (program, rounds, trace) =
        Case { heads: 40, devices: 6, micros: 5, overlap: Overlap::Tokens, ..EXAMPLE }.played([1e-6, 2e-6, 1e-6]);
    let picture = Picture::new(&program, &trace, Some(&rounds), View::default());
    assert!(picture.bars.len() > svg::BARS_MOST);
    let drawn = svg(from_ref(&picture), Lang::En);
    assert!(drawn.matches("<rect class=\"").count() <= svg::BARS_MOST + 40);
    assert!(drawn.contains("actions outside are left out"), "{}", &drawn[drawn.len() - 600..]);
    assert_eq!(chrome(from_ref(&picture)).matches("\"ph\":\"X\"").count(), trace.spans.len());
    let few = Picture::new(&program, &trace, Some(&rounds), View { most: Some(1000), ..View::default() });
    assert!((900..=1000).contains(&few.bars.len()), "{}", few.bars.len());
    assert_eq!(few.bars.len() + few.left_out, trace.spans.len());
    assert_eq!(few.bars, picture.limited(1000).bars);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_trace_can_be_drawn(plan in any_units(), times in prop::array::uniform3(1e-7f64..1e-3), width in 0usize..200) {
        let (program, trace, rounds) = played(&plan, times);
        let picture = Picture::new(&program, &trace, Some(&rounds), View { title: "<\"&\u{0}".into(), ..View::default() });
        prop_assert_eq!(picture.bars.len(), trace.spans.len());
        prop_assert!((picture.bubble() - trace.occupancy().bubble).abs() < 1e-9);
        sound_json(&chrome(from_ref(&picture)), &trace)?;
        Decoded::of(&perfetto(from_ref(&picture))).sound(&picture)?;
        for lang in [Lang::En, Lang::Zh] {
            sound_svg(&svg(from_ref(&picture), lang))?;
            for line in terminal(from_ref(&picture), width, lang) {
                let long = line.iter().map(|piece| piece.text.width()).sum::<usize>();
                prop_assert!(long <= width.max(60), "{} of {}", long, width);
            }
        }
    }

    #[test]
    fn every_window_can_be_drawn(from in -1.0f64..5.0, length in -1.0f64..5.0, slots in any::<bool>()) {
        let (program, _, trace) = EXAMPLE.played([1.0; 3]);
        let slot = slots.then_some(Seconds(1.0));
        let view = View { from: Some(Seconds(from)), to: Some(Seconds(from + length)), slot, ..View::default() };
        let picture = Picture::new(&program, &trace, None, view);
        sound_svg(&svg(from_ref(&picture), Lang::En))?;
        prop_assert!(!terminal(from_ref(&picture), 80, Lang::En).is_empty() && (0.0..=1.0).contains(&picture.bubble()));
    }
}

fn played(plan: &Plan, times: [f64; 3]) -> (headsaw::program::Program, Trace, Rounds) {
    let program = lower(plan);
    let load = Load { sequences: 2, tokens: plan.workload.tokens, past: 3 };
    let rounds = Rounds(vec![vec![load; plan.workload.micros as usize]; 2]);
    let trace = simulate(&program, &PerHead(times), &rounds).unwrap();
    (program, trace, rounds)
}

/// A span for each action; none on one thread overlap; flows begin before they end.
fn sound_json(text: &str, trace: &Trace) -> Result<(), TestCaseError> {
    let file: Value = serde_json::from_str(text).expect("JSON");
    let events = file["traceEvents"].as_array().expect("a list");
    let of = |ph: &'static str| events.iter().filter(move |event| event["ph"] == ph);
    let nanos = |event: &Value, field: &str| (event[field].as_f64().expect("a number") * 1e3).round() as u64;
    let mut threads: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for span in of("X") {
        let until = threads.entry((span["pid"].as_u64().unwrap(), span["tid"].as_u64().unwrap())).or_default();
        prop_assert!(nanos(span, "ts") >= *until, "{} begins before {}", span, until);
        *until = nanos(span, "ts") + nanos(span, "dur");
    }
    prop_assert_eq!(of("X").count(), trace.spans.len());
    let lanes = of("M").filter(|event| event["name"] == "thread_name").count();
    prop_assert_eq!(lanes, trace.lanes.len());
    let mut begins: BTreeMap<u64, u64> = BTreeMap::new();
    begins.extend(of("s").map(|flow| (flow["id"].as_u64().unwrap(), nanos(flow, "ts"))));
    prop_assert_eq!((begins.len(), of("s").count()), (of("f").count(), of("f").count()));
    for end in of("f") {
        prop_assert!(begins[&end["id"].as_u64().unwrap()] <= nanos(end, "ts"), "{}", end);
    }
    Ok(())
}

/// XML; every pattern is there once; no text leaves the page, and every bar lies in it.
fn sound_svg(text: &str) -> Result<(), TestCaseError> {
    let page = roxmltree::Document::parse(text).map_err(|error| TestCaseError::fail(format!("{error}")))?;
    let ids: Vec<&str> = page.descendants().filter_map(|node| node.attribute("id")).collect();
    prop_assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len());
    let number =
        |node: &roxmltree::Node, name: &str| node.attribute(name).map_or(0.0, |text| text.parse::<f64>().unwrap());
    for node in page.descendants().filter(|node| node.has_tag_name("rect")) {
        let fill = node.attribute("fill").and_then(|fill| fill.strip_prefix("url(#")?.strip_suffix(')'));
        prop_assert!(fill.is_none_or(|id| ids.contains(&id)), "{:?}", fill);
        prop_assert!(number(&node, "x") >= 0.0 && number(&node, "x") + number(&node, "width") <= 640.5, "{:?}", node);
    }
    for node in page.descendants().filter(|node| node.has_tag_name("text")) {
        let class = node.attribute("class").unwrap();
        let long = node.text().unwrap_or("").width() as f64 * if class.contains("small") { 6.8 } else { 7.8 };
        let middle = class.contains("middle") || class.starts_with("in");
        let start = number(&node, "x") - if middle { long / 2.0 } else { 0.0 };
        prop_assert!(start >= 0.0 && start + long <= 640.0, "{:?} {:?}", node, node.text());
    }
    Ok(())
}

/// A message's fields: number, and value or bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, u64, &[u8])> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let (value, inside) = match key & 7 {
            0 => (varint(&mut bytes), &bytes[..0]),
            1 => (u64::from_le_bytes(split(&mut bytes, 8).try_into().unwrap()), &bytes[..0]),
            2 => {
                let length = varint(&mut bytes);
                (length, split(&mut bytes, length as usize))
            }
            wire => panic!("wire type {wire}"),
        };
        found.push((key >> 3, value, inside));
    }
    found
}

fn split<'a>(bytes: &mut &'a [u8], at: usize) -> &'a [u8] {
    let (first, rest) = bytes.split_at(at);
    *bytes = rest;
    first
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let length = bytes.iter().position(|byte| *byte < 0x80).expect("an end") + 1;
    split(bytes, length).iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f))
}

fn inside(bytes: &[u8], field: u64) -> Option<&[u8]> {
    fields(bytes).into_iter().find(|(number, ..)| *number == field).map(|(_, _, inside)| inside)
}

fn value(bytes: &[u8], field: u64) -> Option<u64> {
    fields(bytes).into_iter().find(|(number, ..)| *number == field).map(|(_, value, _)| value)
}

fn text(bytes: &[u8], field: u64) -> String {
    String::from_utf8(inside(bytes, field).unwrap_or_default().to_vec()).expect("UTF-8")
}

struct Slice {
    track: u64,
    name: String,
    start: u64,
    end: u64,
    /// Flows that go on, and that end.
    flows: [Vec<u64>; 2],
}

/// A `.pftrace` file read back, by the numbers of the public protos.
struct Decoded {
    /// Name and parent of each track.
    tracks: BTreeMap<u64, (String, u64)>,
    slices: Vec<Slice>,
    /// Track, time, value.
    counts: Vec<(u64, u64, u64)>,
}

impl Decoded {
    fn of(file: &[u8]) -> Decoded {
        let mut decoded = Decoded { tracks: BTreeMap::new(), slices: Vec::new(), counts: Vec::new() };
        let (mut names, mut open) = (BTreeMap::new(), BTreeMap::new());
        for (_, _, packet) in fields(file) {
            for (_, _, data) in fields(packet).into_iter().filter(|(field, ..)| *field == 12) {
                let list = fields(data).into_iter().filter(|(field, ..)| *field == 2);
                names.extend(list.map(|(_, _, name)| (value(name, 1).unwrap(), text(name, 2))));
            }
            if let Some(track) = inside(packet, 60) {
                let known = (text(track, 2), value(track, 5).unwrap_or(0));
                assert!(decoded.tracks.insert(value(track, 1).unwrap(), known).is_none(), "one track of an id");
            }
            if let Some(event) = inside(packet, 11) {
                decoded.event(event, value(packet, 8).unwrap(), &names, &mut open);
            }
        }
        assert!(open.is_empty(), "all that began has ended");
        decoded
    }

    fn event(&mut self, event: &[u8], at: u64, names: &BTreeMap<u64, String>, open: &mut BTreeMap<u64, usize>) {
        let track = value(event, 11).unwrap();
        let flows = |field| fields(event).into_iter().filter(|f| f.0 == field).map(|f| f.1).collect();
        match value(event, 9).unwrap() {
            1 => {
                assert!(open.insert(track, self.slices.len()).is_none(), "nothing nests on a lane");
                let name = names[&value(event, 10).unwrap()].clone();
                self.slices.push(Slice { track, name, start: at, end: at, flows: [flows(47), flows(48)] });
            }
            2 => self.slices[open.remove(&track).expect("it began")].end = at,
            4 => self.counts.push((track, at, value(event, 30).unwrap())),
            kind => panic!("an event of type {kind}"),
        }
    }

    fn sound(&self, picture: &Picture) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.slices.len(), picture.bars.len());
        let mut until: BTreeMap<u64, u64> = BTreeMap::new();
        for (Slice { track, name, start, end, .. }, bar) in self.slices.iter().zip(&picture.bars) {
            prop_assert!(self.tracks.contains_key(track) && start <= end && *name == bar.label(&Words::of(Lang::En)));
            let before = until.insert(*track, *end).unwrap_or(0);
            prop_assert!(before <= *start, "{} {} {}", name, before, start);
        }
        let ends = self.slices.iter().map(|slice| slice.flows[1].len()).sum::<usize>();
        prop_assert_eq!(ends, picture.flows.len());
        prop_assert_eq!(self.counts.len(), picture.busy_lanes().len() + picture.memory.len());
        Ok(())
    }

    fn text(&self) -> String {
        let name = |track: &u64| {
            let (name, parent) = &self.tracks[track];
            format!("{} · {name}", self.tracks.get(parent).map_or("", |(name, _)| name))
        };
        let tracks = self.tracks.keys().map(|track| format!("track {}\n", name(track)));
        let slices = self.slices.iter().map(|Slice { track, name: what, start, end, flows: [flows, ends] }| {
            format!("{}: {what} {start}..{end} flows {flows:?} ends {ends:?}\n", name(track))
        });
        let counts = self.counts.iter().map(|(track, at, value)| format!("{} = {value} at {at}\n", name(track)));
        tracks.chain(slices).chain(counts).collect()
    }
}
