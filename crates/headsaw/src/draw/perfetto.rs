//! Perfetto's own format: `TrackEvent` packets (perfetto.dev, "TracePacket" and "TrackEvent" protos; names interned).
//!
//! A device is a track, its lanes and counters are tracks below it. Fields are named in [`field`] as the protos name them.

use super::wire::Message;
use super::{Bar, End, Kind, Picture, Row, nanoseconds};
use crate::spec::cluster::DeviceId;
use std::collections::BTreeMap;

/// Numbers of fields and of enums' values, in the protos' words.
mod field {
    pub mod trace {
        pub const PACKET: u32 = 1;
    }
    pub mod packet {
        pub const TIMESTAMP: u32 = 8;
        pub const SEQUENCE_ID: u32 = 10;
        pub const TRACK_EVENT: u32 = 11;
        pub const INTERNED_DATA: u32 = 12;
        pub const SEQUENCE_FLAGS: u32 = 13;
        pub const TRACK_DESCRIPTOR: u32 = 60;
    }
    pub mod descriptor {
        pub const UUID: u32 = 1;
        pub const NAME: u32 = 2;
        pub const PARENT_UUID: u32 = 5;
        pub const COUNTER: u32 = 8;
        pub const CHILD_ORDERING: u32 = 11;
        pub const EXPLICIT: u64 = 3;
        pub const SIBLING_ORDER_RANK: u32 = 12;
        pub const DESCRIPTION: u32 = 14;
    }
    pub mod counter {
        pub const UNIT: u32 = 3;
        pub const COUNT: u64 = 2;
        pub const SIZE_BYTES: u64 = 3;
    }
    pub mod event {
        pub const CATEGORY_IIDS: u32 = 3;
        pub const DEBUG_ANNOTATIONS: u32 = 4;
        pub const TYPE: u32 = 9;
        pub const SLICE_BEGIN: u64 = 1;
        pub const SLICE_END: u64 = 2;
        pub const COUNTER: u64 = 4;
        pub const NAME_IID: u32 = 10;
        pub const TRACK_UUID: u32 = 11;
        pub const COUNTER_VALUE: u32 = 30;
        pub const FLOW_IDS: u32 = 47;
        pub const TERMINATING_FLOW_IDS: u32 = 48;
    }
    pub mod annotation {
        pub const NAME_IID: u32 = 1;
        pub const UINT_VALUE: u32 = 3;
        pub const STRING_VALUE: u32 = 6;
    }
    pub mod interned {
        pub const EVENT_CATEGORIES: u32 = 1;
        pub const EVENT_NAMES: u32 = 2;
        pub const ANNOTATION_NAMES: u32 = 3;
        pub const IID: u32 = 1;
        pub const NAME: u32 = 2;
    }
}
use field::{annotation, counter, descriptor, event, interned, packet, trace};

/// The one writer of this trace.
const SEQUENCE: u64 = 1;
/// The first packet says that nothing was interned before, the others that they rest on it.
const CLEARED: u64 = 1;
const NEEDS_INTERNED: u64 = 2;

const CATEGORIES: [&str; 4] = ["compute", "collective", "send", "receive"];
const NOTES: [&str; 7] = ["stage", "micro", "round", "layer", "heads", "flops", "bytes"];

/// The picture as a `.pftrace` file.
pub fn perfetto(picture: &Picture) -> Vec<u8> {
    let names = names(picture);
    let mut file = Message::default();
    file.push(
        trace::PACKET,
        &new().number(packet::SEQUENCE_FLAGS, CLEARED).message(packet::INTERNED_DATA, &intern(&names)),
    );
    for track in tracks(picture) {
        file.push(trace::PACKET, &new().message(packet::TRACK_DESCRIPTOR, &track));
    }
    spans(picture, &names, &mut file);
    for (device, at, lanes) in picture.busy_lanes() {
        file.push(trace::PACKET, &reading(below(device, BUSY), at, u64::from(lanes)));
    }
    for read in &picture.memory {
        file.push(trace::PACKET, &reading(below(read.device, MEMORY), read.at, read.bytes.0));
    }
    file.finish()
}

fn new() -> Message {
    Message::default().number(packet::SEQUENCE_ID, SEQUENCE)
}

/// Labels, numbered from 1.
fn names(picture: &Picture) -> BTreeMap<(Kind, u32, u32), (u64, String)> {
    let mut names = BTreeMap::new();
    for bar in &picture.bars {
        let next = names.len() as u64 + 1;
        names.entry(key(bar)).or_insert_with(|| (next, bar.label()));
    }
    names
}

fn key(bar: &Bar) -> (Kind, u32, u32) {
    (bar.kind, bar.heads.start, bar.heads.end)
}

fn intern(names: &BTreeMap<(Kind, u32, u32), (u64, String)>) -> Message {
    let named = |iid: u64, name: &str| Message::default().number(interned::IID, iid).text(interned::NAME, name);
    let mut data = Message::default();
    for (iid, name) in (1..).zip(CATEGORIES) {
        data.push(interned::EVENT_CATEGORIES, &named(iid, name));
    }
    for (iid, name) in names.values() {
        data.push(interned::EVENT_NAMES, &named(*iid, name));
    }
    for (iid, name) in (1..).zip(NOTES) {
        data.push(interned::ANNOTATION_NAMES, &named(iid, name));
    }
    data
}

