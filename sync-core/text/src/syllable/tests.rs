use std::collections::BTreeSet;

use super::*;

const VILLAGE: &str = include_str!("../../testdata/village.txt");

/// The sample's words, without numbers.
fn sample_words() -> Vec<&'static str> {
    letters::words(VILLAGE, char::is_alphabetic).map(|(_, word)| word).collect()
}

#[test]
fn the_sample_is_spelled() {
    let words = sample_words();
    let other: BTreeSet<&str> = words.iter().copied().filter(|word| !is_syllable(word)).collect();
    println!("{} words; not syllables: {other:?}", words.len());
    let count = words.iter().filter(|word| !is_syllable(word)).count();
    assert!(count * 100 < words.len(), "{count} of {} are no syllables", words.len());
}

#[test]
fn possible_and_impossible_syllables() {
    let possible = "tiếng việt nghiêng khuỷu quýt quỳnh giếng gì giặt hòa hoà thuỷ ngoằn ngoèo huơ xoong ưu yêu ỷ Đảng NGHỊ QUYẾT quyển";
    let impossible = "tieengs tiêngs tát́ tàt zịch nghà cì ngê gha blốc hòà résumé Mật1 ê̆a ČƯ";
    for word in possible.split(' ') {
        assert!(is_syllable(word), "{word}");
    }
    for word in impossible.split(' ') {
        assert!(!is_syllable(word), "{word}");
    }
    println!("{} possible, {} not", possible.split(' ').count(), impossible.split(' ').count());
}

#[test]
fn two_tones_are_found() {
    let words = "hòà hóà Hòá HÒÀ thủỷ khỏẻ việết tiếềng nghĩã hò\u{301}a múà quyếển";
    for word in words.split(' ') {
        let text = format!("𝄞 đọc {word}, rồi");
        let expected = 7..7 + letters::utf16_len(&normal::nfc(word));
        assert_eq!(two_tones(&text), [expected], "{word}");
    }
    println!("{} words with two tones", words.split(' ').count());
}

#[test]
fn ordinary_text_has_no_two_tones() {
    assert_eq!(two_tones(VILLAGE), []);
    let others = [
        "Ê̆a H'leo, Čư̆ M'gar, Krông Ƀuk, ơ̆ ê̆ ư̆",
        "កម្ពុជា ភាសាខ្មែរ",
        "ꨌꩌ ꪼꪕ",
        "résumé, Éléphant, décolleté, à côté",
        "ViệtNam TổQuốc",
        "Nà Hẩu, Pắc Kạn, Đắk Lắk",
    ];
    for text in others {
        assert_eq!(two_tones(text), [], "{text}");
    }
    println!("{} words and {} other texts without two tones", sample_words().len(), others.len());
}

#[test]
fn keys_are_found() {
    let cases = [
        ("tieengs", "tiếng"),
        ("vieejt", "việt"),
        ("vieetj", "việt"),
        ("Vieetj", "Việt"),
        ("VIEETJ", "VIỆT"),
        ("ddangr", "đảng"),
        ("dduwowcj", "được"),
        ("nguwowif", "người"),
        ("nguowif", "người"),
        ("nhaf", "nhà"),
        ("thoonf", "thồn"),
        ("nghij", "nghị"),
        ("quyeets", "quyết"),
        ("hoaf", "hòa"),
        ("muawf", "mừa"),
        ("ddoongf", "đồng"),
        ("tiêngs", "tiếng"),
        ("truwowngr", "trưởng"),
        ("gioosng", "giống"),
        ("tie61ng", "tiếng"),
        ("tieng61", "tiếng"),
        ("vie65t", "việt"),
        ("d9a3ng", "đảng"),
        ("nu7o7c1", "nước"),
        ("nuo7c1", "nước"),
        ("D9a5i", "Đại"),
    ];
    for (keys, meant) in cases {
        let found = telex_leftover(&format!("từ {keys}."));
        let expected = Leftover { range: 3..3 + letters::utf16_len(keys), meant: meant.into() };
        assert_eq!(found, [expected], "{keys}");
    }
    println!("{} words of keys", cases.len());
}

#[test]
fn ordinary_text_is_not_keys() {
    assert_eq!(telex_leftover(VILLAGE), []);
    let others = [
        include_str!("../../testdata/english.txt"),
        "Wi-Fi, SMS, website, email, file PDF, Zalo, Facebook, Viettel, smartphone, QR, OTP, USB, xoong, boong, Google",
        "12-NQ/CB, 42-HD/BTCTW, m2, km2, A4, B52, F0, phong6, khoa8, ĐT767, s1b1, co65, 4G, QL3B, xã 135, tổ 7, 03/12/2026, H5N1, VTV1, c19a2",
        "quoong",
        "BCH, MTTQ, UBND, HĐND, TTg, CCCD, BHXH, CLB, HTX, ĐHĐB, DDoS",
        "Ê̆a H'leo, Čư̆ M'gar, Krông Ƀuk, Ma Seo Phử, Giàng A Sử, Y Bhăm Niê, Hlaang",
        "résumé, café, Élysée, Müller",
    ];
    for text in others {
        assert_eq!(telex_leftover(text), [], "{text}");
    }
    println!("{} words and {} other texts are not keys", sample_words().len(), others.len());
}

/// What part of the sample's syllables is found if it is typed and never composed.
#[test]
fn the_share_of_keys_found() {
    let words: Vec<String> =
        sample_words().into_iter().filter(|word| is_syllable(word)).map(str::to_lowercase).collect();
    let marked: Vec<&String> = words.iter().filter(|word| !word.is_ascii()).collect();
    let mut found = 0;
    for word in &marked {
        let leftovers = telex_leftover(&telex_keys(word));
        found += leftovers.len();
        // What is found is also right, apart from the place of the mark.
        for leftover in leftovers {
            assert_eq!(letters::toneless(&leftover.meant), letters::toneless(word), "{word}");
        }
    }
    let percent = found * 100 / marked.len();
    println!("{found} of {} words with diacritics are found ({percent} %)", marked.len());
    assert!(percent >= 50);
}

/// The keys of a lower-case syllable: shapes at their letters, the tone at the end.
fn telex_keys(word: &str) -> String {
    let parted = letters::toneless(word);
    let mut keys = String::new();
    for c in parted.letters.chars() {
        keys.push(base(c));
        match c {
            'â' | 'ê' | 'ô' | 'đ' => keys.push(base(c)),
            'ă' | 'ơ' | 'ư' => keys.push('w'),
            _ => {}
        }
    }
    keys.extend(parted.tones.iter().map(|tone| match tone {
        Tone::Acute => 's',
        Tone::Grave => 'f',
        Tone::Hook => 'r',
        Tone::Tilde => 'x',
        Tone::Dot => 'j',
    }));
    keys
}
