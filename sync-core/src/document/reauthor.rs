//! Writing a refused run again under a new actor.

use std::collections::BTreeMap;

use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, SortedVec};
use automerge::{ActorId, Change, ExpandedChange};

use super::{ChangeHash, DocumentError};

/// A change rewritten by [`reauthor`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reauthored {
    /// The new change: an uncompressed chunk, as it travels.
    pub raw: Vec<u8>,
    /// Its hash.
    pub hash: ChangeHash,
    /// The refused change that it stands for.
    pub replaces: ChangeHash,
    /// Its number among the new actor's changes, from 1.
    pub seq: u64,
}

/// Rewrites a refused run under a new actor, operation by operation.
///
/// Two phones restored from one backup both go on as the same actor. The relay keeps the first run and refuses the second
/// as a fork; the second phone drops its run, applies the first one's, and applies what this returns: the same operations
/// at the same places, by an actor that nobody else has. The result merges as if it had been written so from the start.
///
/// `refused` are the raw changes of `old_actor` in order, with consecutive numbers, that nobody has accepted: all of that
/// actor's changes in this document from the first refused one on. Changes of *other* actors that build on the refused ones
/// cannot exist on the relay. `new_actor` must be brand-new (a new session's): its changes are numbered from 1.
///
/// # Errors
/// If the run is not as described, or a change does not survive being taken apart and put together unchanged.
pub fn reauthor<B: AsRef<[u8]>>(
    refused: &[B],
    old_actor: [u8; 16],
    new_actor: [u8; 16],
) -> Result<Vec<Reauthored>, DocumentError> {
    let old = ActorId::from(old_actor.as_slice());
    let new = ActorId::from(new_actor.as_slice());
    if old == new {
        return Err(DocumentError::Reauthor("the new actor is the old one"));
    }
    let mut rename: Option<Rename> = None;
    let mut hashes = BTreeMap::new();
    let mut last: Option<(u64, u64, ChangeHash)> = None;
    let mut out = Vec::with_capacity(refused.len());
    for (raw, seq) in refused.iter().zip(1..) {
        let change = super::parse_change(raw.as_ref())?;
        if *change.actor_id() != old {
            return Err(DocumentError::Reauthor("a change is by another actor"));
        }
        if change.actors().any(|actor| *actor == new) {
            return Err(DocumentError::Reauthor("the new actor has written in this document already"));
        }
        if let Some((seq, max_op, hash)) = last
            && (change.seq() != seq + 1
                || change.start_op().get() <= max_op
                || !change.deps().iter().any(|dep| dep.0 == *hash.as_bytes()))
        {
            return Err(DocumentError::Reauthor("the changes do not follow one another"));
        }
        let replaces = ChangeHash::from(change.hash());
        last = Some((change.seq(), change.max_op(), replaces));
        let rename = rename.get_or_insert_with(|| Rename {
            old: old.clone(),
            new: new.clone(),
            from: change.start_op().get(),
        });
        let mut expanded = change.decode();
        // Sees to it that nothing is lost on the way, whatever this version of automerge does.
        if encode(expanded.clone()).raw_bytes() != change.raw_bytes() {
            return Err(DocumentError::Reauthor("a change cannot be taken apart without loss"));
        }
        rename.change(&mut expanded, seq, &hashes);
        let change = encode(expanded);
        hashes.insert(replaces, change.hash());
        out.push(Reauthored { raw: change.raw_bytes().to_vec(), hash: change.hash().into(), replaces, seq });
    }
    Ok(out)
}

struct Rename {
    old: ActorId,
    new: ActorId,
    /// Operations of the old actor from this counter on belong to the refused run. Below it they were accepted.
    from: u64,
}

impl Rename {
    fn change(
        &self,
        change: &mut ExpandedChange,
        seq: u64,
        hashes: &BTreeMap<ChangeHash, automerge::ChangeHash>,
    ) {
        change.actor_id = self.new.clone();
        change.seq = seq;
        change.hash = None;
        for dep in &mut change.deps {
            if let Some(hash) = hashes.get(&ChangeHash::from(*dep)) {
                *dep = *hash;
            }
        }
        change.deps.sort_unstable();
        for op in &mut change.operations {
            self.op(op);
        }
    }

    fn op(&self, op: &mut Op) {
        if let ObjectId::Id(id) = &mut op.obj {
            self.id(id);
        }
        if let Key::Seq(ElementId::Id(id)) = &mut op.key {
            self.id(id);
        }
        // Predecessors are sorted by id, so a new actor may change their order.
        let pred = std::mem::replace(&mut op.pred, SortedVec::new());
        op.pred = pred
            .into_iter()
            .map(|mut id| {
                self.id(&mut id);
                id
            })
            .collect::<SortedVec<_>>();
    }

    fn id(&self, id: &mut OpId) {
        if id.1 == self.old && id.0 >= self.from {
            id.1 = self.new.clone();
        }
    }
}

fn encode(change: ExpandedChange) -> Change {
    Change::from(change)
}
