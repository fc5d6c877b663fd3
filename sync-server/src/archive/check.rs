//! Judging a log's items again, as the relay did when it took them: bytes, chains, signatures.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use dinh_proto::charter::Charter;
use dinh_proto::charter::record::Record;
use dinh_proto::error::RejectCode;
use dinh_proto::ids::{Author, ChainId, DeviceId, ItemId, Seq, SessionId, SpaceId};
use dinh_proto::item::{Header, ITEM_OVERHEAD_BYTES, Kind, Place, RawItem, SignedHeader};
use dinh_proto::keys::DevicePublic;
use dinh_proto::limits;
use dinh_proto::ranges::Ranges;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Problems that are kept to be shown; more are counted.
const PROBLEMS_MAX: usize = 100;
/// Items whose author's certificate has not come yet. A relay takes none of them, so there are few or something is wrong.
const WAITING_MAX: usize = 65_536;
/// Items for which another thread is worth its start.
const PER_THREAD_MIN: usize = 16;

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where.
    pub place: String,
    /// What.
    pub what: String,
}

/// The first problems, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    first: Vec<Problem>,
    total: u64,
}

impl Problems {
    pub(crate) fn add(&mut self, place: impl fmt::Display, what: impl fmt::Display) {
        self.total += 1;
        if self.first.len() < PROBLEMS_MAX {
            self.first.push(Problem { place: place.to_string(), what: what.to_string() });
        }
    }

    /// Those that are kept, in the order in which they were found.
    pub fn first(&self) -> &[Problem] {
        &self.first
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }
}

impl fmt::Display for Problems {
    /// The first three.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.first.iter().take(3).enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", problem.place, problem.what)?;
        }
        if self.total > 3 { write!(f, "; and {} more", self.total - 3) } else { Ok(()) }
    }
}

/// What was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Items.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of the items, records of charters.
    pub charter_records: u64,
    /// Of the items, snapshots.
    pub snapshots: u64,
    /// Branches whose charter is there.
    pub branches: u64,
    /// Spaces with items, those of the charters among them.
    pub spaces: u64,
    /// Chains: one for each session of a device in a space.
    pub chains: u64,
    /// Signatures that were checked and are good.
    pub signatures: u64,
    /// SHA-256 over each item's place, length and bytes: two logs that hold the same have the same, whatever else their
    /// files are like.
    pub content: String,
}

/// The links of one chain's items, by number.
#[derive(Debug, Default)]
struct Chain {
    /// Of 1, 2, 3 … without a gap.
    dense: Vec<[u8; 16]>,
    /// Of those beyond the first gap.
    rest: BTreeMap<u32, [u8; 16]>,
    held: Ranges,
}

impl Chain {
    fn at(&self, n: u32) -> Option<[u8; 16]> {
        let index = n.checked_sub(1)? as usize;
        self.dense.get(index).or_else(|| self.rest.get(&n)).copied()
    }

    fn add(&mut self, n: u32, link: [u8; 16]) {
        self.rest.insert(n, link);
        self.held.insert(n);
        while let Some(next) = self.rest.remove(&(self.dense.len() as u32 + 1)) {
            self.dense.push(next);
        }
    }
}

/// How an item stands to those of its chain that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It is new.
    New,
    /// It is there.
    Same,
    /// Another one has its number.
    Fork,
    /// It does not name the one before it.
    BadLink,
}

/// All chains of a log.
#[derive(Debug, Default)]
pub(super) struct Chains(BTreeMap<ChainId, Chain>);

impl Chains {
    pub(super) fn fit(&self, header: &Header, id: &ItemId) -> Fit {
        let Place::Chain { n, prev } = header.place else { return Fit::New };
        let Some(chain) = self.0.get(&header.chain()) else { return Fit::New };
        match chain.at(n) {
            Some(link) if link == id.link() => Fit::Same,
            Some(_) => Fit::Fork,
            None if chain.at(n - 1).is_some_and(|link| link != prev) => Fit::BadLink,
            None => Fit::New,
        }
    }

    pub(super) fn add(&mut self, chain: ChainId, n: u32, link: [u8; 16]) {
        self.0.entry(chain).or_default().add(n, link);
    }

    /// Whether a relay can hold the item: it takes memory for what is missing in a chain.
    pub(super) fn has_room(&self, id: &ChainId, n: u32) -> bool {
        let Some(chain) = self.0.get(id) else {
            let session = |byte| ChainId {
                space: id.space,
                author: Author { device: id.author.device, session: SessionId([byte; 8]) },
            };
            return n as usize <= limits::CHAIN_HOLE_MAX
                && self.0.range(session(0)..=session(u8::MAX)).count() < limits::SESSIONS_PER_DEVICE_MAX;
        };
        let end = chain.rest.last_key_value().map_or(chain.dense.len(), |(n, _)| *n as usize);
        chain.at(n - 1).is_some()
            || n as usize <= end + limits::CHAIN_HOLE_MAX
                && chain.held.iter().count() < limits::RANGES_PER_CHAIN_MAX
    }
}

