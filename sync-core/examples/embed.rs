//! The smallest use of the library: founds a branch on this device, writes a document, reads it back. With the
//! address of a relay it waits until the relay has it, and joins a second device by codes, which reads it too.
//!
//! ```sh
//! cargo run -p dinh-core --example embed -- [ADDRESS-THAT-THE-RELAY-PRINTED]
//! ```

use std::path::Path;

use dinh_core::client::{Client, ClientConfig, RelayUrl, StoreKey, block_on};
use dinh_core::path;
use dinh_core::proto::charter::record::{Audience, Role, Writers};
use dinh_core::proto::ids::{DocId, MemberId, SpaceId};
use dinh_core::proto::join::Code;
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
    if let Some(url) = relay {
        status.wait_for(|s| s.is_synced()).await?;
        println!("the relay has it on disk");
        second_device(&client, branch, minutes, &RelayUrl::parse(&url)?, &directory).await?;
    }
    client.shutdown().await?;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

/// Two devices show each other codes; here both are in one process.
async fn second_device(
    client: &Client,
    branch: SpaceId,
    minutes: DocId,
    relay: &RelayUrl,
    directory: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    let (store, marker) = (directory.join("other.dinh"), directory.join("other.marker"));
    let (key, store_key) = (DeviceKey::from_seed(&random()?), StoreKey::new(random()?));
    let other = Client::open(ClientConfig::new(store, marker, key, store_key)).await?;
    let member = MemberId(*b"m04             ");

    // The new phone shows a code. This one scans it, admits the phone and shows the answer.
    let scanned = Code::from(other.join_request()).link();
    let request = Code::from_link(&scanned)?.into_join()?;
    let device = request.public.id();
    client.admit_device(branch, member, Role::Member, request, "recorder's phone").await?;
    let answer = Code::from(client.welcome(branch, device, relay).await?).link();
    // The new phone scans that: it joins the branch from the relay, history included.
    other.join_by_welcome(Code::from_link(&answer)?.into_welcome()?).await?;

    let mut events = other.subscribe();
    let marked = path!["attendance", "m04"];
    loop {
        let marked = marked.clone();
        // Until the records are here the document is not known.
        match other.read(minutes, move |view| view.get(&marked)).await {
            Ok(Some(value)) => break println!("m04 on the other device: {value:?}"),
            _ => events.next().await.ok_or("the client ended")?,
        };
    }
    Ok(other.shutdown().await?)
}

fn random() -> Result<[u8; 32], getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
