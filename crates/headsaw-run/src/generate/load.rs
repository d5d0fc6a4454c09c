//! Reads for each device what its slice holds, and gives it its memory.

use super::{LoadProgress, RunError};
use crate::compute::Compute;
use crate::device::{DeviceWeights, Loader};
use crate::lane::DeviceMemory;
use crate::weights::{self, ModelFile};
use headsaw::plan::{Plan, Slice};
use headsaw::program::Program;
use headsaw::spec::cluster::DeviceId;
use headsaw::units::Bytes;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Devices load side by side, as many at once as there are cores.
pub(super) fn load(
    file: &ModelFile,
    plan: &Plan,
    compute: &dyn Compute,
    total: Bytes,
    progress: &mut dyn FnMut(LoadProgress),
) -> Result<BTreeMap<DeviceId, DeviceWeights>, RunError> {
    let all: Vec<(usize, &Slice)> = plan.slices().collect();
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let loaded = Mutex::new(BTreeMap::new());
    let loader = Loader {
        file,
        plan,
        compute,
        loaded: &|bytes| {
            done.fetch_add(bytes.0, Ordering::Relaxed);
        },
    };
    let work = || {
        while let Some((stage, slice)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let device = loader.device(*stage, slice);
            loaded.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(slice.device, device);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores.min(all.len())).map(|_| scope.spawn(work)).collect();
        while !threads.iter().all(|thread| thread.is_finished()) {
            progress(LoadProgress { done: Bytes(done.load(Ordering::Relaxed)), total });
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    let loaded = loaded.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    Ok(loaded.into_iter().map(|(id, device)| Ok((id, device?))).collect::<Result<_, weights::Error>>()?)
}

/// Each device's memory for everything but weights.
pub(super) fn places(plan: &Plan, program: &Program) -> BTreeMap<DeviceId, DeviceMemory> {
    let place = |(stage, slice): (usize, &Slice)| (slice.device, DeviceMemory::new(plan, program, stage, slice));
    plan.slices().map(place).collect()
}
