//! Makes calls of the document engine panic, to see that nothing but the call is lost.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::gate::Call;

/// Calls that are remembered.
const CALLS_MAX: usize = 10_000;

thread_local! {
    static ARMED: RefCell<Option<(Call, VecDeque<bool>)>> = const { RefCell::new(None) };
    static CALLS: RefCell<Vec<Call>> = const { RefCell::new(Vec::new()) };
}

/// From now on, on this thread, calls of this kind panic where the list says so; after its end none does.
pub fn panic_at(call: Call, schedule: impl IntoIterator<Item = bool>) {
    ARMED.set(Some((call, schedule.into_iter().collect())));
}

/// No more panics on this thread. Returns how many were still to come.
pub fn disarm() -> usize {
    ARMED.take().map_or(0, |(_, schedule)| schedule.into_iter().filter(|panics| *panics).count())
}

/// The calls made on this thread since this was asked last, in order: the first ten thousand.
pub fn calls() -> Vec<Call> {
    CALLS.take()
}

pub(crate) fn before(call: Call) {
    CALLS.with_borrow_mut(|calls| {
        if calls.len() < CALLS_MAX {
            calls.push(call);
        }
    });
    let due = ARMED.with_borrow_mut(|armed| match armed {
        Some((at, schedule)) if *at == call => schedule.pop_front().unwrap_or_default(),
        _ => false,
    });
    assert!(!due, "injected at {call:?}");
}
