//! Branches, spaces, documents: the records that this device issues and the charters that it keeps.

use std::collections::BTreeSet;

use dinh_proto::charter::Charter;
use dinh_proto::charter::record::{Audience, Certificate, JoinRequest, Record, Role, Writers, found};
use dinh_proto::codec::{Reader, Write};
use dinh_proto::crypto::SpaceKey;
use dinh_proto::error::{InvalidMessage, RejectCode};
use dinh_proto::ids::{ChainId, DocId, MemberId, Seq, SpaceId};
use dinh_proto::item::{Item, Kind, Place, RawItem};
use dinh_proto::keys::SignKey;
use dinh_proto::limits;
use dinh_proto::wire::Fetch;
use rand_chacha::rand_core::RngCore;

use super::schema::{Batch, ItemKey};
use super::{Event, Outgoing, Replica, ReplicaError, Tip};
use crate::store::{Store, StoreError, Table};

const INVITATION: &[u8; 4] = b"DNI1";

/// What a space is like besides its audience; fixed when it is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceOptions {
    /// Whether who is admitted later may read what was written before. A document needs all of its history: without
    /// this, newcomers read only documents that were created after they came.
    pub history: bool,
    /// Whether payloads are padded to steps of 512 bytes, so that sizes say little: for confidential threads.
    pub padded: bool,
}

impl Default for SpaceOptions {
    fn default() -> Self {
        Self { history: true, padded: false }
    }
}

impl<S: Store> Replica<S> {
    /// Founds a branch with this device as its secretary's first. `root` is the key that is then put on paper.
    pub fn found_branch(
        &mut self,
        root: &SignKey,
        member: MemberId,
        name: &str,
    ) -> Result<SpaceId, ReplicaError> {
        let request = JoinRequest::new(&self.key);
        let key = SpaceKey::generate(&self.fresh_seed());
        let mut nonce = [0; 24];
        self.rng.fill_bytes(&mut nonce);
        let name = key.seal_name(&request.public, &nonce, &clip(name)).unwrap_or_default();
        let certificate = Certificate { member, role: Role::Secretary, request, name };
        let (branch, payload) = found(root, certificate);
        let mut batch = Batch::default();
        batch.put(Table::Branches, branch.0, Vec::new());
        self.charters.insert(branch, Charter::new(branch));
        self.issue(branch, &payload, &mut batch)?;
        if let Some(own) = self.charters.get(&branch).and_then(|c| c.certificate_of(&self.device)) {
            self.pin(&branch, own, &mut batch);
        }
        self.issue_epoch_of(branch, branch, key, &mut batch)?;
        self.settle_charters(None, &mut batch)?;
        batch.commit(&mut self.store)?;
        Ok(branch)
    }

    /// Admits a device whose request was scanned from its screen, and hands it the keys of what it may read.
    ///
    /// # Errors
    /// [`ReplicaError::NotAuthorised`] unless this device may: a secretary admits everybody but secretaries, a deputy
    /// ordinary members, and everybody their own further devices.
    pub fn admit_device(
        &mut self,
        branch: SpaceId,
        member: MemberId,
        role: Role,
        request: JoinRequest,
        name: &str,
    ) -> Result<(), ReplicaError> {
        let charter = self.charters.get(&branch).ok_or(ReplicaError::UnknownBranch(branch))?;
        if self.devices_of(&branch, &member)?.len() >= limits::DEVICES_PER_MEMBER_MAX {
            return Err(ReplicaError::NotAuthorised(RejectCode::Quota));
        }
        let seen = charter
            .decisive_chains()
            .into_iter()
            .filter_map(|author| Some((author, self.tips.get(&ChainId { space: branch, author })?.n)))
            .collect();
        let public = request.public;
        let name = self.seal_device_name(&branch, &public, name);
        let certificate = Certificate { member, role, request, name };
        let mut batch = Batch::default();
        self.issue(
            branch,
            &Record::Device { certificate: Box::new(certificate), seen }.encode(),
            &mut batch,
        )?;
        let charter = self.charters.get(&branch).ok_or(ReplicaError::UnknownBranch(branch))?;
        let own = charter.readable(&self.device);
        let shared: Vec<SpaceId> = charter.readable(&public.id()).intersection(&own).copied().collect();
        let mut result = Ok(());
        for space in shared {
            result = result.and(self.hand_keys_of(branch, space, &[public], &mut batch));
        }
        self.settle_charters(None, &mut batch)?;
        batch.commit(&mut self.store)?;
        result
    }

