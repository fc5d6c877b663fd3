//! Looking a log over, or a copy of one, without changing it.

use std::collections::BTreeMap;
use std::path::Path;

use dinh_proto::ids::{Seq, SpaceId};
use serde::Serialize;

use super::check::{Checker, Counts, Problems, at};
use super::folder::CopyReader;
use super::{ArchiveError, CHUNK_BYTES, Content, Done, LOG_FILE, Progress};
use crate::log::epochs::EpochStart;
use crate::log::summary::Name;
use crate::log::{IndexEntry, LogError, LogFile, ReadLog, Summary};

/// Bytes of items that are looked at together.
const BATCH_BYTES: usize = 16 * CHUNK_BYTES;
/// Places that are looked at one by one where they cannot be read together.
const ONE_BY_ONE: u64 = 1_024;

/// Of a file that cannot be told from one of which a bit changed.
const UNNAMED_COMMIT: &str = "the relay was stopped while it wrote, and what it wrote last does not count (it had acknowledged none of \
    it), or one bit of the file's header changed: if the relay had come to rest, restore a backup";

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What there is.
    pub counts: Counts,
    /// Openings of the log.
    pub epochs: u64,
    /// Rows of the tables of spaces that say what the items say.
    pub index_rows: u64,
    /// What need not be wrong, for people.
    pub notes: Vec<String>,
    /// What is wrong.
    pub problems: Problems,
}

impl Verified {
    /// For JSON.
    pub fn report(&self) -> impl Serialize + use<> {
        #[derive(Serialize)]
        struct Report {
            ok: bool,
            #[serde(flatten)]
            counts: Counts,
            epochs: u64,
            index_rows: u64,
            notes: Vec<String>,
            problems_total: u64,
            problems: Vec<super::Problem>,
        }
        Report {
            ok: self.problems.is_empty(),
            counts: self.counts.clone(),
            epochs: self.epochs,
            index_rows: self.index_rows,
            notes: self.notes.clone(),
            problems_total: self.problems.total(),
            problems: self.problems.first().to_vec(),
        }
    }
}

/// Looks a data directory's log over: pages, format, epochs, places, items, chains, signatures, index.
///
/// # Errors
/// If there is no log to look at, or a relay runs on it. Damage is no error: it is in what is found.
pub fn verify_data(data: &Path, progress: Progress<'_>) -> Result<Verified, ArchiveError> {
    let path = data.join(LOG_FILE);
    if !path.exists() {
        return Err(ArchiveError::NoLog { path: data.to_owned() });
    }
    let mut looker = Looker::new();
    let opened = match LogFile::open_checked(&path) {
        Err(damage @ LogError::Corrupted(_)) => {
            looker.checker.problem("file", damage_of(&damage));
            // What can still be read says where.
            LogFile::open(&path)
        }
        opened => opened,
    };
    let log = match opened {
        Ok(log) => log,
        Err(damage @ LogError::Corrupted(_)) => {
            looker.checker.problem("file", format!("nothing can be read: {}", damage_of(&damage)));
            return Ok(looker.finish());
        }
        Err(error) => return Err(ArchiveError::log(data, error)),
    };
    if log.has_unnamed_commit() {
        looker.notes.push(UNNAMED_COMMIT.into());
    }
    match log.state() {
        Ok(state) => {
            looker.epochs(&state.epochs, state.head);
            looker.begin_index(&log, state.head);
            looker.items(&log, state.head, progress);
            looker.index(&log);
        }
        Err(error) => looker.checker.problem("file", damage_of(&error)),
    }
    Ok(looker.finish())
}

/// The same for a copy: a file, a folder of segments, or standard input as `-`.
///
/// # Errors
/// If it cannot be read. Damage is no error: it is in what is found.
pub fn verify_stream(from: &Path, progress: Progress<'_>) -> Result<Verified, ArchiveError> {
    let mut looker = Looker::new();
    let outcome = copy(&mut looker, from, progress);
    match outcome {
        Ok(()) => {}
        Err(
            damage @ (ArchiveError::Damaged { .. }
            | ArchiveError::Folder { .. }
            | ArchiveError::Newer { .. }
            // A flipped bit in what a segment says of the one before.
            | ArchiveError::Content { .. }),
        ) => looker.checker.problem(from.display(), damage),
        Err(error) => return Err(error),
    }
    Ok(looker.finish())
}

fn copy(looker: &mut Looker, from: &Path, progress: Progress<'_>) -> Result<(), ArchiveError> {
    let mut copy = CopyReader::open(from)?;
    while let Some(items) = copy.chunk()? {
        looker.checker.check(&items);
        progress(looker.done(copy.items()));
    }
    let header = copy.header();
    // Of spaces they are those of the log that they come from.
    if header.content == Content::Log {
        looker.epochs(&header.epochs, header.last);
    }
    Ok(())
}

fn damage_of(error: &LogError) -> String {
    match error {
        LogError::Corrupted(what) => what.clone(),
        other => other.to_string(),
    }
}

struct Looker {
    checker: Checker,
    epochs: u64,
    index_rows: u64,
    notes: Vec<String>,
    /// How far the tables of spaces reach.
    indexed: Seq,
    /// What they must say.
    spaces: BTreeMap<SpaceId, Tally>,
}

/// What the items of a space add up to.
struct Tally {
    summary: Summary,
    entries: u128,
}

impl Looker {
    fn new() -> Self {
        Self {
            checker: Checker::new(),
            epochs: 0,
            index_rows: 0,
            notes: Vec::new(),
            indexed: Seq(0),
            spaces: BTreeMap::new(),
        }
    }

