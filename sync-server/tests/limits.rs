//! Limits that the other suites do not trip. Each test shows that a device which is under the limit goes on being served meanwhile.
//! `docs/LIMITS.md` lists all of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hub_common;
mod raw_common;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dinh_proto::crypto::SEALED_OVERHEAD_BYTES;
use dinh_proto::error::{CloseCode, RejectCode};
use dinh_proto::ids::Author;
use dinh_proto::item::{ITEM_OVERHEAD_BYTES, Item};
use dinh_proto::keys::DeviceKey;
use dinh_proto::limits;
use dinh_proto::ranges::Ranges;
use dinh_proto::session::DeviceEvent;
use dinh_proto::wire::{ChainSet, Hello, Message, write_message};
use dinh_server::hub::{HubConfig, Limit, PeerId, Quotas, Rate};
use dinh_server::{ProxyHeader, Running, Server, ServerConfig};
use hub_common::{Branch, Phone, World, draft, minutes, village};
use raw_common::{Client, PATIENCE, UPGRADE, connect_from, heard, metric};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn world(branch: &Branch, config: HubConfig) -> World {
    World::over(config, branch.records.clone())
}

fn with(quotas: Quotas) -> HubConfig {
    HubConfig { quotas, ..HubConfig::default() }
}

#[track_caller]
fn accepted(world: &mut World, from: u64, item: &Item) {
    let answer = world.offer(from, item.bytes().clone(), false);
    assert!(matches!(answer, Some(Ok(_))), "{answer:?}");
}

/// A device that has nothing to do with it puts an item, and another one receives it.
#[track_caller]
fn others_are_served(world: &mut World, branch: &mut Branch) {
    let (from, to) =
        (world.connect(&branch.secretary.key, Some(8)), world.connect(&branch.reader.key, Some(8)));
    let item = branch.secretary.run(village(), minutes(), b"as ever");
    accepted(world, from, &item);
    assert!(world.client(to).items().iter().any(|(_, bytes)| bytes == item.bytes()));
    for connection in [from, to] {
        world.hub.handle_disconnected(world.now, PeerId(connection));
        world.clients.remove(&connection);
    }
}

#[test]
fn items_over_a_device_s_share_wait_however_small_they_are() {
    let mut branch = Branch::new();
    let quotas = Quotas { items: Rate::new(10, 10 * SECOND), ..Quotas::default() };
    let mut world = world(&branch, with(quotas));
    let phone = world.connect(&branch.member.key, Some(8));
    for _ in 0..10 {
        let item = branch.member.run(village(), draft(), b"x");
        accepted(&mut world, phone, &item);
    }
    // Over all connections of the device.
    let second = world.connect(&branch.member.key, Some(8));
    let late = branch.member.run(village(), draft(), b"x");
    assert_eq!(world.offer(second, late.bytes().clone(), false), None);
    others_are_served(&mut world, &mut branch);
    world.pass(SECOND - MS);
    assert_eq!(world.client(second).acks(), []);
    world.pass(MS);
    assert_eq!(world.client(second).acks().len(), 1);
    let stats = world.hub.stats();
    assert_eq!((&stats.puts_delayed, &stats.rejects), (&[(Limit::Items, 1)].into(), &[].into()));
}

#[test]
fn a_device_that_sends_too_many_bytes_is_read_later() {
    let mut branch = Branch::new();
    let quotas = Quotas { frame_bytes: Rate::new(200_000, 10 * SECOND), ..Quotas::default() };
    let mut world = world(&branch, with(quotas));
    let (phone, second) = (world.connect_raw(&branch.member.key), world.connect_raw(&branch.member.key));
    for connection in [phone, second] {
        world.send(connection, &[Message::Hello(Hello::default())]);
    }
    world.pass(10 * SECOND);
    // They are counted as no messages, since they ask for nothing.
    let mut pings = Vec::new();
    while pings.len() < 20_000 {
        write_message(&Message::Ping, &mut pings);
    }
    let pause = |world: &World, peer: u64| world.hub.reads_again_at(PeerId(peer)) - world.now;
    for i in 0..9 {
        world.send_plain(if i % 2 == 0 { phone } else { second }, &pings, |_| {});
    }
    assert_eq!([phone, second].map(|peer| pause(&world, peer)), [Duration::ZERO; 2]);
    for _ in 0..2 {
        world.send_plain(phone, &pings, |_| {});
    }
    let paused = pause(&world, phone);
    assert!(paused > SECOND / 2 && paused < 2 * SECOND && paused == pause(&world, second), "{paused:?}");
    let stats = world.hub.stats();
    assert!(stats.paused_bytes >= 1 && stats.paused_messages == 0 && stats.closes.is_empty());
    others_are_served(&mut world, &mut branch);
    world.pass(paused);
    assert_eq!(pause(&world, phone), Duration::ZERO);
    // However much it sends, nobody takes it for dead.
    for _ in 0..50 {
        world.send_plain(phone, &pings, |_| {});
    }
    assert_eq!(pause(&world, phone), limits::READ_PAUSE_MAX);
}

