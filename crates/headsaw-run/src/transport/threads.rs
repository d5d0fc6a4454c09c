//! Devices as groups of threads in one process: channels are rings in memory, groups meet at counters. Between them there
//! may be shaped links: then what comes in is there when a network had brought it.

use super::meeting::Meeting;
use super::ring::Ring;
use super::sync::Padded;
use super::wire::{Clock, Wire};
use super::{Bells, Moment, Stopped, Transport, Waiter};
use headsaw::lower::work;
use headsaw::program::{Chan, ChanId, Group, GroupId, LaneId, Program};
use headsaw::spec::cluster::{DeviceId, Links};

/// Devices as groups of threads in one process.
pub struct Threads<'a> {
    bells: &'a Bells,
    clock: Clock,
    /// Somebody wants to know when things began.
    timed: bool,
    /// When each device's port is free again.
    ports: Vec<Padded>,
    chans: Vec<Channel>,
    groups: Vec<Gathering>,
}

/// A ring, and what lies between its ends.
struct Channel {
    from: LaneId,
    to: LaneId,
    ring: Ring,
    wire: Option<Wire>,
}

/// A group, and what lies between its devices.
struct Gathering {
    lanes: Vec<LaneId>,
    meeting: Meeting,
    /// Of each lane, where there are links.
    seats: Vec<Seat>,
}

/// A lane of a group whose devices a link joins.
struct Seat {
    device: DeviceId,
    wire: Wire,
    /// Lanes of its device in the group: each waits for its share of what comes in.
    sharers: u64,
}

/// What a run wants of its transport.
#[derive(Debug, Clone, Default)]
pub struct Wants {
    /// Links to be felt.
    pub links: Links,
    /// `meet` and `recv` tell when the work began.
    pub timed: bool,
}

impl<'a> Threads<'a> {
    /// Channels and meetings for a program; `rows` tokens and `batch` sampled rows a micro-batch at most.
    pub fn new(program: &Program, rows: usize, batch: usize, bells: &'a Bells, wants: &Wants) -> Threads<'a> {
        let wiring = Wiring { program, links: &wants.links };
        let chans = program.chans.iter().map(|chan| {
            let bytes = work::message_bytes(chan.carries, rows as u32, batch as u32);
            let ring = Ring::new(chan.from.index(), chan.to.index(), bytes.0 as usize);
            Channel { ring, from: chan.from, to: chan.to, wire: wiring.of_chan(chan) }
        });
        let groups = program.groups.iter().map(|group| Gathering {
            lanes: group.lanes.clone(),
            meeting: Meeting::new(group.lanes.iter().map(|lane| lane.index())),
            seats: wiring.of_group(group),
        });
        let devices = program.lanes.iter().map(|lane| lane.device.0 as usize + 1).max().unwrap_or(0);
        Threads {
            bells,
            clock: Clock::start(),
            timed: wants.timed,
            ports: (0..if wants.links.is_none() { 0 } else { devices }).map(|_| Padded::default()).collect(),
            chans: chans.collect(),
            groups: groups.collect(),
        }
    }

    fn waiter(&self, lane: LaneId) -> Waiter<'_> {
        self.bells.waiter(lane.index())
    }

    /// The moment, where anybody wants to know.
    fn moment(&self, nanos: u64) -> Moment {
        self.timed.then(|| self.clock.instant(nanos))
    }
}

/// Which links lie where in a program.
struct Wiring<'a> {
    program: &'a Program,
    links: &'a Links,
}

impl Wiring<'_> {
    fn device(&self, lane: LaneId) -> DeviceId {
        self.program.lanes[lane.index()].device
    }

    fn of_chan(&self, chan: &Chan) -> Option<Wire> {
        if self.links.is_none() {
            return None;
        }
        let (from, to) = (self.device(chan.from), self.device(chan.to));
        let link = self.links.between(from.min(to), from.max(to))?;
        Some(Wire::new(link, to.0 as usize))
    }

    /// The link that joins all of the group's devices is the link of each.
    fn of_group(&self, group: &Group) -> Vec<Seat> {
        if self.links.is_none() {
            return Vec::new();
        }
        let devices: Vec<DeviceId> = group.lanes.iter().map(|lane| self.device(*lane)).collect();
        let (first, last) = (devices.iter().min(), devices.iter().max());
        let link = first.zip(last).and_then(|(first, last)| self.links.between(*first, *last));
        let seat = |link, device: &DeviceId| Seat {
            device: *device,
            wire: Wire::new(link, device.0 as usize),
            sharers: devices.iter().filter(|other| *other == device).count() as u64,
        };
        link.map_or(Vec::new(), |link| devices.iter().map(|device| seat(link, device)).collect())
    }
}

