//! 32 secret bytes as 24 words, to be written down by hand (BIP 39, English list, no passphrase).

use bip39::{Error, Language, Mnemonic};
use zeroize::{Zeroize, Zeroizing};

use super::{JoinError, ROOT_WORDS};

pub(super) fn write(secret: &[u8; 32]) -> Zeroizing<String> {
    let mut mnemonic = Mnemonic::from_entropy(secret).expect("32 bytes are a length that BIP 39 knows");
    // The longest word of the list has 8 letters.
    let mut text = Zeroizing::new(String::with_capacity(ROOT_WORDS * 9));
    for word in mnemonic.words() {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
    }
    mnemonic.zeroize();
    text
}

pub(super) fn read(text: &str) -> Result<Zeroizing<[u8; 32]>, JoinError> {
    let mut wanted = Zeroizing::new(String::with_capacity(text.len()));
    let mut count = 0;
    for word in text.split_whitespace() {
        let word = Zeroizing::new(word.to_lowercase());
        count += 1;
        if Language::English.find_word(&word).is_none() {
            return Err(JoinError::UnknownWord { position: count, word: word.to_string() });
        }
        wanted.push_str(&word);
        wanted.push(' ');
    }
    if count != ROOT_WORDS {
        return Err(JoinError::WordCount(count));
    }
    let mut mnemonic = Mnemonic::parse_in_normalized(Language::English, &wanted).map_err(|e| match e {
        Error::InvalidChecksum => JoinError::WordsDamaged,
        _ => JoinError::WordCount(count),
    })?;
    let (mut entropy, _) = mnemonic.to_entropy_array();
    let mut secret = Zeroizing::new([0; 32]);
    secret.copy_from_slice(&entropy[..32]);
    entropy.zeroize();
    mnemonic.zeroize();
    Ok(secret)
}
