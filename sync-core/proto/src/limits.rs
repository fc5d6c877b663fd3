//! Every bound on what a peer can make grow, in one place, with the relations between them.

use std::time::Duration;

/// Largest payload of one WebSocket frame, bytes (a Noise message cannot be longer).
pub const FRAME_BYTES_MAX: usize = 65_535;
/// Plain bytes in one frame: leaves room for a 16-byte authentication tag.
pub const FRAME_PLAIN_BYTES_MAX: usize = FRAME_BYTES_MAX - 16;
/// Plain bytes in a device's first frame, beside the header, the keys and the tags of the handshake.
pub const FIRST_FRAME_PLAIN_BYTES_MAX: usize = FRAME_BYTES_MAX - 165;
/// Plain bytes in one frame from a relay: the WebSocket layer keeps a buffer of the largest frame it ever wrote
/// for each connection, and a relay has tens of thousands.
pub const RELAY_FRAME_PLAIN_BYTES: usize = 16 * 1024;
/// Largest message, bytes; it may span frames.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Largest payload of one item, bytes.
pub const ITEM_PAYLOAD_BYTES_MAX: usize = 1_000_000;
/// Most items in one `Items` or `Put` message.
pub const ITEMS_PER_MESSAGE_MAX: usize = 256;
/// Bytes of items that one message is filled to before the next is begun.
pub const MESSAGE_FILL_BYTES: usize = 48 * 1024;

/// Most changes in one run.
pub const RUN_CHANGES_MAX: usize = 1_024;
/// Changes after which a device begins another run.
pub const RUN_CHANGES_SOFT: usize = 256;
/// Packed bytes after which a device begins another run.
pub const RUN_BYTES_SOFT: usize = 64 * 1024;

/// Pause after an edit after which the changes since the last item become one, with or without a connection: two
/// copies of a store differ only in what was written in this time.
pub const SEAL_AFTER: Duration = Duration::from_secs(2);

/// Bytes of items that may be on the way to a receiver that has not taken them yet.
pub const CREDIT_BYTES: u64 = 256 * 1024;
/// Items that a device may have sent without an answer.
pub const PUTS_UNANSWERED_MAX: usize = 512;
/// Bytes that may wait for one connection to take them. What makes them is bounded by credit and by cursors, except
/// answers to a peer that asks and does not read: beyond this it is closed.
pub const OUTGOING_BYTES_MAX: usize = 8 << 20;
/// Items that a device may have asked for by `Want` and not received yet.
pub const WANTED_ITEMS_MAX: usize = 1 << 20;
/// Presence payload as it is sent (encrypted), bytes.
pub const EPHEMERAL_BYTES_MAX: usize = 4 * 1024;
/// Presence before it is encrypted, bytes.
pub const PRESENCE_BYTES_MAX: usize = EPHEMERAL_BYTES_MAX - crate::crypto::PRESENCE_OVERHEAD_BYTES;
/// Payloads of a padded space are a multiple of this, bytes.
pub const PADDED_STEP: usize = 512;
/// Presence messages that wait for one slow receiver; older ones of the same sender are replaced.
pub const EPHEMERAL_QUEUE_MAX: usize = 64;
/// Text of a `Close` or `Reject`, bytes.
pub const DETAIL_BYTES_MAX: usize = 200;

/// Chains named in one `Have` or `Want`.
pub const CHAINS_PER_MESSAGE_MAX: usize = 4_096;
/// Ranges of one chain in one `Have` or `Want`.
pub const RANGES_PER_CHAIN_MAX: usize = 1_024;
/// Consecutive items that may be missing in a chain when the next one is stored across the gap.
pub const CHAIN_HOLE_MAX: usize = 4_096;
/// Keys of a branch, newest first, under which a device talks to another one without a relay: who has been away for longer
/// than so many rotations meets a relay first.
pub const HALL_KEYS_MAX: usize = 16;
/// Spaces in one `CaughtUp`, and backfills in one `Hello`.
pub const SPACES_PER_MESSAGE_MAX: usize = 16_384;
/// Sessions of one device that may write in one space: each restored backup uses one.
pub const SESSIONS_PER_DEVICE_MAX: usize = 256;

