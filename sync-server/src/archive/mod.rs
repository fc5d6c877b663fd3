//! Copies of a relay's log: their format, and what makes them, takes them back and looks them over.
//!
//! A copy is a *stream*: one file of `dinh-relay backup --output`, one segment of a folder of `--to`, one file of
//! `export-space`. Every bit of it is covered by a chain of hashes, so that whatever was changed, cut off, left out or
//! moved is found. Items are in it byte for byte; their authors' signatures are the real proof of what they say.
//! docs/BACKUP-FORMAT.md says the same for readers in other languages.
//!
//! ```text
//! stream  = "dinh-backup\0" (12) ‖ u8 version = 1 ‖ u32 length of the header ‖ header ‖ H0 (32)
//!           ‖ chunk… ‖ trailer, and nothing after it
//! header  = u8 what: 1 log, 2 spaces
//!           ‖ the relay's public key (32; zero if it is not known) ‖ u64 wall clock, ms since 1970
//!           ‖ u64 first place ‖ u64 last place ‖ id of the item before the first (32; zero if there is none)
//!           ‖ id of the last item (32; zero if the log is empty) ‖ hash of the segment before (32; zero in the first)
//!           ‖ uleb n ‖ n × (epoch (8) ‖ u64 first place of the epoch)
//!           ‖ uleb n ‖ n × (blob key ‖ blob value)     the operator's rows, by key
//!           ‖ u8 which secrets: 1 relay's, 2 operator's ‖ those, 32 bytes each
//!           ‖ in spaces: branch (16) ‖ uleb n ‖ n × space (16)
//! chunk   = u8 1 ‖ u32 items ‖ u32 length of the body ‖ body ‖ Hi (32)
//! body    = items × (u32 length ‖ the item's bytes)
//! trailer = u8 2 ‖ u64 chunks ‖ u64 items ‖ u64 bytes of items ‖ Hn (32)
//!
//! H0 = SHA-256("dinh/bks1\0" ‖ all bytes before)
//! Hi = SHA-256("dinh/bkc1\0" ‖ the hash before ‖ all bytes between the two)
//! ```
//!
//! Integers are little-endian, `uleb` is LEB128 in its shortest form, a blob is `uleb length ‖ bytes`. The last hash is the
//! hash of the segment. In a log's stream places follow one another; in one of spaces they number the items of the stream.

mod backup;
mod check;
mod compact;
mod folder;
mod output;
mod restore;
mod space;
mod stream;
mod verify;

use std::io;
use std::path::{Path, PathBuf};

use dinh_proto::codec::{Reader, Write};
use dinh_proto::error::InvalidMessage;
use dinh_proto::ids::{ItemId, LogEpoch, Seq, SpaceId};
use dinh_proto::keys::RelayPublic;
use thiserror::Error;
use zeroize::Zeroizing;

pub use backup::{Backup, LogSource, Source, StreamSource, Written, header_of};
pub(crate) use check::hex;
pub use check::{Counts, Problem, Problems};
pub use compact::{Compacted, compact};
pub use folder::{Folder, Newest};
pub use output::Output;
pub use restore::{KeyOutcome, Restore, Restored};
pub use space::{Exported, Imported, export, import};
pub use stream::{StreamReader, StreamWriter};
pub use verify::{Verified, verify_data, verify_stream};

use crate::log::epochs::{EPOCHS_MAX, EpochStart};
use crate::log::{LogError, OperatorRows};

/// The log's file inside a data directory.
pub(crate) const LOG_FILE: &str = "relay.redb";
/// Bytes of items after which a chunk ends.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;
/// The longest header that is read.
const HEADER_BYTES_MAX: usize = 16 << 20;
/// Rows of the operator that are read.
const OPERATOR_ROWS_MAX: usize = 1 << 20;
/// Bytes of one key or value of the operator.
const OPERATOR_BLOB_BYTES_MAX: usize = 4 << 20;
/// Spaces that one export names.
const SPACES_MAX: usize = 1 << 18;

/// What a stream holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Consecutive places of a relay's log.
    Log,
    /// Spaces of one branch, after the records of its charter.
    Spaces {
        /// The branch.
        branch: SpaceId,
        /// The spaces.
        spaces: Vec<SpaceId>,
    },
}

