//! Where the lanes of a group meet: each comes, says what it brings and when it came, and waits for the others.

use super::sync::{AtomicU64, Ordering, Padded, fence};
use super::{Stopped, Waiter};

/// How often each lane of a group has come, and what it brought to this turn and the last.
pub(crate) struct Meeting {
    seats: Vec<Seat>,
}

/// A lane's place.
struct Seat {
    lane: usize,
    came: Padded,
    /// By the turn's parity. Two are enough: a lane writes into the place of turn `t` again in turn `t + 2`, so after it
    /// has left turn `t + 1`; it left only when all had come to `t + 1`, and whoever has come there has read what it
    /// reads of turn `t`.
    brought: [Brought; 2],
}

#[derive(Default)]
struct Brought {
    bytes: AtomicU64,
    at: AtomicU64,
}

/// A turn of a meeting that all have come to.
pub(crate) struct Turn<'a> {
    meeting: &'a Meeting,
    parity: usize,
}

impl Meeting {
    /// For these lanes.
    pub fn new(lanes: impl IntoIterator<Item = usize>) -> Meeting {
        let seat = |lane| Seat { lane, came: Padded::default(), brought: Default::default() };
        Meeting { seats: lanes.into_iter().map(seat).collect() }
    }

    /// Comes, with so many bytes and at such a time where anybody wants to know, and waits for the others. What is read
    /// of the turn is read before the seat comes again.
    pub fn meet(&self, waiter: &Waiter, seat: usize, brings: Option<(u64, u64)>) -> Result<Turn<'_>, Stopped> {
        let mine = &self.seats[seat];
        let turn = mine.came.0.load(Ordering::Relaxed) + 1;
        let parity = (turn % 2) as usize;
        if let Some((bytes, at)) = brings {
            // The counter's release shows them to whoever sees the counter.
            mine.brought[parity].bytes.store(bytes, Ordering::Relaxed);
            mine.brought[parity].at.store(at, Ordering::Relaxed);
        }
        mine.came.0.store(turn, Ordering::Release);
        // Of those who come at the same time at least one sees all others: their fences have an order.
        fence(Ordering::SeqCst);
        let came = |other: &Seat| other.came.0.load(Ordering::Acquire) >= turn;
        if self.seats.iter().all(came) {
            waiter.wake(self.seats.iter().map(|seat| seat.lane));
        }
        for other in &self.seats {
            waiter.wait(|| came(other))?;
        }
        Ok(Turn { meeting: self, parity })
    }
}

impl Turn<'_> {
    /// When the last one came.
    pub fn last_came(&self) -> u64 {
        self.brought().map(|brought| brought.at.load(Ordering::Relaxed)).max().unwrap_or(0)
    }

    /// What each seat brought.
    pub fn bytes(&self) -> impl Iterator<Item = u64> + '_ {
        self.brought().map(|brought| brought.bytes.load(Ordering::Relaxed))
    }

    fn brought(&self) -> impl Iterator<Item = &Brought> {
        self.meeting.seats.iter().map(|seat| &seat.brought[self.parity])
    }
}
