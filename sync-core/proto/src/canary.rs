//! Bugs on purpose, to prove that the simulator finds them. Compiled only with the feature `canary`, which no default feature and
//! no package of this workspace turns on: only `--features canary` on the command line does.
//!
//! Even then nothing is wrong until somebody calls [`plant`]. The simulator does, for one bug at a time, by the table in
//! `sync-server/tests/sim/canaries.rs`; each place that asks [`is_planted`] says what is wrong there. It is known to one thread only:
//! a world runs in one, so several can be judged side by side.

use std::cell::Cell;

thread_local! {
    static PLANTED: Cell<&'static str> = const { Cell::new("") };
}

/// Plants this bug in the calling thread in the place of the one before; an empty name plants none.
pub fn plant(name: &'static str) {
    PLANTED.set(name);
}

/// Whether this bug is planted in the calling thread.
pub fn is_planted(name: &str) -> bool {
    PLANTED.get() == name
}