/// What a stream says before its items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub content: Content,
    /// By which devices know the relay.
    pub relay: Option<RelayPublic>,
    /// By the clock of whoever made the stream, milliseconds since 1970: for people.
    pub wall_ms: u64,
    /// Place of the first item.
    pub first: Seq,
    /// Place of the last item; one less than `first` if there is none.
    pub last: Seq,
    /// The item before the first.
    pub before_id: ItemId,
    /// The last item of the log.
    pub last_id: ItemId,
    /// The hash of the segment before; zero in the first.
    pub previous: [u8; 32],
    /// The openings of the log, oldest first.
    pub epochs: Vec<EpochStart>,
    /// What the operator decided.
    pub operator: OperatorRows,
    /// What the relay's files of keys hold, as far as it was asked to be there.
    pub secrets: Secrets,
}

/// The secrets from which a relay's keys come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Of `relay.key`.
    pub relay: Option<Zeroizing<[u8; 32]>>,
    /// Of `operator.key`.
    pub operator: Option<Zeroizing<[u8; 32]>>,
}

impl Secrets {
    const RELAY: u8 = 1;
    const OPERATOR: u8 = 2;

    fn encode(&self, out: &mut Vec<u8>) {
        let bit = |secret: &Option<_>, bit| if secret.is_some() { bit } else { 0 };
        out.put_u8(bit(&self.relay, Self::RELAY) | bit(&self.operator, Self::OPERATOR));
        for secret in [&self.relay, &self.operator].into_iter().flatten() {
            out.put_bytes(&secret[..]);
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        let which = r.u8("which secrets there are")?;
        if which > Self::RELAY | Self::OPERATOR {
            return Err(InvalidMessage::NotAllowed("which secrets there are"));
        }
        let mut secret = |bit, what| match which & bit {
            0 => Ok(None),
            _ => r.array(what).map(|bytes| Some(Zeroizing::new(bytes))),
        };
        let relay = secret(Self::RELAY, "relay's secret")?;
        Ok(Self { relay, operator: secret(Self::OPERATOR, "operator's secret")? })
    }
}

impl Header {
    /// How many items follow.
    pub fn items(&self) -> u64 {
        (self.last.0 + 1).saturating_sub(self.first.0)
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::new());
        out.put_u8(match self.content {
            Content::Log => 1,
            Content::Spaces { .. } => 2,
        });
        out.put_bytes(self.relay.as_ref().map_or(&[0; 32][..], |relay| relay.as_bytes()));
        out.put_u64(self.wall_ms);
        out.put_u64(self.first.0);
        out.put_u64(self.last.0);
        out.put_bytes(&self.before_id.0);
        out.put_bytes(&self.last_id.0);
        out.put_bytes(&self.previous);
        out.put_uleb(self.epochs.len() as u64);
        for start in &self.epochs {
            out.put_bytes(&start.epoch.0);
            out.put_u64(start.first.0);
        }
        out.put_uleb(self.operator.len() as u64);
        for (key, value) in &self.operator {
            out.put_blob(key);
            out.put_blob(value);
        }
        self.secrets.encode(&mut out);
        if let Content::Spaces { branch, spaces } = &self.content {
            out.put_bytes(&branch.0);
            out.put_uleb(spaces.len() as u64);
            spaces.iter().for_each(|space| out.put_bytes(&space.0));
        }
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(bytes);
        let what = r.u8("what the stream holds")?;
        let relay: [u8; 32] = r.array("relay's key")?;
        let relay = if relay == [0; 32] { None } else { Some(RelayPublic::from_bytes(relay)?) };
        let wall_ms = r.u64("wall clock")?;
        let (first, last) = (Seq(r.u64("first place")?), Seq(r.u64("last place")?));
        // One place is left, so that the next one is a number too.
        if first.0 == 0 || last.0 == u64::MAX || first.0 > last.0 + 1 {
            return Err(InvalidMessage::NotAllowed("places"));
        }
        let (before_id, last_id) = (ItemId(r.array("item before")?), ItemId(r.array("last item")?));
        let previous = r.array("segment before")?;
        let n = r.count(EPOCHS_MAX, LogEpoch::BYTES + 8, "epochs")?;
        let epoch = |r: &mut Reader<'_>| {
            Ok(EpochStart { epoch: LogEpoch(r.array("epoch")?), first: Seq(r.u64("start of an epoch")?) })
        };
        let epochs = (0..n).map(|_| epoch(&mut r)).collect::<Result<_, InvalidMessage>>()?;
        let n = r.count(OPERATOR_ROWS_MAX, 2, "operator's rows")?;
        let row = |r: &mut Reader<'_>| {
            let key = r.blob(OPERATOR_BLOB_BYTES_MAX, "operator's key")?.to_vec();
            Ok((key, r.blob(OPERATOR_BLOB_BYTES_MAX, "operator's value")?.to_vec()))
        };
        let operator = (0..n).map(|_| row(&mut r)).collect::<Result<OperatorRows, InvalidMessage>>()?;
        if operator.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err(InvalidMessage::NotSorted("operator's rows"));
        }
        let secrets = Secrets::decode(&mut r)?;
        let content = match what {
            1 => Content::Log,
            2 => {
                let branch = SpaceId(r.array("branch")?);
                let n = r.count(SPACES_MAX, SpaceId::BYTES, "spaces")?;
                let spaces = (0..n).map(|_| r.array("space").map(SpaceId)).collect::<Result<_, _>>()?;
                Content::Spaces { branch, spaces }
            }
            _ => return Err(InvalidMessage::Unknown { what: "content", value: u64::from(what) }),
        };
        r.finish("header")?;
        Ok(Self {
            content,
            relay,
            wall_ms,
            first,
            last,
            before_id,
            last_id,
            previous,
            epochs,
            operator,
            secrets,
        })
    }
}

