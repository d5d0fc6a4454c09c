//! Perfetto's own format: `TrackEvent` packets (perfetto.dev, "TracePacket" and "TrackEvent" protos; names interned).
//!
//! A device is a track, its lanes and counters are tracks below it. Fields are named in [`field`] as the protos name them.

use super::together::prefixes;
use super::wire::Message;
use super::{Bar, End, Kind, Lang, Picture, Row, Words, nanoseconds};
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

/// The pictures as a `.pftrace` file: they begin together. Names are English: queries rest on them.
pub fn perfetto(pictures: &[Picture]) -> Vec<u8> {
    let words = &Words::of(Lang::En);
    let names = names(pictures, words);
    let mut file = Message::default();
    file.push(
        trace::PACKET,
        &new().number(packet::SEQUENCE_FLAGS, CLEARED).message(packet::INTERNED_DATA, &intern(&names)),
    );
    let mut first_flow = 0;
    for ((number, picture), prefix) in (0..).zip(pictures).zip(prefixes(pictures)) {
        let from = pictures[0].window.0 - picture.window.0;
        let part = Part { picture, words, prefix, first_track: number << TRACK_BITS, from, first_flow, names: &names };
        part.write(&mut file);
        first_flow += picture.flows.len() as u64;
    }
    file.finish()
}

/// Labels of bars, numbered from 1.
type Names = BTreeMap<(Kind, u32, u32), (u64, String)>;

/// One of the pictures.
struct Part<'a> {
    picture: &'a Picture,
    words: &'a Words,
    /// Before its title and the names of its devices.
    prefix: String,
    /// Added to the number of a track.
    first_track: u64,
    /// Added to seconds.
    from: f64,
    /// Added to the number of a flow.
    first_flow: u64,
    names: &'a Names,
}

fn new() -> Message {
    Message::default().number(packet::SEQUENCE_ID, SEQUENCE)
}

fn names(pictures: &[Picture], words: &Words) -> Names {
    let mut names = BTreeMap::new();
    for bar in pictures.iter().flat_map(|picture| &picture.bars) {
        let next = names.len() as u64 + 1;
        names.entry(key(bar)).or_insert_with(|| (next, bar.label(words)));
    }
    names
}

fn key(bar: &Bar) -> (Kind, u32, u32) {
    (bar.kind, bar.heads.start, bar.heads.end)
}

fn intern(names: &Names) -> Message {
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

/// Tracks of a picture at most, as a power of two: the next one's begin there.
const TRACK_BITS: u32 = 52;

fn track(uuid: u64, name: &str, parent: Option<u64>, rank: u64) -> Message {
    let track = Message::default().number(descriptor::UUID, uuid).text(descriptor::NAME, name);
    let track = parent.into_iter().fold(track, |track, parent| track.number(descriptor::PARENT_UUID, parent));
    track.number(descriptor::CHILD_ORDERING, descriptor::EXPLICIT).number(descriptor::SIBLING_ORDER_RANK, rank)
}

impl Part<'_> {
    fn write(&self, file: &mut Message) {
        for track in self.tracks() {
            file.push(trace::PACKET, &new().message(packet::TRACK_DESCRIPTOR, &track));
        }
        self.spans(file);
        for (device, at, lanes) in self.picture.busy_lanes() {
            file.push(trace::PACKET, &self.reading(self.below(device, BUSY), at, u64::from(lanes)));
        }
        for read in &self.picture.memory {
            file.push(trace::PACKET, &self.reading(self.below(read.device, MEMORY), read.at, read.bytes.0));
        }
    }

    /// The track of a device, or one below it.
    fn below(&self, device: DeviceId, what: u64) -> u64 {
        self.first_track | (u64::from(device.0) + 1) << 32 | what
    }

    fn lane(&self, row: &Row) -> u64 {
        self.below(row.device, LANES + u64::from(row.number))
    }

    /// The picture with its devices and lanes.
    fn tracks(&self) -> Vec<Message> {
        let (picture, root) = (self.picture, self.first_track | PICTURE);
        let said = picture.summary(self.words)
            + &picture.omission(self.words).map(|left_out| format!(" {left_out}")).unwrap_or_default();
        let named = |name: &str| format!("{}{name}", self.prefix);
        let rank = self.first_track >> TRACK_BITS;
        let mut tracks = vec![track(root, &named(&picture.title), None, rank).text(descriptor::DESCRIPTION, &said)];
        let counts = |unit| Message::default().number(counter::UNIT, unit);
        for (rank, device) in (0..).zip(picture.devices()) {
            let id = device[0].device;
            let parent = Some(self.below(id, SELF));
            tracks.push(track(self.below(id, SELF), &named(&device[0].device_name(self.words)), Some(root), rank));
            let lane = |row: &Row| track(self.lane(row), &row.name(self.words), parent, LANES + u64::from(row.number));
            tracks.extend(device.iter().map(lane));
            let busy = track(self.below(id, BUSY), "busy lanes", parent, BUSY);
            tracks.push(busy.message(descriptor::COUNTER, &counts(counter::COUNT)));
            if picture.memory.iter().any(|read| read.device == id) {
                let memory = track(self.below(id, MEMORY), "memory", parent, MEMORY);
                tracks.push(memory.message(descriptor::COUNTER, &counts(counter::SIZE_BYTES)));
            }
        }
        tracks
    }

    /// Each bar's beginning and end, lane by lane: of equal times the earlier packet counts as earlier.
    fn spans(&self, file: &mut Message) {
        let knots = self.picture.knots();
        let mut knots = &knots[..];
        for (i, bar) in (0..).zip(&self.picture.bars) {
            let track = self.lane(&self.picture.rows[bar.row as usize]);
            let of_bar = knots.iter().take_while(|(at, ..)| *at == i).count();
            let begin = knots[..of_bar].iter().fold(self.begin(track, bar), |event, (_, flow, end)| {
                let flow = self.first_flow + flow;
                match end {
                    End::First | End::Middle => event.fixed(event::FLOW_IDS, flow),
                    End::Last => event.fixed(event::TERMINATING_FLOW_IDS, flow),
                }
            });
            knots = &knots[of_bar..];
            let end = Message::default().number(event::TYPE, event::SLICE_END).number(event::TRACK_UUID, track);
            file.push(trace::PACKET, &self.at(bar.start, &begin));
            file.push(trace::PACKET, &self.at(bar.end, &end));
        }
    }

    fn at(&self, seconds: f64, event: &Message) -> Message {
        let time = nanoseconds(seconds + self.from);
        let packet = new().number(packet::TIMESTAMP, time).number(packet::SEQUENCE_FLAGS, NEEDS_INTERNED);
        packet.message(packet::TRACK_EVENT, event)
    }

    fn begin(&self, track: u64, bar: &Bar) -> Message {
        let category = CATEGORIES.iter().position(|name| *name == bar.kind.category()).expect("one of them");
        let stage = self.picture.rows[bar.row as usize].stage;
        let mut event = Message::default()
            .number(event::TYPE, event::SLICE_BEGIN)
            .number(event::TRACK_UUID, track)
            .number(event::CATEGORY_IIDS, category as u64 + 1)
            .number(event::NAME_IID, self.names[&key(bar)].0);
        let work = bar.work;
        let numbers = [
            Some(u64::from(stage)),
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

    fn reading(&self, track: u64, seconds: f64, value: u64) -> Message {
        let event = Message::default().number(event::TYPE, event::COUNTER).number(event::TRACK_UUID, track);
        self.at(seconds, &event.number(event::COUNTER_VALUE, value))
    }
}
