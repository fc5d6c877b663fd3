//! Taking a copy back.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use dinh_proto::ids::Seq;
use serde::Serialize;
use zeroize::Zeroizing;

use super::check::{Checker, Counts, Problems};
use super::folder::CopyReader;
use super::output::sync_directory;
use super::{ArchiveError, Content, Done, LOG_FILE, Progress};
use crate::identity::{self, IdentityError};
use crate::log::{LogBuilder, LogError};

/// Under this name a log is built. It becomes the log when it is whole.
const BUILDING: &str = "relay.redb.restoring";

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Restore {
    /// A file, a folder of segments, or standard input as `-`.
    pub from: PathBuf,
    /// The directory that becomes a relay's.
    pub data: PathBuf,
    /// Takes items although they have problems, which the log had that was backed up. What the copy itself is damaged in is
    /// never taken.
    pub accept_problems: bool,
}

/// What became of the relay's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyOutcome {
    /// The directory had the relay's key.
    WasThere,
    /// It was in the copy.
    Restored,
    /// The directory has another relay's key: devices will not talk to it.
    Other,
    /// There is none yet.
    Missing,
}

/// What was taken back.
#[derive(Debug, Clone)]
pub struct Restored {
    /// Items and more.
    pub counts: Counts,
    /// The last place.
    pub head: Seq,
    /// When the copy ended, by the clock of whoever made it, milliseconds since 1970.
    pub wall_ms: u64,
    /// What is wrong with the items, if that was accepted.
    pub problems: Problems,
    /// The relay's key.
    pub key: KeyOutcome,
}

impl Restore {
    /// Builds the log and gives it its name when it is whole and durable.
    ///
    /// # Errors
    /// If there is a log already, the copy is damaged, an item has a problem, or the disk fails: there is then no log.
    pub fn run(&self, progress: Progress<'_>) -> Result<Restored, ArchiveError> {
        let log = self.data.join(LOG_FILE);
        if log.exists() {
            return Err(ArchiveError::NotEmpty { path: log });
        }
        let mut copy = CopyReader::open(&self.from)?;
        if copy.header().content != Content::Log {
            let name = self.from.display().to_string();
            return Err(ArchiveError::Content {
                name,
                what: "holds spaces: dinh-relay import-space takes them",
            });
        }
        fs::create_dir_all(&self.data).map_err(|e| ArchiveError::io(&self.data, e))?;
        let building = Building::begin(self.data.join(BUILDING))?;
        let (counts, problems) = self.build(&building.0, &mut copy, progress)?;
        let header = copy.header();
        let key = self.key(header)?;
        self.operator_key(header)?;
        let built = File::open(&building.0).and_then(|file| identity::give_to_owner_of(&self.data, &file));
        built.map_err(|e| ArchiveError::io(&building.0, e))?;
        // Unlike a rename, a link never takes the place of a log that a relay has made here meanwhile.
        match fs::hard_link(&building.0, &log) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(ArchiveError::NotEmpty { path: log });
            }
            Err(error) => return Err(ArchiveError::writing(&log, error)),
        }
        drop(building);
        sync_directory(&log).map_err(|e| ArchiveError::io(&log, e))?;
        Ok(Restored { counts, head: header.last, wall_ms: header.wall_ms, problems, key })
    }

    fn build(
        &self,
        path: &Path,
        copy: &mut CopyReader,
        progress: Progress<'_>,
    ) -> Result<(Counts, Problems), ArchiveError> {
        let failed = |source| match source {
            LogError::DiskFull(_) => {
                ArchiveError::Full { path: self.data.clone(), outcome: "nothing was left behind" }
            }
            source => ArchiveError::Log { path: path.to_owned(), source },
        };
        let mut builder = LogBuilder::create(path).map_err(failed)?;
        let mut checker = Checker::new();
        let mut done = Done { of: Some(copy.items()), ..Done::default() };
        while let Some(items) = copy.chunk()? {
            for (item, (seq, bytes)) in checker.check(&items).into_iter().zip(&items) {
                let Some(item) = item else {
                    // Not even a relay could start with it.
                    let (_, problems) = checker.finish();
                    return Err(ArchiveError::Problems(problems));
                };
                let stored = builder.push(&item).map_err(failed)?;
                debug_assert_eq!(stored, *seq, "places follow one another");
                done.items += 1;
                done.bytes += bytes.len() as u64;
            }
            progress(done);
        }
        let (counts, problems) = checker.finish();
        if !problems.is_empty() && !self.accept_problems {
            return Err(ArchiveError::Problems(problems));
        }
        let header = copy.header();
        builder.finish(&header.epochs, &header.operator).map_err(failed)?;
        Ok((counts, problems))
    }

    /// Before the log has its name: a relay that starts without the key makes another.
    fn key(&self, header: &super::Header) -> Result<KeyOutcome, ArchiveError> {
        let path = self.data.join(identity::FILE);
        match identity::load(&self.data) {
            Ok(key) if header.relay.is_none_or(|relay| relay == key.public()) => Ok(KeyOutcome::WasThere),
            Ok(_) => Ok(KeyOutcome::Other),
            Err(IdentityError::Missing { .. }) => {
                let Some(seed) = self.secret(header.secrets.relay.as_ref(), identity::FILE) else {
                    return Ok(KeyOutcome::Missing);
                };
                identity::store(&self.data, &path, &seed).map_err(|e| ArchiveError::writing(&path, e))?;
                Ok(KeyOutcome::Restored)
            }
            Err(error) => Err(ArchiveError::NotFound(error.to_string())),
        }
    }

    /// The one of the copy, if there is none: permits that it signed are then taken as before.
    fn operator_key(&self, header: &super::Header) -> Result<(), ArchiveError> {
        let path = self.data.join(identity::OPERATOR_FILE);
        match self.secret(header.secrets.operator.as_ref(), identity::OPERATOR_FILE) {
            Some(seed) if !path.exists() => {
                identity::store(&self.data, &path, &seed).map_err(|e| ArchiveError::writing(&path, e))
            }
            _ => Ok(()),
        }
    }

    fn secret(&self, in_header: Option<&Zeroizing<[u8; 32]>>, file: &str) -> Option<Zeroizing<[u8; 32]>> {
        let beside = || if self.from.is_dir() { identity::load_seed(&self.from, file).ok() } else { None };
        in_header.cloned().or_else(beside)
    }
}

/// A file that is removed in the end, whatever happens: what is kept has another name by then.
struct Building(PathBuf);

impl Building {
    fn begin(path: PathBuf) -> Result<Self, ArchiveError> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ArchiveError::io(&path, error)),
            _ => Ok(Self(path)),
        }
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
