//! Keys in files beside the log, made at the first start: the relay's, by which devices know it, and its operator's, which signs
//! permits.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use dinh_proto::keys::{RelayKey, SignKey};
use thiserror::Error;
use zeroize::Zeroizing;

/// The relay's, inside the data directory: 64 hexadecimal digits, the secret from which the key comes.
pub(crate) const FILE: &str = "relay.key";
/// The operator's, of the same form.
pub(crate) const OPERATOR_FILE: &str = "operator.key";
/// More than a key file has.
const FILE_BYTES_MAX: u64 = 128;

/// Why the relay's key cannot be used. It is never replaced by itself: devices would refuse to talk to the relay.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// There is none.
    #[error("there is no key at {}: a relay makes it when it starts on this directory", path.display())]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// There is none beside a log with items.
    #[error(
        "{} is missing, and there is a log that devices know by this key: put a copy of it back, from a backup with --with-key for \
         example. If there is none, `dinh-relay key --new --data {}` makes another, and every device needs the relay's new address",
        path.display(), path.parent().unwrap_or(path).display()
    )]
    Lost {
        /// Where it was.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read the key {}: {source}", path.display())]
    Unreadable {
        /// Its file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot be made.
    #[error("cannot store the new key {}: {source}", path.display())]
    Unwritable {
        /// Its file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not 64 hexadecimal digits.
    #[error(
        "{} is not a key (64 hexadecimal digits): put a copy of the right one in its place. Without one, remove the file; \
         the relay then makes another key, {}", path.display(), consequence(path)
    )]
    Malformed {
        /// Its file.
        path: PathBuf,
    },
    /// Others than its owner may read it.
    #[error("{} may be read by others (mode {mode:03o}): run chmod 600 on it", path.display())]
    Exposed {
        /// Its file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The system gives no randomness.
    #[error("the operating system gives no randomness: {0}")]
    Randomness(getrandom::Error),
}

/// What it means to have another key.
fn consequence(path: &Path) -> &'static str {
    if path.file_name().is_some_and(|name| name == OPERATOR_FILE) {
        "and takes no permit any more that the old one signed"
    } else {
        "and every device needs its new address"
    }
}

/// The key in `data`.
pub(crate) fn load(data: &Path) -> Result<RelayKey, IdentityError> {
    load_seed(data, FILE).map(|seed| RelayKey::from_seed(&seed))
}

/// The operator's key in `data`.
pub(crate) fn load_operator(data: &Path) -> Result<SignKey, IdentityError> {
    load_seed(data, OPERATOR_FILE).map(|seed| SignKey::from_seed(&seed))
}

/// The secret from which the key in that file of `data` comes: for copies of it.
pub(crate) fn load_seed(data: &Path, file: &str) -> Result<Zeroizing<[u8; 32]>, IdentityError> {
    let path = data.join(file);
    let unreadable = |source| IdentityError::Unreadable { path: path.clone(), source };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(IdentityError::Missing { path });
        }
        Err(error) => return Err(unreadable(error)),
    };
    let mode = exposed_mode(&file).map_err(unreadable)?;
    if let Some(mode) = mode {
        return Err(IdentityError::Exposed { path, mode });
    }
    let mut text = Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(unreadable)?;
    parse(&text).ok_or(IdentityError::Malformed { path })
}

/// The key of a relay whose log has items: it cannot be another one without anybody noticing.
pub(crate) fn load_kept(data: &Path) -> Result<RelayKey, IdentityError> {
    load(data).map_err(|error| match error {
        IdentityError::Missing { path } => IdentityError::Lost { path },
        other => other,
    })
}

/// The key in `data`, made if there is none. One process at a time: who calls it has locked the log.
pub(crate) fn load_or_create(data: &Path) -> Result<RelayKey, IdentityError> {
    load_or_create_seed(data, FILE).map(|seed| RelayKey::from_seed(&seed))
}

/// The same for the operator's.
pub(crate) fn load_or_create_operator(data: &Path) -> Result<SignKey, IdentityError> {
    load_or_create_seed(data, OPERATOR_FILE).map(|seed| SignKey::from_seed(&seed))
}

