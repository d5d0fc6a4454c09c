//! Measures what this machine does, with the kernels and the transport that run models: a cluster of kind `local`.

mod kernels;
mod limits;
mod memory;
mod rounds;
mod threads;

pub use limits::{Limits, limits};

use crate::compute::Compute;
use crate::machine;
use headsaw::spec::cluster::{Cluster, DeviceGroup, DeviceKind, Level, Prices, StepLanes, Table};
use headsaw::spec::model::Dtype;
use headsaw::units::Bytes;
use rounds::Rounds;
use std::time::Duration;

/// How far measuring has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Measurements done.
    pub done: u64,
    /// Of so many.
    pub total: u64,
}

/// How long the rounds of one measurement go on, for figures to keep.
pub const BUDGET: Duration = Duration::from_millis(200);

/// The same for a quick look.
pub const QUICK: Duration = Duration::from_millis(5);

/// What is measured, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Which machine it is.
    pub title: &'a str,
    /// Types of weights that products are measured with; of others the most similar one counts.
    pub weights: &'a [Dtype],
    /// For how long the rounds of one measurement go on.
    pub budget: Duration,
}

impl Scope<'_> {
    fn measurements(&self) -> u64 {
        memory::MEASUREMENTS + threads::MEASUREMENTS + kernels::measurements(self.weights.len())
    }
}

/// Measures this machine with these kernels.
pub fn calibrate(scope: &Scope, compute: &dyn Compute, progress: &mut dyn FnMut(Progress)) -> Cluster {
    let (mut done, total) = (0, scope.measurements());
    let mut tick = || {
        done += 1;
        progress(Progress { done, total });
    };
    let mut rounds = Rounds::new(scope.budget, &mut tick);
    let (table, level) = measure(scope.weights, compute, &mut rounds);
    debug_assert_eq!(done, total, "measurements are counted right");
    cluster(scope.title, table, level)
}

fn measure(weights: &[Dtype], compute: &dyn Compute, rounds: &mut Rounds) -> (Table, Level) {
    let cores = cores();
    let reading = memory::measure(compute, cores, rounds);
    let between = threads::measure(cores, rounds);
    let elements = kernels::elements(compute, rounds);
    let attention = kernels::attention(compute, rounds);
    let products = kernels::products(compute, weights, elements.lay_per_second, rounds);
    let together = kernels::together(compute, cores, rounds);
    let table = Table {
        cores,
        together: Some(together),
        cache_bytes: reading.cache,
        cached_bytes_per_second: reading.cached,
        lane_bytes_per_second: reading.lane,
        bytes_per_second: reading.all,
        action_seconds: between.action,
        hand_over_seconds: between.hand_over,
        crowded_hand_over_seconds: between.crowded,
        wake_seconds: Some(between.wake),
        elements,
        attention,
        products,
    };
    (table, between.level)
}

/// Cores that this process may use.
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().try_into().unwrap_or(u32::MAX))
}

/// As many devices as cores; they share the machine's memory.
fn cluster(title: &str, table: Table, level: Level) -> Cluster {
    let count = table.cores;
    let kind = DeviceKind {
        name: "local".into(),
        title: title.into(),
        memory_bytes: Bytes(machine::memory().unwrap_or(Bytes(1 << 33)).0 / u64::from(count)),
        lanes: lanes(),
        overlap: 1.0,
        exchange_overlap: 1.0, // exchanges are done by the lanes themselves
        prices: Prices::Table(Box::new(table)),
    };
    Cluster {
        name: "local".into(),
        title: title.into(),
        groups: vec![DeviceGroup { kind, count }],
        levels: vec![level],
    }
}

/// Every step is done by a core; exchanges are reading what another core has written.
fn lanes() -> StepLanes {
    let core = || "core".to_string();
    StepLanes {
        project: core(),
        score: core(),
        softmax: core(),
        context: core(),
        attend: core(),
        merge: core(),
        mlp: core(),
        exchange: "link".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headsaw::spec::cluster::{read, write};

    /// Whatever the machine is and does: the file reads as what was measured, and nothing measured is absurd.
    #[test]
    fn what_was_measured_survives_its_file() {
        let (mut seen, mut last) = (0, None);
        let kernels = crate::compute::cpu(None).unwrap();
        let scope = Scope { title: "a machine", weights: &Dtype::ALL, budget: QUICK };
        let measured = calibrate(&scope, &*kernels, &mut |progress| {
            seen += 1;
            assert_eq!(progress.done, seen);
            last = Some(progress);
        });
        assert_eq!(last, Some(Progress { done: scope.measurements(), total: scope.measurements() }));
        assert_eq!(read("local", &write(&measured)), Ok(measured.clone()));
        let Prices::Table(table) = &measured.groups[0].kind.prices else { panic!("a table") };
        assert!(table.products.iter().all(|point| point.flops_per_second.0 > 1e6), "{table:?}");
        assert!(Dtype::ALL.iter().all(|weights| table.products.iter().any(|point| point.weights == *weights)));
    }
}