#[test]
fn an_item_that_is_too_large_for_this_relay_is_refused_for_ever_and_the_next_is_not() {
    let mut branch = Branch::new();
    let item_bytes = 400_000;
    let mut world = world(&branch, with(Quotas { item_bytes, ..Quotas::default() }));
    let phone = world.connect(&branch.member.key, Some(8));
    let of = |bytes: u64| vec![7; bytes as usize - ITEM_OVERHEAD_BYTES - SEALED_OVERHEAD_BYTES];
    let place = branch.member.next_place(village());
    let kind = dinh_proto::item::Kind::Run;
    let over = branch.member.sign_at(kind, village(), draft(), place, &of(item_bytes + 1));
    assert_eq!(over.bytes().len() as u64, item_bytes + 1);
    let answer = world.offer(phone, over.bytes().clone(), false);
    assert_eq!(answer, Some(Err(RejectCode::TooLarge)));
    let Some(DeviceEvent::Rejected { detail, .. }) = world.client(phone).events.last() else { panic!() };
    assert_eq!(detail, "ItemBytes: at most 400000 bytes in one item");
    let stats = world.hub.stats();
    assert_eq!(
        (stats.quotas, stats.rejects),
        ([(Limit::ItemBytes, 1)].into(), [(RejectCode::TooLarge, 1)].into())
    );
    others_are_served(&mut world, &mut branch);
    let fits = branch.member.sign_at(kind, village(), draft(), place, &of(item_bytes));
    accepted(&mut world, phone, &fits);
}

#[test]
fn who_says_nothing_for_as_long_as_the_operator_waits_is_ended_and_who_does_is_not() {
    let mut branch = Branch::new();
    let (greeting, idle) = (3 * SECOND, 50 * SECOND);
    let mut world = world(&branch, HubConfig { greeting, idle, ..HubConfig::default() });
    let stranger = world.connect_raw(&branch.reader.key);
    let (silent, alive) = (world.connect_raw(&branch.member.key), world.connect_raw(&branch.secretary.key));
    for connection in [silent, alive] {
        world.send(connection, &[Message::Hello(Hello::default())]);
    }
    world.pass(greeting - MS);
    assert_eq!(world.client(stranger).close_code(), None);
    world.pass(MS);
    assert_eq!(world.client(stranger).close_code(), Some(CloseCode::TimedOut));
    world.pass(idle - greeting - MS);
    world.send(alive, &[Message::Ping]);
    assert_eq!(world.client(silent).close_code(), None);
    world.pass(MS);
    assert_eq!(world.client(silent).close_code(), Some(CloseCode::TimedOut));
    others_are_served(&mut world, &mut branch);
    world.pass(idle - 2 * MS);
    assert_eq!(world.client(alive).close_code(), None);
    assert_eq!(world.hub.stats().closes, [(CloseCode::TimedOut, 2)].into());
}

#[test]
fn a_connection_too_many_of_a_device_is_closed_and_its_others_go_on() {
    let mut branch = Branch::new();
    let mut world = world(&branch, HubConfig { connections_per_device_max: 2, ..HubConfig::default() });
    let [one, two, three] = [(); 3].map(|()| world.connect(&branch.member.key, Some(8)));
    assert_eq!(world.client(three).close_code(), Some(CloseCode::TooMany));
    assert_eq!(world.hub.stats().refused_of_device, 1);
    others_are_served(&mut world, &mut branch);
    for connection in [one, two] {
        let item = branch.member.run(village(), draft(), b"x");
        accepted(&mut world, connection, &item);
    }
    // There is room again when one of them is gone.
    world.hub.handle_disconnected(world.now, PeerId(one));
    let again = world.connect(&branch.member.key, Some(8));
    assert!(world.client(again).session().is_flowing());
}

