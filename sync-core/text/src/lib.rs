//! Vietnamese text: normal form, folding, search, sorting and checks.
//!
//! * [`normal`]: the form in which text is stored, and the form in which it is compared and hashed.
//! * [`fold`]: letters without their marks, with the way back to the text.
//! * [`search`]: an index in memory over the fields of many documents.
//! * [`sort`]: names in the order of a Vietnamese list.
//! * [`syllable`]: syllables with two tones, and keystrokes that were never composed.
//! * [`legacy`]: text of the fonts from before Unicode.
//! * [`sensitive`] and [`classification`]: what must not be in a document.
//!
//! Everything here is a pure function of its arguments, or a plain value. **Positions are UTF-16 code units of the text's
//! NFC form**, as everywhere in Dinh; texts of documents are NFC, so for them that is the text itself. Input of any form
//! and content is taken: nothing here panics or fails on a text.

#![warn(missing_docs, clippy::disallowed_methods, clippy::disallowed_types)]

pub mod classification;
pub mod fold;
pub mod legacy;
mod letters;
pub mod normal;
pub mod search;
pub mod sensitive;
pub mod sort;
pub mod syllable;