/// Records of one charter.
pub const CHARTER_RECORDS_MAX: usize = 4_096;
/// Bytes of all records of one charter that anybody holds: twice what a relay takes, so that records which came by several
/// relays fit.
pub const CHARTER_HELD_BYTES_MAX: usize = 2 * CHARTER_BYTES_MAX as usize;
/// Of these the last are for officers, so that nobody who fills a charter keeps them from putting it right.
pub const CHARTER_RECORDS_FOR_OFFICERS: usize = 512;
/// As for the records, bytes.
pub const CHARTER_BYTES_FOR_OFFICERS: usize = 512 << 10;
/// And the very last for the root key.
pub const CHARTER_RECORDS_FOR_ROOT: usize = 32;
/// As for the records, bytes.
pub const CHARTER_BYTES_FOR_ROOT: usize = 256 << 10;
/// Payload of one charter record, bytes.
pub const CHARTER_RECORD_BYTES_MAX: usize = 64 * 1024;
/// Devices that a key is sealed to in one record: 88 bytes each.
pub const WRAPS_PER_RECORD_MAX: usize = 512;
/// Older keys in one epoch record: only those that no other epoch leads back to.
pub const EPOCH_PREV_MAX: usize = 16;
/// Chains of one device that a frontier names: its sessions in each space.
pub const FRONTIER_MARKS_MAX: usize = 1_024;
/// Devices that one root record removes.
pub const ROOT_REMOVALS_MAX: usize = 64;
/// Chains that a certificate says there are.
pub const SEEN_CHAINS_MAX: usize = 256;
/// Members who say what they received of a removed device where its remover cannot read; then others need not.
pub const WITNESSES_ENOUGH: usize = 3;
/// How far a generation may be ahead of the number of records about the same thing: then there is always a next one.
pub const GENERATIONS_AHEAD_MAX: u32 = 1_024;
/// Devices of one member that are certified at the same time, by the devices that admit and by relays.
pub const DEVICES_PER_MEMBER_MAX: usize = 4;
/// Age at which an officer's device draws a new key for a space.
pub const KEY_AGE_MAX: Duration = Duration::from_secs(90 * 24 * 3_600);
/// Within this time, at random, a device does what a branch needs of it: the first does it, the others see that it is done.
pub const TEND_WITHIN: Duration = Duration::from_secs(10);
/// An encrypted device name, bytes.
pub const SEALED_NAME_BYTES_MAX: usize = 128;
/// Members named in one space record.
pub const AUDIENCE_MEMBERS_MAX: usize = 256;
/// A device's display name, bytes.
pub const DEVICE_NAME_BYTES_MAX: usize = 48;
/// Bytes of the name of a document's schema.
pub const SCHEMA_NAME_BYTES_MAX: usize = 31;
/// Bytes of every part of an attachment but the last. Part of the format: parts are numbered, and their numbers are nonces.
pub const BLOB_PART_BYTES: usize = 64 * 1024;

/// Runs of one document that wait for what they depend on.
pub const PARKED_RUNS_PER_DOCUMENT_MAX: usize = 512;
/// Bytes of runs of one document that wait.
pub const PARKED_BYTES_PER_DOCUMENT_MAX: usize = 4 << 20;

// The gate: bounds on one Automerge change. They are rules of the protocol (docs/GATE.md), equal on every device:
// changing one means another rules version.