    fn done(&self, of: u64) -> Done {
        let counts = self.checker.counts();
        Done { items: counts.items, bytes: counts.bytes, of: Some(of) }
    }

    fn epochs(&mut self, starts: &[EpochStart], head: Seq) {
        self.epochs = starts.len() as u64;
        let mut names = std::collections::BTreeSet::new();
        let mut least = Seq(1);
        for (i, start) in starts.iter().enumerate() {
            let place = format!("epoch {}", i + 1);
            if !names.insert(start.epoch) {
                self.checker.problem(&place, format!("{} is there twice", start.epoch));
            }
            if start.first < least || start.first.0 > head.0 + 1 {
                let what = format!("it begins at {}, after one that begins at {least}", start.first);
                self.checker.problem(&place, format!("{what}; the log ends at {head}"));
            }
            least = least.max(start.first);
        }
        if starts.is_empty() && head > Seq(0) {
            self.checker.problem("epochs", "there is none");
        }
    }

    fn items(&mut self, log: &LogFile, head: Seq, progress: Progress<'_>) {
        let mut next = Seq(1);
        while next <= head {
            let Ok(items) = log.chunk(next, head, BATCH_BYTES) else {
                // Which of them it is.
                let end = Seq((next.0 + ONE_BY_ONE - 1).min(head.0));
                let found = self.one_by_one(log, next, end);
                next = Seq(end.0 + 1);
                self.batch(&found);
                continue;
            };
            next = items.last().map_or(Seq(head.0 + 1), |(seq, _)| Seq(seq.0 + 1));
            self.batch(&items);
            progress(self.done(head.0));
        }
    }

    fn batch(&mut self, items: &[(Seq, bytes::Bytes)]) {
        let parsed = self.checker.check(items);
        for ((seq, _), item) in items.iter().zip(&parsed).filter(|((seq, _), _)| *seq <= self.indexed) {
            let Some(item) = item else { continue };
            let space = item.header().space;
            let new = || Tally { summary: Summary::new(space), entries: 0 };
            let tally = self.spaces.entry(space).or_insert_with(new);
            let entry = IndexEntry::of(*seq, item);
            tally.entries = tally.entries.wrapping_add(entry.digest());
            tally.summary.add(&entry, Name::of(item));
        }
    }

    fn one_by_one(&mut self, log: &LogFile, from: Seq, end: Seq) -> Vec<(Seq, bytes::Bytes)> {
        let mut found = Vec::new();
        for seq in (from.0..=end.0).map(Seq) {
            match log.item(seq) {
                Ok(Some(bytes)) => found.push((seq, bytes)),
                Ok(None) => self.checker.problem(at(seq), "nothing is stored there"),
                Err(error) => {
                    self.checker.problem(at(seq), format!("it cannot be read: {}", damage_of(&error)));
                }
            }
        }
        found
    }

    /// How far the tables of spaces reach.
    fn begin_index(&mut self, log: &LogFile, head: Seq) {
        if log.is_of_format_before() {
            self.notes
                .push("an earlier release wrote this file: a relay that opens it upgrades it first".into());
            return;
        }
        match log.indexed() {
            Ok(indexed) if indexed <= head => self.indexed = indexed,
            Ok(indexed) => {
                let what = format!("it reaches to {indexed}, and the log ends at {head}");
                self.checker.problem("index", what);
            }
            Err(error) => self.checker.problem("index", damage_of(&error)),
        }
    }

    /// Whether the tables of spaces say what the items say, as far as they reach.
    fn index(&mut self, log: &LogFile) {
        if log.is_of_format_before() {
            return;
        }
        self.segments(log);
        let stored = match log.summaries() {
            Ok(stored) => stored,
            Err(error) => return self.checker.problem("index", damage_of(&error)),
        };
        for (space, stored) in stored {
            let counted = self.spaces.remove(&space).map(|tally| tally.summary);
            match stored {
                Ok(stored) if counted.as_ref() == Some(&stored) => self.index_rows += 1,
                Ok(_) => {
                    let place = format!("index: summary of space {space}");
                    self.checker.problem(place, "it says something else than the items");
                }
                Err(error) => self.checker.problem(format!("index: summary of space {space}"), error),
            }
        }
        for space in std::mem::take(&mut self.spaces).into_keys() {
            self.checker.problem(format!("index: summary of space {space}"), "there is none");
        }
    }

    fn segments(&mut self, log: &LogFile) {
        let mut found: BTreeMap<SpaceId, (u128, u64)> = BTreeMap::new();
        let checker = &mut self.checker;
        let read = log.segments(|(space, row)| match row {
            Ok(entries) => {
                let (sum, rows) = found.entry(space).or_default();
                *rows += 1;
                for entry in entries {
                    *sum = sum.wrapping_add(entry.digest());
                }
            }
            Err(error) => {
                found.entry(space).or_default();
                checker.problem(format!("index: segments of space {space}"), error);
            }
        });
        if let Err(error) = read {
            self.checker.problem("index", damage_of(&error));
        }
        for space in self.spaces.keys().filter(|space| !found.contains_key(space)) {
            self.checker.problem(format!("index: segments of space {space}"), "there are none");
        }
        for (space, (sum, rows)) in found {
            if self.spaces.get(&space).is_some_and(|tally| tally.entries == sum) {
                self.index_rows += rows;
            } else {
                let place = format!("index: segments of space {space}");
                self.checker.problem(place, "they say something else than the items");
            }
        }
    }

    fn finish(self) -> Verified {
        let Self { checker, epochs, index_rows, notes, .. } = self;
        let (counts, problems) = checker.finish();
        Verified { counts, epochs, index_rows, notes, problems }
    }
}
