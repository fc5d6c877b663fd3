//! The log, space by space: the tables that a start reads instead of the log itself.
//!
//! | table | key | value |
//! |---|---|---|
//! | `segments` | space (16) ‖ first place (8, big-endian) | items of the space: see [`index`](super::index) |
//! | `summaries` | space (16) | see [`summary`](super::summary) |
//! | `meta` | `indexed` | the last place that both tables have |
//!
//! They are a copy of what `log` says, written later and in bulk. Each row has a checksum, and the summaries must add up
//! to the places that they cover: a start that finds otherwise throws both tables away and makes them again. A space
//! whose segments are not what its summary counted is read from the log instead, and its segments are written again.

use std::collections::BTreeMap;

use dinh_proto::ids::{Seq, SpaceId};
use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, TableError, WriteTransaction};

use super::error::LogError;
use super::index::{self, IndexEntry, ROW_ITEMS_MAX};
use super::redb::{LOG, META, scan};
use super::summary::{Name, Summary};

pub(super) const SEGMENTS: TableDefinition<'_, &[u8; 24], &[u8]> = TableDefinition::new("segments");
pub(super) const SUMMARIES: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("summaries");
/// Of `meta`.
const INDEXED_KEY: &str = "indexed";

/// The last segment of a space grows until it has this many items.
const SEGMENT_ITEMS: usize = 64;

/// Items of one space that its segments do not have, in order.
#[derive(Debug, Default)]
pub(super) struct Recent {
    pub(super) entries: Vec<IndexEntry>,
    names: Vec<(Seq, Name)>,
}

/// What the tables do not have yet.
#[derive(Debug, Default)]
pub(super) struct Unindexed {
    /// The last place that the tables have.
    pub(super) indexed: u64,
    /// The last place that it knows of.
    pub(super) newest: u64,
    pub(super) spaces: BTreeMap<SpaceId, Recent>,
    /// All items of spaces whose segments are damaged, as far as the tables reach.
    pub(super) repairs: BTreeMap<SpaceId, Vec<IndexEntry>>,
}

impl Unindexed {
    pub(super) fn add(&mut self, entry: IndexEntry, name: Option<Name>) {
        self.newest = entry.seq.0;
        let recent = self.spaces.entry(entry.space).or_default();
        recent.names.extend(name.map(|name| (entry.seq, name)));
        recent.entries.push(entry);
    }

    /// What is to be written so that the tables reach to `upto`.
    pub(super) fn due(&self, upto: u64) -> Vec<(SpaceId, Recent)> {
        let before = |recent: &Recent| Recent {
            entries: recent.entries.iter().take_while(|e| e.seq.0 <= upto).copied().collect(),
            names: recent.names.iter().take_while(|(seq, _)| seq.0 <= upto).copied().collect(),
        };
        let due = self.spaces.iter().map(|(space, recent)| (*space, before(recent)));
        due.filter(|(_, recent)| !recent.entries.is_empty()).collect()
    }

    /// The tables reach to `upto` now.
    pub(super) fn written(&mut self, upto: u64) {
        self.indexed = upto;
        self.spaces.retain(|_, recent| {
            let n = recent.entries.partition_point(|e| e.seq.0 <= upto);
            recent.entries.drain(..n);
            recent.names.retain(|(seq, _)| seq.0 > upto);
            !recent.entries.is_empty()
        });
    }

    /// Adds what the tables lack to what they say.
    pub(super) fn complete(&self, summaries: &mut BTreeMap<SpaceId, Summary>) {
        for (space, recent) in &self.spaces {
            recent.count_into(summaries.entry(*space).or_insert_with(|| Summary::new(*space)));
        }
    }
}

impl Recent {
    fn count_into(&self, summary: &mut Summary) {
        let mut names = self.names.iter().peekable();
        for entry in &self.entries {
            let name = names.next_if(|(seq, _)| *seq == entry.seq).map(|(_, name)| *name);
            summary.add(entry, name);
        }
    }
}

