//! Chrome's JSON of trace events, which Perfetto and `chrome://tracing` open ("Trace Event Format", Google 2016).
//!
//! A process is a device, a thread a lane; times are microseconds with three decimals, so nothing overlaps by rounding.

use super::{Bar, End, Picture, Row, nanoseconds};
use crate::trace::Source;
use std::fmt::Write;

/// The picture as one JSON object.
pub fn chrome(picture: &Picture) -> String {
    let mut text = String::from("{\"displayTimeUnit\":\"ns\",\n\"otherData\":");
    text += &about(picture).to_string();
    text += ",\n\"traceEvents\":[\n";
    let mut events = names(picture);
    let knots = picture.knots();
    let mut knots = &knots[..];
    for (i, bar) in (0..).zip(&picture.bars) {
        let row = &picture.rows[bar.row as usize];
        events.push(span(row, bar));
        let of_bar = knots.iter().take_while(|(at, ..)| *at == i).count();
        events.extend(knots[..of_bar].iter().map(|(_, flow, end)| arrow(row, bar, *flow, *end)));
        knots = &knots[of_bar..];
    }
    events.extend(picture.busy_lanes().into_iter().map(|(device, at, lanes)| {
        counter(device.0, "busy lanes", at, "lanes", u64::from(lanes)) //
    }));
    let memory = picture.memory.iter();
    events.extend(memory.map(|read| counter(read.device.0, "memory", read.at, "bytes", read.bytes.0)));
    text += &events.join(",\n");
    text + "\n]}\n"
}

fn about(picture: &Picture) -> serde_json::Value {
    let source = match &picture.source {
        Source::Simulated => "simulated",
        Source::Measured { machine } => machine,
    };
    serde_json::json!({ "title": picture.title, "source": source, "left_out": picture.left_out, "bubble": picture.bubble() })
}

/// Names of devices and lanes, and their order.
fn names(picture: &Picture) -> Vec<String> {
    let mut events = Vec::new();
    let mut name = |row: &Row, what: &str, args: String| {
        let (pid, tid) = (row.device.0, row.number);
        events.push(format!(r#"{{"ph":"M","name":"{what}","pid":{pid},"tid":{tid},"args":{{{args}}}}}"#));
    };
    for device in picture.devices() {
        name(&device[0], "process_name", format!(r#""name":"{}""#, device[0].device_name()));
        name(&device[0], "process_sort_index", format!(r#""sort_index":{}"#, device[0].device.0));
        for row in device {
            name(row, "thread_name", format!(r#""name":"{}""#, row.name()));
            name(row, "thread_sort_index", format!(r#""sort_index":{}"#, row.number));
        }
    }
    events
}

/// Nanoseconds as microseconds.
fn micros(nanoseconds: u64) -> String {
    format!("{}.{:03}", nanoseconds / 1000, nanoseconds % 1000)
}

fn span(row: &Row, bar: &Bar) -> String {
    let (start, end) = (nanoseconds(bar.start), nanoseconds(bar.end));
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
        bar.label(),
        bar.kind.category(),
        row.device.0,
        row.number,
        micros(start),
        micros(end - start),
    )
}

/// A flow's event; it binds to the span that it begins with.
fn arrow(row: &Row, bar: &Bar, flow: u64, end: End) -> String {
    let ph = match end {
        End::First => r#""s""#,
        End::Middle => r#""t""#,
        End::Last => r#""f","bp":"e""#,
    };
    let (pid, tid, ts) = (row.device.0, row.number, micros(nanoseconds(bar.start)));
    format!(r#"{{"ph":{ph},"name":"exchange","cat":"flow","id":{flow},"pid":{pid},"tid":{tid},"ts":{ts}}}"#)
}

fn counter(device: u32, name: &str, at: f64, unit: &str, value: u64) -> String {
    let ts = micros(nanoseconds(at));
    format!(r#"{{"ph":"C","name":"{name}","pid":{device},"ts":{ts},"args":{{"{unit}":{value}}}}}"#)
}