const PICTURE: u64 = 1;
/// Tracks below a device: itself, its counters, its lanes.
const SELF: u64 = 0;
const BUSY: u64 = 1;
const MEMORY: u64 = 2;
const LANES: u64 = 3;

/// The track of a device, or one below it.
fn below(device: DeviceId, what: u64) -> u64 {
    (u64::from(device.0) + 1) << 32 | what
}

fn lane(row: &Row) -> u64 {
    below(row.device, LANES + u64::from(row.number))
}

fn track(uuid: u64, name: &str, parent: Option<u64>, rank: u64) -> Message {
    let track = Message::default().number(descriptor::UUID, uuid).text(descriptor::NAME, name);
    let track = parent.into_iter().fold(track, |track, parent| track.number(descriptor::PARENT_UUID, parent));
    track.number(descriptor::CHILD_ORDERING, descriptor::EXPLICIT).number(descriptor::SIBLING_ORDER_RANK, rank)
}

fn tracks(picture: &Picture) -> Vec<Message> {
    let said = picture.summary() + &picture.omission().map(|left_out| format!(" {left_out}")).unwrap_or_default();
    let mut tracks = vec![track(PICTURE, &picture.title, None, 0).text(descriptor::DESCRIPTION, &said)];
    let counts = |unit| Message::default().number(counter::UNIT, unit);
    for (rank, device) in (0..).zip(picture.devices()) {
        let id = device[0].device;
        let parent = Some(below(id, SELF));
        tracks.push(track(below(id, SELF), &device[0].device_name(), Some(PICTURE), rank));
        tracks.extend(device.iter().map(|row| track(lane(row), &row.name(), parent, LANES + u64::from(row.number))));
        let busy = track(below(id, BUSY), "busy lanes", parent, BUSY);
        tracks.push(busy.message(descriptor::COUNTER, &counts(counter::COUNT)));
        if picture.memory.iter().any(|read| read.device == id) {
            let memory = track(below(id, MEMORY), "memory", parent, MEMORY);
            tracks.push(memory.message(descriptor::COUNTER, &counts(counter::SIZE_BYTES)));
        }
    }
    tracks
}

/// Each bar's beginning and end, lane by lane: of equal times the earlier packet counts as earlier.
fn spans(picture: &Picture, names: &BTreeMap<(Kind, u32, u32), (u64, String)>, file: &mut Message) {
    let knots = picture.knots();
    let mut knots = &knots[..];
    for (i, bar) in (0..).zip(&picture.bars) {
        let row = &picture.rows[bar.row as usize];
        let of_bar = knots.iter().take_while(|(at, ..)| *at == i).count();
        let begin =
            knots[..of_bar].iter().fold(begin(row, bar, names[&key(bar)].0), |event, (_, flow, end)| match end {
                End::First | End::Middle => event.fixed(event::FLOW_IDS, *flow),
                End::Last => event.fixed(event::TERMINATING_FLOW_IDS, *flow),
            });
        knots = &knots[of_bar..];
        let end = Message::default().number(event::TYPE, event::SLICE_END).number(event::TRACK_UUID, lane(row));
        file.push(trace::PACKET, &at(bar.start, &begin));
        file.push(trace::PACKET, &at(bar.end, &end));
    }
}

fn at(seconds: f64, event: &Message) -> Message {
    let packet = new().number(packet::TIMESTAMP, nanoseconds(seconds)).number(packet::SEQUENCE_FLAGS, NEEDS_INTERNED);
    packet.message(packet::TRACK_EVENT, event)
}

fn begin(row: &Row, bar: &Bar, name: u64) -> Message {
    let category = CATEGORIES.iter().position(|name| *name == bar.kind.category()).expect("one of them");
    let mut event = Message::default()
        .number(event::TYPE, event::SLICE_BEGIN)
        .number(event::TRACK_UUID, lane(row))
        .number(event::CATEGORY_IIDS, category as u64 + 1)
        .number(event::NAME_IID, name);
    let work = bar.work;
    let numbers = [
        Some(u64::from(row.stage)),
        Some(u64::from(bar.micro)),
        Some(u64::from(bar.round)),
        bar.layer.map(u64::from),
        None, // heads are a text
        work.map(|work| work.flops.0),
        work.map(|work| work.bytes.0),
    ];
    for (iid, number) in (1..).zip(numbers) {
        let note = Message::default().number(annotation::NAME_IID, iid);
        if let Some(number) = number {
            event.push(event::DEBUG_ANNOTATIONS, &note.number(annotation::UINT_VALUE, number));
        } else if NOTES[iid as usize - 1] == "heads" && !bar.heads.is_empty() {
            let heads = format!("{}..{}", bar.heads.start, bar.heads.end);
            event.push(event::DEBUG_ANNOTATIONS, &note.text(annotation::STRING_VALUE, &heads));
        }
    }
    event
}

fn reading(track: u64, seconds: f64, value: u64) -> Message {
    let event = Message::default().number(event::TYPE, event::COUNTER).number(event::TRACK_UUID, track);
    at(seconds, &event.number(event::COUNTER_VALUE, value))
}
