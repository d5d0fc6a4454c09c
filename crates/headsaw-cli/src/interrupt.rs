//! Ctrl-C: ends the program at once, except while a run wants to end cleanly; the second one always does.

use crate::output::say;
use std::sync::atomic::{AtomicU8, Ordering};

const AT_ONCE: u8 = 0;
const CLEANLY: u8 = 1;
const ASKED: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(AT_ONCE);

/// Listens for Ctrl-C from here on.
pub fn listen() {
    // Without a handler Ctrl-C still ends the program, only less tidily.
    let _ = ctrlc::set_handler(|| {
        let first = STATE.compare_exchange(CLEANLY, ASKED, Ordering::SeqCst, Ordering::SeqCst);
        if first.is_err() {
            std::process::exit(130);
        }
        say("\nending after what is under way; Ctrl-C again ends at once\n");
    });
}

/// While this lives, Ctrl-C only sets [`asked`].
#[derive(Debug)]
pub struct Cleanly;

impl Cleanly {
    /// From here on.
    pub fn begin() -> Cleanly {
        STATE.store(CLEANLY, Ordering::SeqCst);
        Cleanly
    }
}

impl Drop for Cleanly {
    fn drop(&mut self) {
        STATE.store(AT_ONCE, Ordering::SeqCst);
    }
}

/// Ctrl-C was pressed since [`Cleanly::begin`].
pub fn asked() -> bool {
    STATE.load(Ordering::SeqCst) == ASKED
}
