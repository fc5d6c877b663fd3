//! Room on the volume of the data directory: below a reserve the relay goes on serving and stores nothing more, before the disk is so
//! full that a write fails in its middle.

use std::io;
use std::path::Path;

/// Room that is kept free, if the operator does not choose: what a relay on a fast disk writes in a second, and then some.
pub(crate) const RESERVE_BYTES: u64 = 256 << 20;

/// Whether there is too little room. Who ran out of it goes on when a quarter more than the reserve is free: else the relay would go
/// back and forth with every file that somebody deletes.
pub(crate) fn is_short(free: u64, reserve: u64, was_short: bool) -> bool {
    let enough = if was_short { reserve.saturating_add(reserve / 4) } else { reserve };
    free < enough
}

/// Bytes that the relay may still write on the volume of this directory. May block as long as the volume does not answer.
#[cfg(unix)]
pub(crate) fn free_bytes(directory: &Path) -> io::Result<u64> {
    let volume = rustix::fs::statvfs(directory)?;
    Ok(volume.f_bavail.saturating_mul(volume.f_frsize))
}

/// Not known: nothing is kept free.
#[cfg(not(unix))]
pub(crate) fn free_bytes(_directory: &Path) -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_more_than_the_reserve_ends_it() {
        assert!(!is_short(100, 100, false));
        assert!(is_short(99, 100, false));
        assert!(is_short(124, 100, true));
        assert!(!is_short(125, 100, true));
        assert!(!is_short(0, 0, true));
        assert!(is_short(u64::MAX - 1, u64::MAX, true));
    }

    #[cfg(unix)]
    #[test]
    fn the_room_of_a_volume_is_told() {
        assert!(free_bytes(Path::new("/")).is_ok_and(|free| free > 0));
        assert!(free_bytes(Path::new("/there/is/no/such/place")).is_err());
    }
}
