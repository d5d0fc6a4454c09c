//! Watches what reading a file costs: memory, time, panics.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Memory beyond a file's size that reading it may take.
const SLACK_BYTES: usize = 64 << 20;
/// Longest time for one file.
const TIME_MAX: Duration = Duration::from_secs(2);
/// Longest time for a file of tens of megabytes.
const TIME_MAX_LARGE: Duration = Duration::from_secs(20);

/// Counts what each thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

fn count(added: usize, taken: usize) {
    let held = HELD.get().wrapping_add(added).saturating_sub(taken);
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

// SAFETY: every call is handed on to the system's allocator unchanged; only sizes are noted, in thread-local cells that
// need neither allocation nor destructors.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Size of a file, or of all files of a folder.
fn size(path: &Path) -> usize {
    let len = |path: &Path| path.metadata().map_or(0, |meta| meta.len() as usize);
    match std::fs::read_dir(path) {
        Ok(entries) => entries.map(|entry| len(&entry.expect("an entry").path())).sum(),
        Err(_) => len(path),
    }
}

/// Runs `read` on `path` and holds it to its limits.
pub fn guarded(path: &Path, read: fn(&Path) -> Result<(), String>) -> Result<(), String> {
    watched(path, read, TIME_MAX)
}

/// As [`guarded`], for large files.
pub fn guarded_slowly(path: &Path, read: fn(&Path) -> Result<(), String>) -> Result<(), String> {
    watched(path, read, TIME_MAX_LARGE)
}

fn watched(path: &Path, read: fn(&Path) -> Result<(), String>, time_max: Duration) -> Result<(), String> {
    let (before, start) = (HELD.get(), Instant::now());
    PEAK.set(before);
    let result = catch_unwind(AssertUnwindSafe(|| read(path)));
    let (peak, time) = (PEAK.get() - before, start.elapsed());
    let keep = || {
        let kept = std::env::temp_dir().join("headsaw-hostile-kept");
        let _ = std::fs::create_dir_all(&kept);
        for file in std::fs::read_dir(path).into_iter().flatten().flatten() {
            let _ = std::fs::copy(file.path(), kept.join(file.file_name()));
        }
        let _ = std::fs::copy(path, kept.join("file"));
        kept
    };
    let result = result.unwrap_or_else(|_| panic!("it panicked; the file is kept in {}", keep().display()));
    assert!(peak <= size(path) + SLACK_BYTES, "{peak} bytes of memory; kept in {}", keep().display());
    assert!(time <= time_max, "{time:?}; kept in {}", keep().display());
    result
}

/// A folder for one test, removed in the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let dir = std::env::temp_dir().join(format!("headsaw-hostile-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        Folder(dir)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
