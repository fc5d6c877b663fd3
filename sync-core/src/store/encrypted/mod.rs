//! A store whose values are encrypted before the store beneath sees them.
//!
//! Rows keep their keys, which are ids and numbers; see [`cipher`] for what becomes of a value and [`header`] for
//! the one row that this layer adds.
//!
//! What it protects: whoever has the file and not the key learns the tables, the keys of rows and the lengths of
//! values, and can neither read a value nor make one, nor move one to another row. What it does not: whoever can
//! *write* to the file can remove rows, or put a row's or the file's earlier state back; replicas find the latter
//! when they next sync. What is being used is in memory in the clear, where only keys are erased after use.

mod cipher;
mod header;

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use zeroize::Zeroizing;

use self::cipher::{Nonces, RowCipher};
pub use self::header::StoreKey;
use super::{ReadTx, Store, StoreError, Table, Visit, WriteTx};

/// How much is held in memory at once while all values are encrypted again.
const ROTATE_BYTES: usize = 64 << 10;

/// A store over another whose values it encrypts. See the [contract](super), which it keeps if the one beneath
/// does; a value that was not written with this store's key is an error of the storage.
pub struct EncryptedStore<S> {
    inner: S,
    cipher: RowCipher,
    nonces: Nonces,
    failed: AtomicBool,
}

impl<S: Store> EncryptedStore<S> {
    /// Opens the store with the key with which it was made or last changed. An empty one is made anew with it.
    ///
    /// `seed` must be fresh randomness at every call: nonces (and the key of a new store) come from it.
    ///
    /// # Errors
    /// [`StoreError::WrongKey`]; [`StoreError::NotEncrypted`] if the store beneath holds values of another origin;
    /// [`StoreError::Corrupt`] if the row with the wrapped key is damaged.
    pub fn open(mut inner: S, key: &StoreKey, seed: [u8; 32]) -> Result<Self, StoreError> {
        let seed = Zeroizing::new(seed);
        let mut nonces = Nonces::new(&seed);
        let data_key = match inner.read(|tx| tx.get(header::TABLE, header::KEY))? {
            Some(row) => header::unwrap(key, &row)?,
            None if !is_empty(&inner)? => return Err(StoreError::NotEncrypted),
            None => {
                let data_key = cipher::data_key(&seed);
                let row = header::wrap(key, &data_key, nonces.next());
                inner.write(|tx| tx.put(header::TABLE, header::KEY, &row))?;
                data_key
            }
        };
        Ok(Self { inner, cipher: RowCipher::new(data_key), nonces, failed: AtomicBool::new(false) })
    }

    /// From now on another key opens the store: one row is written, in one transaction, so that a crash leaves
    /// the old key or the new one in force.
    ///
    /// Values are not encrypted again: whoever had the old key *and* a copy of the file then can read what a later
    /// copy holds. If that is feared, [`rotate`](Self::rotate) too.
    pub fn rekey(&mut self, new: &StoreKey) -> Result<(), StoreError> {
        self.check()?;
        let row = header::wrap(new, self.cipher.data_key(), self.nonces.next());
        self.inner.write(|tx| tx.put(header::TABLE, header::KEY, &row))
    }

    /// Encrypts every value again under a new data key, which `key` opens from now on; one transaction, so that a
    /// crash leaves all as before or all done. Takes as long as writing the whole store. `seed` must be fresh
    /// randomness.
    ///
    /// The file may keep old pages until it writes over them: to be rid of what an old key opens, sync into a new
    /// store and delete this one.
    pub fn rotate(&mut self, key: &StoreKey, seed: [u8; 32]) -> Result<(), StoreError> {
        self.check()?;
        let seed = Zeroizing::new(seed);
        let fresh = RowCipher::new(cipher::data_key(&seed));
        let Self { inner, cipher, nonces, failed } = self;
        let row = header::wrap(key, fresh.data_key(), nonces.next());
        inner.write(|tx| {
            for table in Table::ALL {
                let mut from = Vec::new();
                loop {
                    let rows = some_rows(tx, table, &from)?;
                    let Some((last, _)) = rows.last() else { break };
                    from = [last, &[0][..]].concat();
                    for (key, sealed) in rows.iter().filter(|(key, _)| !header::is_header(table, key)) {
                        let plain = cipher.open(table, key, sealed).inspect_err(|_| {
                            failed.store(true, Ordering::Release);
                        })?;
                        tx.put(table, key, &fresh.seal(table, key, &plain, nonces.next()))?;
                    }
                }
            }
            tx.put(header::TABLE, header::KEY, &row)
        })?;
        self.cipher = fresh;
        Ok(())
    }

