//! From changes to items: the changes that a device made to one document since it last sent any become one run,
//! with one signature.

use dinh_proto::ids::{ActorId, ChangeHash, DocId, SpaceId};
use dinh_proto::item::{Draft, Item, Kind, Place};
use dinh_proto::limits;

use super::schema::{self, Batch, ItemKey};
use super::{Replica, ReplicaError, Unsealed};
use crate::gate::{self, Authority};
use crate::store::{Store, Table};

impl<S: Store> Replica<S> {
    /// Makes items of all changes that are not in one yet.
    pub(super) fn seal_all(&mut self) -> Result<(), ReplicaError> {
        if self.unsealed.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        let mut late = Vec::new();
        for doc in self.unsealed.keys().copied().collect::<Vec<_>>() {
            // Without a key that shuts out those who may no longer read, it stays here.
            let has_key = self.space_of(&doc).is_some_and(|space| self.write_key(&space).is_some());
            if self.has_unsettled(&doc) || !has_key {
                continue;
            }
            if !self.seal_document(&doc, &mut batch)? {
                late.push(doc);
            }
        }
        batch.commit(&mut self.store)?;
        // This device lost the right before it sent them: they are in the document by the rule for everybody's.
        late.iter().try_for_each(|doc| self.remake(doc))
    }

    /// Returns whether all that it sealed counts by this device's right.
    fn seal_document(&mut self, doc: &DocId, batch: &mut Batch) -> Result<bool, ReplicaError> {
        let Some(unsealed) = self.unsealed.remove(doc) else { return Ok(true) };
        let mut counts = true;
        let space = self.space_of(doc).ok_or(ReplicaError::UnknownDocument(*doc))?;
        let mut rest = &unsealed[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let n = rest
                .iter()
                .take(limits::RUN_CHANGES_SOFT)
                .take_while(|u| {
                    bytes += u.raw.len();
                    bytes <= limits::RUN_BYTES_SOFT
                })
                .count()
                .max(1);
            let (run, later) = rest.split_at(n);
            rest = later;
            let item = self.seal_run(doc, space, run)?;
            counts &= self.authority(&space).may_write(item.header(), item.id().link()).is_ok();
            for u in run {
                batch.delete(Table::Unsealed, schema::unsealed_key(doc, u.seq));
            }
            self.keep_own(&item, batch);
            let order = self.next_order(batch);
            let key = ItemKey { chain: item.header().chain(), n: item.header().n().unwrap_or_default() };
            batch.put(Table::DocumentLog, schema::doc_order_key(doc, order), key.to_bytes());
            self.add_applied(doc, order, item.bytes().len());
            self.count_tail(doc, &item)?;
        }
        Ok(counts)
    }

    fn seal_run(&self, doc: &DocId, space: SpaceId, run: &[Unsealed]) -> Result<Item, ReplicaError> {
        let actor: ActorId = self.actor(doc);
        let (first_seq, before) = run.first().map(|u| (u.seq, u.before)).unwrap_or_default();
        let raw: Vec<&[u8]> = run.iter().map(|u| &u.raw[..]).collect();
        let content = gate::seal_run(&actor, before.as_ref(), &raw).map_err(ReplicaError::TooLarge)?;
        let last = raw.last().map(|raw| dinh_proto::pack::RawChange::parse(raw)).transpose();
        let last = last.map_err(ReplicaError::TooLarge)?.map(|c| ChangeHash(c.hash)).unwrap_or_default();
        tracing::trace!(%doc, session = ?self.session, first_seq, changes = run.len(), ?last, "changes become an item");
        let tip = self.tips.get(&self.own_chain(space)).copied().unwrap_or_default();
        let place = Place::Chain { n: tip.n + 1, prev: tip.link };
        let key = self.write_key(&space).ok_or(ReplicaError::NoKey(space))?;
        let draft = Draft {
            first_seq,
            count: u16::try_from(run.len()).unwrap_or(u16::MAX),
            last,
            ..self.draft(Kind::Run, space, *doc, place)
        };
        Ok(draft.seal(&self.key, key, self.authority(&space).is_padded(&space), &content)?)
    }

    pub(super) fn draft(&self, kind: Kind, space: SpaceId, doc: DocId, place: Place) -> Draft {
        let charter = self.branch_charter(&space);
        Draft {
            kind,
            space,
            doc,
            session: self.session,
            place,
            first_seq: 0,
            count: 0,
            last: ChangeHash::default(),
            charter_tag: charter.map(dinh_proto::charter::Charter::tag).unwrap_or_default(),
        }
    }
}