/// Bytes of one change, with its chunk's header.
pub const CHANGE_BYTES_MAX: usize = 256 << 10;
/// Operations of one change.
pub const CHANGE_OPS_MAX: usize = 65_536;
/// Predecessors that the operations of one change name together.
pub const CHANGE_PREDS_MAX: usize = 131_072;
/// Dependencies of one change: the branches of history that it joins. As many devices can write at the same time.
pub const CHANGE_DEPS_MAX: usize = 256;
/// Other actors that one change mentions.
pub const CHANGE_ACTORS_MAX: usize = 256;
/// Commit message, bytes.
pub const CHANGE_MESSAGE_BYTES_MAX: usize = 200;
/// What an app may say in a commit message, bytes: the rest is for the mark that a change gets when it is written again.
pub const EDIT_MESSAGE_BYTES_MAX: usize = CHANGE_MESSAGE_BYTES_MAX - 50;
/// Latest commit time, seconds since 1970 (the year 2100); the earliest is 0.
pub const CHANGE_TIME_S_MAX: i64 = 4_102_444_800;
/// Counter of the last operation of a document.
pub const DOCUMENT_OPS_MAX: u64 = 1 << 24;
/// Containers nested in one another.
pub const DOCUMENT_DEPTH_MAX: usize = 32;
/// Key of a map, or name of a mark, bytes.
pub const KEY_BYTES_MAX: usize = 256;
/// String or byte string that is replaced as a whole, bytes.
pub const SCALAR_BYTES_MAX: usize = 64 << 10;

/// Runs of one open document that wait for what they build on and are known in memory (about 60 bytes each; the
/// runs themselves are in the store). Beyond it the oldest are looked at again when there is room, or when the
/// document is opened again.
pub const WAITING_RUNS_PER_DOCUMENT_MAX: usize = 32_768;
/// Bytes of received runs of one document that are kept in memory until they are looked at; more are read again.
pub const QUEUED_BYTES_PER_DOCUMENT_MAX: usize = 4 << 20;

/// Unanswered handshakes end after this.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// Silence after which a side asks whether the other is there.
pub const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
/// Silence after which the connection is dead: any byte received counts as life.
pub const DEAD_AFTER: Duration = Duration::from_secs(75);
/// First pause before a reconnect; doubles to [`RECONNECT_MAX`], with full jitter.
pub const RECONNECT_MIN: Duration = Duration::from_millis(500);
/// Longest pause before a reconnect.
pub const RECONNECT_MAX: Duration = Duration::from_secs(60);
/// Pause before a chain that was refused for now is offered again.
pub const RETRY_LATER: Duration = Duration::from_secs(5);
/// Pause before anything of a branch or space is offered again of which the relay's operator takes nothing now: a person has to act first.
pub const RETRY_DECLINED: Duration = Duration::from_secs(60);
/// How long a suspended device is asked to stay away. An app that comes to the front asks at once.
pub const SUSPENDED_RETRY: Duration = Duration::from_secs(10 * 60);
/// Pause before a second reconcile in the same epoch; doubles each time.
pub const RECONCILE_AGAIN_AFTER: Duration = Duration::from_secs(30);

const _: () = assert!(MESSAGE_BYTES_MAX > ITEM_PAYLOAD_BYTES_MAX + crate::item::ITEM_OVERHEAD_BYTES + 64);
const _: () = assert!(MESSAGE_FILL_BYTES < FRAME_PLAIN_BYTES_MAX);
const _: () = assert!(CREDIT_BYTES as usize >= 4 * MESSAGE_FILL_BYTES);
const _: () = assert!(RUN_CHANGES_SOFT <= RUN_CHANGES_MAX && RUN_BYTES_SOFT <= ITEM_PAYLOAD_BYTES_MAX);
const _: () = assert!(CHARTER_RECORD_BYTES_MAX <= ITEM_PAYLOAD_BYTES_MAX);
const _: () = assert!(WRAPS_PER_RECORD_MAX * 88 + EPOCH_PREV_MAX * 88 + 64 <= CHARTER_RECORD_BYTES_MAX);
const _: () = assert!(FRONTIER_MARKS_MAX * 60 + 64 <= CHARTER_RECORD_BYTES_MAX);
const _: () = assert!(CHARTER_RECORDS_FOR_ROOT < CHARTER_RECORDS_FOR_OFFICERS);
const _: () = assert!(CHARTER_RECORDS_FOR_OFFICERS < CHARTER_RECORDS_MAX / 4);
const _: () = assert!(CHARTER_BYTES_FOR_ROOT < CHARTER_BYTES_FOR_OFFICERS);
const _: () = assert!(CHARTER_BYTES_FOR_OFFICERS < CHARTER_HELD_BYTES_MAX / 4);
const _: () = assert!(CHARTER_BYTES_FOR_ROOT >= 2 * CHARTER_RECORD_BYTES_MAX);
const _: () = assert!(crate::crypto::SEALED_NAME_BYTES <= SEALED_NAME_BYTES_MAX);
const _: () = assert!(CHANGE_BYTES_MAX <= MESSAGE_BYTES_MAX && SCALAR_BYTES_MAX < CHANGE_BYTES_MAX);
const _: () = assert!(CHANGE_OPS_MAX as u64 <= DOCUMENT_OPS_MAX && DOCUMENT_OPS_MAX < u32::MAX as u64);

