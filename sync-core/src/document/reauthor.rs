//! Writing a refused run again under a new actor.

use std::collections::{BTreeMap, BTreeSet};

use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, SortedVec};
use automerge::{ActorId, Change, ExpandedChange};

use super::{ChangeHash, DocumentError};

/// Begins the message of a rewritten change. The first 16 bytes of the hash of the change that it stands for follow in
/// hexadecimal, then the message of that change, if any. So whoever holds the original, or rewrites it once more from
/// another copy of the same store, sees that it is there.
const STANDS_FOR: &str = "dinh.stands-for ";

/// The first bytes of a change's hash, by which a rewritten change names its original.
pub type HashPrefix = [u8; 16];

/// What a change's message says about its original, and the rest of it.
pub(super) fn split_message(message: &str) -> (Option<HashPrefix>, &str) {
    let mark = message.strip_prefix(STANDS_FOR).and_then(|rest| rest.split_at_checked(32));
    let found = mark.and_then(|(hex, rest)| Some((u128::from_str_radix(hex, 16).ok()?.to_be_bytes(), rest)));
    found.map_or((None, message), |(prefix, rest)| (Some(prefix), rest.strip_prefix(' ').unwrap_or(rest)))
}

fn message(stands_for: &HashPrefix, rest: &str) -> String {
    let gap = if rest.is_empty() { "" } else { " " };
    format!("{STANDS_FOR}{:032x}{gap}{rest}", u128::from_be_bytes(*stands_for))
}

/// A change rewritten by [`reauthor`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reauthored {
    /// The new change: an uncompressed chunk, as it travels.
    pub raw: Vec<u8>,
    /// Its hash.
    pub hash: ChangeHash,
    /// The change that it stands for: the refused one, or the one for which that stood already.
    pub stands_for: HashPrefix,
    /// Its number among the new actor's changes, from 1.
    pub seq: u64,
}

/// Rewrites refused changes under a new actor, operation by operation.
///
/// Two phones restored from one backup both go on as the same actor. The relay keeps the first run and refuses the second
/// as a fork; the second phone drops its run, applies the first one's, and applies what this returns: the same operations
/// at the same places, by an actor that nobody else has. The result merges as if it had been written so from the start.
///
/// `refused` are raw changes of this device in this document, each building on the one before, that nobody has accepted:
/// all of them from the first refused one on. They may be of several actors, as a device goes on under another one in each
/// session. Changes of other devices that build on them cannot exist on the relay. `new_actor` must be brand-new (a new
/// session's): its changes are numbered from 1.
///
/// # Errors
/// If the changes are not as described, or one does not survive being taken apart and put together unchanged.
pub fn reauthor<B: AsRef<[u8]>>(
    refused: &[B],
    old_actors: &[[u8; 16]],
    new_actor: [u8; 16],
) -> Result<Vec<Reauthored>, DocumentError> {
    reauthor_after(&[], refused, old_actors, new_actor)
}

/// A change that [`reauthor`] wrote, of which it turned out that the change that it stands for, or another that stands
/// for the same one, is accepted after all: another copy of this store had sent it.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The rewritten change, not sent yet: it is given up.
    pub raw: Vec<u8>,
    /// The actor of the change that is accepted.
    pub actor: [u8; 16],
    /// The hash of that change.
    pub hash: ChangeHash,
}

/// As [`reauthor`], when the first changes are not to be written: those in `accepted`, each building on the one before,
/// which the first of `refused` builds on. What follows is then attached to the changes for which they stand.
///
/// # Errors
/// As [`reauthor`].
pub fn reauthor_after<B: AsRef<[u8]>>(
    accepted: &[Accepted],
    refused: &[B],
    old_actors: &[[u8; 16]],
    new_actor: [u8; 16],
) -> Result<Vec<Reauthored>, DocumentError> {
    let new = ActorId::from(new_actor.as_slice());
    let old: Vec<ActorId> = old_actors.iter().map(|a| ActorId::from(a.as_slice())).collect();
    if old.contains(&new) {
        return Err(DocumentError::Reauthor("the new actor is the old one"));
    }
    let mut rename = Rename { parts: Vec::new(), new };
    let mut hashes = BTreeMap::new();
    for given_up in accepted {
        let change = super::parse_change(&given_up.raw)?;
        let (from, to) = (change.start_op().get(), change.max_op());
        let actor = ActorId::from(given_up.actor.as_slice());
        rename.parts.push((change.actor_id().clone(), from, to, actor));
        hashes.insert(ChangeHash::from(change.hash()), automerge::ChangeHash(*given_up.hash.as_bytes()));
    }
    let mut last: Option<(ActorId, u64, u64, ChangeHash)> = None;
    let mut renamed: BTreeSet<ActorId> = BTreeSet::new();
    let mut out = Vec::with_capacity(refused.len());
    for (raw, seq) in refused.iter().zip(1..) {
        let change = super::parse_change(raw.as_ref())?;
        if !old.contains(change.actor_id()) {
            return Err(DocumentError::Reauthor("a change is by another actor"));
        }
        if change.actors().any(|actor| *actor == rename.new) {
            return Err(DocumentError::Reauthor("the new actor has written in this document already"));
        }
        if let Some((actor, seq, max_op, hash)) = &last
            && (actor == change.actor_id() && change.seq() != seq + 1
                || change.start_op().get() <= *max_op
                || !change.deps().iter().any(|dep| dep.0 == *hash.as_bytes()))
        {
            return Err(DocumentError::Reauthor("the changes do not follow one another"));
        }
        let replaces = ChangeHash::from(change.hash());
        last = Some((change.actor_id().clone(), change.seq(), change.max_op(), replaces));
        if renamed.insert(change.actor_id().clone()) {
            let part = (change.actor_id().clone(), change.start_op().get(), u64::MAX, rename.new.clone());
            rename.parts.push(part);
        }
        let mut expanded = change.decode();
        // Sees to it that nothing is lost on the way, whatever this version of automerge does.
        if encode(expanded.clone()).raw_bytes() != change.raw_bytes() {
            return Err(DocumentError::Reauthor("a change cannot be taken apart without loss"));
        }
        rename.change(&mut expanded, seq, &hashes);
        let old = expanded.message.take().unwrap_or_default();
        let (mark, rest) = split_message(&old);
        let stands_for = mark.unwrap_or_else(|| replaces.prefix());
        expanded.message = Some(message(&stands_for, rest));
        let change = encode(expanded);
        hashes.insert(replaces, change.hash());
        out.push(Reauthored {
            raw: change.raw_bytes().to_vec(),
            hash: change.hash().into(),
            stands_for,
            seq,
        });
    }
    Ok(out)
}

struct Rename {
    /// Operations of an actor from one counter to another belong to changes that are now another actor's. All others
    /// stay as they are: they were accepted.
    parts: Vec<(ActorId, u64, u64, ActorId)>,
    new: ActorId,
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
        change.deps.dedup();
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
        let found =
            self.parts.iter().find(|(actor, from, to, _)| *actor == id.1 && (*from..=*to).contains(&id.0));
        if let Some((_, _, _, actor)) = found {
            id.1 = actor.clone();
        }
    }
}

fn encode(change: ExpandedChange) -> Change {
    Change::from(change)
}
