//! Numbers as people read them.

use super::text::Lang;

/// With separators between thousands.
pub(super) fn number(lang: Lang, n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(match lang {
                Lang::En => ',',
                Lang::Vi => '.',
            });
        }
        out.push(digit);
    }
    out
}

/// Two or three digits that say something.
pub(super) fn decimal(lang: Lang, n: f64) -> String {
    let text = match n {
        n if n >= 100.0 => return number(lang, n.round() as u64),
        n if n >= 10.0 || n == 0.0 => format!("{n:.0}"),
        n if n >= 1.0 => format!("{n:.1}"),
        _ => format!("{n:.2}"),
    };
    match lang {
        Lang::En => text,
        Lang::Vi => text.replace('.', ","),
    }
}

/// Decimal units, as disks are sold.
pub(super) fn bytes(lang: Lang, n: f64) -> String {
    let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match units.into_iter().find(|(size, _)| n >= *size) {
        Some((size, unit)) => format!("{}\u{a0}{unit}", decimal(lang, n / size)),
        None => format!("{}\u{a0}B", n.round()),
    }
}

/// Something that takes microseconds to seconds.
pub(super) fn latency(lang: Lang, seconds: f64) -> String {
    if seconds >= 1.0 {
        format!("{}\u{a0}{}", decimal(lang, seconds), lang.texts().seconds)
    } else {
        format!("{}\u{a0}ms", decimal(lang, seconds * 1e3))
    }
}

/// The largest unit of which there is one.
pub(super) fn duration(lang: Lang, seconds: f64) -> String {
    let t = lang.texts();
    let seconds = seconds.max(0.0);
    let (n, unit) = match seconds {
        s if s < 60.0 => (s, t.seconds),
        s if s < 3_600.0 => (s / 60.0, t.minutes),
        s if s < 2.0 * 86_400.0 => (s / 3_600.0, t.hours),
        s => (s / 86_400.0, t.days),
    };
    format!("{}\u{a0}{unit}", number(lang, n as u64))
}

/// How long ago.
pub(super) fn ago(lang: Lang, now_ms: u64, then_ms: u64) -> String {
    let t = lang.texts();
    let seconds = now_ms.saturating_sub(then_ms) as f64 / 1e3;
    format!("{}{}{}", t.ago_before, duration(lang, seconds), t.ago_after)
}

/// The date and time of UTC. Days are counted from the 1st of March of year 0, so that the day that some years have more is the last.
pub(super) fn utc(ms: u64) -> String {
    let (days, second) = (ms / 86_400_000 + 719_468, ms / 1_000 % 86_400);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", second / 3_600, second / 60 % 60)
}

/// The beginning of an id, enough to tell it from others on a page.
pub(super) fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_their_language_has_them() {
        assert_eq!(
            (number(Lang::En, 1_234_567), number(Lang::Vi, 1_234)),
            ("1,234,567".into(), "1.234".into())
        );
        assert_eq!((number(Lang::En, 0), number(Lang::En, 999)), ("0".into(), "999".into()));
        assert_eq!(bytes(Lang::Vi, 1_540_000.0), "1,5\u{a0}MB");
        assert_eq!(bytes(Lang::En, 999.0), "999\u{a0}B");
        assert_eq!(bytes(Lang::En, 12_300.0), "12\u{a0}kB");
        assert_eq!(latency(Lang::En, 0.000_8), "0.80\u{a0}ms");
        assert_eq!(latency(Lang::Vi, 2.5), "2,5\u{a0}giây");
        assert_eq!(ago(Lang::En, 200_000, 10_000), "3\u{a0}min ago");
        assert_eq!(ago(Lang::Vi, 200_000, 10_000), "3\u{a0}phút trước");
        assert_eq!(duration(Lang::En, 50.0 * 3_600.0), "2\u{a0}days");
    }

    #[test]
    fn dates_are_right_around_the_day_that_some_years_have_more() {
        for (ms, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_340_000, "2000-02-28 23:59 UTC"),
            (951_782_400_000, "2000-02-29 00:00 UTC"),
            (951_868_800_000, "2000-03-01 00:00 UTC"),
            (1_795_478_400_000, "2026-11-24 00:00 UTC"),
            (4_107_542_399_000, "2100-02-28 23:59 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(utc(ms), text);
        }
    }
}