/// The branches of a log with their charters, and which space is whose.
#[derive(Debug, Default)]
pub(super) struct Branches {
    charters: BTreeMap<SpaceId, Charter>,
    of_space: BTreeMap<SpaceId, SpaceId>,
}

impl Branches {
    /// The branch of a space, as the first record about it says.
    pub(super) fn of_space(&self, space: &SpaceId) -> Option<SpaceId> {
        self.of_space.get(space).copied()
    }

    pub(super) fn contains(&self, branch: &SpaceId) -> bool {
        self.charters.contains_key(branch)
    }

    /// The spaces of a branch.
    pub(super) fn spaces(&self, branch: SpaceId) -> impl Iterator<Item = SpaceId> + '_ {
        self.of_space.iter().filter(move |(_, of)| **of == branch).map(|(space, _)| *space)
    }

    /// The key that must have signed an item.
    pub(super) fn key_for(&self, item: &RawItem) -> Result<DevicePublic, RejectCode> {
        let header = item.header();
        let branch = match header.kind {
            Kind::Charter => header.space,
            Kind::Run | Kind::Snapshot => self.of_space(&header.space).ok_or(RejectCode::UnknownTarget)?,
        };
        match self.charters.get(&branch) {
            Some(charter) => charter.key_for(item),
            // A genesis brings its key.
            None if header.kind == Kind::Charter => Charter::new(branch).key_for(item),
            None => Err(RejectCode::UnknownTarget),
        }
    }

    /// Takes a record of a charter, whose signature is not looked at here. Its space must not be another branch's.
    pub(super) fn add(&mut self, item: &RawItem) -> Result<(), String> {
        let branch = item.header().space;
        let author = item.header().author.device;
        let record = Record::decode(item.payload()).map_err(|e| format!("no record of a charter: {e}"))?;
        let space = match &record {
            Record::Space { nonce, .. } => Some(SpaceId::derive(&author, nonce)),
            _ => None,
        };
        if let Some(space) = space
            && let Some(other) = self.of_space(&space).filter(|other| *other != branch)
        {
            return Err(format!("it creates the space {space}, which is of the branch {other}"));
        }
        let is_new = !self.contains(&branch);
        let charter = self.charters.entry(branch).or_insert_with(|| Charter::new(branch));
        let kept = charter.keep(&item.clone().trust());
        if is_new && charter.is_empty() {
            self.charters.remove(&branch);
        }
        kept.map_err(|code| format!("the charter refuses the record: {}", code.name()))?;
        if let Some(space) = space {
            self.of_space.entry(space).or_insert(branch);
        }
        Ok(())
    }
}

/// An item's header and signature: all that its author signed.
struct Waiting {
    seq: Seq,
    signed: Bytes,
    branch_of: SpaceId,
}

/// Looks at items in the order of their log.
pub(super) struct Checker {
    branches: Branches,
    chains: Chains,
    spaces: std::collections::BTreeSet<SpaceId>,
    waiting: Vec<Waiting>,
    counts: Counts,
    content: Sha256,
    problems: Problems,
}

impl Checker {
    pub(super) fn new() -> Self {
        Self {
            branches: Branches::default(),
            chains: Chains::default(),
            spaces: std::collections::BTreeSet::new(),
            waiting: Vec::new(),
            counts: Counts::default(),
            content: Sha256::new(),
            problems: Problems::default(),
        }
    }

