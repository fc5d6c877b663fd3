//! Documents of other programs, in and out.

pub mod form;
pub mod roster_csv;
