//! Documents of other programs, in and out.

pub mod export;
pub mod form;
pub mod import;
pub mod roster_csv;
