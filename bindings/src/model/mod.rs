//! The documents of a branch (`docs/MODEL.md`): commands in, snapshots out.
//!
//! A command is one change of one document. A snapshot is a kind of document as an immutable value, as JSON: the same shapes in
//! every language, decoded there into types of the language's own.

pub mod branch;
pub mod command;
pub mod flow;
pub mod papers;
pub mod snapshot;
pub mod words;

use dinh_core::document::EditError;
use dinh_core::replica::ReplicaError;

type Done<T> = Result<T, ReplicaError>;

fn refused(why: &str) -> ReplicaError {
    ReplicaError::Edit(EditError::Refused(why.to_owned()))
}
