//! A shaped link: when what comes into a device is there. Every device has one port, through which messages and parts come
//! in one after another; times are nanoseconds since the run began.

use super::sync::{Ordering, Padded};
use headsaw::spec::cluster::Link;
use std::time::{Duration, Instant};

/// What lies between a device and those that it hears from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Wire {
    /// The receiving device's port.
    pub port: usize,
    nanos_per_byte: f64,
    latency_nanos: u64,
}

impl Wire {
    /// By a link into a device.
    pub fn new(link: Link, port: usize) -> Wire {
        Wire { port, nanos_per_byte: 1e9 / link.rate.0, latency_nanos: (link.latency.0 * 1e9) as u64 }
    }

    /// When so many bytes are there that leave at a moment: the port is booked for them.
    pub fn there(&self, ports: &[Padded], from: u64, bytes: u64) -> u64 {
        let takes = (bytes as f64 * self.nanos_per_byte) as u64; // as many as there are, where it would be more
        book(&ports[self.port], from, takes).saturating_add(self.latency_nanos)
    }
}

/// Takes a port for a while, from a moment on or from when it is free; gives the end. Who books is no matter: of two
/// bookings at once one is behind the other, and both times are taken.
pub(crate) fn book(free_at: &Padded, from: u64, takes: u64) -> u64 {
    let free_at = &free_at.0;
    let mut free = free_at.load(Ordering::Relaxed);
    loop {
        let end = free.max(from).saturating_add(takes);
        // Nothing is read on the strength of it, so no order is needed: only that no booking is lost.
        match free_at.compare_exchange_weak(free, end, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return end,
            Err(now) => free = now,
        }
    }
}

/// The run's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// It begins now.
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Nanoseconds since it began.
    pub fn now(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }

    /// A moment that has been.
    pub fn instant(&self, nanos: u64) -> Instant {
        self.0 + Duration::from_nanos(nanos)
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    fn wire() -> Wire {
        Wire::new("8Gbit/s,50us".parse().unwrap(), 0)
    }

    #[test]
    fn what_comes_in_waits_for_its_turn() {
        let ports = [Padded::default()];
        let wire = wire(); // a byte takes a nanosecond
        assert_eq!(wire.there(&ports, 1000, 500), 51_500);
        assert_eq!(wire.there(&ports, 1200, 100), 51_600); // from when the port is free
        assert_eq!(wire.there(&ports, 9000, 7), 59_007); // it was free long ago
    }

    #[test]
    fn more_than_time_can_hold_is_for_ever() {
        let ports = [Padded::default()];
        let slow = Wire::new("8bit/s,1s".parse().unwrap(), 0);
        assert_eq!(slow.there(&ports, 0, u64::MAX), u64::MAX);
        assert_eq!(slow.there(&ports, 5, 1), u64::MAX);
    }
}
