//! Spaces of one branch as a file, and taking such a file into another relay's log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use dinh_proto::ids::{ChainId, DocId, ItemId, LogEpoch, Seq, SpaceId};
use dinh_proto::item::{Item, Kind, Place, RawItem};
use dinh_proto::keys::DevicePublic;
use serde::Serialize;

use super::check::{Branches, Chains, Fit, Problems, at, in_parallel, unknown};
use super::folder::CopyReader;
use super::{
    ArchiveError, CHUNK_BYTES, Content, Done, Header, LOG_FILE, Output, Progress, Secrets, StreamWriter,
};
use crate::identity;
use crate::log::{IndexEntry, LogError, LogFile, Position, ReadLog, RedbLog};

/// Bytes of items in one append.
const APPEND_BYTES: usize = 8 << 20;
/// Items in one append.
const APPEND_ITEMS: usize = 4_096;
/// Items that are entered together into the tables of spaces.
const INDEX_ITEMS: u64 = 1 << 16;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Their branch.
    pub branch: SpaceId,
    /// The spaces, without the charter's own.
    pub spaces: Vec<SpaceId>,
    /// Items, those of the charter among them.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Writes one space with its branch's charter; of a branch's own id the charter; with `all` every space of the branch.
///
/// # Errors
/// If a relay runs on the directory, nobody created such a space, or the output cannot be written.
pub fn export(
    data: &Path,
    space: SpaceId,
    all: bool,
    output: &Path,
    wall_ms: u64,
    progress: Progress<'_>,
) -> Result<Exported, ArchiveError> {
    let path = data.join(LOG_FILE);
    if !path.exists() {
        return Err(ArchiveError::NoLog { path: data.to_owned() });
    }
    let failed = |e| ArchiveError::log(data, e);
    let log = LogFile::open(&path).map_err(failed)?;
    let state = log.state().map_err(failed)?;
    let mut records = Vec::new();
    let is_record = |entry: &IndexEntry| entry.kind == Kind::Charter;
    log.entries(state.head, |e| records.extend(is_record(e).then_some(e.seq))).map_err(failed)?;
    // Which branch a space is of is said by the first record about it.
    records.sort_unstable();
    let branches = branches_of(records.iter().map(|seq| stored(&log, *seq)), &path)?;
    let found = if branches.contains(&space) { Some(space) } else { branches.of_space(&space) };
    let Some(branch) = found else {
        let what = format!("no branch in {} has a space {space}", path.display());
        return Err(ArchiveError::NotFound(format!("{what}: the console and `dinh-relay spaces` list them")));
    };
    let mut spaces: BTreeSet<SpaceId> =
        if all { branches.spaces(branch).collect() } else { BTreeSet::from([space]) };
    spaces.remove(&branch);
    let (mut charter, mut rest) = (Vec::new(), Vec::new());
    log.entries(state.head, |entry| {
        if entry.space == branch {
            charter.push((entry.seq, entry.id));
        } else if spaces.contains(&entry.space) {
            rest.push((entry.seq, entry.id));
        }
    })
    .map_err(failed)?;
    charter.sort_unstable_by_key(|(seq, _)| *seq);
    rest.sort_unstable_by_key(|(seq, _)| *seq);
    charter.append(&mut rest);
    let header = Header {
        content: Content::Spaces { branch, spaces: spaces.iter().copied().collect() },
        relay: identity::load(data).ok().map(|key| key.public()),
        wall_ms,
        first: Seq(1),
        last: Seq(charter.len() as u64),
        before_id: ItemId::default(),
        last_id: charter.last().map(|(_, id)| *id).unwrap_or_default(),
        previous: [0; 32],
        epochs: state.epochs,
        operator: Vec::new(),
        secrets: Secrets::default(),
    };
    let bytes = write(&log, data, &header, &charter, output, progress)?;
    Ok(Exported { branch, spaces: spaces.into_iter().collect(), items: charter.len() as u64, bytes })
}

fn write(
    log: &LogFile,
    data: &Path,
    header: &Header,
    items: &[(Seq, ItemId)],
    output: &Path,
    progress: Progress<'_>,
) -> Result<u64, ArchiveError> {
    let failed = |error| ArchiveError::writing(output, error);
    let mut writer = StreamWriter::new(Output::create(output)?, header).map_err(failed)?;
    let mut done = Done { of: Some(items.len() as u64), ..Done::default() };
    let (mut chunk, mut chunk_bytes) = (Vec::new(), 0);
    for (i, (seq, id)) in items.iter().enumerate() {
        let item = stored(log, *seq).map_err(|e| ArchiveError::log(data, e))?;
        if item.id() != *id {
            let what = format!("the index does not say what item {seq} is");
            return Err(ArchiveError::log(data, LogError::Corrupted(what)));
        }
        chunk_bytes += item.as_bytes().len();
        chunk.push(item.as_bytes().clone());
        if chunk_bytes >= CHUNK_BYTES || i + 1 == items.len() {
            writer.chunk(&chunk).map_err(failed)?;
            done.items += chunk.len() as u64;
            done.bytes += chunk_bytes as u64;
            chunk.clear();
            chunk_bytes = 0;
            progress(done);
        }
    }
    let (output, _) = writer.finish().map_err(failed)?;
    output.finish()?;
    Ok(done.bytes)
}