/// Makes the tables if they are not there, and returns the last place that they have: zero if they are not sound, and
/// then they are empty.
pub(super) fn begin(txn: &WriteTransaction, head: u64) -> Result<u64, LogError> {
    let indexed = indexed(&txn.open_table(META).map_err(LogError::of)?)?;
    drop(txn.open_table(SEGMENTS).map_err(LogError::of)?);
    let counted = {
        let summaries = txn.open_table(SUMMARIES).map_err(LogError::of)?;
        read_summaries(&summaries)?.map(|s| s.values().map(|s| s.items).sum::<u64>())
    };
    if counted == Some(indexed) && indexed <= head {
        return Ok(indexed);
    }
    tracing::warn!("the index of spaces is damaged: it is made again from the log");
    txn.delete_table(SEGMENTS).map_err(LogError::of)?;
    txn.delete_table(SUMMARIES).map_err(LogError::of)?;
    drop(txn.open_table(SEGMENTS).map_err(LogError::of)?);
    drop(txn.open_table(SUMMARIES).map_err(LogError::of)?);
    txn.open_table(META).map_err(LogError::of)?.insert(INDEXED_KEY, 0).map_err(LogError::of)?;
    Ok(0)
}

/// The last place that the tables have, sound or not.
pub(super) fn indexed(meta: &impl ReadableTable<&'static str, u64>) -> Result<u64, LogError> {
    Ok(meta.get(INDEXED_KEY).map_err(LogError::of)?.map_or(0, |v| v.value()))
}

/// All summaries, or `None` if one is damaged.
fn read_summaries(
    table: &impl ReadableTable<&'static [u8; 16], &'static [u8]>,
) -> Result<Option<BTreeMap<SpaceId, Summary>>, LogError> {
    let mut all = BTreeMap::new();
    for row in table.iter().map_err(LogError::of)? {
        let (space, value) = row.map_err(LogError::of)?;
        let space = SpaceId(*space.value());
        let Ok(summary) = Summary::decode(space, value.value()) else { return Ok(None) };
        all.insert(space, summary);
    }
    Ok(Some(all))
}

/// What the tables say of every space.
pub(super) fn summaries(txn: &ReadTransaction) -> Result<BTreeMap<SpaceId, Summary>, LogError> {
    let table = txn.open_table(SUMMARIES).map_err(LogError::of)?;
    read_summaries(&table)?.ok_or_else(damaged)
}

fn damaged() -> LogError {
    LogError::Io(std::io::Error::other(
        "the index of spaces is damaged; the relay makes it again when it starts",
    ))
}

/// Writes what is due, so that the tables reach to `upto`.
pub(super) fn write(
    txn: &WriteTransaction,
    repairs: BTreeMap<SpaceId, Vec<IndexEntry>>,
    due: Vec<(SpaceId, Recent)>,
    upto: u64,
) -> Result<(), LogError> {
    let mut segments = txn.open_table(SEGMENTS).map_err(LogError::of)?;
    let mut summaries = txn.open_table(SUMMARIES).map_err(LogError::of)?;
    for (space, entries) in repairs {
        // If more was written meanwhile, it is found damaged again.
        if stored_summary(&summaries, space)?.fits(&entries) {
            segments
                .retain_in::<&[u8; 24], _>(&key(space, 0)..=&key(space, u64::MAX), |_, _| false)
                .map_err(LogError::of)?;
            write_segments(&mut segments, space, &entries)?;
        }
    }
    for (space, recent) in due {
        let mut summary = stored_summary(&summaries, space)?;
        recent.count_into(&mut summary);
        summaries.insert(&space.0, &summary.encode()[..]).map_err(LogError::of)?;
        write_recent(&mut segments, space, recent.entries)?;
    }
    let mut meta = txn.open_table(META).map_err(LogError::of)?;
    meta.insert(INDEXED_KEY, upto).map_err(LogError::of)?;
    Ok(())
}

fn stored_summary(
    table: &impl ReadableTable<&'static [u8; 16], &'static [u8]>,
    space: SpaceId,
) -> Result<Summary, LogError> {
    match table.get(&space.0).map_err(LogError::of)? {
        Some(row) => Summary::decode(space, row.value()).map_err(|_| damaged()),
        None => Ok(Summary::new(space)),
    }
}

