//! A store whose rows hold anything: it opens or says why not, and a value that was not encrypted here is never read.
#![no_main]

use dinh_core::replica::{Replica, ReplicaConfig};
use dinh_core::store::{EncryptedStore, MemoryStore, Store, StoreKey, Table};
use dinh_fuzz::{member, quiet};
use libfuzzer_sys::fuzz_target;

type Row<'a> = (Table, &'a [u8], &'a [u8]);

/// Rows of: table, key length, value length, key, value.
fn rows(mut data: &[u8]) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    while let [table, key, value, rest @ ..] = data {
        let (key, rest) = rest.split_at(usize::from(*key).min(rest.len()));
        let (value, rest) = rest.split_at((usize::from(*value) * 4).min(rest.len()));
        data = rest;
        rows.push((Table::ALL[usize::from(*table) % Table::ALL.len()], key, value));
    }
    rows
}

fuzz_target!(init: quiet(), |data: &[u8]| {
    let Some((which, data)) = data.split_first() else { return };
    let rows = rows(data);
    if which & 1 == 0 {
        // Into a store of this device.
        let opened = Replica::open(MemoryStore::new(), member(), ReplicaConfig::default(), [1; 32]);
        let mut store = opened.expect("a new store").close().expect("in memory");
        store.write(|tx| rows.iter().try_for_each(|(table, key, value)| tx.put(*table, key, value))).expect("in memory");
        if let Ok(replica) = Replica::open(store, member(), ReplicaConfig::default(), [2; 32]) {
            let _ = replica.quarantined();
            let _ = replica.close();
        }
    } else {
        let key = StoreKey::new([1; 32]);
        let mut store = EncryptedStore::open(MemoryStore::new(), &key, [3; 32]).expect("a new store").into_inner();
        store.write(|tx| rows.iter().try_for_each(|(table, key, value)| tx.put(*table, key, value))).expect("in memory");
        for (table, row, _) in rows {
            // The header itself may have been replaced: then nothing opens.
            let Ok(store) = EncryptedStore::open(store.clone(), &key, [4; 32]) else { return };
            assert!(store.read(|tx| tx.get(table, row)).is_err(), "a value that nobody encrypted is read");
        }
    }
});
