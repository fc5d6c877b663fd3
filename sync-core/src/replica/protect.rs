//! Protected spaces: what is in them can be read on this device only while its wrap secret is here.
//!
//! Which spaces those are is a decision of the app on this device and is kept in the store. On disk there is of them:
//! * items, records, snapshots: encrypted under keys of the spaces, as everywhere;
//! * those keys, and own changes that are in no item yet: as rows that only the wrap secret opens
//!   ([`seal_local`]), from the moment at which they are written, so that it does not matter how the process ends;
//! * no saved views: documents are made again from items.
//!
//! When the wrap secret is dropped, keys and documents in memory are too. What arrives then is received, stored and
//! passed on like everything else. What would have to be opened waits for the unlocking: the judging of snapshots after a
//! change of who may write, writing again what a relay refused or another copy of the store was first with, new keys.
//!
//! # Limits
//! Memory of documents is freed, not erased. What was on disk before a space was protected may be left in free pages of
//! the file. While the wrap secret is away, new keys of other spaces do not open either: their runs wait, and what is
//! written there stays here until the unlocking. This device still signs: who controls it can do in its name what its
//! role allows, but not read.

use dinh_proto::crypto::{open_local, seal_local};
use dinh_proto::ids::{ChainId, DocId, SpaceId};
use dinh_proto::item::RawItem;
use dinh_proto::limits;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use zeroize::Zeroizing;

use super::schema::{self, Batch};
use super::{Event, Now, Replica, ReplicaError, Unsealed};
use crate::store::{Store, StoreError, Table};

const PLAIN: u8 = 0;
const SEALED: u8 = 1;

impl<S: Store> Replica<S> {
    /// Says whether a space is protected on this device from now on: see [`lock_protected`](Self::lock_protected). A
    /// decision of this device, which nobody else hears of. Best made as soon as a space is known: what was on disk of it
    /// before may be left in free pages of the store's file until they are written over.
    ///
    /// # Errors
    /// [`ReplicaError::UnknownSpace`]; [`ReplicaError::Locked`] if the second secret is not here.
    pub fn protect_space(&mut self, space: SpaceId, protect: bool) -> Result<(), ReplicaError> {
        if !self.space_branch.contains_key(&space) {
            return Err(ReplicaError::UnknownSpace(space));
        }
        if self.protected.contains(&space) == protect {
            return Ok(());
        }
        if !self.key.has_wrap() {
            return Err(ReplicaError::Locked(space));
        }
        if protect {
            self.protected.insert(space);
        } else {
            self.protected.remove(&space);
        }
        let mut batch = Batch::default();
        batch.put(Table::Meta, schema::META_PROTECTED, schema::spaces_bytes(&self.protected));
        for key in self.keys.of(&space).cloned().collect::<Vec<_>>() {
            self.keep_key(space, key, &mut batch);
        }
        self.rewrite_unsealed_rows(|found| found.is_none_or(|s| s == space), &mut batch)?;
        for doc in self.saved_views()? {
            if self.space_of(&doc).is_none_or(|s| s == space) {
                batch.delete(Table::Views, doc.0);
            }
        }
        batch.commit(&mut self.store)?;
        Ok(())
    }

    /// The spaces that are protected on this device.
    pub fn protected_spaces(&self) -> &BTreeSet<SpaceId> {
        &self.protected
    }

    /// Drops the device's second secret: protected spaces cannot be read here until
    /// [`unlock_protected`](Self::unlock_protected), neither through this replica nor from its store or its memory's keys,
    /// while everything else goes on. What is typed in them is saved first. Nothing happens if it is away already.
    ///
    /// Until then documents of protected spaces answer [`ReplicaError::Locked`]; new keys, also of other spaces, cannot be
    /// learned, so what is written under those waits.
    ///
    /// # Errors
    /// If something typed could not be saved. It is locked all the same, except after [`ReplicaError::Store`].
    pub fn lock_protected(&mut self, now: Now) -> Result<(), ReplicaError> {
        if !self.key.has_wrap() {
            return Ok(());
        }
        let typed = self.flush_protected_typing(now);
        // What can become an item goes out while it is locked; the rest is in rows that do not open then.
        let saved = match (typed, self.seal_all()) {
            (Err(ReplicaError::Store(error)), _) | (_, Err(ReplicaError::Store(error))) => {
                return Err(error.into());
            }
            (typed, sealed) => typed.and(sealed),
        };
        let mut batch = Batch::default();
        self.rewrite_unsealed_rows(|space| space.is_none(), &mut batch)?;
        batch.commit(&mut self.store)?;
        self.forget_protected();
        saved
    }

