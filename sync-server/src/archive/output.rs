//! Files that are whole under their name, or not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::ArchiveError;
use crate::identity::{self, for_owner_only};

/// A file that gets its name when it is whole and on the disk. Dropped before, it is gone.
#[derive(Debug)]
pub struct Output {
    part: PathBuf,
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Output {
    /// A file that is to be `path`. A name that is there is not taken from it.
    ///
    /// # Errors
    /// `Exists`, or what the system says.
    pub fn create(path: &Path) -> Result<Self, ArchiveError> {
        if path.symlink_metadata().is_ok() {
            return Err(ArchiveError::Exists { path: path.to_owned() });
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        // What a process left that was killed.
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ArchiveError::io(&part, error));
            }
            _ => {}
        }
        // Branches trust the relay with who is in them and how much they write: that is for nobody else on this machine.
        let opened = for_owner_only(OpenOptions::new().write(true).create_new(true)).open(&part);
        let file = opened.map_err(|e| ArchiveError::io(&part, e))?;
        identity::give_to_owner_of(parent_of(path), &file).map_err(|e| ArchiveError::io(&part, e))?;
        Ok(Self { part, path: path.to_owned(), file: Some(BufWriter::with_capacity(1 << 20, file)) })
    }

    /// Makes it durable under its name.
    ///
    /// # Errors
    /// What the system says; there is then nothing under the name.
    pub fn finish(mut self) -> Result<(), ArchiveError> {
        let failed = |error| ArchiveError::writing(&self.path, error);
        if let Some(file) = self.file.take() {
            let file = file.into_inner().map_err(|e| failed(e.into_error()))?;
            file.sync_all().map_err(failed)?;
        }
        fs::rename(&self.part, &self.path).map_err(failed)?;
        sync_directory(&self.path).map_err(failed)
    }

    /// What it will be.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Write for Output {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.as_mut().map_or(Ok(0), |file| file.write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // After a rename there is none.
        if let Some(file) = self.file.take() {
            let _ = file.into_parts();
        }
        let _ = fs::remove_file(&self.part);
    }
}

/// Makes the name of a new file durable.
///
/// # Errors
/// What the system says.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(parent_of(path))?.sync_all() } else { Ok(()) }
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