    /// Admits a further device of this device's own member.
    pub fn admit_own_device(
        &mut self,
        branch: SpaceId,
        request: JoinRequest,
        name: &str,
    ) -> Result<(), ReplicaError> {
        let charter = self.charters.get(&branch).ok_or(ReplicaError::UnknownBranch(branch))?;
        let own = charter.devices().get(&self.device);
        let (member, role) = own
            .map(|own| (own.member, own.role))
            .ok_or(ReplicaError::NotAuthorised(RejectCode::UnknownAuthor))?;
        self.admit_device(branch, member, role, request, name)
    }

    /// Creates a space whose history newcomers may read.
    pub fn create_space(&mut self, branch: SpaceId, audience: Audience) -> Result<SpaceId, ReplicaError> {
        self.create_space_with(branch, audience, SpaceOptions::default())
    }

    /// Creates a space.
    pub fn create_space_with(
        &mut self,
        branch: SpaceId,
        audience: Audience,
        options: SpaceOptions,
    ) -> Result<SpaceId, ReplicaError> {
        let mut nonce = [0; 16];
        self.rng.fill_bytes(&mut nonce);
        let space = SpaceId::derive(&self.device, &nonce);
        let SpaceOptions { history, padded } = options;
        let mut batch = Batch::default();
        self.issue(branch, &Record::Space { nonce, history, padded, audience }.encode(), &mut batch)?;
        self.space_branch.insert(space, branch);
        let result = if self.readable().contains(&space) {
            self.issue_epoch(branch, space, &mut batch)
        } else {
            // A secretary may create a space for others: one of them draws its key.
            Ok(())
        };
        self.settle_charters(None, &mut batch)?;
        batch.commit(&mut self.store)?;
        result?;
        Ok(space)
    }

    /// Lets a member read a space that this device's member created, and hands its devices the key.
    pub fn grant(&mut self, space: SpaceId, member: MemberId) -> Result<(), ReplicaError> {
        let branch = *self.space_branch.get(&space).ok_or(ReplicaError::UnknownSpace(space))?;
        let charter = self.charters.get(&branch).ok_or(ReplicaError::UnknownBranch(branch))?;
        let generation = charter.reader_generation(&space, &member) + 1;
        let mut batch = Batch::default();
        self.issue(branch, &Record::Grant { space, member, generation }.encode(), &mut batch)?;
        let charter = self.charters.get(&branch).ok_or(ReplicaError::UnknownBranch(branch))?;
        let devices: Vec<_> =
            charter.devices().values().filter(|d| d.member == member).map(|d| d.public).collect();
        let result = self.hand_keys_of(branch, space, &devices, &mut batch);
        self.settle_charters(None, &mut batch)?;
        batch.commit(&mut self.store)?;
        result
    }

    /// Creates an empty document whose fields have no rules of their own.
    pub fn create_document(&mut self, space: SpaceId, writers: Writers) -> Result<DocId, ReplicaError> {
        self.create_document_of(space, writers, "")
    }

    /// Creates an empty document whose fields have the rules of a schema, which must be among the app's
    /// ([`ReplicaConfig::schemas`](super::ReplicaConfig)).
    ///
    /// # Errors
    /// [`ReplicaError::UnknownSchema`]; [`ReplicaError::NoKey`] if the key of the space is not here, under which its name is
    /// sealed.
    pub fn create_document_with(
        &mut self,
        space: SpaceId,
        writers: Writers,
        schema: &str,
    ) -> Result<DocId, ReplicaError> {
        if !self.config.schemas.iter().any(|known| known.name == schema) {
            return Err(ReplicaError::UnknownSchema(schema.to_owned()));
        }
        self.create_document_of(space, writers, schema)
    }

