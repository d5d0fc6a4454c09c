//! How lanes of different devices hand values to each other.

#[cfg(all(test, feature = "loom"))]
mod loom_tests;
mod ring;
pub(crate) mod sync;
mod threads;
mod wait;

pub use threads::Threads;
pub use wait::{Bell, Patience};

use headsaw::program::{ChanId, GroupId, LaneId};

/// The run has ended (a device was lost, an error, a cancellation): whoever waits stops waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

/// What carries values between devices. Values in flight have fixed places; nothing is allocated while it runs.
pub trait Transport: Sync {
    /// Hands the next message to the channel: `fill` writes it and gives its length.
    ///
    /// # Errors
    /// The run has ended.
    fn send(&self, chan: ChanId, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> Result<(), Stopped>;

    /// Takes the next message from the channel.
    ///
    /// # Errors
    /// The run has ended.
    fn recv(&self, chan: ChanId, take: &mut dyn FnMut(&[u8])) -> Result<(), Stopped>;

    /// Offers what this lane has made so far to its group and waits until everybody has come as far. Afterwards the
    /// parts that the others offer can be read, until this lane meets the group again.
    ///
    /// # Errors
    /// The run has ended.
    fn meet(&self, group: GroupId, lane: LaneId) -> Result<(), Stopped>;
}
