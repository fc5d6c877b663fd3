//! G1 to G4 and G6: what can be said of a change from its bytes alone.

use automerge::{Change, ExpandedChange};
use dinh_proto::limits;
use dinh_proto::pack::{RawChange, UnpackedChange};

use super::engine::{Call, guarded};
use super::refusal::Refusal;
use super::{GateError, columns};
use crate::document::parse_change;

/// G1, G2 as far as the bytes go, G3 and G6. Nothing of the change was given to Automerge before this.
pub(super) fn check_form(change: &UnpackedChange) -> Result<(), Refusal> {
    check_head(&change.head(), change.raw().len())
}

pub(super) fn check_head(head: &RawChange<'_>, bytes: usize) -> Result<(), Refusal> {
    if bytes > limits::CHANGE_BYTES_MAX {
        return Err(Refusal::Size { bytes });
    }
    let actors = std::iter::once(&head.actor).chain(&head.other_actors);
    if let Some(actor) = actors.into_iter().find(|a| a.len() != 16) {
        return Err(Refusal::ActorLength(actor.len()));
    }
    if head.other_actors.len() > limits::CHANGE_ACTORS_MAX {
        return Err(Refusal::Actors("too many"));
    }
    if !ascending(&head.other_actors) {
        return Err(Refusal::Actors("not in ascending order, or one twice"));
    }
    if head.other_actors.contains(&head.actor) {
        return Err(Refusal::Actors("the author among the others"));
    }
    if head.seq == 0 {
        return Err(Refusal::Seq { found: 0, expected: 1 });
    }
    if head.deps.len() > limits::CHANGE_DEPS_MAX {
        return Err(Refusal::Deps("too many"));
    }
    if !ascending(&head.deps) {
        return Err(Refusal::Deps("not in ascending order, or one twice"));
    }
    if !(0..=limits::CHANGE_TIME_S_MAX).contains(&head.time) {
        return Err(Refusal::Time(head.time));
    }
    let message = head.message.unwrap_or_default();
    if message.len() > limits::CHANGE_MESSAGE_BYTES_MAX {
        return Err(Refusal::Message("too long"));
    }
    if std::str::from_utf8(message).is_err() {
        return Err(Refusal::Message("not UTF-8"));
    }
    let counted = columns::count(head.tail)?;
    let last = head.start_op.saturating_add(counted.ops as u64 - 1);
    if last > limits::DOCUMENT_OPS_MAX {
        return Err(Refusal::DocumentFull { last });
    }
    if counted.extra > 0 {
        return Err(Refusal::Footer(counted.extra));
    }
    Ok(())
}

fn ascending<T: Ord>(list: &[T]) -> bool {
    list.windows(2).all(|pair| pair[0] < pair[1])
}

/// G4: Automerge reads the change, and writes the same bytes for what it has read. Only for what passed
/// [`check_form`].
///
/// # Errors
/// [`GateError::Rule`]; [`ShadowError::Panicked`](super::ShadowError) if Automerge panics.
pub(super) fn check_encoding(raw: &[u8]) -> Result<(Change, ExpandedChange), GateError> {
    let change = guarded(Call::Parse, || parse_change(raw))?;
    let change = change.map_err(|error| Refusal::Unreadable(error.to_string()))?;
    let expanded = guarded(Call::Decode, || change.decode())?;
    let again = guarded(Call::Encode, || Change::from(expanded.clone()))?;
    if again.raw_bytes() != raw {
        return Err(Refusal::Encoding.into());
    }
    Ok((change, expanded))
}
