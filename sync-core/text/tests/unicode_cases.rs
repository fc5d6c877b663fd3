//! Every case of `testdata/unicode-cases.json`. The code points are what counts: editors normalise.

use dinh_text::fold::{Folded, fold, lookalikes};
use dinh_text::legacy::{self, Legacy};
use dinh_text::normal::{clean, nfc};
use dinh_text::search::Index;
use dinh_text::sort::name_key;
use dinh_text::syllable::telex_leftover;
use serde_json::Value;

fn cases() -> Value {
    serde_json::from_str(include_str!("../testdata/unicode-cases.json")).expect("the fixture is JSON")
}

fn input(case: &Value) -> String {
    let points = case["code_points"].as_str().expect("a case has code points");
    points
        .split(' ')
        .map(|point| {
            let number = u32::from_str_radix(point.trim_start_matches("U+"), 16).expect("hexadecimal");
            char::from_u32(number).expect("a scalar value")
        })
        .collect()
}

fn case(name: &str) -> String {
    let cases = cases();
    let found = cases["cases"].as_array().into_iter().flatten().find(|case| case["name"] == name).map(input);
    found.unwrap_or_else(|| panic!("the fixture has no case {name}"))
}

#[test]
fn normal_form_and_folding() {
    let all = cases();
    let mut count = 0;
    for case in all["cases"].as_array().unwrap() {
        let (name, input) = (&case["name"], input(case));
        assert_eq!(Some(input.len() as u64), case["utf8_bytes"].as_u64(), "{name}");
        // The two strings are what the fixture's author computed; NFC of a file may have changed them.
        let expected_nfc = nfc(case["nfc"].as_str().unwrap()).into_owned();
        assert_eq!(nfc(&input), expected_nfc, "{name}");
        // The fixture's note on folding: default-ignorables go.
        let expected = clean(case["folded"].as_str().unwrap()).into_owned();
        assert_eq!(fold(&input), expected, "{name}");
        assert_eq!(Folded::new(&input).text(), expected, "{name}");
        count += 1;
    }
    println!("{count} cases");
    assert_eq!(count, 17);
}

#[test]
fn the_first_five_are_one_word() {
    let all = cases();
    let forms: Vec<String> = all["cases"].as_array().unwrap()[..3].iter().map(input).collect();
    assert!(forms.windows(2).all(|pair| pair[0] != pair[1] && nfc(&pair[0]) == nfc(&pair[1])));
}

#[test]
fn search_matches() {
    let all = cases();
    let case = all["cases"].as_array().unwrap().iter().find(|case| case["name"] == "search key").unwrap();
    let query = input(case);
    let list = |key: &str| -> Vec<String> {
        case[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let (matching, other) = (list("matches"), list("must_not_match"));
    let mut index = Index::new();
    for (doc, text) in matching.iter().chain(&other).enumerate() {
        index.update(doc, (), text);
    }
    let found: Vec<usize> = index.search(&query).into_iter().map(|hit| hit.doc).collect();
    assert_eq!(found, (0..matching.len()).collect::<Vec<_>>());
    println!("{} match, {} do not", matching.len(), other.len());
}

#[test]
fn every_encoding_finds_every_other() {
    let all = cases();
    let forms: Vec<String> = all["cases"].as_array().unwrap()[..3].iter().map(input).collect();
    for text in &forms {
        let mut index = Index::new();
        index.update(0, 0, text);
        for query in forms.iter().map(String::as_str).chain(["tieng viet", "TIẾNG VIỆT"]) {
            let hits = index.search(query);
            assert_eq!(hits.len(), 1, "{query:?} in {text:?}");
            assert_eq!(hits[0].highlights, [0..5, 6..10]);
        }
    }
}

#[test]
fn names_sort() {
    let all = cases();
    let list = |key: &str| -> Vec<String> {
        all["sort"][key].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let mut names = list("input");
    names.sort_by_cached_key(|name| name_key(name));
    assert_eq!(names, list("expected"));
    println!("{} names", names.len());
}

#[test]
fn checks_report() {
    let eth = lookalikes(&case("Icelandic eth looks like Đ"));
    assert_eq!(eth.len(), 1);
    assert_eq!(eth[0].meant, 'Đ');

    let old = case("legacy TCVN3 text pasted from an old Word file");
    assert_eq!(legacy::detect(&old), Some(Legacy::Tcvn3));
    assert_eq!(legacy::convert(&old, Legacy::Tcvn3), "Đảng bộ xã");

    let keys = telex_leftover(&case("telex intermediate"));
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].meant, "tiếng");
    assert_eq!(keys[0].range, 0..7);
}
