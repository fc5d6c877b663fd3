//! The marker by which a store is known not to be a copy: the same random bytes in the store and in a place that no
//! backup holds.
//!
//! If they differ, or the place is empty although the store was used, the store came out of a backup, or from another
//! phone. What goes on writing under its session then may be more than one. So a new session begins before anything
//! is written; changes that were in no item yet are written again in it, and wait until the other copy's items
//! were received (see `rewrite.rs`).
//!
//! # Order of writing
//! The new session and a new marker go into the store in one transaction; then the other place is written. A crash in
//! between leaves the two different: the next opening begins one more session, needlessly. No crash leaves them
//! equal without a new session, because the new marker exists nowhere before the transaction that begins the session.
//!
//! # Limits
//! A store that is put back to an earlier state *beside* its marker (a file manager's work, not a backup's) looks
//! like itself. Such replicas notice when they next sync.

use std::collections::BTreeMap;
use std::fmt;

use dinh_proto::error::RejectCode;
use dinh_proto::keys::DeviceKey;
use rand_chacha::rand_core::RngCore;

use super::schema::{self, Batch};
use super::{Event, Replica, ReplicaConfig, ReplicaError};
use crate::store::{Store, StoreError, Table};

/// 16 random bytes; see [`Replica::open_marked`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Marker(pub [u8; 16]);

impl fmt::Debug for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Marker")?;
        self.0[..4].iter().try_for_each(|byte| write!(f, " {byte:02x}"))
    }
}

impl<S: Store> Replica<S> {
    /// [`open`](Self::open) for a store that may have come out of a backup, or from another phone. `found` is the
    /// marker in the place that no backup holds, if there is one.
    ///
    /// Gives the marker that must be in that place, durably, before the replica makes anything: if it is not
    /// `found`, the caller writes it there now. If a used store and `found` did not agree, a new session has
    /// begun.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_marked(
        store: S,
        key: DeviceKey,
        config: ReplicaConfig,
        seed: [u8; 32],
        found: Option<Marker>,
    ) -> Result<(Self, Marker), ReplicaError> {
        let mut replica = Self::unloaded(store, key, config, seed);
        let marker = replica.load(|replica, is_new| replica.agree_on_marker(is_new, found))?;
        Ok((replica, marker))
    }

    fn agree_on_marker(&mut self, is_new: bool, found: Option<Marker>) -> Result<Marker, ReplicaError> {
        let kept = self.store.read(|tx| tx.get(Table::Meta, schema::META_MARKER))?;
        let kept =
            kept.map(|b| b.try_into().map(Marker).map_err(|_| StoreError::Corrupt("marker"))).transpose()?;
        if let Some(kept) = kept.filter(|_| kept == found) {
            return Ok(kept);
        }
        let mut batch = Batch::default();
        if !is_new {
            let changes = self.change_session(BTreeMap::new(), None, (RejectCode::Fork, ""), &mut batch)?;
            self.counters.recoveries += 1;
            let session = self.session;
            tracing::info!(?session, changes, "the store may be a copy: a new session begins");
            self.push_event(Event::Recovered { session, changes });
        }
        let mut marker = Marker([0; 16]);
        self.rng.fill_bytes(&mut marker.0);
        batch.put(Table::Meta, schema::META_MARKER, marker.0);
        batch.commit(&mut self.store)?;
        Ok(marker)
    }
}
