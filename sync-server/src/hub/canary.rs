//! Bugs on purpose, to prove that the simulator finds them. Only with the feature `canary`, and only the one that
//! the variable `DINH_CANARY` names.

use std::sync::OnceLock;

/// Whether this bug is planted.
pub(super) fn is_planted(name: &str) -> bool {
    static PLANTED: OnceLock<String> = OnceLock::new();
    PLANTED.get_or_init(|| std::env::var("DINH_CANARY").unwrap_or_default()) == name
}
