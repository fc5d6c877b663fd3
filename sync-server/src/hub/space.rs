//! What the hub knows of one space: where its items are in the log, and its chains.

use std::collections::{BTreeMap, BTreeSet};

use dinh_proto::error::RejectCode;
use dinh_proto::ids::{Author, DocId, ItemId, Seq, SpaceId};
use dinh_proto::item::{Place, SpaceSum};
use dinh_proto::limits;
use dinh_proto::ranges::Ranges;
use dinh_proto::time::WallTime;

use super::PeerId;
use crate::log::{IndexEntry, Position, Summary};

/// A document and a chain in a [`Detail`], with their places in trees, bytes.
const DOCUMENT_WEIGHT: usize = 96;
const CHAIN_WEIGHT: usize = 192;

/// One item of a space, in the order of the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) seq: u64,
    pub(super) len: u32,
    /// Index into [`Space::docs`]; records of a charter all have 0.
    pub(super) doc: u32,
}

/// The newest snapshot of a document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Snapshot {
    pub(super) seq: u64,
    pub(super) covers: u64,
    pub(super) len: u32,
}

/// What is known of one document.
#[derive(Debug, Default)]
struct Document {
    snapshot: Option<Snapshot>,
    /// Bytes of its runs.
    bytes: u64,
}

#[derive(Debug, Default)]
struct Chain {
    /// Place and link of item n at index n - 1; place 0 where the item is missing.
    items: Vec<(u64, [u8; 16])>,
    held: Ranges,
}

/// Why an item does not continue its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChainRefusal {
    pub(super) code: RejectCode,
    /// Where the item is, if it is stored already.
    pub(super) seq: Seq,
}

impl ChainRefusal {
    fn new(code: RejectCode) -> Self {
        Self { code, seq: Seq(0) }
    }
}

/// One space. What has a size of its own is in memory only while it is needed.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) branch: SpaceId,
    /// How many items it has.
    items: u64,
    /// The place of the newest item that is no snapshot.
    last: Seq,
    /// The place of the newest item of any kind.
    newest: Seq,
    /// Bytes of all items.
    bytes: u64,
    /// When an item was last stored, if one was since the relay started.
    pub(super) last_at: Option<WallTime>,
    /// Checksum of the durable items.
    pub(super) sum: SpaceSum,
    pub(super) subscribers: BTreeSet<PeerId>,
    detail: Option<Detail>,
    pub(super) memory: super::memory::Use,
}

/// Where the items of a space are, and its chains.
#[derive(Debug, Default)]
pub(super) struct Detail {
    slots: Vec<Slot>,
    chains: BTreeMap<Author, Chain>,
    doc_index: BTreeMap<DocId, u32>,
    docs: Vec<Document>,
    /// Bytes of memory, about.
    weight: usize,
}

impl Space {
    /// One that has no items.
    pub(super) fn new(branch: SpaceId) -> Self {
        Self {
            branch,
            items: 0,
            last: Seq(0),
            newest: Seq(0),
            bytes: 0,
            last_at: None,
            sum: SpaceSum::default(),
            subscribers: BTreeSet::new(),
            detail: Some(Detail::default()),
            memory: super::memory::Use::default(),
        }
    }

    /// One that has what a summary counted, none of it in memory.
    pub(super) fn stored(branch: SpaceId, summary: &Summary) -> Self {
        Self {
            items: summary.items,
            last: summary.last,
            newest: summary.newest,
            bytes: summary.bytes,
            sum: summary.sum,
            detail: None,
            ..Self::new(branch)
        }
    }

    /// Whether its detail is in memory. Most of what follows needs it.
    pub(super) fn is_warm(&self) -> bool {
        self.detail.is_some()
    }

    /// Takes its detail in, if that is all of it.
    pub(super) fn warm_up(&mut self, summary: &Summary, detail: Detail) -> bool {
        let is_whole = (summary.items, summary.last, summary.newest, summary.bytes, summary.sum)
            == (self.items, self.last, self.newest, self.bytes, self.sum);
        if is_whole {
            self.detail = Some(detail);
        }
        is_whole
    }

    /// Forgets its detail.
    pub(super) fn cool_down(&mut self) {
        self.detail = None;
    }

    /// Bytes of memory that its detail takes, about.
    pub(super) fn weight(&self) -> usize {
        self.detail.as_ref().map_or(0, |d| d.weight)
    }

    /// How many items it has.
    pub(super) fn items(&self) -> u64 {
        self.items
    }

    fn detail(&self) -> &Detail {
        self.detail.as_ref().expect("a space is loaded before anything asks for its items")
    }