impl Transport for Threads<'_> {
    fn send(&self, chan: ChanId, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> Result<(), Stopped> {
        let Channel { ring, wire, from, .. } = &self.chans[chan.index()];
        let there = |bytes: usize| wire.map_or(0, |wire| wire.there(&self.ports, self.clock.now(), bytes as u64));
        ring.send(&self.waiter(*from), fill, there)
    }

    fn put(&self, chan: ChanId, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> Result<(), Stopped> {
        let Channel { ring, from, .. } = &self.chans[chan.index()];
        ring.send(&self.waiter(*from), fill, |_| 0)
    }

    fn recv(&self, chan: ChanId, take: &mut dyn FnMut(&[u8])) -> Result<Moment, Stopped> {
        let mut began = None;
        let Channel { ring, to, .. } = &self.chans[chan.index()];
        let waiter = self.waiter(*to);
        ring.recv(&waiter, take, |there| {
            if there > 0 {
                waiter.wait_until(|| self.clock.now(), there)?;
            }
            began = if self.timed { self.moment(self.clock.now()) } else { None };
            Ok(())
        })?;
        Ok(began)
    }

    fn meet(&self, group: GroupId, lane: LaneId, bytes: u64) -> Result<Moment, Stopped> {
        let Gathering { lanes, meeting, seats } = &self.groups[group.index()];
        if lanes.len() == 1 {
            return Ok(if self.timed { self.moment(self.clock.now()) } else { None });
        }
        let seat = lanes.iter().position(|other| *other == lane).expect("a lane of the group");
        let waiter = self.waiter(lane);
        if seats.is_empty() && !self.timed {
            meeting.meet(&waiter, seat, None)?;
            return Ok(None);
        }
        let turn = meeting.meet(&waiter, seat, Some((bytes, self.clock.now())))?;
        let began = turn.last_came();
        if let Some(Seat { device, wire, sharers }) = seats.get(seat) {
            let others = seats.iter().zip(turn.bytes()).filter(|(other, _)| other.device != *device);
            let incoming: u64 = others.map(|(_, bytes)| bytes).fold(0, u64::saturating_add);
            if incoming > 0 {
                let there = wire.there(&self.ports, began, incoming / sharers);
                waiter.wait_until(|| self.clock.now(), there)?;
            }
        }
        Ok(self.moment(began))
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use crate::transport::Patience;
    use headsaw::program::{Carries, Chan, Group};

    fn pair() -> Program {
        let carries = Carries::Residual { start: 0, end: 2 };
        Program {
            lanes: vec![],
            bufs: vec![],
            places: vec![],
            chans: vec![Chan { from: LaneId(0), to: LaneId(1), carries, initial: 0 }],
            groups: vec![Group { lanes: vec![LaneId(0), LaneId(1)] }],
            micros: 1,
        }
    }

    #[test]
    fn messages_arrive_whole_and_in_order() {
        for cores in [1, 8] {
            let bells = Bells::new([Patience::new(2, cores); 2]);
            let threads = Threads::new(&pair(), 4, 1, &bells, &Wants::default());
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for i in 0..2000u32 {
                        let mut fill = |slot: &mut [u8]| {
                            slot[..4].copy_from_slice(&i.to_le_bytes());
                            4
                        };
                        threads.send(ChanId(0), &mut fill).unwrap();
                        threads.meet(GroupId(0), LaneId(0), 0).unwrap();
                    }
                });
                for i in 0..2000u32 {
                    threads.recv(ChanId(0), &mut |slot| assert_eq!(slot, i.to_le_bytes())).unwrap();
                    threads.meet(GroupId(0), LaneId(1), 0).unwrap();
                }
            });
        }
    }

    #[test]
    fn whoever_waits_is_told_when_the_run_ends() {
        let bells = Bells::new([Patience::new(2, 1); 2]);
        let threads = Threads::new(&pair(), 4, 1, &bells, &Wants::default());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| threads.recv(ChanId(0), &mut |_| {}));
            bells.stop();
            assert_eq!(waiter.join().unwrap(), Err(Stopped));
        });
    }
}
