//! Waiting for another thread: spin briefly, then give way, then sleep.

use super::Stopped;
use super::sync::{AtomicBool, Condvar, Mutex, MutexGuard, Ordering, fence, spin_loop, yield_now};
use std::time::Duration;

/// How long a lane spins before it gives its core away.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    spins: u32,
    yields: u32,
}

impl Patience {
    /// None: sleep at once. For who has little to do and shall begin at once: whoever gives way instead is put behind those
    /// that compute, and waits for milliseconds.
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

/// A bell for each lane, which wakes it where it sleeps. Whoever changes something rings for those who wait for it.
#[derive(Debug)]
pub struct Bells {
    stopped: AtomicBool,
    lanes: Vec<Bell>,
}

#[derive(Debug)]
struct Bell {
    patience: Patience,
    /// The lane sleeps until something changes.
    sleeps: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

/// A lane, as far as it waits for others and wakes them.
#[derive(Debug, Clone, Copy)]
pub struct Waiter<'a> {
    bells: &'a Bells,
    lane: usize,
}

impl Bells {
    /// For lanes of such patience.
    pub fn new(lanes: impl IntoIterator<Item = Patience>) -> Bells {
        Bells { stopped: AtomicBool::new(false), lanes: lanes.into_iter().map(Bell::new).collect() }
    }

    /// One of the lanes.
    pub fn waiter(&self, lane: usize) -> Waiter<'_> {
        Waiter { bells: self, lane }
    }

    /// Ends all waiting, now and later.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        for bell in &self.lanes {
            // Whoever goes to sleep has seen it, or holds the lock until it can be woken.
            drop(bell.lock());
            bell.wake.notify_all();
        }
    }

    /// Has somebody ended the waiting?
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

impl Bell {
    fn new(patience: Patience) -> Bell {
        Bell { patience, sleeps: AtomicBool::new(false), lock: Mutex::new(()), wake: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<'a> Waiter<'a> {
    fn bell(&self) -> &'a Bell {
        &self.bells.lanes[self.lane]
    }

    /// Says to other lanes that something has changed for them. Costs a fence, and a load for each that does not sleep.
    pub fn wake(&self, others: impl IntoIterator<Item = usize>) {
        let mut fenced = false;
        for other in others.into_iter().filter(|other| *other != self.lane) {
            if !std::mem::replace(&mut fenced, true) {
                // Pairs with the fence in `sleep`: either the sleeper sees the change, or we see the sleeper.
                fence(Ordering::SeqCst);
            }
            let bell = &self.bells.lanes[other];
            if bell.sleeps.load(Ordering::Relaxed) {
                drop(bell.lock());
                bell.wake.notify_all();
            }
        }
    }

    /// Waits until `ready`.
    ///
    /// # Errors
    /// Somebody has called [`Bells::stop`].
    #[inline]
    pub fn wait(&self, mut ready: impl FnMut() -> bool) -> Result<(), Stopped> {
        if ready() {
            return Ok(());
        }
        let patience = self.bell().patience;
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
            if self.bells.is_stopped() {
                return Err(Stopped);
            }
            yield_now();
        }
        self.sleep(&mut ready)
    }

    /// Waits until a moment: asleep at first.
    ///
    /// # Errors
    /// Somebody has called [`Bells::stop`].
    pub fn wait_until(&self, now: impl Fn() -> u64, moment: u64) -> Result<(), Stopped> {
        // With fewer cores than lanes nobody spins.
        let early = if self.bell().patience.spins > 0 { EARLY_NANOS } else { 0 };
        self.doze(&now, moment.saturating_sub(early))?;
        while now() < moment {
            if self.bells.is_stopped() {
                return Err(Stopped);
            }
            spin_loop();
        }
        Ok(())
    }

    /// Nothing but the end wakes it before: it does not say that it sleeps.
    fn doze(&self, now: impl Fn() -> u64, moment: u64) -> Result<(), Stopped> {
        if now() >= moment {
            return Ok(());
        }
        let bell = self.bell();
        let mut guard = bell.lock();
        loop {
            if self.bells.is_stopped() {
                return Err(Stopped);
            }
            let left = moment.saturating_sub(now());
            if left == 0 {
                return Ok(());
            }
            let left = Duration::from_nanos(left);
            guard = bell.wake.wait_timeout(guard, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }

    #[cold]
    fn sleep(&self, ready: &mut dyn FnMut() -> bool) -> Result<(), Stopped> {
        let bell = self.bell();
        let mut guard = bell.lock();
        bell.sleeps.store(true, Ordering::Relaxed);
        let result = loop {
            fence(Ordering::SeqCst);
            if ready() {
                break Ok(());
            }
            if self.bells.is_stopped() {
                break Err(Stopped);
            }
            guard = bell.wake.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner());
        };
        bell.sleeps.store(false, Ordering::Relaxed);
        result
    }
}
