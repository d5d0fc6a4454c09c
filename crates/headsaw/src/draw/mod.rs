//! Draws traces: a web page, Chrome JSON, Perfetto, SVG and text for a terminal, all from one [`Picture`].
//!
//! A picture is made once from a program and its trace; no writer looks into the program again. Rows are lanes, bars are
//! actions. Heads are told by colour and label, steps by texture and letter, so that a picture reads without colour.
//! Writers take several pictures and show them below each other: what was predicted, and what was measured.

mod build;
pub mod chart;
pub mod chrome;
pub mod html;
mod kind;
pub mod perfetto;
mod scale;
pub mod svg;
pub mod terminal;
mod texture;
mod together;
mod wire;
mod words;

pub use kind::Kind;
pub use scale::duration;
pub use words::{Lang, Words};

use crate::spec::cluster::DeviceId;
use crate::trace::Source;
use crate::units::{Bytes, Flops, Seconds};
use std::borrow::Cow;
use std::ops::Range;

/// Colours of heads, or of micro-batches, before they begin again.
pub const COLOURS: u32 = 8;

/// What is wanted of a picture.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct View {
    /// Its headline.
    pub title: String,
    /// Nothing that ends before; the trace's beginning where it does not say.
    pub from: Option<Seconds>,
    /// Nothing that begins after; the trace's end where it does not say.
    pub to: Option<Seconds>,
    /// At most so many actions, the first; all where it does not say.
    pub most: Option<usize>,
    /// The axis counts slots of this length, and not seconds.
    pub slot: Option<Seconds>,
}

/// A trace, ready to be drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Headline.
    pub title: String,
    /// Predicted or measured.
    pub source: Source,
    /// Lanes, device by device.
    pub rows: Vec<Row>,
    /// Actions, row by row in the order of time; those of a row never overlap.
    pub bars: Vec<Bar>,
    /// Bars that belong together, as places in `bars`, in the order of time: a send with its receive, the members of a
    /// collective.
    pub flows: Vec<Vec<u32>>,
    /// Chunks of heads, in order: the colours.
    pub chunks: Vec<Range<u32>>,
    /// First and last second shown.
    pub window: (f64, f64),
    /// First and last second of the trace.
    pub whole: (f64, f64),
    /// Actions of the trace that are not in `bars`.
    pub left_out: usize,
    /// Seconds of a slot, where the axis counts slots.
    pub slot: Option<f64>,
    /// Bytes that devices hold; given by whoever knows, in the order of time.
    pub memory: Vec<Reading>,
}

/// A lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its device.
    pub device: DeviceId,
    /// The device's stage.
    pub stage: u32,
    /// Its number inside the device.
    pub number: u32,
    /// It exchanges only.
    pub exchanges: bool,
}

/// An action.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Its lane, as a place in [`Picture::rows`].
    pub row: u32,
    /// What it does.
    pub kind: Kind,
    /// What its colour stands for.
    pub colour: Colour,
    /// The unit's heads; empty where it is no work on a chunk of heads.
    pub heads: Range<u32>,
    /// The micro-batch slot.
    pub micro: u32,
    /// The round of micro-batches.
    pub round: u32,
    /// The layer, for the steps of one.
    pub layer: Option<u32>,
    /// Operations and bytes, where it is known what the slot carried.
    pub work: Option<Done>,
    /// Seconds.
    pub start: f64,
    /// Seconds.
    pub end: f64,
}

/// What an action did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Operations; a multiply-add is two.
    pub flops: Flops,
    /// Weights read and values offered to other devices.
    pub bytes: Bytes,
}

/// What a colour stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Colour {
    /// A place in [`Picture::chunks`].
    Chunk(u32),
    /// A micro-batch, in programs that do not cut heads into chunks.
    Micro(u32),
    /// Work on no chunk of heads, in programs that have some.
    Other,
    /// Bringing parts together, sending, receiving.
    Exchange,
}

/// Which end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It begins.
    First,
    /// It goes on.
    Middle,
    /// It ends.
    Last,
}