fn load_or_create_seed(data: &Path, file: &str) -> Result<Zeroizing<[u8; 32]>, IdentityError> {
    match load_seed(data, file) {
        Err(IdentityError::Missing { path }) => {
            let mut seed = Zeroizing::new([0; 32]);
            getrandom::fill(&mut *seed).map_err(IdentityError::Randomness)?;
            store(data, &path, &seed).map_err(|source| IdentityError::Unwritable { path, source })?;
            // What will be read at the next start.
            load_seed(data, file)
        }
        loaded => loaded,
    }
}

/// Durable under its name, or not there.
pub(crate) fn store(data: &Path, path: &Path, seed: &[u8; 32]) -> io::Result<()> {
    // Written under another name first, so that a crash leaves no half of a key.
    let new = path.with_extension("key.new");
    // A leftover of a start that was cut short.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = for_owner_only(OpenOptions::new().write(true).create_new(true)).open(&new)?;
    give_to_owner_of(data, &file)?;
    let mut text = Zeroizing::new(String::with_capacity(65));
    for byte in seed {
        let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('0');
        text.extend([digit(byte >> 4), digit(byte & 15)]);
    }
    text.push('\n');
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_directory(data)
}

fn parse(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let digits = text.trim_ascii();
    let mut seed = Zeroizing::new([0; 32]);
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in seed.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |d: u8| char::from(d).to_digit(16).and_then(|d| u8::try_from(d).ok());
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(seed)
}

/// The relay's directory, for its owner only if it is made.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

#[cfg(unix)]
pub(crate) fn for_owner_only(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600)
}

#[cfg(not(unix))]
pub(crate) fn for_owner_only(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// What root makes in somebody's directory is theirs: else a command that was run as root leaves the relay, or its backups, files
/// that they cannot read.
#[cfg(unix)]
pub(crate) fn give_to_owner_of(directory: &Path, file: &File) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let (whose, made) = (fs::metadata(directory)?, file.metadata()?);
    if made.uid() == 0 && whose.uid() != 0 {
        fchown(file, Some(whose.uid()), Some(whose.gid()))?;
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn give_to_owner_of(_directory: &Path, _file: &File) -> io::Result<()> {
    Ok(())
}

/// The permissions, if they let others than the owner in.
#[cfg(unix)]
fn exposed_mode(file: &File) -> io::Result<Option<u32>> {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

#[cfg(not(unix))]
fn exposed_mode(_file: &File) -> io::Result<Option<u32>> {
    Ok(None)
}

#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Elsewhere a directory cannot be opened as a file.
#[cfg(not(unix))]
fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(load(dir.path()), Err(IdentityError::Missing { .. })));
        // A start that was cut short left half of one.
        fs::write(dir.path().join("relay.key.new"), "12").unwrap();
        let made = load_or_create(dir.path()).unwrap().public();
        assert_eq!(load_or_create(dir.path()).unwrap().public(), made);
        assert_eq!(load(dir.path()).unwrap().public(), made);
        let text = fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert_eq!(text.len(), 65);
        assert!(!dir.path().join("relay.key.new").exists());
        let other = tempfile::tempdir().unwrap();
        assert_ne!(load_or_create(other.path()).unwrap().public(), made);
        // A copy of the file is the same relay.
        fs::copy(dir.path().join(FILE), other.path().join(FILE)).unwrap();
        assert_eq!(load(other.path()).unwrap().public(), made);
    }

    #[test]
    fn a_bad_key_file_is_an_error_with_its_remedy_and_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        load_or_create(dir.path()).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let bad =
            ["", "ab", &good[..63], &format!("0{good}"), &good.replace(&good[..2], "+1"), &"z".repeat(64)];
        for text in bad {
            fs::write(&path, text).unwrap();
            let error = load_or_create(dir.path()).unwrap_err();
            assert!(matches!(error, IdentityError::Malformed { .. }), "{text:?}: {error}");
            assert!(error.to_string().contains("new address"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), *text);
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(load_or_create(dir.path()).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        load_or_create(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for (mode, fine) in [(0o644, false), (0o640, false), (0o604, false), (0o400, true), (0o600, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let loaded = load(dir.path());
            assert_eq!(loaded.is_ok(), fine, "{mode:o}");
            if let Err(error) = loaded {
                assert!(error.to_string().contains("chmod 600"), "{error}");
            }
        }
    }
}
