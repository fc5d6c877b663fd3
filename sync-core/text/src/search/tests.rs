use std::collections::BTreeMap;

use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization;

use super::*;
use crate::fold;

fn index(texts: &[&'static str]) -> Index<usize, &'static str> {
    let mut index = Index::new();
    for (doc, text) in texts.iter().enumerate() {
        index.update(doc, "text", text);
    }
    index
}

fn docs(hits: &[Hit<usize, &str>]) -> Vec<usize> {
    hits.iter().map(|hit| hit.doc).collect()
}

fn slice(text: &str, range: &Range<usize>) -> String {
    let units: Vec<u16> = normal::nfc(text).encode_utf16().collect();
    String::from_utf16(&units[range.clone()]).expect("a range ends between characters")
}

#[test]
fn diacritics_may_be_left_out() {
    let texts = ["Khe Gầy", "KHE GẦY", "khe gầy", "khê gái", "khe gãy gọn", "gầy"];
    let index = index(&texts);
    assert_eq!(docs(&index.search("khe gay")), [0, 1, 2, 4]);
    // With diacritics those are first, and the others still found.
    assert_eq!(docs(&index.search("Khe Gầy")), [0, 1, 2, 4]);
    assert_eq!(docs(&index.search("khe gãy")), [4, 0, 1, 2]);
    assert_eq!(docs(&index.search("khê gái")), [3]);
    for query in ["Khe Ga\u{302}\u{300}y", "khe gâ\u{300}y", "KHE GẦY"] {
        assert_eq!(index.search(query), index.search("khe gầy"), "{query}");
    }
    assert_eq!(index.search("khe gai").len(), 1);
    assert_eq!(index.search("khe gam"), []);
    assert_eq!(index.search(" ,. "), []);
}

#[test]
fn ranks_are_in_order() {
    let texts = [
        "hội nghị",          // exact
        "hỏi nghị",          // folded: other letters
        "hồi nghị",          // letters, another tone
        "hội đồng, nghị sĩ", // exact, apart
        "hội nghịch",        // exact, the last word not whole
        "hòi nghi",          // folded
        "hoi nghich",        // folded, not whole
    ];
    let hits = index(&texts).search("hội nghị");
    let ranks: Vec<_> =
        hits.iter().map(|hit| (hit.doc, hit.rank.partial, hit.rank.quality, hit.rank.apart)).collect();
    assert_eq!(
        ranks,
        [
            (0, false, Quality::Exact, false),
            (3, false, Quality::Exact, true),
            (2, false, Quality::Letters, false),
            (1, false, Quality::Folded, false),
            (5, false, Quality::Folded, false),
            (4, true, Quality::Exact, false),
            (6, true, Quality::Folded, false),
        ]
    );
    println!("{} ranks in order", ranks.len());
}

#[test]
fn the_place_of_a_tone_mark_does_not_matter() {
    let hits = index(&["hoà bình", "hóa bình"]).search("hòa bình");
    assert_eq!(docs(&hits), [0, 1]);
    assert_eq!(hits[0].rank.quality, Quality::Exact);
    assert_eq!(hits[1].rank.quality, Quality::Letters);
}

#[test]
fn the_last_word_may_be_a_beginning() {
    let index = index(&["chi bộ thôn", "chi bộ thành", "chi bộ"]);
    assert_eq!(docs(&index.search("chi bộ th")), [0, 1]);
    assert_eq!(docs(&index.search("chi bộ thô")), [0]);
    assert_eq!(index.search("chi bộ thà")[0].rank.quality, Quality::Exact);
    // Only the last one.
    assert_eq!(index.search("ch bộ"), []);
}

#[test]
fn highlights_are_in_the_nfc_text() {
    let text = "𝄞 xóm Khe Ga\u{302}\u{300}y và khe khác; KHE GẦY gầy";
    let index = index(&[text]);
    let hits = index.search("khe gay");
    let marked: Vec<_> = hits[0].highlights.iter().map(|range| slice(text, range)).collect();
    assert_eq!(marked, ["Khe", "Gầy", "KHE", "GẦY"]);
    assert_eq!(hits[0].highlights[0], 7..10);
    let apart = index.search("gay xom");
    let marked: Vec<_> = apart[0].highlights.iter().map(|range| slice(text, range)).collect();
    assert_eq!(marked, ["xóm", "Gầy", "GẦY", "gầy"]);
    assert!(apart[0].rank.apart);
}

#[test]
fn a_snippet_is_within_its_line() {
    let long = "một hai ba bốn năm sáu bảy tám chín mười rét cho cây trồng";
    let texts = ["Mở đầu\nđồng chí phổ biến kế hoạch chống rét\nKết thúc", long];
    let owned: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let mut index = Index::new();
    for (doc, text) in owned.iter().enumerate() {
        index.update(doc, 0, text);
    }
    let hits = index.search("rét");
    assert_eq!(slice(texts[0], &hits[0].snippet), "đồng chí phổ biến kế hoạch chống rét");
    assert_eq!(slice(texts[1], &hits[1].snippet), "ba bốn năm sáu bảy tám chín mười rét cho cây trồng");
}

#[test]
fn letters_that_stand_together_must_stand_together() {
    let index = index(&["ភាសាខ្មែរ", "រខ្មែ", "ខ្ មែ រ"]);
    assert_eq!(docs(&index.search("ខ្មែរ")), [0, 2]);
    let found = index.search("ខ្មែរ");
    assert_eq!(found[0].highlights.len(), 3);
}

#[test]
fn fields_are_updated_and_removed() {
    let mut index = Index::new();
    index.update("a", "title", "Nghị quyết");
    index.update("a", "body", "nghị quyết tháng 12");
    index.update("b", "body", "biên bản");
    assert_eq!(index.search("nghi quyet").len(), 2);
    index.update("a", "body", "biên bản");
    assert_eq!(index.search("nghi quyet").len(), 1);
    assert_eq!(index.search("bien ban").iter().map(|hit| hit.doc).collect::<Vec<_>>(), ["a", "b"]);
    index.remove(&"a");
    assert_eq!(index.search("bien ban").len(), 1);
    index.update("b", "body", " ");
    assert!(index.is_empty());
    assert!(index.terms.is_empty(), "no term is left behind");
    index.remove(&"b");
}

#[derive(Clone, Debug)]
enum Step {
    Update(u8, u8, String),
    Remove(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let words = ["hội", "hôi", "hoi", "hoang", "Nghị", "nghi", "xã", "xa"];
    let text = proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..6)
        .prop_map(|words| words.join(" "));
    prop_oneof![
        4 => (0..4_u8, 0..2_u8, text).prop_map(|(doc, field, text)| Step::Update(doc, field, text)),
        1 => (0..4_u8).prop_map(Step::Remove),
    ]
}

proptest! {
    /// The index finds what a scan of all texts finds, after any updates.
    #[test]
    fn the_index_agrees_with_a_scan(
        steps in proptest::collection::vec(step(), 0..24),
        query in proptest::sample::select(vec!["hoi", "hội", "ho", "nghi xa", "xã hội", "hoi hoi", "hôi n"]),
    ) {
        let mut index = Index::new();
        let mut texts: BTreeMap<(u8, u8), String> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Update(doc, field, text) => {
                    index.update(doc, field, &text);
                    texts.insert((doc, field), text);
                }
                Step::Remove(doc) => {
                    index.remove(&doc);
                    texts.retain(|key, _| key.0 != doc);
                }
            }
        }
        let folded = fold::fold(query);
        let (last, whole) = folded.split(' ').collect::<Vec<_>>().split_last().map(|(a, b)| (*a, b.to_vec())).unwrap();
        let expected: Vec<_> = texts
            .iter()
            .filter(|(_, text)| {
                let text = fold::fold(text);
                let has = |wanted: &str| text.split(' ').any(|word| word == wanted);
                whole.iter().all(|word| has(word)) && text.split(' ').any(|word| word.starts_with(last))
            })
            .map(|(&key, _)| key)
            .collect();
        let hits = index.search(query);
        let mut found: Vec<_> = hits.iter().map(|hit| (hit.doc, hit.field)).collect();
        found.sort_unstable();
        prop_assert_eq!(found, expected);
        prop_assert!(hits.windows(2).all(|pair| (pair[0].rank, pair[0].doc, pair[0].field)
            < (pair[1].rank, pair[1].doc, pair[1].field)));
        for hit in &hits {
            prop_assert!(!hit.highlights.is_empty());
            let text = &texts[&(hit.doc, hit.field)];
            for range in &hit.highlights {
                let word = fold::fold(&slice(text, range));
                prop_assert!(word.starts_with(last) || whole.contains(&word.as_str()));
            }
        }
        let again: String = query.nfd().collect();
        prop_assert_eq!(index.search(&again), hits);
    }
}
