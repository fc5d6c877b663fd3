//! Documents for other programs: as a file of Automerge, and as JSON.
//!
//! # JSON
//!
//! One object, whatever the kind of document, because the values say what they are:
//!
//! | key | what |
//! |---|---|
//! | `format` | [`JSON_FORMAT`] |
//! | `document` | the root map |
//! | `marks` | of the texts that have some: by JSON pointer, each with `start`, `end` (UTF-16), `name`, `value` |
//! | `contested` | of the values that people wrote without knowing of each other: by JSON pointer, all of them, the one in `document` first |
//!
//! Maps are objects, lists arrays, strings and texts strings (NFC), numbers, truth values and nothing as they are. A time is a string in
//! RFC 3339 with milliseconds, in UTC: `2026-12-03T12:30:00.000Z`. What JSON has no word for is an object with one key: `$base64` for bytes,
//! `$milliseconds` for a time (since 1970) outside the years 0 to 9999, `$number` for `NaN`, `Infinity` and `-Infinity`. A document's own key that
//! begins with `$` gets another one before it.

use dinh_core::document::{Document, Path, Value, View};
use serde_json::{Map, Value as Json, json};

/// Names the mapping of [`json()`].
pub const JSON_FORMAT: &str = "dinh.json/1";

/// A document with its whole history in Automerge's own format: every Automerge opens it. What is changed there comes back by
/// [`import`](super::import). Whoever gets it sees everything that was ever in it, and who wrote what.
#[must_use]
pub fn automerge_file(document: &Document) -> Vec<u8> {
    document.save()
}

/// A document as it is now, as JSON: see [the mapping](self#json).
#[must_use]
pub fn json(view: &View<'_>) -> Json {
    let root = view.get(&Path::root()).unwrap_or_else(Value::map);
    let mut beside = Beside { view, marks: Map::new(), contested: Map::new() };
    beside.read(&Path::root(), &root);
    json!({
        "format": JSON_FORMAT,
        "document": value(&root),
        "marks": beside.marks,
        "contested": beside.contested,
    })
}

/// What stands beside the values.
struct Beside<'a, 'd> {
    view: &'a View<'d>,
    marks: Map<String, Json>,
    contested: Map<String, Json>,
}

impl Beside<'_, '_> {
    fn read(&mut self, at: &Path, found: &Value) {
        match found {
            Value::Map(map) => map.iter().for_each(|(key, inner)| self.entry(&at.join(key.as_str()), inner)),
            Value::List(list) => {
                list.iter().enumerate().for_each(|(i, inner)| self.entry(&at.join(i), inner))
            }
            Value::Text(_) => {
                let mark = |m: dinh_core::document::Mark| json!({ "start": m.start, "end": m.end, "name": m.name, "value": value(&m.value) });
                let marks: Vec<Json> = self.view.marks(at).into_iter().map(mark).collect();
                if !marks.is_empty() {
                    self.marks.insert(at.to_string(), marks.into());
                }
            }
            _ => {}
        }
    }

    fn entry(&mut self, at: &Path, inner: &Value) {
        let standing = self.view.conflicts(at);
        if standing.len() > 1 {
            let all: Vec<Json> = standing.iter().map(|c| value(&c.value)).collect();
            self.contested.insert(at.to_string(), all.into());
        }
        self.read(at, inner);
    }
}

fn value(found: &Value) -> Json {
    match found {
        Value::Null => Json::Null,
        Value::Bool(flag) => (*flag).into(),
        Value::Int(n) => (*n).into(),
        Value::Uint(n) => (*n).into(),
        Value::F64(n) => match serde_json::Number::from_f64(*n) {
            Some(number) => Json::Number(number),
            None if n.is_nan() => json!({ "$number": "NaN" }),
            None => json!({ "$number": if *n > 0.0 { "Infinity" } else { "-Infinity" } }),
        },
        Value::Str(text) | Value::Text(text) => text.as_str().into(),
        Value::Bytes(bytes) => json!({ "$base64": base64(bytes) }),
        Value::Timestamp(at) => {
            rfc3339(*at).map_or_else(|| json!({ "$milliseconds": at }), |text| text.into())
        }
        Value::Map(map) => map
            .iter()
            .map(|(key, inner)| {
                let key = if key.starts_with('$') { format!("${key}") } else { key.clone() };
                (key, value(inner))
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::List(list) => list.iter().map(value).collect::<Vec<_>>().into(),
    }
}

/// A time in milliseconds since 1970 as text, in UTC; `None` outside the years 0 to 9999.
#[must_use]
pub fn rfc3339(at: i64) -> Option<String> {
    let (year, month, day) = date(at.div_euclid(DAY_MS))?;
    let ms = at.rem_euclid(DAY_MS);
    let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
    let (second, ms) = (ms / 1_000 % 60, ms % 1_000);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"))
}

const DAY_MS: i64 = 86_400_000;
/// Days from the first of March of the year 0 to 1970.
const BEFORE_1970: i64 = 719_468;
/// Days of 400 years.
const ERA: i64 = 146_097;

/// The date of a day since 1970 in the Gregorian calendar, if its year has four digits.
pub(super) fn date(day: i64) -> Option<(i64, i64, i64)> {
    // Years here begin in March, so that the leap day is the last one.
    let day = day.checked_add(BEFORE_1970)?;
    let (era, of_era) = (day.div_euclid(ERA), day.rem_euclid(ERA));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era.checked_mul(400)?.checked_add(year + carry)?;
    (0..=9_999).contains(&year).then_some((year, month, day))
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= three.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (at, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_796_301_000_123, "2026-12-03T12:30:00.123Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(at).as_deref(), Some(text));
        }
        for at in [253_402_300_800_000, -62_167_219_200_001, i64::MAX, i64::MIN] {
            assert_eq!(rfc3339(at), None, "{at}");
            assert_eq!(value(&Value::Timestamp(at)), json!({ "$milliseconds": at }));
        }
    }

    #[test]
    fn what_json_has_no_word_for_says_what_it_is() {
        for (bytes, text) in
            [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (b"foob", "Zm9vYg==")]
        {
            assert_eq!(value(&Value::Bytes(bytes.to_vec())), json!({ "$base64": text }));
        }
        assert_eq!(value(&Value::F64(f64::NAN)), json!({ "$number": "NaN" }));
        assert_eq!(value(&Value::F64(f64::NEG_INFINITY)), json!({ "$number": "-Infinity" }));
        let keys = Value::Map([("$base64".to_owned(), Value::Uint(u64::MAX))].into());
        assert_eq!(value(&keys), json!({ "$$base64": u64::MAX }));
    }
}
