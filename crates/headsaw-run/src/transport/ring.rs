//! A single-producer, single-consumer ring of messages of bounded size.

use super::sync::{Ordering, Padded, UnsafeCell};
use super::{Stopped, Waiter};

/// Messages a ring has room for: one that is being read, one that is being written; `work::channel_bytes` counts them.
const DEPTH: u64 = 2;

pub(crate) struct Ring {
    from: usize,
    to: usize,
    sent: Padded,
    received: Padded,
    slots: [UnsafeCell<Message>; DEPTH as usize],
}

struct Message {
    bytes: Box<[u8]>,
    len: usize,
    /// When it can be taken, as the sender says.
    there: u64,
}

// SAFETY: a slot is touched by the sender only while `sent - received < DEPTH` and the slot is not among those in flight,
// and by the receiver only while `received < sent`; the counters are written with release and read with acquire. There
// is one sender and one receiver (`verify::program` checks it); loom has tried the orders.
unsafe impl Sync for Ring {}

impl Ring {
    /// From lane to lane, for messages of at most `bytes`.
    pub fn new(from: usize, to: usize, bytes: usize) -> Ring {
        let slot = || UnsafeCell::new(Message { bytes: vec![0; bytes].into(), len: 0, there: 0 });
        Ring { from, to, sent: Padded::default(), received: Padded::default(), slots: [slot(), slot()] }
    }

    /// Waits for room, then lets `fill` write the message and give its length; `there` says when it can be taken.
    pub fn send(
        &self,
        waiter: &Waiter,
        fill: &mut dyn FnMut(&mut [u8]) -> usize,
        there: impl FnOnce(usize) -> u64,
    ) -> Result<(), Stopped> {
        let sent = self.sent.0.load(Ordering::Relaxed);
        waiter.wait(|| sent - self.received.0.load(Ordering::Acquire) < DEPTH)?;
        self.slots[(sent % DEPTH) as usize].with_mut(|slot| {
            // SAFETY: the receiver has given this slot back (checked above), and there is one sender.
            let slot = unsafe { &mut *slot };
            slot.len = fill(&mut slot.bytes);
            slot.there = there(slot.len);
        });
        self.sent.0.store(sent + 1, Ordering::Release);
        waiter.wake([self.to]);
        Ok(())
    }

    /// Waits for the next message, then as `wait` says for what the sender said, and shows it to `take`.
    pub fn recv(
        &self,
        waiter: &Waiter,
        take: &mut dyn FnMut(&[u8]),
        wait: impl FnOnce(u64) -> Result<(), Stopped>,
    ) -> Result<(), Stopped> {
        let received = self.received.0.load(Ordering::Relaxed);
        waiter.wait(|| self.sent.0.load(Ordering::Acquire) > received)?;
        self.slots[(received % DEPTH) as usize].with(|slot| {
            // SAFETY: the sender has filled this slot (checked above) and keeps off until it is given back.
            let slot = unsafe { &*slot };
            wait(slot.there)?;
            take(&slot.bytes[..slot.len]);
            Ok(())
        })?;
        self.received.0.store(received + 1, Ordering::Release);
        waiter.wake([self.from]);
        Ok(())
    }
}
