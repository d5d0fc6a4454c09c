//! Chrome's JSON of trace events, which Perfetto and `chrome://tracing` open ("Trace Event Format", Google 2016).
//!
//! A process is a device, a thread a lane; times are microseconds with three decimals, so nothing overlaps by rounding.

use super::together::prefixes;
use super::{Bar, End, Lang, Picture, Row, Words, nanoseconds};
use crate::spec::cluster::DeviceId;
use crate::trace::Source;
use std::fmt::Write;

/// The pictures as one JSON object: they begin together. Names are English: queries rest on them.
pub fn chrome(pictures: &[Picture]) -> String {
    let mut text = String::from("{\"displayTimeUnit\":\"ns\",\n\"otherData\":");
    text += &about(pictures).to_string();
    text += ",\n\"traceEvents\":[\n";
    let words = &Words::of(Lang::En);
    let (mut events, mut first_flow) = (Vec::new(), 0);
    for ((number, picture), prefix) in (0..).zip(pictures).zip(prefixes(pictures)) {
        let from = pictures[0].window.0 - picture.window.0;
        let part = Part { picture, words, prefix, first_process: number * PROCESSES, from, first_flow };
        part.write(&mut events);
        first_flow += picture.flows.len() as u64;
    }
    text += &events.join(",\n");
    text + "\n]}\n"
}

/// Processes of a picture at most: the next one's begin there.
const PROCESSES: u32 = 1 << 20;

/// One of the pictures.
struct Part<'a> {
    picture: &'a Picture,
    words: &'a Words,
    /// Before the names of its devices.
    prefix: String,
    /// Added to the number of a device.
    first_process: u32,
    /// Added to seconds.
    from: f64,
    /// Added to the number of a flow.
    first_flow: u64,
}

impl Part<'_> {
    fn write(&self, events: &mut Vec<String>) {
        let picture = self.picture;
        events.extend(self.names());
        let knots = picture.knots();
        let mut knots = &knots[..];
        for (i, bar) in (0..).zip(&picture.bars) {
            let row = &picture.rows[bar.row as usize];
            events.push(self.span(row, bar));
            let of_bar = knots.iter().take_while(|(at, ..)| *at == i).count();
            events.extend(knots[..of_bar].iter().map(|(_, flow, end)| self.arrow(row, bar, *flow, *end)));
            knots = &knots[of_bar..];
        }
        let busy = picture.busy_lanes().into_iter();
        events
            .extend(busy.map(|(device, at, lanes)| self.counter(device, "busy lanes", at, "lanes", u64::from(lanes))));
        let memory = picture.memory.iter();
        events.extend(memory.map(|read| self.counter(read.device, "memory", read.at, "bytes", read.bytes.0)));
    }

    fn process(&self, device: DeviceId) -> u32 {
        self.first_process + device.0
    }

    /// Nanoseconds of a moment.
    fn nanos(&self, seconds: f64) -> u64 {
        nanoseconds(seconds + self.from)
    }

    /// Names of devices and lanes, and their order.
    fn names(&self) -> Vec<String> {
        let mut events = Vec::new();
        let mut name = |row: &Row, what: &str, args: String| {
            let (pid, tid) = (self.process(row.device), row.number);
            events.push(format!(r#"{{"ph":"M","name":"{what}","pid":{pid},"tid":{tid},"args":{{{args}}}}}"#));
        };
        for device in self.picture.devices() {
            name(
                &device[0],
                "process_name",
                format!(r#""name":"{}{}""#, self.prefix, device[0].device_name(self.words)),
            );
            name(&device[0], "process_sort_index", format!(r#""sort_index":{}"#, self.process(device[0].device)));
            for row in device {
                name(row, "thread_name", format!(r#""name":"{}""#, row.name(self.words)));
                name(row, "thread_sort_index", format!(r#""sort_index":{}"#, row.number));
            }
        }
        events
    }

    fn span(&self, row: &Row, bar: &Bar) -> String {
        let (start, end) = (self.nanos(bar.start), self.nanos(bar.end));
        let mut args = format!(r#""stage":{},"micro":{},"round":{}"#, row.stage, bar.micro, bar.round);
        let mut add = |name: &str, value: &dyn std::fmt::Display| {
            write!(args, r#","{name}":{value}"#).expect("writing to a String");
        };
        if let Some(layer) = bar.layer {
            add("layer", &layer);
        }
        if !bar.heads.is_empty() {
            add("heads", &format!("\"{}..{}\"", bar.heads.start, bar.heads.end));
        }
        if let Some(work) = bar.work {
            add("flops", &work.flops.0);
            add("bytes", &work.bytes.0);
        }
        format!(
            r#"{{"ph":"X","name":"{}","cat":"{}","pid":{},"tid":{},"ts":{},"dur":{},"args":{{{args}}}}}"#,
            bar.label(self.words),
            bar.kind.category(),
            self.process(row.device),
            row.number,
            micros(start),
            micros(end - start),
        )
    }

    /// A flow's event; it binds to the span that it begins with.
    fn arrow(&self, row: &Row, bar: &Bar, flow: u64, end: End) -> String {
        let ph = match end {
            End::First => r#""s""#,
            End::Middle => r#""t""#,
            End::Last => r#""f","bp":"e""#,
        };
        let (pid, tid, ts) = (self.process(row.device), row.number, micros(self.nanos(bar.start)));
        let flow = self.first_flow + flow;
        format!(r#"{{"ph":{ph},"name":"exchange","cat":"flow","id":{flow},"pid":{pid},"tid":{tid},"ts":{ts}}}"#)
    }

    fn counter(&self, device: DeviceId, name: &str, at: f64, unit: &str, value: u64) -> String {
        let (pid, ts) = (self.process(device), micros(self.nanos(at)));
        format!(r#"{{"ph":"C","name":"{name}","pid":{pid},"ts":{ts},"args":{{"{unit}":{value}}}}}"#)
    }
}

/// The first picture, and those beside it.
fn about(pictures: &[Picture]) -> serde_json::Value {
    let one = |picture: &Picture| {
        let source = match &picture.source {
            Source::Simulated => "simulated",
            Source::Measured { machine } => machine,
        };
        serde_json::json!({
            "title": picture.title, "source": source, "left_out": picture.left_out, "bubble": picture.bubble()
        })
    };
    let mut all: Vec<serde_json::Value> = pictures.iter().map(one).collect();
    let beside = all.split_off(all.len().min(1));
    let mut about = all.pop().unwrap_or_default();
    if !beside.is_empty() {
        about["beside"] = beside.into();
    }
    about
}

/// Nanoseconds as microseconds.
fn micros(nanoseconds: u64) -> String {
    format!("{}.{:03}", nanoseconds / 1000, nanoseconds % 1000)
}
