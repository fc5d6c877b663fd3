//! What was refused: kept apart, where the app can list and export it.

use dinh_proto::codec::{Reader, Write};
use dinh_proto::error::{InvalidMessage, RejectCode};
use dinh_proto::ids::{Author, DocId, ItemId};
use dinh_proto::item::{Item, RawItem};

use super::event::Refuser;
use super::schema::{self, Batch};
use super::{Event, Replica, ReplicaError};
use crate::gate::GateError;
use crate::store::{Store, StoreError, Table};

/// Something in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Why, as a code.
    pub code: RejectCode,
    /// Why, in words: for a change that breaks a rule, which.
    pub detail: String,
    /// Its id, if it is an item.
    pub id: Option<ItemId>,
    /// Whose it is, if it is an item. Not proved if the signature is what was refused.
    pub author: Option<Author>,
    /// The document, if it is an item of one.
    pub doc: Option<DocId>,
    /// The bytes as they were received.
    pub bytes: Vec<u8>,
}

impl<S: Store> Replica<S> {
    /// Keeps a run that does not pass the gate out of its document, where the app can see it. The item itself
    /// stays in the store: other devices may judge by newer rules.
    pub(super) fn quarantine_run(
        &mut self,
        doc: &DocId,
        order: u64,
        item: &Item,
        error: &GateError,
    ) -> Result<(), ReplicaError> {
        let mut batch = Batch::default();
        batch.delete(Table::DocumentLog, schema::doc_order_key(doc, order));
        self.quarantine(item.bytes(), RejectCode::Malformed, &error.to_string(), &mut batch);
        batch.commit(&mut self.store)?;
        self.counters.refused += 1;
        self.push_event(Event::Refused {
            id: item.id(),
            code: RejectCode::Malformed,
            by: Refuser::Device,
            detail: error.to_string(),
        });
        Ok(())
    }

    pub(super) fn quarantine(&mut self, bytes: &[u8], code: RejectCode, detail: &str, batch: &mut Batch) {
        let order = self.next_order(batch);
        let mut value = vec![code.to_wire()];
        value.put_blob(detail.as_bytes());
        value.put_bytes(bytes);
        batch.put(Table::Quarantine, order.to_be_bytes(), value);
    }

    /// Everything in quarantine, oldest first.
    pub fn quarantined(&self) -> Result<Vec<Quarantined>, ReplicaError> {
        let entries = self.store.read(|tx| schema::entries(tx, Table::Quarantine, &[]))?;
        entries
            .iter()
            .map(|(_, v)| Quarantined::read(v).map_err(|_| StoreError::Corrupt("quarantine").into()))
            .collect()
    }
}

impl Quarantined {
    fn read(value: &[u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(value);
        let code = RejectCode::from_wire(r.u8("code")?)?;
        let detail = r.text(usize::MAX, "detail")?.to_owned();
        let bytes = r.rest().to_vec();
        let item = RawItem::parse(bytes.clone().into()).ok();
        let header = item.as_ref().map(RawItem::header);
        Ok(Self {
            code,
            detail,
            id: item.as_ref().map(RawItem::id),
            author: header.map(|h| h.author),
            doc: header.map(|h| h.doc).filter(|doc| *doc != DocId::default()),
            bytes,
        })
    }
}
