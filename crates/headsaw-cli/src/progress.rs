//! Bars on stderr, for what takes long while somebody watches.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
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
