//! Devices as groups of threads in one process: channels are rings in memory, groups meet at counters.

use super::ring::Ring;
use super::sync::{Ordering, Padded};
use super::{Bell, Patience, Stopped, Transport};
use headsaw::program::{Carries, ChanId, GroupId, LaneId, Program};

/// Devices as groups of threads in one process.
pub struct Threads<'a> {
    bell: &'a Bell,
    patience: Patience,
    chans: Vec<Ring>,
    groups: Vec<Meeting>,
}

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

impl Transport for Threads<'_> {
    fn send(&self, chan: ChanId, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> Result<(), Stopped> {
        self.chans[chan.index()].send(self.bell, self.patience, fill)
    }

    fn recv(&self, chan: ChanId, take: &mut dyn FnMut(&[u8])) -> Result<(), Stopped> {
        self.chans[chan.index()].recv(self.bell, self.patience, take)
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

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use headsaw::program::{Chan, Group};

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
