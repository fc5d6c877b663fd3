//! Keystrokes of Telex and VNI, and what they compose to.

use super::{fits, tone_fits, with_tone};
use crate::letters::{Tone, base, is_vowel};

/// What a word composes to if it looks like keystrokes; see [`super::telex_leftover`].
pub(super) fn composed(word: &str) -> Option<String> {
    // Longer than the keys of the longest syllable (`nghieengs`, `nghie6ng1`) is something else.
    if word.chars().count() > 10 {
        return None;
    }
    // Capitals begin a word or are all of it (`DDangr`, not `DDoS`).
    let mut cases = word.chars().filter(|c| c.is_alphabetic()).skip_while(|c| c.is_uppercase());
    if cases.any(char::is_uppercase) {
        return None;
    }
    let lower = word.to_lowercase();
    let keys: Vec<char> = lower.chars().collect();
    if !keys.iter().all(|&c| c.is_ascii_alphanumeric() || base(c) != c) {
        return None;
    }
    let meant = if keys.iter().any(char::is_ascii_digit) { vni(&keys)? } else { telex(&lower, &keys)? };
    Some(in_case_of(word, &meant))
}

fn telex(lower: &str, keys: &[char]) -> Option<String> {
    if ENGLISH.split_ascii_whitespace().any(|word| word == lower) || fits(lower, true) {
        return None;
    }
    let mut letters: Vec<char> = Vec::with_capacity(keys.len());
    let (mut tone, mut shaped, mut vowel) = (None, false, false);
    let mut before = None;
    for &key in keys {
        // A shape is typed directly after its letter, which `there` and `here` have not done.
        let last =
            letters.last().copied().filter(|_| before.is_none_or(|before| telex_tone(before).is_none()));
        before = Some(key);
        let shape = match (last, key) {
            (Some('a'), 'a') => Some('â'),
            (Some('e'), 'e') => Some('ê'),
            (Some('o'), 'o') => Some('ô'),
            (Some('d'), 'd') if letters.len() == 1 => Some('đ'),
            (Some('a'), 'w') if letters.len() > 1 && letters[letters.len() - 2] == 'u' => {
                // `ua` with a horn: `muaw` is `mưa`.
                let place = letters.len() - 2;
                letters[place] = 'ư';
                Some('a')
            }
            (Some('a'), 'w') => Some('ă'),
            (Some('u'), 'w') => Some('ư'),
            (Some('o'), 'w') => {
                if letters.len() > 1 && letters[letters.len() - 2] == 'u' {
                    let place = letters.len() - 2;
                    letters[place] = 'ư';
                }
                Some('ơ')
            }
            _ => None,
        };
        if let (Some(shape), Some(last)) = (shape, letters.last_mut()) {
            *last = shape;
            shaped = true;
        } else if let Some(key) = telex_tone(key).filter(|_| vowel) {
            if tone.replace(key).is_some() {
                return None;
            }
        } else {
            letters.push(key);
            shaped |= base(key) != key && key != 'đ';
        }
        vowel |= is_vowel(base(key));
    }
    let strong = lower.starts_with("dd")
        || ["uw", "uow", "iee", "yee", "uoo"].iter().any(|keys| lower.contains(keys))
        || matches!(tone, Some(Tone::Dot | Tone::Grave))
        || (shaped && tone.is_some());
    spelled(&letters, tone).filter(|meant| strong && meant != lower)
}

/// Some keys of Telex are letters elsewhere in the alphabet; after a vowel they are tones.
fn telex_tone(key: char) -> Option<Tone> {
    Some(match key {
        's' => Tone::Acute,
        'f' => Tone::Grave,
        'r' => Tone::Hook,
        'x' => Tone::Tilde,
        'j' => Tone::Dot,
        _ => return None,
    })
}

fn vni(keys: &[char]) -> Option<String> {
    let mut letters: Vec<char> = Vec::with_capacity(keys.len());
    let (mut tone, mut digits, mut shaped) = (None, 0, false);
    for &key in keys {
        let Some(digit) = key.to_digit(10) else {
            letters.push(key);
            continue;
        };
        digits += 1;
        if let 1..=5 = digit {
            let new = [Tone::Acute, Tone::Grave, Tone::Hook, Tone::Tilde, Tone::Dot][digit as usize - 1];
            if tone.replace(new).is_some() {
                return None;
            }
            continue;
        }
        // A shape is for the last letter that can have it.
        let (at, shape) =
            letters.iter().enumerate().rev().find_map(|(at, &c)| Some((at, vni_shape(c, digit)?)))?;
        if shape == 'ơ' && at > 0 && letters[at - 1] == 'u' {
            letters[at - 1] = 'ư';
        }
        letters[at] = shape;
        shaped = true;
    }
    if !shaped || digits < 2 || letters.len() < 3 || !letters[0].is_alphabetic() {
        return None;
    }
    spelled(&letters, tone)
}

fn vni_shape(c: char, digit: u32) -> Option<char> {
    Some(match (c, digit) {
        ('a', 6) => 'â',
        ('e', 6) => 'ê',
        ('o', 6) => 'ô',
        // A second 7 of `nu7o7c` finds the letters marked already.
        ('o' | 'ơ', 7) => 'ơ',
        ('u' | 'ư', 7) => 'ư',
        ('a', 8) => 'ă',
        ('d', 9) => 'đ',
        _ => return None,
    })
}

/// The syllable, if these letters and this tone are one.
fn spelled(letters: &[char], tone: Option<Tone>) -> Option<String> {
    let letters: String = letters.iter().collect();
    if !fits(&letters, false) || !tone_fits(&letters, tone) {
        return None;
    }
    Some(tone.map_or_else(|| letters.clone(), |tone| with_tone(&letters, tone)))
}

/// A lower-case word in capitals or with a capital first, as the keys are.
fn in_case_of(keys: &str, word: &str) -> String {
    let mut letters = keys.chars().filter(|c| c.is_alphabetic());
    let first = letters.next().is_some_and(char::is_uppercase);
    if first && letters.clone().next().is_some() && letters.all(char::is_uppercase) {
        return word.to_uppercase();
    }
    let mut chars = word.chars();
    match chars.next() {
        Some(c) if first => c.to_uppercase().chain(chars).collect(),
        _ => word.to_owned(),
    }
}

/// English words whose letters are also good keys.
const ENGLISH: &str = "\
    aaa aas awn been beer beers bees beef beep books boom booms boos boot boots boor cheer cheers coos coop coops cooper \
    cows deem deems deer deems doom dooms door doors eer eerie ees foot gif goose heels hoof hoop hoops hoot hoots \
    if keen keeps keep leer lees loom looms loons loop loops loos loot loots lows maas meet meets moor moos moons mows \
    nooses of off oops oof ooms peep peeps peer peers pees pooh poof pools poor poops roof room rooms roost roots rows see \
    seem seems seen seep seeps seer sees sneer soon soonest soot sows tee teem teems teens tees tooth tools toot toots \
    tows veer veers vows weeds weeps weer zoom zoos chef chefs def elf ref self surf thief leaf deaf reef calf half";