// What a relay takes from devices. These are defaults: an operator may choose others (`HubConfig::quotas`,
// `ServerConfig`), so no device may count on them. They delay or refuse transfer and never decide what is valid.

/// From the beginning of a TCP connection until a relay has the whole head of its HTTP request. A phone sends it in one
/// packet as soon as it is connected; five seconds are room for two retransmissions.
pub const UPGRADE_TIMEOUT: Duration = Duration::from_secs(5);
/// Head of an HTTP request, bytes: a phone's has about 200, proxies add some. The least that hyper can be told.
pub const UPGRADE_HEAD_BYTES_MAX: usize = 8 * 1024;
/// Header lines of an HTTP request.
pub const UPGRADE_HEADERS_MAX: usize = 64;
/// Connections to one relay whose `Hello` has not come, in all. Each costs a socket and some kilobytes. After the upgrade
/// they have [`HANDSHAKE_TIMEOUT`] like the device itself, not 5 s: on a bad mobile network three round trips with a
/// lost packet take longer, and a place that somebody else needs is taken back after [`GREETING_GRACE`] anyway.
pub const GREETING_CONNECTIONS_MAX: usize = 500;
/// The same for one address (IPv6: one /64). All phones of a hall may share it, so devices that greeted do not count:
/// at half a second each, ten at a time are twenty phones a second.
pub const GREETING_CONNECTIONS_PER_ADDRESS_MAX: usize = 10;
/// A connection that has not greeted for this long makes room for a new one when there is no room: so a thousand silent
/// sockets do not keep a phone out, and phones that all come at once do not push each other out.
pub const GREETING_GRACE: Duration = Duration::from_secs(2);
/// Bytes of `Hello`s that need more than their first frame and are not complete, over all connections. The largest
/// possible is 600 kB, a usual one has 14 bytes.
pub const GREETING_BYTES_MAX: usize = 16 << 20;
/// Connections of one device. Not 3: one that a phone lost when it changed its network stays open here until
/// [`DEAD_AFTER`], and a phone between two networks would be kept out for that long. More of them gain nothing, because
/// what a device may send is counted over all of them.
pub const CONNECTIONS_PER_DEVICE_MAX: usize = 8;
/// Connections of one address (IPv6: one /64), with those that greeted: a hall has some hundreds behind one address, a mobile network
/// thousands. A sixteenth of what a relay takes in all, so that nobody at one address takes all of it.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 4_096;

