//! The smallest use of the library: founds a branch on this device, writes a document, reads it back. With the
//! address of a relay it waits until the relay has it.
//!
//! ```sh
//! cargo run -p dinh-core --example embed -- [ADDRESS-THAT-THE-RELAY-PRINTED]
//! ```

use dinh_core::client::{Client, ClientConfig, RelayUrl, StoreKey, block_on};
use dinh_core::path;
use dinh_core::proto::charter::record::{Audience, Writers};
use dinh_core::proto::ids::MemberId;
use dinh_core::proto::keys::{DeviceKey, SignKey};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Every call works in any async runtime; here there is none.
    block_on(run())
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::temp_dir().join(format!("dinh-embed-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    // An app keeps these in the platform's keystore.
    let (secret, store_secret) = (random()?, random()?);

    let key = DeviceKey::from_seed(&secret);
    let store_key = StoreKey::new(store_secret);
    let (store, marker) = (directory.join("phone.dinh"), directory.join("no-backup.marker"));
    let mut config = ClientConfig::new(store, marker, key, store_key);
    let relay = std::env::args().nth(1);
    if let Some(url) = &relay {
        // As the relay printed it. After the # stands the relay's key, which nobody in between can have.
        config.relay = Some(RelayUrl::parse(url)?);
    }
    let client = Client::open(config).await?;

    let root = SignKey::from_seed(&random()?); // for the paper in the safe
    let branch = client.found_branch(root, MemberId(*b"m01             "), "secretary's phone").await?;
    let space = client.create_space(branch, Audience::Everyone).await?;
    let minutes = client.create_document(space, Writers::All).await?;

    client
        .edit(minutes, Some("roll-call"), |e| {
            e.put_map(&path!["attendance"])?;
            e.put(&path!["attendance", "m04"], "present")
        })
        .await?; // on disk now, with or without a network

    let present = client.read(minutes, |view| view.get(&path!["attendance", "m04"])).await?;
    println!("m04: {present:?}");

    let mut status = client.status(); // offline, connecting, catching up, live; how much is pending
    if relay.is_some() {
        status.wait_for(|s| s.is_synced()).await?;
        println!("the relay has it on disk");
    }
    client.shutdown().await?;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

fn random() -> Result<[u8; 32], getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
