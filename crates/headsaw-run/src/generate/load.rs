//! Reads for each device what its slice holds, and gives it its memory.

use super::{LoadProgress, RunError};
use crate::compute::Compute;
use crate::device::{DeviceWeights, Layer, Loader};
use crate::lane::DeviceMemory;
use crate::weights::{self, ModelFile};
use headsaw::plan::{Plan, Slice};
use headsaw::program::Program;
use headsaw::spec::cluster::DeviceId;
use headsaw::units::Bytes;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// What a thread loads at once: what a slice has beside its layers, or one of them.
enum Piece {
    Ends,
    Layer(u32),
}

/// A piece that is loaded.
enum Loaded {
    Ends(Box<DeviceWeights>),
    Layer(Box<Layer>),
}

/// Pieces of all devices load side by side, as many at once as there are cores; the largest ones, embeddings, first.
pub(super) fn load(
    file: &ModelFile,
    plan: &Plan,
    compute: &dyn Compute,
    total: Bytes,
    progress: &mut dyn FnMut(LoadProgress),
) -> Result<BTreeMap<DeviceId, DeviceWeights>, RunError> {
    let ends = plan.slices().map(|(stage, slice)| (stage, slice, Piece::Ends));
    let layers = plan.slices().flat_map(|(stage, slice)| {
        plan.stages[stage].layers.clone().map(move |layer| (stage, slice, Piece::Layer(layer)))
    });
    let pieces: Vec<(usize, &Slice, Piece)> = ends.chain(layers).collect();
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let loaded: Vec<OnceLock<Result<Loaded, weights::Error>>> = pieces.iter().map(|_| OnceLock::new()).collect();
    let loader = Loader {
        file,
        plan,
        compute,
        loaded: &|bytes| {
            done.fetch_add(bytes.0, Ordering::Relaxed);
        },
    };
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((stage, slice, piece)) = pieces.get(at) else { break };
            let one = match piece {
                Piece::Ends => loader.ends(*stage, slice).map(Box::new).map(Loaded::Ends),
                Piece::Layer(layer) => loader.layer(*layer, slice).map(Box::new).map(Loaded::Layer),
            };
            let _ = loaded[at].set(one); // nobody else has this piece
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores.min(pieces.len())).map(|_| scope.spawn(work)).collect();
        while !threads.iter().all(|thread| thread.is_finished()) {
            progress(LoadProgress { done: Bytes(done.load(Ordering::Relaxed)), total });
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    let mut devices: BTreeMap<DeviceId, DeviceWeights> = BTreeMap::new();
    for ((_, slice, _), one) in pieces.iter().zip(loaded) {
        match one.into_inner().expect("a thread has loaded it")? {
            Loaded::Ends(device) => {
                devices.insert(slice.device, *device);
            }
            Loaded::Layer(layer) => devices.get_mut(&slice.device).expect("ends come first").layers.push(*layer),
        }
    }
    Ok(devices)
}

/// Each device's memory for everything but weights.
pub(super) fn places(plan: &Plan, program: &Program) -> BTreeMap<DeviceId, DeviceMemory> {
    let place = |(stage, slice): (usize, &Slice)| (slice.device, DeviceMemory::new(plan, program, stage, slice));
    plan.slices().map(place).collect()
}