/// WebSocket messages of any kind that one connection may send at once, and again in [`FRAMES_PER`]. It is above what a
/// device says that receives with 60 MB/s (a `Credit` for each 64 KiB).
pub const FRAMES_BURST: u64 = 2_000;
/// See [`FRAMES_BURST`]: 1,000 a second.
pub const FRAMES_PER: Duration = Duration::from_secs(2);
/// Messages that ask a relay to do something (`Put`, `Want`, `Fetch`, `Reconcile`, `Ephemeral`) which one device may
/// send at once, and again in [`MESSAGES_PER`]. Beyond it the relay reads its socket later.
pub const MESSAGES_BURST: u64 = 200;
/// See [`MESSAGES_BURST`]: 50 a second.
pub const MESSAGES_PER: Duration = Duration::from_secs(4);
/// Bytes of frames that one device may send at once over all its connections, and again in [`FRAME_BYTES_PER`]. Beyond it the relay
/// reads its sockets later. What it puts has a far smaller share ([`PUT_BYTES_PER_MINUTE`]); this is for everything else.
pub const FRAME_BYTES_BURST: u64 = 16 << 20;
/// See [`FRAME_BYTES_BURST`]: 4 MiB a second.
pub const FRAME_BYTES_PER: Duration = Duration::from_secs(4);
/// Items that one device may put at once, and again in [`PUT_ITEMS_PER`]: each costs the relay a signature to check, however small
/// it is. Beyond it they wait. A device that comes back after weeks has some thousands.
pub const PUT_ITEMS_BURST: u64 = 10_000;
/// See [`PUT_ITEMS_BURST`]: 500 a second.
pub const PUT_ITEMS_PER: Duration = Duration::from_secs(20);
/// Longest time in which a relay does not read a socket: well below [`KEEPALIVE_AFTER`], so that nobody seems dead.
pub const READ_PAUSE_MAX: Duration = Duration::from_secs(20);

/// Bytes of items that one device may put at once, and again in each minute.
pub const PUT_BYTES_PER_MINUTE: u64 = 5 << 20;
/// Bytes of items that one device may put at once, and again in each day: people's writing is 100 times less.
pub const PUT_BYTES_PER_DAY: u64 = 50 << 20;
/// How long one item waits at the relay, unanswered, for its device's share of a day. Then it is refused with `Quota`,
/// and what waits behind it too. The share comes back with 607 B/s, so what a device makes usually (at most
/// [`RUN_BYTES_SOFT`]) waits two minutes and is sent once; if it were refused at once, a phone over its share would send
/// its whole outbox again every [`RETRY_LATER`]. For the share of a minute an item waits as long as it takes.
pub const PUT_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Bytes of the runs of one document: what a device receives that has no snapshot, and more than it can open quickly.
pub const DOCUMENT_BYTES_MAX: u64 = 32 << 20;
/// Bytes of all items of one space, snapshots among them.
pub const SPACE_BYTES_MAX: u64 = 500 << 20;
/// Documents of one branch. [`CHARTER_RECORDS_MAX`] is reached first as long as each has a record of its own.
pub const BRANCH_DOCUMENTS_MAX: usize = 20_000;
/// Bytes of all records of one charter.
pub const CHARTER_BYTES_MAX: u64 = 2 << 20;
/// New records of one charter in a day. A document is a record too, so the 60 of a day in which people only join would
/// stop a branch at its first busy meeting. Half of [`CHARTER_RECORDS_MAX`], so that nobody fills it in a day and
/// there is time to remove who tries.
pub const CHARTER_RECORDS_PER_DAY: u64 = 2_000;
/// New records by one device in a day: a secretary sets up a branch of 100 devices and creates documents all day.
/// Neither counts on the day on which the branch comes to a relay, because it may bring a charter of many years.
pub const CHARTER_RECORDS_OF_DEVICE_PER_DAY: u64 = 500;

const _: () = assert!(READ_PAUSE_MAX.as_secs() < KEEPALIVE_AFTER.as_secs());
const _: () = assert!(
    PUT_PATIENCE.as_secs() > RETRY_LATER.as_secs() && PUT_BYTES_PER_MINUTE > ITEM_PAYLOAD_BYTES_MAX as u64
);
const _: () = assert!(GREETING_CONNECTIONS_PER_ADDRESS_MAX < GREETING_CONNECTIONS_MAX);
