//! Devices as groups of threads in one process: channels are rings in memory, groups meet at counters.

use super::{Bell, Patience, Stopped, Transport};
use headsaw::program::{Carries, ChanId, GroupId, LaneId, Program};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Messages a channel has room for: one that is being read, one that is being written.
const DEPTH: u64 = 2;

/// Devices as groups of threads in one process.
pub struct Threads<'a> {
    bell: &'a Bell,
    patience: Patience,
    chans: Vec<Ring>,
    groups: Vec<Meeting>,
}

/// A single-producer, single-consumer ring of messages of bounded size.
struct Ring {
    sent: Padded,
    received: Padded,
    slots: [UnsafeCell<Message>; DEPTH as usize],
}

struct Message {
    bytes: Box<[u8]>,
    len: usize,
}

// SAFETY: a slot is touched by the sender only while `sent - received < DEPTH` and the slot is not among those in flight,
// and by the receiver only while `received < sent`; the counters are written with release and read with acquire.
unsafe impl Sync for Ring {}

/// A counter on a cache line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Padded(AtomicU64);

/// How often each lane of a group has come.
struct Meeting {
    lanes: Vec<LaneId>,
    came: Vec<Padded>,
}

impl<'a> Threads<'a> {
    /// Channels and meetings for a program; `rows` tokens and `batch` sampled rows a micro-batch at most.
    pub fn new(program: &Program, rows: usize, batch: usize, bell: &'a Bell, patience: Patience) -> Threads<'a> {
        let chans = program.chans.iter().map(|chan| {
            let floats = |start: u32, end: u32, rows: usize| 4 * rows * (end - start) as usize;
            Ring::new(match chan.carries {
                Carries::Header(_) => crate::lane::Header::bytes_most(rows),
                Carries::Residual { start, end } => floats(start, end, rows),
                Carries::Logits { start, end } => floats(start, end, batch),
            })
        });
        let groups = program.groups.iter().map(|group| Meeting {
            lanes: group.lanes.clone(),
            came: group.lanes.iter().map(|_| Padded::default()).collect(),
        });
        Threads { bell, patience, chans: chans.collect(), groups: groups.collect() }
    }
}

impl Ring {
    fn new(bytes: usize) -> Ring {
        let slot = || UnsafeCell::new(Message { bytes: vec![0; bytes].into(), len: 0 });
        Ring { sent: Padded::default(), received: Padded::default(), slots: [slot(), slot()] }
    }
}

impl Transport for Threads<'_> {
    fn send(&self, chan: ChanId, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> Result<(), Stopped> {
        let ring = &self.chans[chan.index()];
        let sent = ring.sent.0.load(Ordering::Relaxed);
        self.bell.wait(self.patience, || sent - ring.received.0.load(Ordering::Acquire) < DEPTH)?;
        // SAFETY: the receiver has given this slot back (checked above), and there is one sender.
        let slot = unsafe { &mut *ring.slots[(sent % DEPTH) as usize].get() };
        slot.len = fill(&mut slot.bytes);
        ring.sent.0.store(sent + 1, Ordering::Release);
        self.bell.ring();
        Ok(())
    }

    fn recv(&self, chan: ChanId, take: &mut dyn FnMut(&[u8])) -> Result<(), Stopped> {
        let ring = &self.chans[chan.index()];
        let received = ring.received.0.load(Ordering::Relaxed);
        self.bell.wait(self.patience, || ring.sent.0.load(Ordering::Acquire) > received)?;
        // SAFETY: the sender has filled this slot (checked above) and keeps off until it is given back.
        let slot = unsafe { &*ring.slots[(received % DEPTH) as usize].get() };
        take(&slot.bytes[..slot.len]);
        ring.received.0.store(received + 1, Ordering::Release);
        self.bell.ring();
        Ok(())
    }

    fn meet(&self, group: GroupId, lane: LaneId) -> Result<(), Stopped> {
        let meeting = &self.groups[group.index()];
        if meeting.lanes.len() == 1 {
            return Ok(());
        }
        let seat = meeting.lanes.iter().position(|other| *other == lane).expect("a lane of the group");
        let turn = meeting.came[seat].0.load(Ordering::Relaxed) + 1;
        meeting.came[seat].0.store(turn, Ordering::Release);
        self.bell.ring();
        for other in &meeting.came {
            self.bell.wait(self.patience, || other.0.load(Ordering::Acquire) >= turn)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headsaw::program::{Chan, Group, MicroId};

    fn pair() -> Program {
        let carries = Carries::Residual { start: 0, end: 2 };
        Program {
            lanes: vec![],
            bufs: vec![],
            places: vec![],
            chans: vec![Chan { from: LaneId(0), to: LaneId(1), carries, initial: 0 }],
            groups: vec![Group { lanes: vec![LaneId(0), LaneId(1)] }],
            micros: MicroId(1).0,
        }
    }

    #[test]
    fn messages_arrive_whole_and_in_order() {
        let bell = Bell::default();
        for cores in [1, 8] {
            let threads = Threads::new(&pair(), 4, 1, &bell, Patience::new(2, cores));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for i in 0..2000u32 {
                        let mut fill = |slot: &mut [u8]| {
                            slot[..4].copy_from_slice(&i.to_le_bytes());
                            4
                        };
                        threads.send(ChanId(0), &mut fill).unwrap();
                        threads.meet(GroupId(0), LaneId(0)).unwrap();
                    }
                });
                for i in 0..2000u32 {
                    threads.recv(ChanId(0), &mut |slot| assert_eq!(slot, i.to_le_bytes())).unwrap();
                    threads.meet(GroupId(0), LaneId(1)).unwrap();
                }
            });
        }
    }

    #[test]
    fn whoever_waits_is_told_when_the_run_ends() {
        let bell = Bell::default();
        let threads = Threads::new(&pair(), 4, 1, &bell, Patience::new(2, 1));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| threads.recv(ChanId(0), &mut |_| {}));
            bell.stop();
            assert_eq!(waiter.join().unwrap(), Err(Stopped));
        });
    }
}
