//! One act of this device's member on one document, and reading one: what every command of an app goes through.

use std::collections::BTreeMap;

use dinh_core::document::{Edit, EditError};
use dinh_core::replica::{Now, Replica, ReplicaError};
use dinh_core::store::Store;
use dinh_proto::error::RejectCode;
use dinh_proto::ids::{ChangeHash, DeviceId, DocId, MemberId};

use crate::field::{Fields, Writers};
use crate::me::Me;

/// Writes to a document as this device's member: what `f` writes becomes one change, durable when this returns. `message` is
/// kept with it; see [`credit`](crate::suggestion::credit).
///
/// # Errors
/// What `f` returns; [`ReplicaError::NotAuthorised`] if the charter does not know this device; see [`Replica::edit`].
pub fn act<S: Store, R>(
    replica: &mut Replica<S>,
    now: Now,
    doc: &DocId,
    message: Option<&str>,
    f: impl FnOnce(&mut Edit<'_>, &mut Me) -> Result<R, EditError>,
) -> Result<(R, Option<ChangeHash>), ReplicaError> {
    let mut me = me(replica, now, doc)?;
    replica.edit(now, doc, message, |edit| f(edit, &mut me))
}

/// This device's member, about to act on a document.
///
/// # Errors
/// [`ReplicaError::UnknownDocument`]; [`ReplicaError::NotAuthorised`] if the charter does not know this device.
pub fn me<S: Store>(replica: &mut Replica<S>, now: Now, doc: &DocId) -> Result<Me, ReplicaError> {
    if replica.space_of(doc).is_none() {
        return Err(ReplicaError::UnknownDocument(*doc));
    }
    let author = replica.author_now(doc).ok_or(ReplicaError::NotAuthorised(RejectCode::UnknownAuthor))?;
    let wall = i64::try_from(now.wall.0).unwrap_or(i64::MAX);
    Ok(Me::new(&author, wall, replica.draw()))
}

/// Reads a document: its fields, with who wrote them.
///
/// # Errors
/// See [`Replica::view`].
pub fn read<S: Store, R>(
    replica: &mut Replica<S>,
    doc: &DocId,
    f: impl FnOnce(&Fields<'_, '_>) -> R,
) -> Result<R, ReplicaError> {
    let writers = writers(replica, doc);
    replica.view(doc, |view| f(&Fields::new(view, &writers)))
}

/// Who writes under which actor id in a document.
pub fn writers<S: Store>(replica: &Replica<S>, doc: &DocId) -> Writers {
    let charters = replica.charters().values();
    let present = charters.clone().flat_map(|c| c.devices().iter().map(|(id, d)| (*id, d.member)));
    let removed = charters.flat_map(|c| c.removed().iter().map(|(id, d)| (*id, d.device.member)));
    let members: BTreeMap<DeviceId, MemberId> = removed.chain(present).collect();
    Writers::new(replica.authors(doc), |device| members.get(device).copied())
}
