//! The one door through which foreign changes reach Automerge.
//!
//! Signature and authority were checked before ([`dinh_proto::item`], [`dinh_proto::charter`]). Here a run is
//! unpacked within bounds, every change's hash is recomputed, the last must be the one that the author signed, and
//! actor and counters must be the author's. Then the rules judge each change: first its bytes (G1 to G3, G6), then
//! what Automerge reads in them (G4), then its operations against the change's own past (G5; [`Past`]). What passed
//! is tried on a copy of the document (G8; `shadow.rs`). docs/GATE.md lists the rules with numbers and reasons.
//!
//! The rules are a pure function of the bytes and the past, versioned by [`RULES_VERSION`]: no clock, memory,
//! quota or order of arrival, so all devices say the same.

mod columns;
mod engine;
mod form;
mod past;
mod refusal;
pub mod rights;
mod shadow;
mod snapshot;
mod typing;

use automerge::Change;
use dinh_proto::crypto::{CryptoError, SpaceKey};
use dinh_proto::error::{InvalidMessage, RejectCode};
use dinh_proto::ids::{ActorId, ChangeHash, DeviceId, ItemId, SpaceId};
use dinh_proto::item::{Header, Item};
use dinh_proto::keys::DevicePublic;
use dinh_proto::limits;
use dinh_proto::pack::{PackContext, PackError, PackLimits, RawChange, UnpackedChange, pack_in, unpack_in};
use thiserror::Error;

pub(crate) use self::engine::guarded;
pub use self::engine::{Call, Panicked};
pub use self::past::{Mark, Past};
pub use self::refusal::{Judgement, RULES_VERSION, Refusal};
use self::rights::{Denied, Rights};
pub use self::shadow::ShadowError;
pub(crate) use self::shadow::{Shadow, reload, save};
pub use self::snapshot::{
    OpenedSnapshot, SnapshotAuthor, SnapshotFrame, open_snapshot, open_verified_snapshot, read_frame,
    seal_snapshot,
};