/// Bytes that a device holds from then on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// The device.
    pub device: DeviceId,
    /// Seconds.
    pub at: f64,
    /// How much.
    pub bytes: Bytes,
}

impl Picture {
    /// The same with the first `most` bars alone, and a window that ends where the next would begin.
    pub fn limited(&self, most: usize) -> Cow<'_, Picture> {
        if self.bars.len() <= most {
            return Cow::Borrowed(self);
        }
        let mut starts: Vec<f64> = self.bars.iter().map(|bar| bar.start).collect();
        starts.sort_by(f64::total_cmp);
        Cow::Owned(self.until(starts[most]))
    }

    /// The same without what begins then or later.
    pub fn until(&self, end: f64) -> Picture {
        let mut places = vec![None; self.bars.len()];
        let mut bars = Vec::new();
        for (bar, place) in self.bars.iter().zip(&mut places).filter(|(bar, _)| bar.start < end) {
            *place = Some(bars.len() as u32);
            bars.push(bar.clone());
        }
        let flows = self.flows.iter().map(|flow| flow.iter().filter_map(|bar| places[*bar as usize]).collect());
        let flows = flows.filter(|flow: &Vec<u32>| flow.len() > 1).collect();
        let left_out = self.left_out + self.bars.len() - bars.len();
        Picture { bars, flows, left_out, window: (self.window.0, end), ..self.clone() }
    }

    /// Seconds shown.
    pub fn seconds(&self) -> f64 {
        self.window.1 - self.window.0
    }

    /// The part of a bar inside the window, in seconds; none where it takes no time there.
    pub fn inside(&self, bar: &Bar) -> Option<(f64, f64)> {
        let (start, end) = (bar.start.max(self.window.0), bar.end.min(self.window.1));
        (start < end).then_some((start, end))
    }

    /// Busy seconds of each row, inside the window.
    pub fn busy(&self) -> Vec<f64> {
        let mut busy = vec![0.0; self.rows.len()];
        for bar in &self.bars {
            busy[bar.row as usize] += self.inside(bar).map_or(0.0, |(start, end)| end - start);
        }
        busy
    }

    /// Idle ÷ total of the compute lanes that do anything, inside the window; as [`crate::trace::Trace::occupancy`].
    pub fn bubble(&self) -> f64 {
        let busy = self.busy();
        let used = self.rows.iter().zip(&busy).filter(|(row, busy)| !row.exchanges && **busy > 0.0);
        let (lanes, busy) = used.fold((0.0, 0.0), |(lanes, sum), (_, busy)| (lanes + 1.0, sum + busy));
        let total = lanes * self.seconds();
        if total > 0.0 { (1.0 - busy / total).max(0.0) } else { 0.0 }
    }

    /// How many compute lanes of each device are busy, whenever that changes: device, seconds, lanes.
    pub fn busy_lanes(&self) -> Vec<(DeviceId, f64, u32)> {
        let computes = |bar: &&Bar| !self.rows[bar.row as usize].exchanges && bar.start < bar.end;
        let ends = |bar: &Bar| {
            let device = self.rows[bar.row as usize].device;
            [(device, bar.start, 1), (device, bar.end, -1)]
        };
        let mut changes: Vec<(DeviceId, f64, i64)> = self.bars.iter().filter(computes).flat_map(ends).collect();
        changes.sort_by(|a, b| (a.0, a.1).partial_cmp(&(b.0, b.1)).expect("times are numbers"));
        let (mut counts, mut busy) = (Vec::new(), 0);
        for at_once in changes.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let change: i64 = at_once.iter().map(|(_, _, change)| change).sum();
            busy += change;
            if change != 0 {
                counts.push((at_once[0].0, at_once[0].1, busy as u32));
            }
        }
        counts
    }

    /// Where bars are knotted together: bar, number of the flow, and which of its ends; in the order of bars.
    pub fn knots(&self) -> Vec<(u32, u64, End)> {
        let mut knots = Vec::new();
        for (flow, bars) in (1..).zip(&self.flows) {
            let last = bars.len() - 1;
            let end = |i: usize| {
                if i == 0 {
                    End::First
                } else if i == last {
                    End::Last
                } else {
                    End::Middle
                }
            };
            knots.extend(bars.iter().enumerate().map(|(i, bar)| (*bar, flow, end(i))));
        }
        knots.sort_unstable_by_key(|(bar, flow, _)| (*bar, *flow));
        knots
    }

    /// Rows with their bars, without lanes that only exchange and need no time for it.
    pub fn drawn(&self) -> Vec<(&Row, &[Bar])> {
        let (mut drawn, mut rest) = (Vec::new(), &self.bars[..]);
        for (i, row) in (0..).zip(&self.rows) {
            let bars;
            (bars, rest) = rest.split_at(rest.iter().take_while(|bar| bar.row == i).count());
            if !row.exchanges || bars.iter().any(|bar| self.inside(bar).is_some()) {
                drawn.push((row, bars));
            }
        }
        drawn
    }

    /// How its rows are called.
    fn names<'a>(&self, words: &'a Words) -> Names<'a> {
        let drawn = self.drawn();
        let alone = drawn.len() > 1 && drawn.windows(2).all(|two| two[0].0.device != two[1].0.device);
        Names { staged: self.rows.iter().any(|row| row.stage > 0), alone, words }
    }

    /// Rows of a device each.
    pub fn devices(&self) -> impl Iterator<Item = &[Row]> {
        self.rows.chunk_by(|a, b| a.device == b.device)
    }

    /// Kinds of actions that take time, in the order of a layer.
    pub fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> =
            self.bars.iter().filter(|bar| self.inside(bar).is_some()).map(|bar| bar.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// Colours of the actions that take time.
    pub fn colours(&self) -> Vec<Colour> {
        let mut colours: Vec<Colour> =
            self.bars.iter().filter(|bar| self.inside(bar).is_some()).map(|bar| bar.colour).collect();
        colours.sort_unstable();
        colours.dedup();
        colours
    }

    /// Colours of heads or micro-batches, in words; and a remark where they begin again after so many.
    pub fn legend(&self, words: &Words) -> (Vec<(Colour, String)>, Option<String>) {
        let mut colours = self.colours();
        colours.retain(|colour| matches!(colour, Colour::Chunk(_) | Colour::Micro(_)));
        let owns = colours.len();
        colours.retain(|colour| matches!(colour, Colour::Chunk(n) | Colour::Micro(n) if *n < COLOURS));
        let again = if self.chunks.is_empty() { "micros_again" } else { "chunks_again" };
        let (count, own) = (owns.to_string(), COLOURS.to_string());
        let again = (owns > COLOURS as usize).then(|| words.say(again, &[("n", &count), ("own", &own)]));
        (colours.into_iter().map(|colour| (colour, self.meaning(colour, words))).collect(), again)
    }

    /// What a colour stands for, in words.
    pub fn meaning(&self, colour: Colour, words: &Words) -> String {
        match colour {
            Colour::Chunk(chunk) => heads_words(&self.chunks[chunk as usize], words),
            Colour::Micro(micro) => words.say("micro", &[("n", &micro.to_string())]),
            Colour::Other => words.get("other_work").into(),
            Colour::Exchange => words.get("exchange_lane").into(),
        }
    }

    /// A moment in words: `1.25 ms`, or its slot.
    pub fn moment(&self, seconds: f64, words: &Words) -> String {
        match self.slot {
            Some(slot) => words.say("slot_at", &[("n", &in_slots(seconds - self.whole.0, slot))]),
            None => duration(seconds),
        }
    }

    /// A length of time in words: `1.25 ms`, or in slots.
    fn length(&self, seconds: f64, words: &Words) -> String {
        match self.slot {
            Some(slot) => match &*in_slots(seconds, slot) {
                "1" => words.get("slot").into(),
                several => words.say("slots", &[("n", several)]),
            },
            None => duration(seconds),
        }
    }

    /// How long it takes, how much of it is shown, and how much is idle.
    pub fn summary(&self, words: &Words) -> String {
        let (whole, part) = (self.length(self.whole.1 - self.whole.0, words), self.length(self.seconds(), words));
        let share = format!("{:.1} %", 100.0 * self.bubble());
        let (time, idle) = match self.left_out > 0 {
            true => (
                words.say("part_of", &[("part", &part), ("whole", &whole)]),
                words.say("of_part", &[("share", &share)]),
            ),
            false => (whole, share),
        };
        let values = [("time", &*time), ("idle", &*idle)];
        match &self.source {
            Source::Simulated => words.say("predicted_takes", &values),
            Source::Measured { machine } => {
                words.say("measured_takes", &[&values[..], &[("machine", machine)]].concat())
            }
        }
    }

    /// What of the trace is not shown, where that is something.
    pub fn omission(&self, words: &Words) -> Option<String> {
        let (from, to) = (self.moment(self.window.0, words), self.moment(self.window.1, words));
        let values = [("from", &*from), ("to", &*to), ("n", &*grouped(self.left_out))];
        (self.left_out > 0).then(|| words.say("omission", &values))
    }
}