/// Adds to the last segment while that is short. One that is damaged stays as it is, until somebody reads it.
fn write_recent(
    segments: &mut Table<'_, &'static [u8; 24], &'static [u8]>,
    space: SpaceId,
    mut entries: Vec<IndexEntry>,
) -> Result<(), LogError> {
    let last = {
        let mut rows =
            segments.range::<&[u8; 24]>(&key(space, 0)..=&key(space, u64::MAX)).map_err(LogError::of)?;
        rows.next_back()
            .transpose()
            .map_err(LogError::of)?
            .and_then(|(key, row)| index::decode_row(space, first_of(key.value()), row.value()).ok())
    };
    if let Some(mut last) = last.filter(|last| last.len() < SEGMENT_ITEMS) {
        last.append(&mut entries);
        entries = last;
    }
    write_segments(segments, space, &entries)
}

fn write_segments(
    segments: &mut Table<'_, &'static [u8; 24], &'static [u8]>,
    space: SpaceId,
    entries: &[IndexEntry],
) -> Result<(), LogError> {
    for row in entries.chunks(ROW_ITEMS_MAX) {
        segments.insert(&key(space, row[0].seq.0), &index::encode_row(row)[..]).map_err(LogError::of)?;
    }
    Ok(())
}

/// The items of a space that the tables have. If the segments are not what the summary counted: the same from the log, and
/// true.
pub(super) fn read(txn: &ReadTransaction, space: SpaceId) -> Result<(Vec<IndexEntry>, bool), LogError> {
    let summary = stored_summary(&txn.open_table(SUMMARIES).map_err(LogError::of)?, space)?;
    let segments = txn.open_table(SEGMENTS).map_err(LogError::of)?;
    let mut entries = Vec::new();
    for row in segments.range::<&[u8; 24]>(&key(space, 0)..=&key(space, u64::MAX)).map_err(LogError::of)? {
        let (key, row) = row.map_err(LogError::of)?;
        match index::decode_row(space, first_of(key.value()), row.value()) {
            Ok(more) => entries.extend(more),
            Err(_) => break,
        }
    }
    if entries.is_sorted_by(|a, b| a.seq < b.seq) && summary.fits(&entries) {
        return Ok((entries, false));
    }
    tracing::warn!(?space, "the index of a space is damaged: it is made again from the log");
    let end = indexed(&txn.open_table(META).map_err(LogError::of)?)?;
    let mut found = Vec::new();
    scan(&txn.open_table(LOG).map_err(LogError::of)?, 1, end, &mut |_, entry| {
        found.extend((entry.space == space).then_some(entry));
    })?;
    if summary.fits(&found) { Ok((found, true)) } else { Err(damaged()) }
}

/// Hands over the entries of all items that the tables have, a space at a time, each in order, and returns the last place that they
/// have: zero, and nothing is handed over, if there are none or they are not sound.
pub(super) fn entries(
    txn: &ReadTransaction,
    head: u64,
    each: &mut impl FnMut(&IndexEntry),
) -> Result<u64, LogError> {
    let indexed = indexed(&txn.open_table(META).map_err(LogError::of)?)?;
    let table = match txn.open_table(SUMMARIES) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(0),
        Err(error) => return Err(LogError::of(error)),
    };
    let Some(all) = read_summaries(&table)? else { return Ok(0) };
    if indexed > head || all.values().map(|s| s.items).sum::<u64>() != indexed {
        return Ok(0);
    }
    for space in all.into_keys() {
        read(txn, space)?.0.iter().for_each(&mut *each);
    }
    Ok(indexed)
}

fn key(space: SpaceId, seq: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&space.0);
    key[16..].copy_from_slice(&seq.to_be_bytes());
    key
}

pub(super) fn first_of(key: &[u8; 24]) -> Seq {
    Seq(u64::from_be_bytes(*key.last_chunk().expect("a key is longer than a place")))
}
