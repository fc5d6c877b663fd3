//! A disk in memory that forgets what was not synced.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use redb::StorageBackend;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What becomes of writes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// All are lost: the file is as the last sync left it.
    LoseUnsynced,
    /// Each is lost, kept, or kept in part (whole sectors), by the disk's seed: what a real disk may do.
    Tear,
    /// All are kept: the process died, the machine did not.
    KeepAll,
}

/// One file that survives crashes. Cloning gives another handle on the same file.
#[derive(Debug, Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// What a process has open; dead after the next crash.
#[derive(Debug)]
pub struct SimFile {
    state: Arc<Mutex<State>>,
    life: u64,
}

#[derive(Debug)]
struct State {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    rng: ChaCha8Rng,
    /// Counts crashes; a file that was opened in an earlier life is dead.
    life: u64,
    writes_left: Option<u64>,
    syncs: u64,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
}

impl SimDisk {
    /// An empty file. `seed` decides what [`Crash::Tear`] tears.
    pub fn new(seed: u64) -> Self {
        Self::from_image(seed, Vec::new())
    }

    /// A file with these contents, for example an older copy of another.
    pub fn from_image(seed: u64, image: Vec<u8>) -> Self {
        let state = State {
            live: image.clone(),
            durable: image,
            unsynced: Vec::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            life: 0,
            writes_left: None,
            syncs: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Opens the file.
    pub fn file(&self) -> SimFile {
        SimFile { state: self.state.clone(), life: lock(&self.state).life }
    }

    /// Ends the process that has the file open: its handles fail from here on, and what it had not synced meets
    /// the fate `crash`. A fault that was set is cleared.
    pub fn crash(&self, crash: Crash) {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        state.life += 1;
        state.writes_left = None;
        let unsynced = std::mem::take(&mut state.unsynced);
        match crash {
            Crash::LoseUnsynced => {}
            Crash::KeepAll => unsynced.iter().for_each(|c| c.apply(&mut state.durable)),
            Crash::Tear => {
                for change in unsynced {
                    change.tear(&mut state.durable, &mut state.rng);
                }
            }
        }
        state.live.clone_from(&state.durable);
    }

    /// After `writes` more writes, every write and sync fails as on a full disk, until the next crash or
    /// [`heal`](Self::heal).
    pub fn fill_after(&self, writes: u64) {
        lock(&self.state).writes_left = Some(writes);
    }

    /// Ends what [`fill_after`](Self::fill_after) began.
    pub fn heal(&self) {
        lock(&self.state).writes_left = None;
    }

    /// A copy of what is durable now: a backup.
    pub fn durable_image(&self) -> Vec<u8> {
        lock(&self.state).durable.clone()
    }

    /// Changes bytes of the file behind everyone's back.
    pub fn edit(&self, edit: impl Fn(&mut Vec<u8>)) {
        let mut state = lock(&self.state);
        edit(&mut state.live);
        edit(&mut state.durable);
    }

    /// How often the file was synced.
    pub fn syncs(&self) -> u64 {
        lock(&self.state).syncs
    }
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => write_at(image, *offset, data),
            Self::SetLen(len) => image.resize(*len, 0),
        }
    }

    fn tear(&self, image: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
        let fate = rng.next_u32() % 4;
        match self {
            _ if fate == 0 => {}
            Self::Write { offset, data } if fate == 1 => {
                for (i, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                    if rng.next_u32().is_multiple_of(2) {
                        write_at(image, offset + i * SECTOR_BYTES, sector);
                    }
                }
            }
            whole => whole.apply(image),
        }
    }
}

impl SimFile {
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = lock(&self.state);
        if state.life == self.life {
            Ok(state)
        } else {
            Err(io::Error::new(io::ErrorKind::BrokenPipe, "this process was ended by the simulator"))
        }
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut state = self.alive()?;
        state.spend_write()?;
        change.apply(&mut state.live);
        state.unsynced.push(change);
        Ok(())
    }
}

impl State {
    fn spend_write(&mut self) -> io::Result<()> {
        match &mut self.writes_left {
            Some(0) => Err(io::Error::from(io::ErrorKind::StorageFull)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl StorageBackend for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.alive()?.live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.alive()?;
        let start = position(offset)?;
        let bytes = state.live.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::SetLen(position(len)?))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut guard = self.alive()?;
        let state = &mut *guard;
        if state.writes_left == Some(0) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        state.syncs += 1;
        for change in state.unsynced.drain(..) {
            change.apply(&mut state.durable);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write { offset: position(offset)?, data: data.to_vec() })
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

fn write_at(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(data);
}