    pub(super) fn problem(&mut self, place: impl fmt::Display, what: impl fmt::Display) {
        self.problems.add(place, what);
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Looks at items that follow those before. Gives those back that are items at all.
    pub(super) fn check(&mut self, items: &[(Seq, Bytes)]) -> Vec<Option<RawItem>> {
        for (seq, bytes) in items {
            self.counts.items += 1;
            self.counts.bytes += bytes.len() as u64;
            self.content.update(seq.0.to_le_bytes());
            self.content.update((bytes.len() as u64).to_le_bytes());
            self.content.update(bytes);
        }
        let parsed = in_parallel(items, |(_, bytes)| RawItem::parse(bytes.clone()));
        let mut signed = Vec::with_capacity(items.len());
        let mut good = Vec::with_capacity(items.len());
        for ((seq, _), parsed) in items.iter().zip(parsed) {
            match parsed {
                Ok(item) => {
                    self.place(*seq, &item);
                    if let Some(key) = self.key(*seq, &item) {
                        signed.push((*seq, item.clone(), key));
                    }
                    good.push(Some(item));
                }
                Err(error) => {
                    self.problems.add(at(*seq), format!("no item: {error}"));
                    good.push(None);
                }
            }
        }
        let verified = in_parallel(&signed, |(_, item, key)| item.clone().verify(key).is_ok());
        for ((seq, item, _), is_good) in signed.iter().zip(verified) {
            self.signature(*seq, item.header(), is_good);
        }
        good
    }

    fn signature(&mut self, seq: Seq, header: &Header, is_good: bool) {
        if is_good {
            self.counts.signatures += 1;
        } else {
            let what =
                format!("the signature is not that of its author, the device {}", header.author.device);
            self.problems.add(at(seq), what);
        }
    }

    /// Where it stands in its chain.
    fn place(&mut self, seq: Seq, item: &RawItem) {
        let header = item.header();
        self.spaces.insert(header.space);
        self.counts.charter_records += u64::from(header.kind == Kind::Charter);
        let Place::Chain { n, .. } = header.place else {
            self.counts.snapshots += 1;
            return;
        };
        let chain = format_args!(
            "number {n} of the chain of device {} session {} in space {}",
            header.author.device, header.author.session, header.space
        )
        .to_string();
        match self.chains.fit(header, &item.id()) {
            Fit::New => {}
            Fit::Same => self.problems.add(at(seq), format!("it is {chain} a second time")),
            Fit::Fork => self.problems.add(at(seq), format!("it is another {chain} than the one before")),
            Fit::BadLink => {
                self.problems.add(at(seq), format!("it is {chain} and does not name the item before"));
            }
        }
        if self.chains.fit(header, &item.id()) == Fit::New {
            self.chains.add(header.chain(), n, item.id().link());
        }
    }

    /// The key that must have signed it. A record of a charter is looked at here: others need what it says.
    fn key(&mut self, seq: Seq, item: &RawItem) -> Option<DevicePublic> {
        match self.branches.key_for(item) {
            Ok(key) if item.header().kind == Kind::Charter => {
                let is_good = item.clone().verify(&key).is_ok();
                self.signature(seq, item.header(), is_good);
                if is_good && let Err(what) = self.branches.add(item) {
                    self.problems.add(at(seq), what);
                }
                None
            }
            Ok(key) => Some(key),
            Err(RejectCode::UnknownAuthor | RejectCode::UnknownTarget)
                if item.header().kind != Kind::Charter && self.waiting.len() < WAITING_MAX =>
            {
                // Not a slice: that would keep the payload.
                let signed = Bytes::copy_from_slice(&item.as_bytes()[..ITEM_OVERHEAD_BYTES]);
                self.waiting.push(Waiting { seq, signed, branch_of: item.header().space });
                None
            }
            Err(code) => {
                self.problems.add(at(seq), unknown(item.header(), code));
                None
            }
        }
    }

    /// What was found.
    pub(super) fn finish(mut self) -> (Counts, Problems) {
        for waiting in std::mem::take(&mut self.waiting) {
            let branch = self.branches.of_space(&waiting.branch_of);
            let charter = branch.and_then(|branch| self.branches.charters.get(&branch));
            let key = |device: &DeviceId| charter?.device(device).map(|d| d.public);
            let place = at(waiting.seq);
            match SignedHeader::verify(&waiting.signed, key) {
                Ok(_) => {
                    self.counts.signatures += 1;
                    self.problems.add(place, "it stands before the record that admits its author");
                }
                Err(RejectCode::UnknownAuthor) if branch.is_none() => {
                    let what = format!("its space {} is of no branch that is here", waiting.branch_of);
                    self.problems.add(place, what);
                }
                Err(RejectCode::UnknownAuthor) => {
                    self.problems.add(place, "its author has no certificate in the branch's charter");
                }
                Err(code) => self.problems.add(place, code.name()),
            }
        }
        self.counts.branches = self.branches.charters.len() as u64;
        self.counts.spaces = self.spaces.len() as u64;
        self.counts.chains = self.chains.0.len() as u64;
        self.counts.content = hex(&self.content.finalize());
        (self.counts, self.problems)
    }
}

pub(super) fn at(seq: Seq) -> String {
    format!("item {seq}")
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(super) fn unknown(header: &Header, code: RejectCode) -> String {
    let device = header.author.device;
    match code {
        RejectCode::UnknownAuthor => {
            format!("its author, the device {device}, has no certificate in the branch's charter")
        }
        RejectCode::UnknownTarget => format!("its space {} is of no branch that is here", header.space),
        RejectCode::BadLink => format!("it founds another branch than {}", header.space),
        code => code.name().to_owned(),
    }
}

/// `f` of each, on all cores if there are enough of them.
pub(super) fn in_parallel<T: Sync, R: Send>(all: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(all.len() / PER_THREAD_MIN);
    if threads <= 1 {
        return all.iter().map(f).collect();
    }
    std::thread::scope(|scope| {
        let f = &f;
        let parts = all.chunks(all.len().div_ceil(threads));
        let working: Vec<_> =
            parts.map(|part| scope.spawn(move || part.iter().map(f).collect::<Vec<R>>())).collect();
        let done = working.into_iter().map(|thread| thread.join());
        done.flat_map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}
