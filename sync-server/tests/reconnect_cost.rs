//! What a reconnect costs when nothing has changed: one round trip, and bytes that do not grow with documents.

mod hub_common;

use bytes::Bytes;
use dinh_proto::charter::record::{Audience, Record, Role, Writers, found};
use dinh_proto::ids::{DocId, SpaceId};
use dinh_proto::item::{Item, Kind, Place};
use dinh_proto::keys::SignKey;
use dinh_proto::time::WallTime;
use dinh_server::hub::HubConfig;
use hub_common::{Phone, World, admission};

const BRANCHES: usize = 10;
const SPACES: usize = 20;

/// The log of a relay that hosts `BRANCHES` branches with `SPACES` spaces and `documents` documents together, each
/// document with one run. One reviewer reads all of it.
fn log(documents: usize, reviewer: &Phone) -> Vec<Item> {
    let mut items = Vec::new();
    let numbered = |kind: u8, n: usize| {
        let mut id = [kind; 16];
        id[..8].copy_from_slice(&(n as u64).to_le_bytes());
        id
    };
    for b in 0..BRANCHES {
        let mut secretary = Phone::new(100 + b as u8);
        let (branch, genesis) = found(&SignKey::from_seed(&[99; 32]), secretary.certificate(Role::Secretary));
        let place = Place::Chain { n: 1, prev: [0; 16] };
        let first = secretary.sign_at(Kind::Charter, branch, DocId::default(), place, &genesis);
        secretary.continue_after(branch, &first);
        items.push(first);
        let certificate = admission(reviewer.certificate(Role::Reader));
        items.push(secretary.record(branch, &certificate));
        for s in 0..SPACES / BRANCHES {
            let nonce = numbered(1, b * SPACES + s);
            let space = SpaceId::derive(&secretary.key.public().id(), &nonce);
            let record = Record::Space { nonce, history: true, padded: false, audience: Audience::Everyone };
            items.push(secretary.record(branch, &record));
            for d in 0..documents / SPACES {
                let nonce = numbered(2, (b * SPACES + s) * documents + d + 1);
                let doc = DocId::derive(&secretary.key.public().id(), &nonce);
                items.push(secretary.record(
                    branch,
                    &Record::Document { nonce, space, writers: Writers::All, schema: Vec::new() },
                ));
                items.push(secretary.run(space, doc, b"run"));
            }
        }
    }
    items
}

/// Frames and bytes of a reconnect with nothing changed: up, down.
fn reconnect(documents: usize) -> [(usize, usize); 2] {
    let reviewer = Phone::new(7);
    let items = log(documents, &reviewer);
    let mut world = World::over(HubConfig::default(), items);
    world.hub.set_wall_time(WallTime(1_760_000_000_000));
    // The first time everything comes.
    let first = world.connect(&reviewer.key, None);
    let head = world.log.len() as u64;
    assert_eq!(world.client(first).caught_up().map(|s| s.0), Some(head));
    let got: Vec<Bytes> = world.client(first).items().into_iter().map(|(_, item)| item).collect();
    assert_eq!(got.len(), 2 * documents + 2 * BRANCHES + SPACES);
    world.client(first).closed = true;
    world.run();

    let again = world.connect(&reviewer.key, Some(head));
    let client = world.client(again);
    assert_eq!(client.caught_up().map(|s| s.0), Some(head));
    assert_eq!(client.items(), []);
    [(client.frames[0], client.bytes[0]), (client.frames[1], client.bytes[1])]
}

#[test]
fn an_idle_reconnect_costs_one_round_trip_below_512_bytes_and_does_not_grow_with_documents() {
    let few = reconnect(500);
    let many = reconnect(5_000);
    println!("500 documents in {SPACES} spaces:   (frames, bytes) up {:?}, down {:?}", few[0], few[1]);
    println!("5,000 documents in {SPACES} spaces: (frames, bytes) up {:?}, down {:?}", many[0], many[1]);
    // Both heads, 1,040 and 10,040, have two digits in LEB128.
    assert_eq!(few, many);
    assert_eq!(few, [(1, 180), (1, 79)], "one frame each way, of the size that docs/PROTOCOL.md names");
    assert!(few[0].1 + few[1].1 <= 512);
}
