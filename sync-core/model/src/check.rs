//! What to tell people about the words of a document before others read them, and what is refused.

use std::ops::Range;

use dinh_core::document::{EditError, ReadDoc, View};
use dinh_text::classification::{Degree, find_mark};
use dinh_text::legacy::{self, Legacy};
use dinh_text::sensitive::{self, Kind};
use dinh_text::syllable;

use crate::library::{Field, texts};

/// Something to look at. Ranges are UTF-16 code units of the field's text in NFC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A number by which somebody can be reached or identified.
    Number {
        /// What it seems to be.
        kind: Kind,
        /// Where.
        range: Range<usize>,
    },
    /// A syllable with two tone marks: two people corrected its tone at the same time (`hòà`).
    TwoTones {
        /// Where.
        range: Range<usize>,
    },
    /// Keys of an input method that were not composed (`vieejt`).
    Uncomposed {
        /// Where.
        range: Range<usize>,
        /// What they compose to.
        meant: String,
    },
    /// Text in an encoding from before Unicode, pasted: all of it.
    Legacy {
        /// Which.
        encoding: Legacy,
        /// The text in Unicode, to offer in its place.
        converted: String,
    },
    /// The mark of a state secret.
    Classified {
        /// Its degree.
        degree: Degree,
        /// Where.
        range: Range<usize>,
    },
}

/// What there is to look at in a text.
#[must_use]
pub fn text(text: &str) -> Vec<Warning> {
    if let Some(encoding) = legacy::detect(text) {
        // Whatever else is found in it means nothing.
        return vec![Warning::Legacy { encoding, converted: legacy::convert(text, encoding) }];
    }
    let classified = find_mark(text)
        .map(|mark| Warning::Classified { degree: mark.degree, range: mark.range })
        .into_iter();
    let numbers = sensitive::find(text).into_iter().map(|n| Warning::Number { kind: n.kind, range: n.range });
    let tones = syllable::two_tones(text).into_iter().map(|range| Warning::TwoTones { range });
    let keys = syllable::telex_leftover(text)
        .into_iter()
        .map(|left| Warning::Uncomposed { range: left.range, meant: left.meant });
    classified.chain(numbers).chain(tones).chain(keys).collect()
}

/// What there is to look at in a document: to be asked when somebody leaves a field, and after others' changes came in.
/// `schema`: its schema's name, if it has one.
pub fn document<D: ReadDoc>(schema: Option<&str>, view: &View<'_, D>) -> Vec<(Field, Warning)> {
    let mut found = Vec::new();
    texts(schema, view, &mut |field, words| {
        found.extend(text(words).into_iter().map(|warning| (field.to_vec(), warning)));
    });
    found
}

/// The classifications that documents here may have.
pub const CLASSIFICATIONS: [&str; 2] = ["internal", "public"];

/// Refuses what bears the mark of a state secret: such documents may not be written or kept on devices with a network (Law
/// 29/2018/QH14 on the protection of state secrets, article 5).
///
/// # Errors
/// [`EditError::Refused`].
pub fn refuse_classified(text: &str) -> Result<(), EditError> {
    match find_mark(text) {
        None => Ok(()),
        Some(mark) => Err(EditError::Refused(format!(
            "this bears the mark of a state secret ({:?}): it may not be on a device with a network; take it out, and tell \
             whoever answers for it",
            mark.degree
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_what_to_look_at() {
        assert_eq!(text("Chi bộ thống nhất làm 420 m đường trước ngày 20/12/2026."), []);
        let number = "Liên hệ 0912 345 678.";
        assert_eq!(text(number), [Warning::Number { kind: Kind::Phone, range: 8..20 }]);
        assert_eq!(text("Xây dựng nông thôn hòà bình"), [Warning::TwoTones { range: 19..22 }]);
        let keys = text("Chi bộ tieengs nói");
        assert_eq!(keys, [Warning::Uncomposed { range: 7..14, meant: "tiếng".into() }]);
        let old = text("§¶ng bé x· T©n Khª");
        assert!(matches!(&old[..], [Warning::Legacy { encoding: Legacy::Tcvn3, .. }]), "{old:?}");
    }

    #[test]
    fn state_secrets_are_refused_and_words_about_secrecy_are_not() {
        for marked in ["MẬT\nKế hoạch", "TUYỆT MẬT", "Độ mật: TỐI MẬT"] {
            let refused = refuse_classified(marked).unwrap_err().to_string();
            assert!(refused.contains("state secret"), "{refused}");
            assert!(matches!(text(marked)[0], Warning::Classified { .. }));
        }
        for harmless in ["bảo mật tài khoản", "MẬT ONG", "giữ bí mật nhà nước"] {
            assert_eq!(refuse_classified(harmless), Ok(()));
        }
    }
}
