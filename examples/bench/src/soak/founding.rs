//! Before the devices come: each branch's secretary stores its charter and its past.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dinh_proto::ids::{Cursor, ItemId, Seq};
use dinh_proto::item::Item;
use dinh_proto::session::DeviceEvent;
use rand_chacha::ChaCha8Rng;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::branch::{Author, Branch, Stored, found_branch};
use super::device::World;
use super::link::{Link, NoLink};

/// Branches that are founded at the same time.
const AT_ONCE: usize = 16;
/// What one may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A branch and those who write in it; the first is its secretary.
pub(super) type Founded = (Arc<Branch>, Vec<Author>);

/// Founds so many branches with so many members and bytes each.
pub(super) async fn found_branches(
    world: &Arc<World>,
    (branches, members, bytes): (usize, usize, usize),
    rng: &mut ChaCha8Rng,
) -> Result<Vec<Founded>, String> {
    let (mut founding, turns) = (JoinSet::new(), Arc::new(Semaphore::new(AT_ONCE)));
    let mut founded = Vec::with_capacity(branches);
    for number in 0..branches {
        let turn = turns.clone().acquire_owned().await.map_err(|e| e.to_string())?;
        let (branch, authors, items) = found_branch(number, members, bytes, rng);
        founded.push((branch.clone(), authors));
        let Some((_, authors)) = founded.last() else { continue };
        let (key, world) = (authors[0].key.clone(), world.clone());
        founding.spawn(async move {
            let stored = tokio::time::timeout(PATIENCE, store(&world, &branch, &key, items)).await;
            drop(turn);
            stored.unwrap_or_else(|_| Err(format!("not stored within {PATIENCE:?}")))
        });
        while let Some(done) = founding.try_join_next() {
            done.map_err(|e| e.to_string())?.map_err(|e| format!("founding a branch: {e}"))?;
        }
    }
    while let Some(done) = founding.join_next().await {
        done.map_err(|e| e.to_string())?.map_err(|e| format!("founding a branch: {e}"))?;
    }
    Ok(founded)
}

async fn store(
    world: &World,
    branch: &Branch,
    key: &dinh_proto::keys::DeviceKey,
    items: Vec<Item>,
) -> Result<(), String> {
    let counts = &world.counts;
    let mut link = loop {
        match Link::open(&world.relay, key, None, counts).await {
            Ok(link) => break link,
            Err(NoLink::TurnedAway) => {
                counts.turned_away.add(1);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(NoLink::Failed(why)) => return Err(why),
        }
    };
    let author = key.public().id();
    let mut unanswered: BTreeMap<ItemId, usize> =
        items.iter().map(|item| (item.id(), item.bytes().len())).collect();
    let mut items = items.into_iter().peekable();
    let mut last = Seq(0);
    let began = Instant::now();
    while !unanswered.is_empty() {
        while items.peek().is_some() && link.session.can_put() {
            if let Some(item) = items.next() {
                link.session.put(item.id(), item.bytes().clone(), false);
            }
        }
        link.flush(counts).await?;
        link.hear(counts).await?;
        while let Some(event) = link.event() {
            match event {
                DeviceEvent::Acked { id, seq } => {
                    let bytes = unanswered.remove(&id).ok_or("an ack for what was not put")?;
                    counts.acked.add(1);
                    counts.acked_bytes.add(bytes as u64);
                    branch.acknowledged(Stored { seq, id, author, signed: Duration::ZERO });
                    last = last.max(seq);
                }
                DeviceEvent::Welcomed(_) | DeviceEvent::CaughtUp(_) => {}
                DeviceEvent::Items { items, bytes } => {
                    counts.received.add(items.items.len() as u64);
                    link.session.release(bytes);
                }
                other => return Err(format!("after {:?}: {other:?}", began.elapsed())),
            }
        }
    }
    branch.set_founded_at(Cursor { epoch: link.session.epoch(), seq: last });
    Ok(())
}
