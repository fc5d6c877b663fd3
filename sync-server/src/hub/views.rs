//! What an operator may see of connections, spaces and devices: ids and numbers, a page at a time, so that nobody who looks holds the
//! hub up.

use std::ops::Bound;

use dinh_proto::ids::{DeviceId, DocId, Seq, SpaceId};
use dinh_proto::time::{Timestamp, WallTime};

use super::space::{Detail, Space};
use super::{Hub, PeerId};

/// Documents and devices that are named of one space.
const NAMED_MAX: usize = 20;

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionRow {
    /// Its number.
    pub peer: PeerId,
    /// Whose it is, once that is known.
    pub device: Option<DeviceId>,
    /// When it began.
    pub since: Timestamp,
    /// Everything up to here was sent, or is not for it.
    pub cursor: Seq,
    /// Items after its cursor, in the spaces that it may read; of one that is not in memory yet, at most that many.
    pub lag: u64,
    /// Spaces that it may read.
    pub spaces: usize,
    /// Bytes of frames received.
    pub bytes_in: u64,
    /// Bytes of frames sent.
    pub bytes_out: u64,
    /// Bytes that wait for the socket.
    pub queue_bytes: usize,
    /// Items that it put and that are not judged.
    pub puts: usize,
}

/// One space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceView {
    /// Its name.
    pub id: SpaceId,
    /// The branch that it belongs to; the same for the space of the branch's charter.
    pub branch: SpaceId,
    /// Items.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Documents that have items. Known while the space is in memory.
    pub documents: Option<usize>,
    /// Connections that are sent what comes.
    pub subscribers: usize,
    /// The place of the newest item.
    pub last: Seq,
    /// When an item was last stored, if one was since the relay started.
    pub last_at: Option<WallTime>,
}

/// More of one space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceDetail {
    /// What lists show.
    pub view: SpaceView,
    /// Devices and sessions that wrote. Known while the space is in memory.
    pub chains: Option<usize>,
    /// Documents with the most bytes, largest first, at most 20; none of a space that is not in memory.
    pub largest: Vec<(DocId, u64)>,
    /// Devices that are connected and may read it, at most 20.
    pub connected: Vec<DeviceId>,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRow {
    /// Its name.
    pub id: DeviceId,
    /// Branches that have it as a member; until a branch's charter was read, also one that it has left.
    pub branches: usize,
    /// Its connections now.
    pub connections: usize,
    /// Whether the operator has suspended it.
    pub suspended: bool,
}

impl Hub {
    /// Connections by number, the first `limit` after `after`. Looks at the spaces of each that have something for it.
    pub fn connections(&self, after: Option<PeerId>, limit: usize) -> Vec<ConnectionRow> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let view = |(id, peer): (&PeerId, &super::Peer)| {
            let behind = |space: &SpaceId| {
                let space = self.spaces.get(space)?;
                if !space.is_warm() {
                    // Nothing of it waits for the disk.
                    return Some(space.count_after(peer.cursor));
                }
                let slots = space.after(peer.cursor);
                Some(slots.partition_point(|slot| slot.seq <= self.durable.0) as u64)
            };
            ConnectionRow {
                peer: *id,
                device: peer.device,
                since: peer.since,
                cursor: peer.cursor,
                lag: peer.dirty.iter().filter_map(behind).sum(),
                spaces: peer.spaces.len(),
                bytes_in: peer.bytes_in,
                bytes_out: peer.bytes_out,
                queue_bytes: peer.session.outgoing_bytes(),
                puts: peer.puts.len(),
            }
        };
        self.peers.range((from, Bound::Unbounded)).take(limit).map(view).collect()
    }

    /// Spaces by name, the first `limit` after `after`.
    pub fn spaces(&self, after: Option<SpaceId>, limit: usize) -> Vec<SpaceView> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.spaces.range((from, Bound::Unbounded)).take(limit).map(|(id, space)| space.view(*id)).collect()
    }

    /// One space. What is known only of a space in memory is there if [`Hub::offer`] had it before.
    pub fn space(&self, id: SpaceId) -> Option<SpaceDetail> {
        let space = self.spaces.get(&id)?;
        let devices = space.subscribers.iter().filter_map(|peer| self.peers.get(peer)?.device);
        Some(SpaceDetail {
            view: space.view(id),
            chains: space.known().map(Detail::chains),
            largest: space.known().map(|detail| detail.largest_documents(NAMED_MAX)).unwrap_or_default(),
            connected: devices.take(NAMED_MAX).collect(),
        })
    }

    /// Devices that are members of a branch or connected, by name, the first `limit` after `after`.
    pub fn device_rows(&self, after: Option<DeviceId>, limit: usize) -> Vec<DeviceRow> {
        let from = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let members = self.members.range(from).take(limit).map(|(id, _)| *id);
        let connected = self.by_device.range(from).take(limit).map(|(id, _)| *id);
        let mut ids: Vec<DeviceId> = members.chain(connected).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.truncate(limit);
        let view = |id| DeviceRow {
            suspended: self.policy.is_suspended(&id),
            id,
            branches: self.members.get(&id).map_or(0, |branches| branches.len()),
            connections: self.by_device.get(&id).map_or(0, |peers| peers.len()),
        };
        ids.into_iter().map(view).collect()
    }
}

impl Space {
    fn view(&self, id: SpaceId) -> SpaceView {
        SpaceView {
            id,
            branch: self.branch,
            items: self.items(),
            bytes: self.bytes(),
            documents: self.known().map(Detail::documents),
            subscribers: self.subscribers.len(),
            last: self.newest(),
            last_at: self.last_at,
        }
    }
}
