//! How lanes of different devices hand values to each other.

#[cfg(all(test, feature = "loom"))]
mod loom_tests;
mod meeting;
mod ring;
pub(crate) mod sync;
mod threads;
mod wait;
mod wire;

pub use threads::{Threads, Wants};
pub use wait::{Bells, Patience, Waiter};

use headsaw::program::{ChanId, GroupId, LaneId};
use std::time::Instant;

/// The run has ended (a device was lost, an error, a cancellation): whoever waits stops waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

/// When something began; none where nobody wants to know.
pub type Moment = Option<Instant>;

/// What carries values between devices. Values in flight have fixed places; nothing is allocated while it runs.
pub trait Transport: Sync {
    /// Hands the next message to the channel: `fill` writes it and gives its length.
    ///
    /// # Errors
    /// The run has ended.
    fn send(&self, chan: ChanId, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> Result<(), Stopped>;

    /// The same before the run begins: the message is there from the beginning.
    ///
    /// # Errors
    /// The run has ended.
    fn put(&self, chan: ChanId, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> Result<(), Stopped>;

    /// Takes the next message from the channel; tells when it was there to be taken.
    ///
    /// # Errors
    /// The run has ended.
    fn recv(&self, chan: ChanId, take: &mut dyn FnMut(&[u8])) -> Result<Moment, Stopped>;

    /// Offers what this lane has made so far to its group, so many bytes of it to each of the others, and waits until
    /// everybody has come as far and what the others offer is there. Afterwards it can be read, until this lane meets the
    /// group again. Tells when the last one came.
    ///
    /// # Errors
    /// The run has ended.
    fn meet(&self, group: GroupId, lane: LaneId, bytes: u64) -> Result<Moment, Stopped>;
}
