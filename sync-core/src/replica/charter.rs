//! Branches, spaces, documents: the records that this device issues and the charters that it keeps.

use dinh_proto::charter::Charter;
use dinh_proto::charter::record::{Audience, Certificate, JoinRequest, Record, Role, Writers, found};
use dinh_proto::codec::{Reader, Write};
use dinh_proto::error::{InvalidMessage, RejectCode};
use dinh_proto::ids::{ChainId, DocId, MemberId, Seq, SpaceId};
use dinh_proto::item::{Draft, Item, Kind, Place, RawItem};
use dinh_proto::keys::SignKey;
use dinh_proto::limits;
use dinh_proto::wire::Fetch;
use rand_chacha::rand_core::RngCore;

use super::schema::{Batch, ItemKey};
use super::{Event, Outgoing, Replica, ReplicaError, Tip};
use crate::store::{Store, StoreError, Table};

const INVITATION: &[u8; 4] = b"DNI1";

impl<S: Store> Replica<S> {
    /// Founds a branch with this device as its secretary's first. `root` is the key that is then put on paper.
    pub fn found_branch(
        &mut self,
        root: &SignKey,
        member: MemberId,
        name: &str,
    ) -> Result<SpaceId, ReplicaError> {
        let request = JoinRequest::new(&self.key);
        let certificate = Certificate { member, role: Role::Secretary, request, name: clip(name) };
        let (branch, payload) = found(root, certificate);
        let mut batch = Batch::default();
        batch.put(Table::Branches, branch.0, Vec::new());
        self.charters.insert(branch, Charter::new(branch));
        self.issue(branch, &payload, &mut batch)?;
        batch.commit(&mut self.store)?;
        Ok(branch)
    }

    /// Admits a device whose request was scanned from its screen.
    pub fn admit_device(
        &mut self,
        branch: SpaceId,
        member: MemberId,
        role: Role,
        request: JoinRequest,
        name: &str,
    ) -> Result<(), ReplicaError> {
        let certificate = Certificate { member, role, request, name: clip(name) };
        self.issue_record(branch, &Record::Device(Box::new(certificate)))
    }

    /// Creates a space.
    pub fn create_space(&mut self, branch: SpaceId, audience: Audience) -> Result<SpaceId, ReplicaError> {
        let mut space = SpaceId::default();
        self.rng.fill_bytes(&mut space.0);
        self.issue_record(branch, &Record::Space { space, audience })?;
        Ok(space)
    }

    /// Lets a member read a space that this device's member created.
    pub fn grant(&mut self, space: SpaceId, member: MemberId) -> Result<(), ReplicaError> {
        let branch = *self.space_branch.get(&space).ok_or(ReplicaError::UnknownSpace(space))?;
        self.issue_record(branch, &Record::Grant { space, member })
    }

    /// Creates an empty document.
    pub fn create_document(&mut self, space: SpaceId, writers: Writers) -> Result<DocId, ReplicaError> {
        let branch = *self.space_branch.get(&space).ok_or(ReplicaError::UnknownSpace(space))?;
        let mut doc = DocId::default();
        self.rng.fill_bytes(&mut doc.0);
        self.issue_record(branch, &Record::Document { doc, space, writers })?;
        Ok(doc)
    }

    fn issue_record(&mut self, branch: SpaceId, record: &Record) -> Result<(), ReplicaError> {
        if !self.charters.contains_key(&branch) {
            return Err(ReplicaError::UnknownBranch(branch));
        }
        let mut batch = Batch::default();
        self.issue(branch, &record.encode(), &mut batch)?;
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
        let tip = self.tips.get(&self.own_chain(branch)).copied().unwrap_or_default();
        let item = Draft {
            kind: Kind::Charter,
            space: branch,
            doc: DocId::default(),
            session: self.session,
            place: Place::Chain { n: tip.n + 1, prev: tip.link },
            first_seq: 0,
            count: 0,
            commitment: [0; 16],
            charter_tag: charter.tag(),
        }
        .sign(&self.key, payload)?;
        let charter = self.charters.get_mut(&branch).ok_or(ReplicaError::UnknownBranch(branch))?;
        charter.insert(&item).map_err(ReplicaError::NotAuthorised)?;
        self.keep_own(&item, batch);
        self.charter_changed(&branch);
        Ok(())
    }

    /// Files an item that this device made: stored, in its chain, to be sent.
    pub(super) fn keep_own(&mut self, item: &Item, batch: &mut Batch) {
        self.counters.items_made += 1;
        self.keep_item(item, batch);
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

    /// The charter of a branch changed: its spaces are known, its readers told.
    pub(super) fn charter_changed(&mut self, branch: &SpaceId) {
        self.parked_is_due = true;
        self.index_spaces(branch);
        self.push_event(Event::CharterChanged { branch: *branch });
    }

    pub(super) fn index_spaces(&mut self, branch: &SpaceId) {
        let Some(charter) = self.charters.get(branch) else { return };
        for space in charter.spaces().keys().chain([branch]) {
            self.space_branch.entry(*space).or_insert(*branch);
        }
    }

    /// Spaces that this device may read, charter spaces first.
    pub(super) fn readable(&self) -> Vec<SpaceId> {
        let all = self.charters.values().flat_map(|c| c.readable(&self.device));
        let (charters, others): (Vec<_>, Vec<_>) = all.partition(|s| self.charters.contains_key(s));
        charters.into_iter().chain(others).collect()
    }

    /// Everything that a new device needs to know of a branch before it meets a relay: the charter's records.
    /// It is not secret, but it is whom the receiver will trust: hand it over in person or by a safe way.
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
                match verified.and_then(|item| charter.insert(&item).map(|new| (item, new))) {
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
        self.charters.insert(branch, charter);
        let mut batch = Batch::default();
        batch.put(Table::Branches, branch.0, Vec::new());
        accepted.sort_by_key(|i| (i.header().author, i.header().n()));
        for item in &accepted {
            self.keep_own(item, &mut batch);
        }
        self.parked_is_due = true;
        self.index_spaces(&branch);
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
fn clip(name: &str) -> String {
    let mut end = name.len().min(limits::DEVICE_NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}