    /// Whether an item with this place may be added to its chain.
    pub(super) fn check_chain(
        &self,
        author: &Author,
        place: &Place,
        id: &ItemId,
        bridged: bool,
    ) -> Result<(), ChainRefusal> {
        let Place::Chain { n, prev } = *place else { return Ok(()) };
        let chains = &self.detail().chains;
        let Some(chain) = chains.get(author) else {
            let sessions = chains.keys().filter(|a| a.device == author.device).count();
            if sessions >= limits::SESSIONS_PER_DEVICE_MAX || chains.len() >= limits::CHAINS_PER_MESSAGE_MAX {
                return Err(ChainRefusal::new(RejectCode::Quota));
            }
            return match n {
                1 => Ok(()),
                _ if !bridged => Err(ChainRefusal::new(RejectCode::Gap)),
                _ if n as usize > limits::CHAIN_HOLE_MAX => Err(ChainRefusal::new(RejectCode::Quota)),
                _ => Ok(()),
            };
        };
        let at =
            |n: u32| n.checked_sub(1).and_then(|i| chain.items.get(i as usize)).filter(|(seq, _)| *seq > 0);
        if let Some((seq, link)) = at(n) {
            let code = if *link == id.link() { RejectCode::Duplicate } else { RejectCode::Fork };
            return Err(ChainRefusal {
                code,
                seq: Seq(if code == RejectCode::Duplicate { *seq } else { 0 }),
            });
        }
        match at(n.saturating_sub(1)) {
            Some((_, link)) if *link != prev => Err(ChainRefusal::new(RejectCode::BadLink)),
            Some(_) => Ok(()),
            None if n == 1 || bridged => {
                // A hole may be as long as the sender says, but not the memory that it takes here.
                let too_far = n as usize > chain.items.len() + limits::CHAIN_HOLE_MAX;
                let too_many = chain.held.iter().count() >= limits::RANGES_PER_CHAIN_MAX;
                if too_far || too_many { Err(ChainRefusal::new(RejectCode::Quota)) } else { Ok(()) }
            }
            None => Err(ChainRefusal::new(RejectCode::Gap)),
        }
    }

    /// Adds an item that passed [`Space::check_chain`]; its checksum does not count before it is durable.
    pub(super) fn add(&mut self, entry: &IndexEntry) {
        self.items += 1;
        self.newest = self.newest.max(entry.seq);
        self.bytes += u64::from(entry.len);
        if let Position::Chain(_) = entry.position {
            self.last = entry.seq;
        }
        self.detail.as_mut().expect("a space is loaded before anything is added to it").add(entry);
    }

    /// The newest snapshot of a document.
    pub(super) fn snapshot(&self, doc: &DocId) -> Option<Snapshot> {
        let detail = self.detail();
        detail.docs[*detail.doc_index.get(doc)? as usize].snapshot
    }

    /// Bytes of the runs of a document.
    pub(super) fn document_bytes(&self, doc: &DocId) -> u64 {
        let detail = self.detail();
        detail.doc_index.get(doc).map_or(0, |doc| detail.docs[*doc as usize].bytes)
    }

    /// Bytes of all items.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The place of the newest item of any kind, also one that is not durable yet.
    pub(super) fn newest(&self) -> Seq {
        self.newest
    }

    /// How many items there are after `seq`; at most that many while it is not in memory.
    pub(super) fn count_after(&self, seq: Seq) -> u64 {
        match &self.detail {
            Some(_) => self.after(seq).len() as u64,
            None => self.items.min(self.last.0.saturating_sub(seq.0)),
        }
    }

    /// What only the detail knows, while it is in memory.
    pub(super) fn known(&self) -> Option<&Detail> {
        self.detail.as_ref()
    }

    /// The newest snapshot of the document that a slot belongs to.
    pub(super) fn snapshot_at(&self, slot: &Slot) -> Option<Snapshot> {
        self.detail().docs[slot.doc as usize].snapshot
    }

    /// Items after `seq`, in order.
    pub(super) fn after(&self, seq: Seq) -> &[Slot] {
        if self.last <= seq {
            return &[];
        }
        let slots = &self.detail().slots;
        &slots[slots.partition_point(|s| s.seq <= seq.0)..]
    }

    /// The place of the newest item.
    pub(super) fn last(&self) -> Seq {
        self.last
    }

    /// What this space has, for a `Have`.
    pub(super) fn held(&self) -> Vec<(Author, Ranges)> {
        self.detail().chains.iter().map(|(author, chain)| (*author, chain.held.clone())).collect()
    }