/// Why a run or snapshot is not let in.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GateError {
    /// The key that the payload is encrypted under is not here.
    #[error("the key of the payload is not here (yet)")]
    NoKey,
    /// The payload does not open with the key that the header names.
    #[error("the payload does not open: {0}")]
    Sealed(#[from] CryptoError),
    /// The pack is not well formed or over a limit.
    #[error("the pack is refused: {0}")]
    Pack(#[from] PackError),
    /// The snapshot's frame is not well formed.
    #[error("the snapshot is refused: {0}")]
    Invalid(#[from] InvalidMessage),
    /// The changes are not those that the header names.
    #[error("the changes do not match the signed header: {0}")]
    Mismatch(&'static str),
    /// A header inside a snapshot is not its author's.
    #[error("a header in the snapshot is refused: {0:?}")]
    Header(RejectCode),
    /// A change breaks a rule, on every device.
    #[error("a change is refused by rule {0}")]
    Rule(#[from] Refusal),
    /// A change writes what its author may not.
    #[error("the author may not write that: {0}")]
    Denied(#[from] Denied),
    /// A change builds on one that is not here.
    #[error("change {0} is missing, which another builds on")]
    Missing(ChangeHash),
    /// The document engine of this device fails on it.
    #[error("the document engine does not bear it: {0}")]
    Shadow(#[from] ShadowError),
}

impl GateError {
    /// Whether the document engine panicked: worth a second try, because what a rule refuses it does not.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(self, Self::Shadow(ShadowError::Panicked(_)))
    }
}

impl From<Panicked> for GateError {
    fn from(panicked: Panicked) -> Self {
        Self::Shadow(panicked.into())
    }
}

impl From<Judgement> for GateError {
    fn from(judgement: Judgement) -> Self {
        match judgement {
            Judgement::Refused(refusal) => Self::Rule(refusal),
            Judgement::Missing(hash) => Self::Missing(hash),
        }
    }
}

/// What the gate asks of the charter and of this device's keys.
pub trait Authority {
    /// A device's keys, also of one that was removed.
    fn public(&self, device: &DeviceId) -> Option<DevicePublic>;

    /// Whether a run with this header, whose id begins with `link`, counts by its author's right alone.
    fn may_write(&self, header: &Header, link: [u8; 16]) -> Result<(), RejectCode>;

    /// The key that a header names, if it is here.
    fn key(&self, header: &Header) -> Option<&SpaceKey>;

    /// What the author of a run or of a part of a snapshot may write in its document; `None` if that has no schema, or one
    /// that this app does not know.
    ///
    /// # Errors
    /// [`GateError::NoKey`] if the key under which the schema's name is sealed is not here.
    fn rights(&self, _header: &Header, _link: [u8; 16]) -> Result<Option<Rights>, GateError> {
        Ok(None)
    }

    /// Whether payloads in this space are padded.
    fn is_padded(&self, space: &SpaceId) -> bool;

    /// The payload as it was before it was encrypted.
    fn open(&self, item: &Item) -> Result<Vec<u8>, GateError> {
        let key = self.key(item.header()).ok_or(GateError::NoKey)?;
        Ok(key.open(item, self.is_padded(&item.header().space))?)
    }

    /// Whether this is the change that the header's author committed to.
    fn commits(&self, header: &Header, change: &ChangeHash) -> Result<(), GateError> {
        let key = self.key(header).ok_or(GateError::NoKey)?;
        if key.commits(header, change) { Ok(()) } else { Err(GateError::Mismatch("hash of the last change")) }
    }
}

/// A change that passed.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// Its hash.
    pub hash: ChangeHash,
    /// Its actor.
    pub actor: ActorId,
    /// Its number.
    pub seq: u64,
    /// What must be in the document before it.
    pub deps: Vec<ChangeHash>,
    /// Refused runs that it lets in.
    pub releases: Vec<ItemId>,
    /// The change.
    pub change: Change,
}

/// Packs a device's own consecutive changes to one document. `before` is the hash of its change before them.
pub fn seal_run(
    actor: &ActorId,
    before: Option<&ChangeHash>,
    raw: &[impl AsRef<[u8]>],
) -> Result<Vec<u8>, PackError> {
    let hashes: Vec<[u8; 32]> = before.iter().map(|h| h.0).collect();
    pack_in(PackContext { actors: &[&actor.0], hashes: &hashes }, raw, &PackLimits::RUN)
}

/// A run whose changes are the author's, every one of them pinned by the signature, and of the right form (G1 to
/// G3, G6). Automerge has not seen them.
#[derive(Debug, Clone)]
pub struct OpenedRun(Vec<UnpackedChange>);

/// Opens a run. `before` is the hash of the author's change before it, if it is not the first.
pub fn open_run(
    run: &Item,
    authority: &impl Authority,
    before: Option<&ChangeHash>,
) -> Result<OpenedRun, GateError> {
    let header = run.header();
    let actor = header.actor();
    let changes = unpack_run(&actor, &authority.open(run)?, before)?;
    if changes.len() != usize::from(header.count) {
        return Err(GateError::Mismatch("count"));
    }
    check_chain(&changes.iter().collect::<Vec<_>>(), &actor, u64::from(header.first_seq), before)?;
    let last = changes.last().ok_or(GateError::Mismatch("count"))?;
    authority.commits(header, &ChangeHash(last.hash()))?;
    changes.iter().try_for_each(form::check_form)?;
    Ok(OpenedRun(changes))
}

impl OpenedRun {
    /// The hashes of its changes, in order.
    pub fn hashes(&self) -> impl Iterator<Item = ChangeHash> {
        self.0.iter().map(|c| ChangeHash(c.hash()))
    }

    /// A change that it builds on and that is neither in it nor in `past`, if any.
    pub fn missing(&self, past: &Past) -> Option<ChangeHash> {
        let own: std::collections::BTreeSet<[u8; 32]> = self.0.iter().map(UnpackedChange::hash).collect();
        let mut deps = self.0.iter().flat_map(|c| c.deps());
        deps.find(|d| !own.contains(*d) && !past.contains(&ChangeHash(**d))).map(|d| ChangeHash(*d))
    }

    /// Judges its changes by G4 and G5. They are in `past` then; if one is refused, none is.
    ///
    /// # Errors
    /// [`GateError::Rule`], [`GateError::Denied`], or [`GateError::Missing`] if something that it builds on is not in `past`.
    pub fn admit(self, past: &mut Past, rights: Option<&Rights>) -> Result<Vec<Admitted>, GateError> {
        let mark = past.mark();
        let admitted: Result<Vec<_>, _> = self.0.iter().map(|c| examine(c, past, rights)).collect();
        if admitted.is_err() {
            past.rollback(mark);
        }
        admitted
    }
}

/// The raw changes of one's own run, as they were packed.
pub fn open_own_run(
    run: &Item,
    authority: &impl Authority,
    before: Option<&ChangeHash>,
) -> Result<Vec<(ChangeHash, Vec<u8>)>, GateError> {
    let changes = unpack_run(&run.header().actor(), &authority.open(run)?, before)?;
    Ok(changes.into_iter().map(|c| (ChangeHash(c.hash()), c.into_raw())).collect())
}

/// Whether a change that this device just made would pass everywhere: G1 to G4 and G6, and G5 if the past is given
/// (the change is part of it then).
pub fn check_own(
    raw: &[u8],
    past: Option<&mut Past>,
    rights: Option<&Rights>,
) -> Result<Vec<ItemId>, GateError> {
    let head = RawChange::parse(raw)?;
    form::check_head(&head, raw.len())?;
    let (_, expanded) = form::check_encoding(raw)?;
    let Some(past) = past else { return Ok(Vec::new()) };
    let mark = past.mark();
    past.admit(ChangeHash(head.hash), &expanded)?;
    let judged = rights.map_or(Ok(Vec::new()), |rights| rights.judge(past, &expanded));
    judged.map_err(|denied| {
        past.rollback(mark);
        denied.into()
    })
}

/// Takes changes into `past` that are in this device's document already, each after what it builds on.
pub(crate) fn learn(raw: &[u8], past: &mut Past) -> Result<(), GateError> {
    let change = guarded(Call::Parse, || crate::document::parse_change(raw))?;
    let change = change.map_err(|error| Refusal::Unreadable(error.to_string()))?;
    let expanded = guarded(Call::Decode, || change.decode())?;
    Ok(past.admit(ChangeHash(change.hash().0), &expanded)?)
}

fn unpack_run(
    actor: &ActorId,
    payload: &[u8],
    before: Option<&ChangeHash>,
) -> Result<Vec<UnpackedChange>, PackError> {
    let hashes: Vec<[u8; 32]> = before.iter().map(|h| h.0).collect();
    unpack_in(PackContext { actors: &[&actor.0], hashes: &hashes }, payload, &PackLimits::RUN)
}

fn check_chain(
    changes: &[&UnpackedChange],
    actor: &ActorId,
    first_seq: u64,
    before: Option<&ChangeHash>,
) -> Result<(), GateError> {
    let mut previous = before.map(|h| h.0);
    for (change, seq) in changes.iter().zip(first_seq..) {
        if change.actor() != actor.0 {
            return Err(GateError::Mismatch("actor"));
        }
        if change.seq() != seq {
            return Err(GateError::Mismatch("change number"));
        }
        // Each change names its actor's one before: so the signature over the last hash covers all of them.
        if (seq > 1) != previous.is_some() || previous.is_some_and(|p| !change.deps().contains(&p)) {
            return Err(GateError::Mismatch("previous change"));
        }
        previous = Some(change.hash());
    }
    Ok(())
}

/// Judges one raw change by all rules (G1 to G6): it is in `past` then, or nothing changed. For a run, whose bytes are
/// pinned by a signature, see [`open_run`].
///
/// # Errors
/// [`GateError::Rule`]; [`GateError::Missing`] if it builds on a change that is not in `past`; [`GateError::Pack`] if
/// it is no uncompressed change chunk.
pub fn judge_change(raw: &[u8], past: &mut Past) -> Result<Admitted, GateError> {
    if raw.len() > limits::CHANGE_BYTES_MAX {
        return Err(Refusal::Size { bytes: raw.len() }.into());
    }
    let head = RawChange::parse(raw)?;
    form::check_head(&head, raw.len())?;
    pass(&head, raw, past, None)
}

/// All rules for one change; it is in `past` then.
fn examine(change: &UnpackedChange, past: &mut Past, rights: Option<&Rights>) -> Result<Admitted, GateError> {
    form::check_form(change)?;
    pass(&change.head(), change.raw(), past, rights)
}

/// G4, G5 and G7 for a change of the right form.
fn pass(
    head: &RawChange<'_>,
    raw: &[u8],
    past: &mut Past,
    rights: Option<&Rights>,
) -> Result<Admitted, GateError> {
    let hash = ChangeHash(head.hash);
    let mut actor = ActorId::default();
    actor.0.copy_from_slice(head.actor);
    let (parsed, expanded) = form::check_encoding(raw)?;
    if parsed.hash().0 != hash.0 {
        return Err(GateError::Mismatch("hash of a change"));
    }
    let mark = past.mark();
    past.admit(hash, &expanded)?;
    let judged = rights.map_or(Ok(Vec::new()), |rights| rights.judge(past, &expanded));
    let releases = judged.inspect_err(|_| past.rollback(mark))?;
    let deps = head.deps.iter().map(|d| ChangeHash(*d)).collect();
    Ok(Admitted { hash, actor, seq: head.seq, deps, releases, change: parsed })
}
