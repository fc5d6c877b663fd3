//! What the world knows and no node does: what was written, by whom, and what must come of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Papers, Sealed};
use dinh_proto::ids::{DeviceId, DocId, ItemId, MemberId, Seq, SpaceId};

/// Something that a phone did. Each leaves a trace in the final state that nothing else leaves.
#[derive(Debug, Clone)]
pub(crate) struct Deed {
    pub(crate) what: What,
    pub(crate) must: Must,
    /// Index of the phone, for messages.
    pub(crate) phone: usize,
}

/// Whether a deed must be seen at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Must {
    Yes,
    /// The process died in the middle of it, or it was only on a disk that was lost, or its author lost the right to it
    /// and who took that had not seen it.
    Maybe,
    /// Its author was out, and so nobody can have built on it: it must not be seen.
    Not,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    /// A key of the map `notes`.
    Key { doc: DocId, token: String },
    /// The key that this deed wrote was deleted.
    Delete { doc: DocId, of: usize },
    /// An entry of the list `items`.
    Entry { doc: DocId, token: String },
    /// A word of the text `text`.
    Word { doc: DocId, token: String },
    /// A document with its containers.
    Document { doc: DocId },
    /// A space.
    Space { space: SpaceId },
    /// A right to read.
    Grant { space: SpaceId, member: MemberId },
    /// A device was put out.
    Removal { device: DeviceId },
    /// A document of the model.
    Paper { doc: DocId },
    /// Something in a document of the model, which names it by this id.
    Act { doc: DocId, id: String },
    /// A ballot; the last of this member's phones decides what it is.
    Ballot { doc: DocId, question: String, member: MemberId },
}

impl What {
    pub(crate) fn doc(&self) -> Option<DocId> {
        match self {
            Self::Key { doc, .. }
            | Self::Delete { doc, .. }
            | Self::Entry { doc, .. }
            | Self::Word { doc, .. }
            | Self::Paper { doc }
            | Self::Act { doc, .. }
            | Self::Ballot { doc, .. }
            | Self::Document { doc } => Some(*doc),
            Self::Space { .. } | Self::Grant { .. } | Self::Removal { .. } => None,
        }
    }
}

/// A space as it was meant.
#[derive(Debug, Clone)]
pub(crate) struct SpaceInfo {
    pub(crate) id: SpaceId,
    pub(crate) everyone: bool,
    /// Whose devices may grant.
    pub(crate) creator: MemberId,
    /// All who were ever let in.
    pub(crate) members: BTreeSet<MemberId>,
    /// Who was let in when it was made.
    pub(crate) first: BTreeSet<MemberId>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) branch: SpaceId,
    pub(crate) deeds: Vec<Deed>,
    pub(crate) spaces: Vec<SpaceInfo>,
    pub(crate) docs: Vec<(DocId, SpaceId)>,
    /// The relay's durable log.
    pub(crate) log: BTreeMap<u64, ItemId>,
    pub(crate) logged: BTreeMap<ItemId, Seq>,
    /// An older copy was put back, and the relay has not started on it yet.
    pub(crate) restored: bool,
    /// Items that a phone was told are durable.
    pub(crate) acked: BTreeSet<ItemId>,
    /// Items that were durable at some time.
    pub(crate) ever_logged: BTreeSet<ItemId>,
    /// Devices that somebody took a right from: all of it, or to a space.
    pub(crate) cut: BTreeSet<(DeviceId, Option<SpaceId>)>,
    /// Documents of which two copies of a phone may both have given away what was in no item when they parted: it may be there
    /// twice, and of two containers with one name one stands behind the other.
    pub(crate) doubled: BTreeSet<DocId>,
    /// The documents of the model, if people write in them.
    pub(crate) papers: Option<Papers>,
    pub(crate) papers_docs: BTreeSet<DocId>,
    /// What was sealed, by the hash of the seal.
    pub(crate) sealed: BTreeMap<String, Sealed>,
    /// A phone died while it sealed: there may be one more.
    pub(crate) seal_unsure: bool,
    /// Readers who were taken off a space at some time.
    pub(crate) revoked: BTreeSet<(SpaceId, MemberId)>,
}

impl Truth {
    pub(crate) fn may_read(&self, member: &MemberId, space: &SpaceId) -> bool {
        *space == self.branch
            || self.spaces.iter().any(|s| s.id == *space && (s.everyone || s.members.contains(member)))
    }

    pub(crate) fn append(&mut self, seq: Seq, id: ItemId) {
        self.log.insert(seq.0, id);
        self.logged.insert(id, seq);
        self.ever_logged.insert(id);
    }

    /// An older copy of the log was put back.
    pub(crate) fn cut(&mut self, head: Seq) {
        self.log.retain(|seq, _| *seq <= head.0);
        self.logged.retain(|_, seq| *seq <= head);
    }
}
