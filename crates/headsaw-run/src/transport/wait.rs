//! Waiting for another thread: spin briefly, then give way, then sleep.

use super::Stopped;
use super::sync::{AtomicBool, AtomicU32, Condvar, Mutex, Ordering, fence, spin_loop, yield_now};
use std::time::Duration;

/// How long a lane spins before it gives its core away.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    spins: u32,
    yields: u32,
}

impl Patience {
    /// None: sleep at once.
    #[cfg(all(test, feature = "loom"))]
    pub const NONE: Patience = Patience { spins: 0, yields: 0 };

    /// For `lanes` threads on `cores` cores: with fewer cores than lanes nobody spins, since the one who is waited for
    /// may need the core. Some 10 µs of spinning is longer than a lane usually waits for its neighbour, and short enough
    /// that a foreign process on one of the cores does not cost nine tenths of the speed (docs/performance.md).
    pub fn new(lanes: usize, cores: usize) -> Patience {
        if lanes <= cores { Patience { spins: 800, yields: 8 } } else { Patience { spins: 0, yields: 64 } }
    }
}

/// A sleeper is called this long before its time, and spins for the rest: threads are woken some 50 µs late on Linux (timer
/// slack, prctl(2)), so that is some µs. To give way instead may cost milliseconds where another thread wants the core.
const EARLY_NANOS: u64 = 60_000;

/// Wakes those who sleep until something changes. Whoever changes something rings.
#[derive(Debug, Default)]
pub struct Bell {
    sleepers: AtomicU32,
    stopped: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
    /// Those who wait for a moment: nothing but the end wakes them before.
    dozing: Mutex<()>,
    over: Condvar,
}

impl Bell {
    /// Says that something has changed. Costs a fence and a load while nobody sleeps.
    pub fn ring(&self) {
        // Pairs with the fence in `sleep`: either the sleeper sees the change, or we see the sleeper.
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) > 0 {
            drop(self.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
            self.wake.notify_all();
        }
    }

    /// Ends all waiting, now and later.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Whoever dozes has seen it, or holds the lock until it can be woken.
        drop(self.dozing.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        self.over.notify_all();
        self.ring();
    }

    /// Has somebody ended the waiting?
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Waits until `ready`.
    ///
    /// # Errors
    /// Somebody has called [`Bell::stop`].
    #[inline]
    pub fn wait(&self, patience: Patience, mut ready: impl FnMut() -> bool) -> Result<(), Stopped> {
        if ready() {
            return Ok(());
        }
        for _ in 0..patience.spins {
            spin_loop();
            if ready() {
                return Ok(());
            }
        }
        for _ in 0..patience.yields {
            if ready() {
                return Ok(());
            }
            if self.is_stopped() {
                return Err(Stopped);
            }
            yield_now();
        }
        self.sleep(&mut ready)
    }

    /// Waits until a moment: asleep at first.
    ///
    /// # Errors
    /// Somebody has called [`Bell::stop`].
    pub fn wait_until(&self, now: impl Fn() -> u64, moment: u64) -> Result<(), Stopped> {
        self.doze(&now, moment.saturating_sub(EARLY_NANOS))?;
        while now() < moment {
            if self.is_stopped() {
                return Err(Stopped);
            }
            spin_loop();
        }
        Ok(())
    }

    fn doze(&self, now: impl Fn() -> u64, moment: u64) -> Result<(), Stopped> {
        if now() >= moment {
            return Ok(());
        }
        let mut guard = self.dozing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        loop {
            if self.is_stopped() {
                return Err(Stopped);
            }
            let left = moment.saturating_sub(now());
            if left == 0 {
                return Ok(());
            }
            let left = Duration::from_nanos(left);
            guard = self.over.wait_timeout(guard, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }

    #[cold]
    fn sleep(&self, ready: &mut dyn FnMut() -> bool) -> Result<(), Stopped> {
        let mut guard = self.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        let result = loop {
            fence(Ordering::SeqCst);
            if ready() {
                break Ok(());
            }
            if self.is_stopped() {
                break Err(Stopped);
            }
            guard = self.wake.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner());
        };
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
        result
    }
}