fn stored(log: &LogFile, seq: Seq) -> Result<RawItem, LogError> {
    let bytes = log.item(seq)?.ok_or(LogError::NotStored(seq))?;
    RawItem::parse(bytes).map_err(|e| LogError::Corrupted(format!("item {seq}: {e}")))
}

fn branches_of(
    records: impl Iterator<Item = Result<RawItem, LogError>>,
    path: &Path,
) -> Result<Branches, ArchiveError> {
    let mut branches = Branches::default();
    for record in records {
        let record = record.map_err(|source| ArchiveError::Log { path: path.to_owned(), source })?;
        // One that does not read any more stays out, as when a relay starts.
        let _ = branches.add(&record);
    }
    Ok(branches)
}

/// What was taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// The branch.
    pub branch: SpaceId,
    /// Items that were appended.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Items that were there already.
    pub were_there: u64,
    /// Snapshots that were left out: they say how far they go by places of another log, or are older than what is there.
    pub snapshots_left_out: u64,
}

/// Takes a file of [`export`] into a log. Everything is judged before anything is appended; what is there already is
/// passed over, so that it can be done again after a crash.
///
/// # Errors
/// If a relay runs on the directory, the file is damaged, or something in it contradicts the log: nothing is then taken.
pub fn import(
    data: &Path,
    from: &Path,
    epoch: LogEpoch,
    progress: Progress<'_>,
) -> Result<Imported, ArchiveError> {
    let path = data.join(LOG_FILE);
    if !path.exists() {
        return Err(ArchiveError::NoLog { path: data.to_owned() });
    }
    let failed = |error| match ArchiveError::log(data, error) {
        ArchiveError::Log { path, source: LogError::DiskFull(_) } => {
            let outcome = "what was taken so far is whole, and is passed over when it is done again";
            ArchiveError::Full { path, outcome }
        }
        other => other,
    };
    let (branch, spaces) = named(CopyReader::open(from)?.header(), from)?;
    let log = RedbLog::open(&path, epoch).map_err(failed)?;
    let mut target = Target::of(&log, &path, branch, spaces).map_err(failed)??;
    let mut copy = CopyReader::open(from)?;
    while let Some(items) = copy.chunk()? {
        target.judge(&items);
    }
    if !target.problems.is_empty() {
        return Err(ArchiveError::Problems(target.problems));
    }
    let mut imported = Imported {
        branch,
        items: 0,
        bytes: 0,
        were_there: target.were_there,
        snapshots_left_out: target.snapshots_left_out,
    };
    let mut wanted = target.taken.into_iter().peekable();
    let of = Some(wanted.len() as u64);
    let mut copy = CopyReader::open(from)?;
    let (mut batch, mut bytes): (Vec<Item>, usize) = (Vec::new(), 0);
    loop {
        let chunk = copy.chunk()?;
        let is_last = chunk.is_none();
        for (_, item) in chunk.into_iter().flatten() {
            let Ok(item) = RawItem::parse(item) else { continue };
            if wanted.next_if(|id| *id == item.id()).is_some() {
                bytes += item.as_bytes().len();
                batch.push(item.trust());
            }
        }
        if is_last || bytes >= APPEND_BYTES || batch.len() >= APPEND_ITEMS {
            log.append_batch(&batch).map_err(failed)?;
            imported.items += batch.len() as u64;
            imported.bytes += bytes as u64;
            batch.clear();
            bytes = 0;
            progress(Done { items: imported.items, bytes: imported.bytes, of });
        }
        if is_last {
            break;
        }
    }
    if wanted.next().is_some() {
        let what = "changed while it was read: do it again";
        return Err(ArchiveError::Content { name: from.display().to_string(), what });
    }
    while log.write_index(INDEX_ITEMS).map_err(failed)? > 0 {}
    log.close().map_err(failed)?;
    Ok(imported)
}

fn named(header: &Header, from: &Path) -> Result<(SpaceId, Vec<SpaceId>), ArchiveError> {
    match &header.content {
        Content::Spaces { branch, spaces } => Ok((*branch, spaces.clone())),
        Content::Log => {
            let what = "holds a whole log: dinh-relay restore takes it";
            Err(ArchiveError::Content { name: from.display().to_string(), what })
        }
    }
}

/// The log that is to take items, as far as it has to be known to judge them.
struct Target<'a> {
    log: &'a RedbLog,
    head: Seq,
    branch: SpaceId,
    spaces: BTreeSet<SpaceId>,
    branches: Branches,
    chains: Chains,
    /// How far the newest snapshot of each document goes.
    snapshots: BTreeMap<(SpaceId, DocId), Seq>,
    taken: Vec<ItemId>,
    were_there: u64,
    snapshots_left_out: u64,
    problems: Problems,
}

