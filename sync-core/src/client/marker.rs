//! The file that holds the [`Marker`].

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;

use super::ClientError;
use crate::replica::Marker;

/// What is in the file: `None` if it is not there or is no marker.
pub(super) fn read(path: &Path) -> Result<Option<Marker>, ClientError> {
    match fs::read(path) {
        Ok(bytes) => Ok(bytes.try_into().ok().map(Marker)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        // Taking it for missing would begin a session at every start.
        Err(error) => Err(failed(path, error)),
    }
}

/// Puts a marker into the file: durable and whole when this returns.
pub(super) fn write(path: &Path, marker: Marker) -> Result<(), ClientError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    let write = || -> io::Result<()> {
        let mut file = File::create(beside)?;
        file.write_all(&marker.0)?;
        file.sync_all()?;
        drop(file);
        fs::rename(beside, path)?;
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if cfg!(unix) {
            File::open(parent)?.sync_all()?;
        }
        Ok(())
    };
    write().map_err(|error| failed(path, error))
}

fn failed(path: &Path, error: io::Error) -> ClientError {
    ClientError::Marker { path: path.to_owned(), source: Arc::new(error) }
}