    fn create_document_of(
        &mut self,
        space: SpaceId,
        writers: Writers,
        schema: &str,
    ) -> Result<DocId, ReplicaError> {
        let branch = *self.space_branch.get(&space).ok_or(ReplicaError::UnknownSpace(space))?;
        // The charter judges the record by its place in the chain, which an old copy of this store may be behind of.
        let may_write = |charter: &Charter| {
            charter.devices().get(&self.device).is_some_and(|own| own.role.writes())
                && charter.can_read(&self.device, &space)
        };
        if !self.charters.get(&branch).is_some_and(may_write) {
            return Err(ReplicaError::NotAuthorised(RejectCode::NotAuthorised));
        }
        let mut nonce = [0; 16];
        self.rng.fill_bytes(&mut nonce);
        let doc = DocId::derive(&self.device, &nonce);
        let mut sealed = Vec::new();
        if !schema.is_empty() {
            let mut nonce = [0; 24];
            self.rng.fill_bytes(&mut nonce);
            let key = self.write_key(&space).ok_or(ReplicaError::NoKey(space))?;
            sealed = key
                .seal_schema(&doc, &nonce, schema)
                .map_err(|_| ReplicaError::UnknownSchema(schema.to_owned()))?;
        }
        self.issue_record(branch, &Record::Document { nonce, space, writers, schema: sealed })?;
        Ok(doc)
    }

    pub(super) fn issue_record(&mut self, branch: SpaceId, record: &Record) -> Result<(), ReplicaError> {
        if !self.charters.contains_key(&branch) {
            return Err(ReplicaError::UnknownBranch(branch));
        }
        let mut batch = Batch::default();
        self.issue(branch, &record.encode(), &mut batch)?;
        self.settle_charters(None, &mut batch)?;
        batch.commit(&mut self.store)?;
        Ok(())
    }

    /// Signs a record as the next item of this device's chain in the charter space. Changes nothing if the
    /// charter does not let it count.
    pub(super) fn issue(
        &mut self,
        branch: SpaceId,
        payload: &[u8],
        batch: &mut Batch,
    ) -> Result<(), ReplicaError> {
        let charter = self.charters.get(&branch).ok_or(ReplicaError::UnknownBranch(branch))?;
        let before = charter.readable(&self.device);
        let unread: BTreeSet<SpaceId> =
            charter.spaces().keys().filter(|space| !before.contains(space)).copied().collect();
        let tip = self.tips.get(&self.own_chain(branch)).copied().unwrap_or_default();
        let place = Place::Chain { n: tip.n + 1, prev: tip.link };
        let draft = self.draft(Kind::Charter, branch, DocId::default(), place);
        let item = draft.sign(&self.key, payload)?;
        self.change_charter(&item, |charter| charter.insert(&item)).map_err(ReplicaError::NotAuthorised)?;
        self.keep_own(&item, batch);
        // It may let this very device read again (a grant to its own member).
        self.begin_backfills_by_charter(|space| unread.contains(space), batch);
        Ok(())
    }

    /// Files an item that this device made: stored, in its chain, to be sent.
    pub(super) fn keep_own(&mut self, item: &Item, batch: &mut Batch) {
        self.counters.items_made += 1;
        self.keep_item(item, batch);
        self.send_item(item, batch);
    }

    /// An item is to be sent to the relay.
    pub(super) fn send_item(&mut self, item: &Item, batch: &mut Batch) {
        let key = ItemKey { chain: item.header().chain(), n: item.header().n().unwrap_or_default() };
        let order = self.next_order(batch);
        batch.put(Table::Outbox, order.to_be_bytes(), [&[0][..], &key.to_bytes()].concat());
        self.outbox_insert(order, Outgoing::Item(key), item.id(), item.header().space);
    }

    /// Files a verified item of any chain.
    pub(super) fn keep_item(&mut self, item: &Item, batch: &mut Batch) {
        let chain = item.header().chain();
        let n = item.header().n().unwrap_or_default();
        batch.put(Table::Items, ItemKey { chain, n }.to_bytes(), item.bytes().to_vec());
        let held = self.held.entry(chain).or_default();
        held.insert(n);
        batch.put(Table::Held, super::schema::chain_key(&chain), super::ranges_bytes(held));
        let tip = self.tips.entry(chain).or_default();
        if n > tip.n {
            *tip = Tip { n, link: item.id().link() };
        }
        self.tell_hall(item);
        // What a snapshot covers is in the sum already.
        if !self.is_covered(&ItemKey { chain, n }) {
            self.change_sum(chain.space, batch, |sum| sum.add(&item.id()));
        }
    }

