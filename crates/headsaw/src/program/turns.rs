//! Which message of its channel, and which meeting of its group, an action is: counted once, over all rounds.

use super::{ChanId, GroupId, LaneId, Op, Program};
use rustc_hash::FxHashMap;

/// What ties actions of several lanes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Knot {
    /// The n-th message of a channel; those that were in it at the beginning come first.
    Message(ChanId, u64),
    /// The n-th meeting of a group.
    Meeting(GroupId, u64),
}

/// The turns of all actions.
#[derive(Debug, Clone)]
pub struct Turns {
    /// `[lane][action]`: how many of its kind the lane does before it in the round.
    turns: Vec<Vec<u32>>,
    /// Messages of each channel in a round.
    messages: Vec<u64>,
    /// Meetings of each group in a round.
    meetings: Vec<u64>,
    /// Who sends the n-th message of a round: `[chan][n]`, lane and action.
    senders: Vec<Vec<(u32, u32)>>,
}

/// An end of a channel, or a group, as one lane comes to it.
#[derive(PartialEq, Eq, Hash)]
enum Side {
    Send(ChanId),
    Recv(ChanId),
    Meet(GroupId),
}

impl Side {
    fn of(op: Op) -> Option<Side> {
        match op {
            Op::Compute(_) => None,
            Op::Send(chan) => Some(Side::Send(chan)),
            Op::Recv(chan) => Some(Side::Recv(chan)),
            Op::AllReduce(group, _) | Op::AllGather(group, _) => Some(Side::Meet(group)),
        }
    }
}

impl Turns {
    /// Counts a program's.
    pub fn new(program: &Program) -> Turns {
        let mut senders = vec![Vec::new(); program.chans.len()];
        let mut meetings = vec![0; program.groups.len()];
        let mut turns = Vec::with_capacity(program.lanes.len());
        for (lane, held) in (0..).zip(&program.lanes) {
            let mut counts: FxHashMap<Side, u32> = FxHashMap::default();
            let mut turn = |op| Side::of(op).map_or(0, |side| post_increment(counts.entry(side).or_default()));
            turns.push(held.actions.iter().map(|action| turn(action.op)).collect());
            for (at, action) in (0..).zip(&held.actions) {
                if let Op::Send(chan) = action.op {
                    senders[chan.index()].push((lane, at));
                }
            }
            for (side, count) in counts {
                if let Side::Meet(group) = side {
                    meetings[group.index()] = meetings[group.index()].max(u64::from(count));
                }
            }
        }
        let messages = senders.iter().map(|sent| sent.len() as u64).collect();
        Turns { turns, messages, meetings, senders }
    }

    /// What an action of a round belongs to; none for work inside a device.
    pub fn knot(&self, program: &Program, lane: LaneId, action: u32, round: u32) -> Option<Knot> {
        let turn = u64::from(self.turns[lane.index()][action as usize]);
        let number = |a_round: u64| u64::from(round) * a_round + turn;
        match Side::of(program.lanes[lane.index()].actions[action as usize].op)? {
            Side::Send(chan) => {
                let inside = u64::from(program.chans[chan.index()].initial);
                Some(Knot::Message(chan, number(self.messages[chan.index()]) + inside))
            }
            Side::Recv(chan) => Some(Knot::Message(chan, number(self.messages[chan.index()]))),
            Side::Meet(group) => Some(Knot::Meeting(group, number(self.meetings[group.index()]))),
        }
    }

    /// Who sends a message: lane, action and round; none where it was in the channel at the beginning.
    pub fn sender(&self, program: &Program, chan: ChanId, message: u64) -> Option<(LaneId, u32, u64)> {
        let sent = message.checked_sub(u64::from(program.chans[chan.index()].initial))?;
        let a_round = self.messages[chan.index()];
        let round = sent.checked_div(a_round)?;
        let (lane, action) = self.senders[chan.index()][(sent % a_round) as usize];
        Some((LaneId(lane), action, round))
    }
}

fn post_increment(count: &mut u32) -> u32 {
    *count += 1;
    *count - 1
}
