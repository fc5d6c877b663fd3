//! The story's clock. Days before and after are short; the evening has its minutes; the cut is as long as was asked for.

use super::Options;

/// Midnight before the evening, milliseconds since 1970: 3 December 2026 in Vietnam.
pub const DAY: i64 = 1_796_230_800_000;
/// How many days before the evening the story begins.
const DAYS_BEFORE: i64 = 8;
/// Thousandths of a story minute that a day takes before the evening.
const DAY_BEFORE: i64 = 2_000;
/// The same after it.
const DAY_AFTER: i64 = 3_000;
/// 19:15, in minutes of the day.
const BEGINS: i64 = 19 * 60 + 15;
/// When the evening begins, in thousandths of a story minute.
const EVENING: i64 = DAYS_BEFORE * DAY_BEFORE;
/// From 19:15 to 21:30.
const EVENING_LONG: i64 = 135_000;
/// The cut as the fixtures have it: 19:50 to 20:40.
const CUT: (i64, i64) = (EVENING + 35_000, EVENING + 85_000);
const MINUTES_OF_DAY: i64 = 24 * 60;

/// A moment of the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    /// Real milliseconds after the beginning.
    pub ms: u64,
    /// What clocks in the story show: milliseconds since 1970.
    pub wall: i64,
}

/// Reads `20:05`, `-3 07:00`, `+2 08:00`: days are counted from the evening.
fn read(time: &str) -> (i64, i64) {
    let (day, clock) = time.split_once(' ').unwrap_or(("0", time));
    let (hours, minutes) = clock.split_once(':').unwrap_or(("19", "15"));
    let number = |text: &str| text.parse::<i64>().unwrap_or(0);
    (number(day), number(hours) * 60 + number(minutes))
}

/// Thousandths of a story minute after the beginning.
fn thousandths(time: &str) -> i64 {
    let (day, minute) = read(time);
    match day {
        0 => EVENING + (minute - BEGINS) * 1_000,
        day if day < 0 => ((DAYS_BEFORE + day) * MINUTES_OF_DAY + minute) * DAY_BEFORE / MINUTES_OF_DAY,
        day => EVENING + EVENING_LONG + ((day - 1) * MINUTES_OF_DAY + minute) * DAY_AFTER / MINUTES_OF_DAY,
    }
}

fn real_ms(thousandths: i64, options: &Options) -> u64 {
    let (from, until) = CUT;
    let cut = i64::from(options.cut_minutes) * 1_000;
    let stretched = if thousandths <= from {
        thousandths
    } else if thousandths <= until {
        from + (thousandths - from) * cut / (until - from)
    } else {
        thousandths - until + from + cut
    };
    u64::try_from(stretched).unwrap_or(0) * options.minute_ms / 1_000
}

/// A moment by its name.
pub(super) fn moment(time: &str, options: &Options) -> Moment {
    let (day, minute) = read(time);
    let wall = DAY + (day * MINUTES_OF_DAY + minute) * 60_000;
    Moment { ms: real_ms(thousandths(time), options), wall }
}

/// A moment of the evening between two others; `draw` gives a number below the one that it gets.
pub(super) fn between(from: &str, until: &str, options: &Options, draw: impl FnOnce(u64) -> u64) -> Moment {
    let (from, until) = (thousandths(from), thousandths(until));
    let long = u64::try_from(until - from).unwrap_or(0);
    let at = from + i64::try_from(draw(long.max(1))).unwrap_or(0);
    Moment { ms: real_ms(at, options), wall: DAY + BEGINS * 60_000 + (at - EVENING) * 60 }
}

/// How a moment is told: the time in the evening, the day otherwise.
pub(super) fn told(time: &str) -> String {
    let (day, minute) = read(time);
    let clock = format!("{:02}:{:02}", minute / 60, minute % 60);
    match day {
        0 => clock,
        day if day < -2 => format!("{:02}/11 {clock}", 33 + day),
        day => format!("{:02}/12 {clock}", 3 + day),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(cut_minutes: u32) -> Options {
        Options { phones: 12, seed: 1, cut_minutes, minute_ms: 100, kill_relay: false, kill_phones: false }
    }

    #[test]
    fn time_goes_forward_and_the_cut_stretches() {
        let all =
            ["-8 19:00", "-1 23:59", "19:15", "19:50", "20:15", "20:40", "21:29", "+1 08:00", "+3 18:00"];
        let moments = all.map(|time| moment(time, &options(50)));
        assert!(moments.windows(2).all(|pair| pair[0] < pair[1] && pair[0].wall < pair[1].wall));
        let long = |from, until, cut| moment(until, &options(cut)).ms - moment(from, &options(cut)).ms;
        assert_eq!(long("19:50", "20:40", 50), 5_000);
        assert_eq!(long("19:50", "20:40", 100), 10_000);
        assert_eq!(long("20:40", "21:15", 100), 3_500);
        let drawn = between("20:00", "20:10", &options(50), |n| n / 2);
        assert_eq!(drawn, moment("20:05", &options(50)));
        assert_eq!(
            (told("20:05"), told("-3 07:00"), told("+2 08:00")),
            ("20:05".into(), "30/11 07:00".into(), "05/12 08:00".into())
        );
    }
}
