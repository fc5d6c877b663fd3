//! What a piece of work takes in memory at most. Without a sanitizer libFuzzer's own limit on allocations does nothing.

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Does the work, and fails if it held more than this many bytes at a time beyond what was held before.
pub fn within<R>(bytes_max: usize, work: impl FnOnce() -> R) -> R {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let result = work();
    let most = MEMORY.peak_usage().saturating_sub(before);
    assert!(most <= bytes_max, "{most} bytes at a time, where {bytes_max} are stated");
    result
}
