//! Bars on stderr, for what takes long while somebody watches.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Waits shorter than this need no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// A bar that shows up when its work takes long, on a terminal only.
#[derive(Debug)]
pub struct Progress {
    template: &'static str,
    begun: Instant,
    watched: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A bar in this style, if it comes to it.
    pub fn new(template: &'static str) -> Progress {
        Progress { template, begun: Instant::now(), watched: std::io::stderr().is_terminal(), bar: None }
    }

    /// How far the work has come.
    pub fn at(&mut self, done: u64, total: u64) {
        if !self.watched || self.begun.elapsed() < PATIENCE {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template(self.template).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style)
        });
        bar.set_position(done.min(total));
    }

    /// Does something to the terminal that the bar must not be in the way of.
    pub fn aside<T>(&self, act: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(act),
            None => act(),
        }
    }
}

impl Progress {
    /// Takes the bar away.
    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

/// A word that shows up when work of unknown length takes long, on a terminal only; gone when this is dropped.
#[derive(Debug)]
pub struct Waiting(Option<(Sender<()>, JoinHandle<()>)>);

impl Waiting {
    /// Work begins.
    pub fn begin(what: &'static str) -> Waiting {
        if !std::io::stderr().is_terminal() {
            return Waiting(None);
        }
        let (over, ended) = mpsc::channel::<()>();
        let shown = thread::spawn(move || {
            if ended.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let bar = ProgressBar::new_spinner().with_message(what);
            bar.enable_steady_tick(TICK);
            let _ = ended.recv();
            bar.finish_and_clear();
        });
        Waiting(Some((over, shown)))
    }
}

/// Time between two pictures of what turns.
const TICK: Duration = Duration::from_millis(100);

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((over, shown)) = self.0.take() {
            drop(over);
            let _ = shown.join();
        }
    }
}