/// How far a long piece of work is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Items done.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Items there are, if that is known.
    pub of: Option<u64>,
}

/// Told now and then how far the work is.
pub type Progress<'a> = &'a mut dyn FnMut(Done);

/// Why a copy could not be made, read or taken back. Every message says what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The log cannot be read or written.
    #[error("{}: {source}", path.display())]
    Log {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: LogError,
    },
    /// There is no log.
    #[error("there is no log in {}: give the --data directory of a relay", path.display())]
    NoLog {
        /// Where it would be.
        path: PathBuf,
    },
    /// A relay has the log open.
    #[error("a relay runs on {}: stop it first (systemctl stop dinh-relay), and start it again afterwards", data.display())]
    Runs {
        /// Its directory.
        data: PathBuf,
    },
    /// There is a log already.
    #[error("{} is there already: restore into a new directory, or move what is there away first", path.display())]
    NotEmpty {
        /// The file.
        path: PathBuf,
    },
    /// The file that is to be written is there.
    #[error("{} is there already, and nothing is written over: name another file or remove it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is no room.
    #[error("the disk is full at {}: {outcome}. Free space there and do it again", path.display())]
    Full {
        /// What was written.
        path: PathBuf,
        /// What is there now.
        outcome: &'static str,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// What is read is not what was written.
    #[error("{name} is damaged at byte {at}: {what}. Use another copy")]
    Damaged {
        /// The file.
        name: String,
        /// How far it was good.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// A later release made it.
    #[error("{name} has format {found}, this dinh-relay knows up to {known}: use a newer dinh-relay")]
    Newer {
        /// The file.
        name: String,
        /// Its version.
        found: u8,
        /// The newest that is known.
        known: u8,
    },
    /// Segments do not belong together.
    #[error("{name}: {what}. Put the segment back that was there, or use another copy")]
    Folder {
        /// The file.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// The folder is of another log.
    #[error("{}: {what}. Back up this log to a new folder, and keep this one for as long as it may be needed", folder.display())]
    OtherHistory {
        /// The folder.
        folder: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// Another backup writes there.
    #[error("another backup is writing into {}: wait until it is done", folder.display())]
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// It holds something else.
    #[error("{name} {what}")]
    Content {
        /// The file.
        name: String,
        /// What it holds, and which command is for it.
        what: &'static str,
    },
    /// Items are not as they must be. Nothing was taken.
    #[error("nothing was taken, because of {} problem(s): {}", .0.total(), .0)]
    Problems(Problems),
    /// What was asked for is not there.
    #[error("{0}")]
    NotFound(String),
}

impl ArchiveError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// An error while something is written that has no name yet.
    pub(crate) fn writing(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full { path: path.to_owned(), outcome: "nothing was left behind" }
            }
            _ => Self::io(path, source),
        }
    }

    /// An error of the log in a data directory.
    pub(crate) fn log(data: &Path, source: LogError) -> Self {
        match source {
            LogError::InUse => Self::Runs { data: data.to_owned() },
            source => Self::Log { path: data.join(LOG_FILE), source },
        }
    }
}
