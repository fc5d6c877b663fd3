use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dinh_proto::time::{Timestamp, WallTime};

use crate::replica::Now;

/// How far the two clocks may drift apart between two readings before the device is taken to have slept.
const JUMP: Duration = Duration::from_secs(10);

/// Both clocks of the device. The monotonic one stands still while a phone sleeps, so sleep shows as a jump of
/// the other.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    last: Option<(Instant, SystemTime)>,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { start: Instant::now(), last: None }
    }

    /// The time now, and whether the clocks have jumped since the last reading.
    pub(super) fn read(&mut self) -> (Now, bool) {
        self.read_at(Instant::now(), SystemTime::now())
    }

    fn read_at(&mut self, mono: Instant, wall: SystemTime) -> (Now, bool) {
        let jumped = self.last.is_some_and(|(last_mono, last_wall)| {
            let ran = mono.saturating_duration_since(last_mono);
            match wall.duration_since(last_wall) {
                Ok(passed) => passed.abs_diff(ran) > JUMP,
                Err(back) => back.duration() > JUMP,
            }
        });
        self.last = Some((mono, wall));
        let micros = mono.saturating_duration_since(self.start).as_micros();
        let millis = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now = Now {
            mono: Timestamp(u64::try_from(micros).unwrap_or(u64::MAX)),
            wall: WallTime(u64::try_from(millis).unwrap_or(u64::MAX)),
        };
        (now, jumped)
    }

    /// The moment of a timestamp, for timers.
    pub(super) fn instant(&self, at: Timestamp) -> tokio::time::Instant {
        (self.start + Duration::from_micros(at.0)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_shows_and_ordinary_running_does_not() {
        let mut clock = Clock::start();
        let (mono, wall) = (Instant::now(), SystemTime::now());
        let s = Duration::from_secs;
        assert!(!clock.read_at(mono, wall).1, "the first reading");
        assert!(!clock.read_at(mono + s(3_600), wall + s(3_601)).1, "both ran");
        assert!(clock.read_at(mono + s(3_601), wall + s(7_200)).1, "the monotonic clock stood still");
        assert!(!clock.read_at(mono + s(3_602), wall + s(7_201)).1);
        assert!(clock.read_at(mono + s(3_603), wall).1, "somebody set the clock back");
        let back = clock.read_at(mono, wall).0;
        assert_eq!(back.mono, clock.read_at(mono, UNIX_EPOCH - s(9)).0.mono);
    }
}
