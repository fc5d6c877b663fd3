//! Documents of other programs, in and out.

pub mod roster_csv;
pub mod form;