    pub(super) fn change_sum(
        &mut self,
        space: SpaceId,
        batch: &mut Batch,
        f: impl FnOnce(&mut dinh_proto::item::SpaceSum),
    ) {
        let sum = self.sums.entry(space).or_default();
        f(sum);
        batch.put(Table::Sums, space.0, sum.0.to_le_bytes());
    }

    /// Takes a record into its charter. What devices wrote is judged again where it may count otherwise now.
    pub(super) fn change_charter(
        &mut self,
        record: &Item,
        change: impl FnOnce(&mut Charter) -> Result<bool, RejectCode>,
    ) -> Result<(), RejectCode> {
        let branch = record.header().space;
        let charter = self.charters.get_mut(&branch).ok_or(RejectCode::UnknownTarget)?;
        let before =
            Record::decode(record.payload()).is_ok_and(|r| r.changes_authority()).then(|| charter.clone());
        change(charter)?;
        if let Some(before) = before {
            let changed = Charter::changed_authors(&before, charter);
            self.vouch_for_received(&before, &changed);
            self.rejudge.entry(branch).or_default().extend(changed);
        }
        self.charter_changed(&branch);
        Ok(())
    }

    /// The charter of a branch changed: its spaces are known, its readers told.
    pub(super) fn charter_changed(&mut self, branch: &SpaceId) {
        self.parked_is_due = true;
        self.charters_due.insert(*branch);
        self.index_spaces(branch);
        self.offer_again();
        self.push_event(Event::CharterChanged { branch: *branch });
    }

    pub(super) fn index_spaces(&mut self, branch: &SpaceId) {
        let Some(charter) = self.charters.get(branch) else { return };
        for space in charter.spaces().keys().chain([branch]) {
            self.space_branch.entry(*space).or_insert(*branch);
        }
    }

    /// Spaces that this device may read, charter spaces first; also that of a branch whose welcome it has and whose records
    /// it does not know yet.
    pub(super) fn readable(&self) -> Vec<SpaceId> {
        let known: BTreeSet<SpaceId> = self
            .charters
            .values()
            .flat_map(|c| c.readable(&self.device))
            .chain(self.expected.keys().copied())
            .collect();
        let all = known.into_iter();
        let (charters, others): (Vec<_>, Vec<_>) = all.partition(|s| self.charters.contains_key(s));
        charters.into_iter().chain(others).collect()
    }

    /// Everything that a new device needs to know of a branch before it meets a relay: the charter's records.
    /// It is not secret, but it is whom the receiver will trust: hand it over in person or by a safe way.
    /// [`welcome`](Self::welcome) does the same in a code that fits a screen.
    pub fn invitation(&self, branch: SpaceId) -> Result<Vec<u8>, ReplicaError> {
        if !self.charters.contains_key(&branch) {
            return Err(ReplicaError::UnknownBranch(branch));
        }
        let end = super::schema::prefix_end(&branch.0);
        let mut out = INVITATION.to_vec();
        out.put_bytes(&branch.0);
        self.store.read(|tx| {
            tx.scan(Table::Items, &branch.0, end.as_deref(), &mut |_, item| {
                out.put_blob(item);
                Ok(std::ops::ControlFlow::Continue(()))
            })
        })?;
        Ok(out)
    }