impl<'a> Target<'a> {
    fn of(
        log: &'a RedbLog,
        path: &Path,
        branch: SpaceId,
        spaces: Vec<SpaceId>,
    ) -> Result<Result<Self, ArchiveError>, LogError> {
        let spaces: BTreeSet<SpaceId> = spaces.into_iter().collect();
        let (mut chains, mut snapshots, mut records) = (Chains::default(), BTreeMap::new(), Vec::new());
        for summary in log.summaries()? {
            // All charters: they say whose a space is. Of others only what the file is about.
            let is_named = summary.space == branch || spaces.contains(&summary.space);
            if !is_named && summary.devices.is_empty() && summary.spaces.is_empty() {
                continue;
            }
            let stored = log.space(summary.space)?;
            let seqs = stored.entries.iter().filter(|e| e.kind == Kind::Charter).map(|e| e.seq);
            records.extend(seqs.zip(stored.records));
            for entry in stored.entries.iter().filter(|_| is_named) {
                match entry.position {
                    Position::Chain(n) => {
                        chains.add(ChainId { space: entry.space, author: entry.author }, n, entry.id.link());
                    }
                    Position::Covers(cursor) => {
                        note_snapshot(&mut snapshots, (entry.space, entry.doc), cursor.seq)
                    }
                }
            }
        }
        // Which branch a space is of is said by the first record about it.
        records.sort_unstable_by_key(|(seq, _)| *seq);
        Ok(branches_of(records.into_iter().map(|(_, record)| Ok(record)), path).map(|branches| Self {
            log,
            head: log.head(),
            branch,
            spaces,
            branches,
            chains,
            snapshots,
            taken: Vec::new(),
            were_there: 0,
            snapshots_left_out: 0,
            problems: Problems::default(),
        }))
    }

    fn judge(&mut self, items: &[(Seq, Bytes)]) {
        let mut signed = Vec::new();
        for (seq, bytes) in items {
            match RawItem::parse(bytes.clone()) {
                Ok(item) => match self.judge_one(&item) {
                    Ok(Some(key)) => signed.push((*seq, item, key)),
                    Ok(None) => {}
                    Err(what) => self.problems.add(at(*seq), what),
                },
                Err(error) => self.problems.add(at(*seq), format!("no item: {error}")),
            }
        }
        let verified = in_parallel(&signed, |(_, item, key)| item.clone().verify(key).is_ok());
        for ((seq, item, _), is_good) in signed.iter().zip(verified) {
            if !is_good {
                self.problems.add(at(*seq), bad_signature(item));
            }
        }
    }

    /// Takes an item, if its signature is by this key; `None` if it is passed over or was looked at as a whole.
    fn judge_one(&mut self, item: &RawItem) -> Result<Option<DevicePublic>, String> {
        let header = item.header();
        let is_record = header.kind == Kind::Charter;
        if is_record && header.space != self.branch {
            return Err(format!("it is of the branch {}, and the file is of {}", header.space, self.branch));
        }
        if !is_record {
            match self.branches.of_space(&header.space) {
                Some(branch) if branch != self.branch => {
                    return Err(format!("its space {} is of the branch {branch} here", header.space));
                }
                _ if !self.spaces.contains(&header.space) => {
                    return Err(format!("its space {} is not among those of the file", header.space));
                }
                _ => {}
            }
        }
        if let Place::Covers(cursor) = header.place {
            let about = (header.space, header.doc);
            let is_newer = self.snapshots.get(&about).is_none_or(|covers| *covers < cursor.seq);
            if !is_newer || !self.log.epochs().is_valid(cursor, self.head) {
                self.snapshots_left_out += 1;
                return Ok(None);
            }
            note_snapshot(&mut self.snapshots, about, cursor.seq);
        }
        if let Place::Chain { n, .. } = header.place {
            let author = header.author;
            let whose = format_args!("of the chain of device {} session {}", author.device, author.session);
            let whose = format!("number {n} {whose} in space {}", header.space);
            match self.chains.fit(header, &item.id()) {
                Fit::Same => {
                    self.were_there += 1;
                    return Ok(None);
                }
                Fit::Fork => return Err(format!("the log has another item as {whose}")),
                Fit::BadLink => {
                    return Err(format!("as {whose} it does not name the item that the log has before"));
                }
                Fit::New if !self.chains.has_room(&header.chain(), n) => {
                    return Err(format!("too much is missing before {whose}"));
                }
                Fit::New => {}
            }
        }
        let key = self.branches.key_for(item).map_err(|code| unknown(header, code))?;
        if is_record {
            if item.clone().verify(&key).is_err() {
                return Err(bad_signature(item));
            }
            self.branches.add(item)?;
        }
        if let Place::Chain { n, .. } = header.place {
            self.chains.add(header.chain(), n, item.id().link());
        }
        self.taken.push(item.id());
        Ok((!is_record).then_some(key))
    }
}

fn bad_signature(item: &RawItem) -> String {
    format!("the signature is not that of its author, the device {}", item.header().author.device)
}

fn note_snapshot(snapshots: &mut BTreeMap<(SpaceId, DocId), Seq>, about: (SpaceId, DocId), covers: Seq) {
    let newest = snapshots.entry(about).or_insert(covers);
    *newest = covers.max(*newest);
}