/// How rows are called: without what is the same for all.
#[derive(Debug, Clone, Copy)]
struct Names<'a> {
    /// There are several stages.
    staged: bool,
    /// There are several devices, and of each one lane is drawn: a row is then a device.
    alone: bool,
    words: &'a Words,
}

impl Names<'_> {
    /// What a row belongs to, which may be empty, and its name there: `device 3, stage 1` and `lane 2`, `stage 1` and
    /// `device 3`.
    fn of(&self, row: &Row) -> (String, String) {
        let device = row.device_alone(self.words);
        match (self.alone, self.staged) {
            (true, true) => (self.words.say("stage", &[("s", &row.stage.to_string())]), device),
            (true, false) => (String::new(), device),
            (false, true) => (row.device_name(self.words), row.name(self.words)),
            (false, false) => (device, row.name(self.words)),
        }
    }
}

impl Row {
    /// `lane 2`, `exchange`.
    pub fn name(&self, words: &Words) -> String {
        match self.exchanges {
            true => words.get("exchange_lane").into(),
            false => words.say("lane", &[("n", &self.number.to_string())]),
        }
    }

    /// `device 3`.
    pub fn device_alone(&self, words: &Words) -> String {
        words.say("device", &[("n", &self.device.0.to_string())])
    }

    /// `device 3, stage 1`.
    pub fn device_name(&self, words: &Words) -> String {
        words.say("device_stage", &[("n", &self.device.0.to_string()), ("s", &self.stage.to_string())])
    }
}