#[test]
fn who_asks_for_more_items_than_may_wait_is_closed() {
    const ITEMS: usize = 2_000;
    let mut branch = Branch::new();
    let mut stored = branch.records.clone();
    stored.extend((0..ITEMS).map(|_| branch.member.run(village(), draft(), b"x")));
    let mut world = World::over(HubConfig::default(), stored);
    let phone = world.connect_raw(&branch.reader.key);
    world.send(phone, &[Message::Hello(Hello::default())]);
    let author = Author { device: branch.member.key.public().id(), session: branch.member.session };
    let counters = Ranges::up_to(ITEMS as u32);
    let want = ChainSet { space: village(), last: false, chains: vec![(author, counters)] };
    let mut wants = Vec::new();
    for _ in 0..=limits::WANTED_ITEMS_MAX / ITEMS {
        write_message(&Message::Want(want.clone()), &mut wants);
    }
    world.send_plain(phone, &wants, |_| {});
    assert_eq!(world.client(phone).close_code(), Some(CloseCode::Misbehaved));
    assert_eq!(world.hub.stats().closes, [(CloseCode::Misbehaved, 1)].into());
    others_are_served(&mut world, &mut branch);
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_flood_of_refusals_leaves_a_few_lines_with_their_number_and_no_content() {
    let (lines, mut branch) = (Lines::default(), Branch::new());
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        let mut world = branch.world();
        let reader = world.connect(&branch.reader.key, Some(8));
        let mut refused = |world: &mut World, times: usize| {
            for _ in 0..times {
                let item = branch.reader.run(village(), draft(), b"what nobody else may read");
                let answer = world.offer(reader, item.bytes().clone(), false);
                assert_eq!(answer, Some(Err(RejectCode::NotAuthorised)));
            }
        };
        refused(&mut world, 120);
        world.pass(SECOND);
        refused(&mut world, 1);
        assert_eq!(world.hub.stats().rejects, [(RejectCode::NotAuthorised, 121)].into());
        others_are_served(&mut world, &mut branch);
    });
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let refusals: Vec<&str> = log.lines().filter(|line| line.contains("item refused")).collect();
    assert_eq!(refusals.len(), 11, "{log}");
    let ids = [branch.reader.key.public().id().to_string(), village().to_string()];
    for line in &refusals {
        assert!(line.contains("code=\"NotAuthorised\"") && ids.iter().all(|id| line.contains(id)), "{line}");
        assert!(!line.contains("nobody else"), "{line}");
    }
    assert!(refusals[10].contains("left_out=110"), "{}", refusals[10]);
}

async fn start(change: impl FnOnce(&mut ServerConfig)) -> (Running, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    let mut config = ServerConfig::new(data.path(), "127.0.0.1:0".parse().unwrap());
    change(&mut config);
    (Server::start(config).await.unwrap(), data)
}

/// A device that is connected already, and puts what it has while others are refused.
struct Other {
    client: Client,
    phone: Phone,
}

impl Other {
    async fn connect(relay: &Running, branch: &Branch) -> Self {
        let stream = TcpStream::connect(relay.local_addr()).await.unwrap();
        let mut client = Client::over(stream, &relay.public(), &branch.secretary.key).await.unwrap();
        for record in &branch.records {
            client.put(record).await;
        }
        Self { client, phone: Phone::new(1) }
    }

    async fn is_served(&mut self) {
        let item = self.phone.run(village(), minutes(), b"as ever");
        self.client.put(&item).await;
    }
}

