#![allow(clippy::unwrap_used)]
use dinh_core::store::conformance::dump;
use dinh_core::store::{EncryptedStore, RedbStore, Store, StoreError, StoreKey, Table};
use dinh_core::testing::SimDisk;
#[test]
fn explore() {
    let disk = SimDisk::new(1);
    let mut store = RedbStore::with_backend(disk.file()).unwrap();
    for n in 0..60u8 {
        store
            .write(|tx| {
                for t in [Table::Items, Table::Held, Table::Meta] {
                    tx.put(t, &[n, n, 1], &vec![n; 300])?;
                }
                Ok(())
            })
            .unwrap();
    }
    let full = dump(&store);
    drop(store);
    let image = disk.durable_image();
    let (mut panics, mut err, mut ok, mut missing, mut wrong) = (0, 0, 0, 0, 0);

    let mut miss = vec![];
    for p in (0..image.len()).step_by(101) {
        let mut im = image.clone();
        im[p] ^= 0xff;
        let r = std::panic::catch_unwind(|| -> Result<_, StoreError> {
            let mut s = std::mem::ManuallyDrop::new(RedbStore::with_backend(SimDisk::from_image(1, im).file())?); if std::env::var_os("VERIFY").is_some() { s.verify()?; }
            s.read(|tx| {
                let mut o = vec![];
                for t in Table::ALL {
                    tx.scan(t, b"", None, &mut |k, v| {
                        o.push((t, k.to_vec(), v.to_vec()));
                        Ok(std::ops::ControlFlow::Continue(()))
                    })?;
                }
                Ok(o)
            })
        });
        match r {
            Err(_) => panics += 1,
            Ok(Err(e)) => {
                err += 1;
                if err < 10 {
                    
                }
            }
            Ok(Ok(d)) => {
                if d == full {
                    ok += 1
                } else if d.len() < full.len() {
                    missing += 1;
                    miss.push(p)
                } else {
                    wrong += 1
                }
            }
        }
    }
    println!(
        "len {} panics {panics} err {err} ok {ok} missing {missing} wrong {wrong} {miss:?}",
        image.len()
    );
    let _ = (EncryptedStore::open(
        RedbStore::with_backend(SimDisk::new(3).file()).unwrap(),
        &StoreKey::new([1; 32]),
        [1; 32],
    ))
    .is_ok();
}