    /// Joins a branch by an invitation. Its records are checked and will be offered to the relay too, in case it
    /// does not have them yet.
    ///
    /// # Errors
    /// `NotAuthorised` if this device is not among those that the invitation's charter admits.
    pub fn join(&mut self, invitation: &[u8]) -> Result<SpaceId, ReplicaError> {
        let mut r = Reader::new(invitation);
        if r.array::<4>("invitation")? != *INVITATION {
            return Err(InvalidMessage::NotAllowed("invitation").into());
        }
        let branch = SpaceId(r.array("branch")?);
        let mut waiting = Vec::new();
        while r.remaining() > 0 {
            let bytes = r.blob(limits::CHARTER_RECORD_BYTES_MAX + 256, "charter record")?;
            waiting.push(RawItem::parse(bytes.to_vec().into())?);
        }
        let mut charter = self.charters.get(&branch).cloned().unwrap_or_else(|| Charter::new(branch));
        let mut accepted: Vec<Item> = Vec::new();
        // Records come in the order of chains, not of trust: go round until nothing more can be verified.
        loop {
            let before = accepted.len();
            waiting.retain(|raw| {
                let verified = charter.key_for(raw).and_then(|key| raw.clone().verify(&key));
                match verified.and_then(|item| charter.keep(&item).map(|new| (item, new))) {
                    Ok((item, new)) => {
                        if new {
                            accepted.push(item);
                        }
                        false
                    }
                    Err(_) => true,
                }
            });
            if accepted.len() == before {
                break;
            }
        }
        if !waiting.is_empty() {
            return Err(InvalidMessage::NotAllowed("charter record").into());
        }
        if !charter.devices().contains_key(&self.device) {
            return Err(ReplicaError::NotAuthorised(RejectCode::UnknownAuthor));
        }
        self.known_devices.insert(branch, charter.devices().keys().copied().collect());
        let before = self.charters.insert(branch, charter);
        self.index_spaces(&branch);
        let before = before.unwrap_or_else(|| Charter::new(branch));
        let changed =
            self.charters.get(&branch).map(|c| Charter::changed_authors(&before, c)).unwrap_or_default();
        self.vouch_for_received(&before, &changed);
        self.rejudge.entry(branch).or_default().extend(changed);
        self.charters_due.insert(branch);
        let mut batch = Batch::default();
        batch.put(Table::Branches, branch.0, Vec::new());
        if let Some(own) = self.charters.get(&branch).and_then(|c| c.certificate_of(&self.device)) {
            self.pin(&branch, own, &mut batch);
        }
        accepted.sort_by_key(|i| (i.header().author, i.header().n()));
        for item in &accepted {
            self.keep_own(item, &mut batch);
        }
        self.parked_is_due = true;
        // A device that already followed another branch has a cursor: what lies before it must be fetched.
        if let Some(cursor) = self.cursor {
            let readable = self.charters.get(&branch).map(|c| c.readable(&self.device)).unwrap_or_default();
            for space in readable {
                self.begin_backfill(Fetch { space, from: Seq(0), to: cursor.seq }, &mut batch);
            }
        }
        batch.commit(&mut self.store)?;
        self.push_event(Event::CharterChanged { branch });
        self.take_parked()?;
        Ok(branch)
    }

    /// Remembers that a newly granted space has to be fetched, and asks for it if connected.
    pub(super) fn begin_backfill(&mut self, fetch: Fetch, batch: &mut Batch) {
        if fetch.to <= fetch.from {
            return;
        }
        batch.put(
            Table::Backfills,
            fetch.space.0,
            [fetch.from.0.to_le_bytes(), fetch.to.0.to_le_bytes()].concat(),
        );
        self.backfills.insert(fetch.space, fetch);
        if let Some(link) = self.link.as_mut().filter(|l| l.session.is_flowing()) {
            link.session.fetch(fetch);
        }
    }

    /// The request that this device shows to be admitted.
    pub fn join_request(&self) -> JoinRequest {
        JoinRequest::new(&self.key)
    }

    pub(super) fn branch_charter(&self, space: &SpaceId) -> Option<&Charter> {
        self.charters.get(self.space_branch.get(space)?)
    }

    /// The space of a document.
    pub fn space_of(&self, doc: &DocId) -> Option<SpaceId> {
        self.charters.values().find_map(|c| c.documents().get(doc)).map(|d| d.space)
    }

    /// Reads the item of a chain that is stored under this counter.
    pub(super) fn read_item(&self, chain: &ChainId, n: u32) -> Result<Option<Item>, StoreError> {
        self.store.read(|tx| super::schema::item(tx, &ItemKey { chain: *chain, n }))
    }
}

/// At most as much of a name as a certificate holds, cut between characters.
pub(super) fn clip(name: &str) -> String {
    let mut end = name.len().min(limits::DEVICE_NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}