/// Asks for a WebSocket with these header lines: the connection if it becomes one, and what the relay says.
async fn upgrade(mut stream: TcpStream, lines: &str) -> (TcpStream, String) {
    let end = if lines.is_empty() { "\r\n" } else { "\r\n\r\n" };
    stream.write_all(format!("{UPGRADE}{lines}{end}").as_bytes()).await.unwrap();
    let (answer, _) = heard(&mut stream, Duration::from_millis(150)).await;
    (stream, answer.lines().next().unwrap_or_default().to_owned())
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_every_client_has_its_own_limits_whatever_it_says() {
    let (relay, _data) = start(|config| {
        config.greeting.per_address = 2;
        config.greeting.grace = Duration::from_secs(3_600);
        config.greeting.proxies = ["127.0.0.1/32", "127.0.1.0/24"].map(|p| p.parse().unwrap()).into();
    })
    .await;
    let to = relay.local_addr();
    let branch = Branch::new();
    let mut other = Other::connect(&relay, &branch).await;
    let (mut kept, mut refused) = (Vec::new(), 0);
    for (from, lines, taken) in [
        // Two of one client, one of another.
        (1, "X-Forwarded-For: 198.51.100.1", true),
        (1, "X-Forwarded-For: 198.51.100.1", true),
        (1, "X-Forwarded-For: 198.51.100.1", false),
        (1, "X-Forwarded-For: 198.51.100.2", true),
        // The first wrote something into the header, which the proxy left there; another header; a proxy's address.
        (1, "X-Forwarded-For: 192.0.2.77, 198.51.100.1", false),
        (1, "X-Forwarded-For: 192.0.2.77\r\nX-Forwarded-For: 198.51.100.1", false),
        (1, "X-Forwarded-For: , \"; 198.51.100.9 ,198.51.100.1", false),
        (1, "X-Forwarded-For: 127.0.0.1, 198.51.100.1", false),
        (1, "X-Forwarded-For: 127.0.0.1, 198.51.100.1, 127.0.1.9", false),
        (1, "X-Forwarded-For: 198.51.100.1\r\nForwarded: for=192.0.2.78", false),
        (1, "X-Forwarded-For: 198.51.100.1\r\nX-Real-IP: 192.0.2.78", false),
        (1, "X-Forwarded-For: 198.51.100.1:1234", false),
        (1, "X-Forwarded-For: ::ffff:198.51.100.1", false),
        // Of IPv6 a customer's network.
        (1, "X-Forwarded-For: 2001:db8::1", true),
        (1, "X-Forwarded-For: [2001:db8::2]:443", true),
        (1, "X-Forwarded-For: 2001:db8::3", false),
        // Who is no proxy may say what it likes: it counts itself, and nobody else's room is used up.
        (2, "X-Forwarded-For: 192.0.2.1", true),
        (2, "X-Forwarded-For: 192.0.2.2", true),
        (3, "X-Forwarded-For: 192.0.2.1", true),
        (1, "X-Forwarded-For: 192.0.2.1", true),
        (1, "X-Forwarded-For: 192.0.2.1", true),
        // A proxy that does not say for whom it speaks.
        (1, "", true),
        (1, "", true),
        (1, "", true),
    ] {
        let (stream, answer) = upgrade(connect_from(from, to).await, lines).await;
        let expected = if taken { "HTTP/1.1 101" } else { "HTTP/1.1 503" };
        assert!(answer.starts_with(expected), "{from} {lines:?}: {answer}");
        if taken {
            kept.push(stream);
        } else {
            refused += 1;
        }
    }
    // The third of one that is no proxy is not even heard.
    let (answer, closed) = heard(&mut connect_from(2, to).await, PATIENCE).await;
    assert!(closed && answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert_eq!(metric(to, "connections_refused_total{limit=\"address\"}").await, refused + 1);
    other.is_served().await;

    // The other header, after a change of mind.
    let mut config = ServerConfig::new("", to);
    config.greeting.per_address = 1;
    config.greeting.proxies = ["127.0.0.1".parse().unwrap()].into();
    config.greeting.proxy_header = ProxyHeader::Forwarded;
    relay.reconfigure(config);
    for (lines, taken) in [
        ("Forwarded: for=192.0.2.50;proto=https", true),
        ("Forwarded: for=192.0.2.51, for=\"192.0.2.50:80\"", false),
        ("X-Forwarded-For: 192.0.2.52\r\nForwarded: for=192.0.2.50", false),
    ] {
        let (stream, answer) = upgrade(connect_from(1, to).await, lines).await;
        assert_eq!(answer.starts_with("HTTP/1.1 101"), taken, "{lines}: {answer}");
        kept.push(stream);
    }
    drop((kept, other));
    relay.shutdown().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn so_many_connections_of_an_address_may_be_open_and_another_address_does_not_notice() {
    let (relay, _data) = start(|config| config.greeting.open_per_address = 5).await;
    let to = relay.local_addr();
    let branch = Branch::new();
    let mut other = Other::connect(&relay, &branch).await;
    let key = |n| DeviceKey::from_seed(&[n; 32]);
    let mut hall = Vec::new();
    for n in 0..5 {
        let client = Client::over(connect_from(2, to).await, &relay.public(), &key(n)).await;
        hall.push(client.expect("a welcome"));
    }
    let (_, answer) = upgrade(connect_from(2, to).await, "").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert_eq!(metric(to, "connections_refused_total{limit=\"open_of_address\"}").await, 1);
    other.is_served().await;
    assert!(Client::over(connect_from(3, to).await, &relay.public(), &key(9)).await.is_some());
    assert!(hall[0].answers_after().await < PATIENCE);
    // Its room is free as soon as one is gone.
    drop(hall.pop());
    let again = async {
        while Client::over(connect_from(2, to).await, &relay.public(), &key(9)).await.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("there is room again");
    drop((hall, other));
    relay.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_connections_may_be_open_in_all_and_those_that_are_go_on() {
    let (relay, _data) = start(|config| config.connections_max = 3).await;
    let to: SocketAddr = relay.local_addr();
    let branch = Branch::new();
    let mut other = Other::connect(&relay, &branch).await;
    let connect = async || TcpStream::connect(to).await.unwrap();
    let mut more = Vec::new();
    for n in 0..2 {
        let key = DeviceKey::from_seed(&[n; 32]);
        more.push(Client::over(connect().await, &relay.public(), &key).await.expect("a welcome"));
    }
    let (_, answer) = upgrade(connect().await, "").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert_eq!(metric(to, "connections_refused_total{limit=\"all\"}").await, 1);
    other.is_served().await;
    drop((more, other));
    relay.shutdown().await.unwrap();
}