    /// The store beneath; the key is forgotten.
    pub fn into_inner(self) -> S {
        self.inner
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.failed.load(Ordering::Acquire) { Err(StoreError::Poisoned) } else { Ok(()) }
    }
}

impl<S: Store> Store for EncryptedStore<S> {
    fn read<R>(&self, f: impl FnOnce(&dyn ReadTx) -> Result<R, StoreError>) -> Result<R, StoreError> {
        self.check()?;
        let rows = Rows { cipher: &self.cipher, damaged: Cell::new(None) };
        let result = self.inner.read(|tx| rows.judge(f(&Reading { tx, rows: &rows })));
        self.failed.fetch_or(rows.damaged.get().is_some(), Ordering::AcqRel);
        result
    }

    fn write<R>(
        &mut self,
        f: impl FnOnce(&mut dyn WriteTx) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        self.check()?;
        let Self { inner, cipher, nonces, failed } = self;
        let rows = Rows { cipher, damaged: Cell::new(None) };
        let result = inner.write(|tx| rows.judge(f(&mut Writing { tx, rows: &rows, nonces })));
        failed.fetch_or(rows.damaged.get().is_some(), Ordering::AcqRel);
        result
    }
}

// Says nothing of keys.
impl<S: std::fmt::Debug> std::fmt::Debug for EncryptedStore<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncryptedStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// What both kinds of transactions share: the key, and the first table that held a value which does not
/// authenticate.
struct Rows<'a> {
    cipher: &'a RowCipher,
    damaged: Cell<Option<&'static str>>,
}

impl Rows<'_> {
    /// A transaction that met a damaged value fails, also if the closure swallowed the error and went on.
    fn judge<R>(&self, result: Result<R, StoreError>) -> Result<R, StoreError> {
        self.damaged.get().map_or(result, |table| Err(StoreError::Corrupt(table)))
    }

    fn open(&self, table: Table, key: &[u8], sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.cipher.open(table, key, sealed).inspect_err(|_| {
            tracing::error!(table = table.name(), "a stored value does not authenticate");
            self.damaged.set(self.damaged.get().or(Some(table.name())));
        })
    }

    fn get(&self, tx: &dyn ReadTx, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if header::is_header(table, key) {
            return Ok(None);
        }
        tx.get(table, key)?.map(|sealed| self.open(table, key, &sealed)).transpose()
    }

    fn scan(
        &self,
        tx: &dyn ReadTx,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        tx.scan(table, from, to, &mut |key, sealed| {
            if header::is_header(table, key) {
                return Ok(ControlFlow::Continue(()));
            }
            visit(key, &self.open(table, key, sealed)?)
        })
    }
}

struct Reading<'a> {
    tx: &'a dyn ReadTx,
    rows: &'a Rows<'a>,
}

impl ReadTx for Reading<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.rows.get(self.tx, table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<(), StoreError> {
        self.rows.scan(self.tx, table, from, to, visit)
    }
}

struct Writing<'a> {
    tx: &'a mut dyn WriteTx,
    rows: &'a Rows<'a>,
    nonces: &'a mut Nonces,
}

impl ReadTx for Writing<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.rows.get(self.tx, table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<(), StoreError> {
        self.rows.scan(self.tx, table, from, to, visit)
    }
}

impl WriteTx for Writing<'_> {
    /// # Panics
    /// On the key of the header row, which no caller uses.
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        assert!(!header::is_header(table, key), "the key of the header row belongs to this layer");
        let sealed = self.rows.cipher.seal(table, key, value, self.nonces.next());
        self.tx.put(table, key, &sealed)
    }

    /// # Panics
    /// On the key of the header row, which no caller uses.
    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        assert!(!header::is_header(table, key), "the key of the header row belongs to this layer");
        self.tx.delete(table, key)
    }
}

fn is_empty(store: &impl Store) -> Result<bool, StoreError> {
    store.read(|tx| {
        let mut empty = true;
        for table in Table::ALL {
            tx.scan(table, b"", None, &mut |_, _| {
                empty = false;
                Ok(ControlFlow::Break(()))
            })?;
        }
        Ok(empty)
    })
}

/// Key and encrypted value.
type SealedRow = (Vec<u8>, Vec<u8>);

/// Rows as they are stored, from a key on: one at least if there is one.
fn some_rows(tx: &dyn ReadTx, table: Table, from: &[u8]) -> Result<Vec<SealedRow>, StoreError> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    tx.scan(table, from, None, &mut |key, value| {
        bytes += key.len() + value.len();
        rows.push((key.to_vec(), value.to_vec()));
        Ok(if bytes < ROTATE_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(rows)
}
