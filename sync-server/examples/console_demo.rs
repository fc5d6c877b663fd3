//! A relay with a few branches at work, to look at the console: invented people write the minutes of the village hall's fixtures. It goes on until
//! its standard input ends.
//!
//! ```sh
//! cargo run -p dinh-server --example console_demo
//! ```

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use dinh_core::client::{Client, ClientConfig, RelayUrl, StoreKey};
use dinh_core::document::Value;
use dinh_core::path;
use dinh_proto::charter::record::{Audience, Role, Writers};
use dinh_proto::ids::{DocId, MemberId};
use dinh_proto::keys::{DeviceKey, SignKey};
use dinh_server::hub::Admission;
use dinh_server::{AdminConfig, Server, ServerConfig, config};
use serde_json::Value as Json;

type Outcome<T> = Result<T, Box<dyn Error>>;

const MINUTES: &str = include_str!("../../examples/village-hall/fixtures/minutes.json");
const BRANCHES: u8 = 5;
const PHONES: u8 = 4;
const SPACES: usize = 24;
/// Rounds of writing before it says that it is ready.
const ROUNDS: usize = 60;

/// A branch's phones, and the documents that they write.
struct Branch {
    phones: Vec<Client>,
    documents: Vec<DocId>,
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let directory = std::env::temp_dir().join(format!("dinh-console-demo-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let outcome = run(&directory).await;
    std::fs::remove_dir_all(&directory)?;
    outcome
}

async fn run(directory: &Path) -> Outcome<()> {
    let data = directory.join("relay");
    let mut relay_config = ServerConfig::new(&data, "127.0.0.1:0".parse()?);
    let mut admin = AdminConfig::new("127.0.0.1:0".parse()?);
    // So that a minute fills a chart.
    admin.sample_every = Duration::from_millis(500);
    admin.configuration = config::REFERENCE.to_owned();
    relay_config.admin = Some(admin);
    let relay = Server::start(relay_config.clone()).await?;
    let url = RelayUrl::parse(&relay.address())?;
    let texts = texts();
    let mut branches = Vec::new();
    for n in 0..BRANCHES {
        branches.push(found(directory, n, &url).await?);
        write(&branches, &texts, usize::from(n)).await?;
    }
    // One more branch than there may be: its records are refused.
    relay_config.hub.admission = Admission::Closed;
    relay.reconfigure(relay_config);
    let stranger = phone(directory, 200, &url).await?;
    stranger.found_branch(SignKey::from_seed(&[200; 32]), MemberId([200; 16]), "").await?;
    for round in 0..ROUNDS {
        write(&branches, &texts, round).await?;
    }
    println!("data {}", data.display());
    let ended = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    let mut round = ROUNDS;
    while !ended.is_finished() {
        write(&branches, &texts, round).await?;
        round += 1;
    }
    for phone in branches.into_iter().flat_map(|branch| branch.phones).chain([stranger]) {
        phone.shutdown().await?;
    }
    Ok(relay.shutdown().await?)
}

/// What is written: all longer texts of the minutes.
fn texts() -> Vec<String> {
    fn gather(json: &Json, into: &mut Vec<String>) {
        match json {
            Json::String(text) if text.len() > 40 => into.push(text.clone()),
            Json::Array(all) => all.iter().for_each(|one| gather(one, into)),
            Json::Object(all) => all.values().for_each(|one| gather(one, into)),
            _ => {}
        }
    }
    let mut texts = Vec::new();
    gather(&serde_json::from_str(MINUTES).expect("the fixture is JSON"), &mut texts);
    texts
}

async fn phone(directory: &Path, n: u8, relay: &RelayUrl) -> Outcome<Client> {
    let file = |end: &str| directory.join(format!("{n}.{end}"));
    let (key, store) = (DeviceKey::from_seed(&[n; 32]), StoreKey::new([n; 32]));
    let config = ClientConfig::new(file("redb"), file("marker"), key, store);
    Ok(Client::open(ClientConfig { relay: Some(relay.clone()), ..config }).await?)
}

async fn found(directory: &Path, n: u8, relay: &RelayUrl) -> Outcome<Branch> {
    let mut phones = Vec::new();
    for i in 0..PHONES {
        phones.push(phone(directory, 1 + n * PHONES + i, relay).await?);
    }
    let first = &phones[0];
    let branch =
        first.found_branch(SignKey::from_seed(&[100 + n; 32]), MemberId([0; 16]), "máy bí thư").await?;
    for (i, phone) in phones.iter().enumerate().skip(1) {
        let member = MemberId([u8::try_from(i)?; 16]);
        first.admit_device(branch, member, Role::Member, phone.join_request(), "máy").await?;
    }
    let mut documents = Vec::new();
    for _ in 0..SPACES {
        let space = first.create_space(branch, Audience::Everyone).await?;
        documents.push(first.create_document(space, Writers::All).await?);
    }
    for phone in &phones[1..] {
        phone.join(first.invitation(branch).await?).await?;
    }
    for phone in &phones {
        phone.status().wait_for(|status| status.is_synced()).await?;
    }
    Ok(Branch { phones, documents })
}

/// Some phones write something: sometimes more, sometimes less.
async fn write(branches: &[Branch], texts: &[String], round: usize) -> Outcome<()> {
    let busy = 1 + round * 7 % 5;
    for (n, branch) in branches.iter().enumerate().take(busy) {
        // The first documents get most of it.
        let at = (round * 31 + n * 17) % 97;
        let document = branch.documents[at * at * branch.documents.len() / (97 * 97)];
        let text = texts[(round + n * 5) % texts.len()].clone();
        let phone = &branch.phones[if at.is_multiple_of(3) { (round + n) % branch.phones.len() } else { 0 }];
        let key = format!("t{round}");
        // A phone that has not received the document yet writes the next time.
        let _ =
            phone.edit(document, None, move |edit| edit.put(&path![key.as_str()], Value::text(&text))).await;
    }
    tokio::time::sleep(Duration::from_millis(60 + 40 * (round as u64 % 7))).await;
    Ok(())
}