    /// Commits what is typed in protected documents. What cannot be (its field is gone) is given up; the first reason is
    /// returned.
    fn flush_protected_typing(&mut self, now: Now) -> Result<(), ReplicaError> {
        let docs: BTreeSet<DocId> = self.typing.keys().map(|(doc, _)| *doc).collect();
        let mut saved = Ok(());
        for doc in docs {
            if !self.is_protected_document(&doc) {
                continue;
            }
            // Most errors take one field out; one that takes none would come again for ever.
            let mut left = usize::MAX;
            while let Err(error) = self.flush_typing_of(&doc, now.wall) {
                if let ReplicaError::Store(_) = error {
                    return Err(error);
                }
                let are_left = self.typing.keys().filter(|(typed_in, _)| *typed_in == doc).count();
                if are_left >= left {
                    self.give_up_typing(&doc, &error);
                }
                left = are_left;
                saved = saved.and(Err(error));
            }
        }
        saved
    }

    /// Everything in memory that opens protected spaces, or came out of them.
    fn forget_protected(&mut self) {
        for space in self.protected.clone() {
            self.keys.forget(&space);
        }
        self.key.forget_wrap();
        // From the state of the generator follows all that it gave: seeds of keys, too.
        let mut seed = Zeroizing::new([0; 32]);
        self.rng.fill_bytes(&mut seed[..]);
        *self.rng = ChaCha8Rng::from_seed(*seed);
        let mut gone = BTreeSet::new();
        let all = self.open.keys().chain(self.unsealed.keys()).chain(self.typed_at.keys());
        for doc in all.chain(self.typing.keys().map(|(doc, _)| doc)) {
            if self.is_protected_document(doc) {
                gone.insert(*doc);
            }
        }
        for doc in &gone {
            self.open.remove(doc);
            self.typed_at.remove(doc);
            self.locked_changes += self.unsealed.remove(doc).map_or(0, |changes| changes.len());
        }
        self.typing.retain(|(doc, _), _| !gone.contains(doc));
        for event in std::mem::take(&mut self.events) {
            match event {
                Event::DocumentChanged { doc, .. } if self.is_protected_document(&doc) => {
                    if self.reset_events.insert(doc) {
                        self.events.push_back(Event::DocumentReset { doc });
                    }
                }
                Event::Presence { space, .. } if self.protected.contains(&space) => {}
                event => self.events.push_back(event),
            }
        }
    }

    /// Takes the device's second secret back: protected spaces can be read and written again, and everything that arrived
    /// in the meantime is there. Nothing happens if it is here already.
    ///
    /// # Errors
    /// [`ReplicaError::WrongWrapSecret`]: everything is as before.
    pub fn unlock_protected(&mut self, now: Now, wrap_secret: &[u8; 32]) -> Result<(), ReplicaError> {
        let was_locked = !self.key.has_wrap();
        self.key.with_wrap(wrap_secret).map_err(|_| ReplicaError::WrongWrapSecret)?;
        if !was_locked {
            return Ok(());
        }
        self.load_keys()?;
        self.load_unsealed()?;
        self.charters_due.extend(self.charters.keys().copied().collect::<Vec<_>>());
        let mut batch = Batch::default();
        self.settle_charters(Some(now.mono), &mut batch)?;
        batch.commit(&mut self.store)?;
        self.rewrite_stale()?;
        for (branch, devices) in std::mem::take(&mut self.rejudge_locked) {
            self.rejudge.entry(branch).or_default().extend(devices);
        }
        // Among what is parked may be another copy's items, which can be dealt with now.
        self.parked_is_due = true;
        self.take_parked()?;
        self.apply_after_keys()?;
        if let Some(link) = &mut self.link {
            link.held_back.clear();
        }
        if !self.unsealed.is_empty() {
            self.seal_at = Some(now.mono + limits::SEAL_AFTER);
        }
        let docs = self.charters.values().flat_map(|c| c.documents());
        let docs: Vec<DocId> =
            docs.filter(|(_, d)| self.protected.contains(&d.space)).map(|(doc, _)| *doc).collect();
        docs.into_iter().for_each(|doc| self.push_event(Event::DocumentReset { doc }));
        Ok(())
    }

    /// Whether a space is protected and the wrap secret is not here.
    pub(super) fn is_locked(&self, space: &SpaceId) -> bool {
        !self.key.has_wrap() && self.protected.contains(space)
    }

    pub(super) fn must_be_unlocked(&self, doc: &DocId) -> Result<(), ReplicaError> {
        if self.key.has_wrap() {
            return Ok(());
        }
        match self.space_of(doc).filter(|space| self.is_locked(space)) {
            Some(space) => Err(ReplicaError::Locked(space)),
            None => Ok(()),
        }
    }