    /// Places and lengths of the items that a `Want` names, in order; what is not held is left out.
    pub(super) fn places(&self, wanted: &[(Author, Ranges)]) -> Vec<(Seq, u32)> {
        let detail = self.detail();
        let mut places = Vec::new();
        for (author, ranges) in wanted {
            let Some(chain) = detail.chains.get(author) else { continue };
            for (from, to) in ranges.iter() {
                let to = (to as usize).min(chain.items.len());
                let found = chain.items.get(from as usize - 1..to).unwrap_or_default();
                places.extend(found.iter().filter(|(seq, _)| *seq > 0).map(|(seq, _)| Seq(*seq)));
            }
        }
        places.sort_unstable();
        places.dedup();
        places.into_iter().map(|seq| (seq, detail.len_at(seq))).collect()
    }
}

impl Detail {
    /// Adds the next item of the space.
    pub(super) fn add(&mut self, entry: &IndexEntry) {
        let doc = match self.doc_index.get(&entry.doc) {
            Some(doc) => *doc,
            None => {
                let doc = self.docs.len() as u32;
                self.doc_index.insert(entry.doc, doc);
                self.docs.push(Document::default());
                self.weight += DOCUMENT_WEIGHT;
                doc
            }
        };
        match entry.position {
            Position::Chain(n) => {
                self.docs[doc as usize].bytes += u64::from(entry.len);
                self.slots.push(Slot { seq: entry.seq.0, len: entry.len, doc });
                self.weight += size_of::<Slot>();
                let chain = self.chains.entry(entry.author).or_insert_with(|| {
                    self.weight += CHAIN_WEIGHT;
                    Chain::default()
                });
                let index = n as usize - 1;
                if chain.items.len() <= index {
                    self.weight += (index + 1 - chain.items.len()) * size_of::<(u64, [u8; 16])>();
                    chain.items.resize(index + 1, (0, [0; 16]));
                }
                chain.items[index] = (entry.seq.0, entry.id.link());
                chain.held.insert(n);
            }
            Position::Covers(cursor) => {
                let newest = &mut self.docs[doc as usize].snapshot;
                if newest.is_none_or(|s| s.covers < cursor.seq.0) {
                    *newest = Some(Snapshot { seq: entry.seq.0, covers: cursor.seq.0, len: entry.len });
                }
            }
        }
    }

    /// Documents that have items. Records of a charter count as one.
    pub(super) fn documents(&self) -> usize {
        self.docs.len()
    }

    /// Devices and sessions that wrote.
    pub(super) fn chains(&self) -> usize {
        self.chains.len()
    }

    /// The documents with the most bytes of runs, largest first, at most `limit` of them.
    pub(super) fn largest_documents(&self, limit: usize) -> Vec<(DocId, u64)> {
        let mut all: Vec<(DocId, u64)> =
            self.doc_index.iter().map(|(id, doc)| (*id, self.docs[*doc as usize].bytes)).collect();
        all.sort_unstable_by_key(|(id, bytes)| (std::cmp::Reverse(*bytes), *id));
        all.truncate(limit);
        all
    }

    /// Bytes of the item at this place.
    fn len_at(&self, seq: Seq) -> u32 {
        let i = self.slots.partition_point(|s| s.seq < seq.0);
        self.slots.get(i).filter(|s| s.seq == seq.0).map_or(0, |s| s.len)
    }
}

#[cfg(test)]
mod tests {
    use dinh_proto::ids::{DeviceId, SessionId};
    use dinh_proto::item::Kind;

    use super::*;

    fn entry(n: u32) -> IndexEntry {
        IndexEntry {
            seq: Seq(u64::from(n)),
            id: ItemId([n as u8; 32]),
            kind: Kind::Run,
            space: SpaceId([1; 16]),
            doc: DocId([2; 16]),
            author: Author { device: DeviceId([3; 16]), session: SessionId([4; 8]) },
            position: Position::Chain(n),
            len: 300,
        }
    }

    #[test]
    fn a_gap_is_as_long_as_the_limit_allows_and_no_longer() {
        let mut space = Space::new(SpaceId([1; 16]));
        let check = |space: &Space, n: u32, bridged| {
            let place = Place::Chain { n, prev: [9; 16] };
            space.check_chain(&entry(n).author, &place, &entry(n).id, bridged).map_err(|r| r.code)
        };
        let hole = limits::CHAIN_HOLE_MAX as u32;
        assert_eq!(check(&space, u32::MAX, true), Err(RejectCode::Quota));
        assert_eq!(check(&space, hole + 1, true), Err(RejectCode::Quota));
        assert_eq!(check(&space, hole, true), Ok(()));
        assert_eq!(check(&space, 2, false), Err(RejectCode::Gap));
        space.add(&entry(1));
        assert_eq!(check(&space, u32::MAX, true), Err(RejectCode::Quota));
        assert_eq!(check(&space, hole + 2, true), Err(RejectCode::Quota));
        assert_eq!(check(&space, hole + 1, true), Ok(()));
        assert_eq!(check(&space, 3, false), Err(RejectCode::Gap));
    }
}
