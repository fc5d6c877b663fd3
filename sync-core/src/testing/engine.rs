//! Makes calls of the document engine panic, to see that nothing but the call is lost.

use std::cell::RefCell;

use crate::gate::Call;

thread_local! {
    static ARMED: RefCell<Option<(Call, u32, u32)>> = const { RefCell::new(None) };
    static CALLS: RefCell<Vec<Call>> = const { RefCell::new(Vec::new()) };
}

/// From now on, on this thread: `skip` calls of this kind succeed, then `times` panic.
pub fn panic_at(call: Call, skip: u32, times: u32) {
    ARMED.set(Some((call, skip, times)));
}

/// No more panics on this thread. Returns how many are left that did not happen.
pub fn disarm() -> u32 {
    ARMED.take().map_or(0, |(_, _, times)| times)
}

/// The kinds of calls made on this thread since this was asked last.
pub fn calls() -> Vec<Call> {
    CALLS.take()
}

pub(crate) fn before(call: Call) {
    CALLS.with_borrow_mut(|calls| {
        if !calls.contains(&call) {
            calls.push(call);
        }
    });
    let due = ARMED.with_borrow_mut(|armed| match armed {
        Some((at, 0, times)) if *at == call && *times > 0 => {
            *times -= 1;
            true
        }
        Some((at, skip, _)) if *at == call && *skip > 0 => {
            *skip -= 1;
            false
        }
        _ => false,
    });
    assert!(!due, "injected at {call:?}");
}