    /// Whether a document's content must not be on disk. Also if its space is not known any more.
    pub(super) fn is_protected_document(&self, doc: &DocId) -> bool {
        !self.protected.is_empty() && self.space_of(doc).is_none_or(|space| self.protected.contains(&space))
    }

    /// Whether an item of this device's chain by another copy of its store waits for the unlocking, before number `n`.
    pub(super) fn has_parked_fork(&self, chain: &ChainId, n: u32) -> bool {
        self.is_locked(&chain.space)
            && chain.author.device == self.device
            && self.parked.values().any(|bytes| {
                let item = RawItem::parse(bytes.clone().into());
                item.is_ok_and(|item| item.header().chain() == *chain && item.header().n() < Some(n))
            })
    }

    pub(super) fn put_unsealed(
        &mut self,
        doc: &DocId,
        unsealed: &Unsealed,
        batch: &mut Batch,
    ) -> Result<(), ReplicaError> {
        let key = schema::unsealed_key(doc, unsealed.seq);
        let sealed = self.is_protected_document(doc);
        let plain = Zeroizing::new(unsealed.value());
        let row = match (sealed, self.space_of(doc)) {
            (false, _) => plain_row(&plain),
            (true, Some(space)) => self.sealed_row(Table::Unsealed, &key, &plain, space)?,
            // Nobody knows what it was part of: it is locked too if that can be.
            (true, None) => self
                .sealed_row(Table::Unsealed, &key, &plain, SpaceId::default())
                .unwrap_or_else(|_| plain_row(&plain)),
        };
        batch.put(Table::Unsealed, key, row);
        batch.put(Table::Numbers, doc.0, schema::number_bytes(&self.session, unsealed.seq));
        Ok(())
    }

    /// Writes the rows of own changes again, as they must be now, of documents in the spaces that `which` picks.
    fn rewrite_unsealed_rows(
        &mut self,
        which: impl Fn(Option<SpaceId>) -> bool,
        batch: &mut Batch,
    ) -> Result<(), ReplicaError> {
        for doc in self.unsealed.keys().copied().collect::<Vec<_>>() {
            if which(self.space_of(&doc)) {
                for change in self.unsealed.get(&doc).cloned().unwrap_or_default() {
                    self.put_unsealed(&doc, &change, batch)?;
                }
            }
        }
        Ok(())
    }

    fn saved_views(&self) -> Result<Vec<DocId>, StoreError> {
        let mut docs = Vec::new();
        self.store.read(|tx| {
            tx.scan(Table::Views, &[], None, &mut |key, _| {
                docs.push(DocId(key.try_into().map_err(|_| StoreError::Corrupt("view"))?));
                Ok(ControlFlow::Continue(()))
            })
        })?;
        Ok(docs)
    }

    /// The row under which a secret of a space is kept.
    ///
    /// # Errors
    /// [`ReplicaError::Locked`] if the space is.
    pub(super) fn row(
        &mut self,
        table: Table,
        key: &[u8],
        plain: &[u8],
        space: SpaceId,
    ) -> Result<Vec<u8>, ReplicaError> {
        if self.protected.contains(&space) {
            self.sealed_row(table, key, plain, space)
        } else {
            Ok(plain_row(plain))
        }
    }

    fn sealed_row(
        &mut self,
        table: Table,
        key: &[u8],
        plain: &[u8],
        space: SpaceId,
    ) -> Result<Vec<u8>, ReplicaError> {
        let mut nonce = [0; 24];
        self.rng.fill_bytes(&mut nonce);
        let sealed = seal_local(&self.key, &nonce, &place(table, key), plain);
        Ok([&[SEALED][..], &sealed.map_err(|_| ReplicaError::Locked(space))?].concat())
    }

    /// What a row holds; `None` if only the wrap secret opens it, which is not here.
    pub(super) fn open_row(
        &self,
        table: Table,
        key: &[u8],
        row: &[u8],
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let corrupt = StoreError::Corrupt("row of a secret");
        match row.split_first() {
            Some((&PLAIN, plain)) => Ok(Some(Zeroizing::new(plain.to_vec()))),
            Some((&SEALED, _)) if !self.key.has_wrap() => Ok(None),
            Some((&SEALED, sealed)) => {
                open_local(&self.key, &place(table, key), sealed).map(Some).map_err(|_| corrupt)
            }
            _ => Err(corrupt),
        }
    }
}

fn plain_row(plain: &[u8]) -> Vec<u8> {
    [&[PLAIN][..], plain].concat()
}

/// What a sealed row is bound to.
fn place(table: Table, key: &[u8]) -> Vec<u8> {
    [table.name().as_bytes(), &[0], key].concat()
}