impl Bar {
    /// What tells its colour where there is none: the first of the heads, or the micro-batch.
    pub fn number(&self) -> Option<u32> {
        match self.colour {
            Colour::Chunk(_) => Some(self.heads.start),
            Colour::Micro(micro) => Some(micro),
            Colour::Other | Colour::Exchange => None,
        }
    }

    /// `project, head 2`.
    pub fn label(&self, words: &Words) -> String {
        let step = self.kind.word(words.lang);
        match self.heads.is_empty() {
            true => step.into(),
            false => words.say("of_heads", &[("step", step), ("heads", &heads_words(&self.heads, words))]),
        }
    }
}

/// Nanoseconds, as viewers of traces count; before zero there is nothing.
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}

/// `head 2`, `heads 2–3`.
fn heads_words(heads: &Range<u32>, words: &Words) -> String {
    let (first, last) = (heads.start.to_string(), heads.end.saturating_sub(1).to_string());
    match heads.len() {
        1 => words.say("head", &[("n", &first)]),
        _ => words.say("heads_range", &[("a", &first), ("b", &last)]),
    }
}

/// `34,037`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let places = digits.len();
    let comma = |i: usize| i > 0 && (places - i).is_multiple_of(3);
    digits.chars().enumerate().flat_map(|(i, digit)| comma(i).then_some(',').into_iter().chain([digit])).collect()
}

/// A number of slots, with at most two decimals.
fn in_slots(seconds: f64, slot: f64) -> String {
    ((seconds / slot * 100.0).round() / 100.0).to_string()
}
