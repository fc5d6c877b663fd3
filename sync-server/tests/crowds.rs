//! Crowds, dawdlers and noise on real sockets: limits on what comes before a device is known, and on how fast it may talk.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and may measure"
)]

mod raw_common;

use std::time::{Duration, Instant};

use dinh_proto::ids::{DeviceId, SpaceId};
use dinh_proto::keys::DeviceKey;
use dinh_proto::limits;
use dinh_proto::wire::Ephemeral;
use dinh_server::hub::Rate;
use dinh_server::{Running, Server, ServerConfig};
use futures_util::{SinkExt, StreamExt};
use raw_common::{Client, PATIENCE, UPGRADE, ask, connect_from, heard, metric, reaches};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

async fn start(change: impl FnOnce(&mut ServerConfig)) -> (Running, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    let mut config = ServerConfig::new(data.path(), "127.0.0.1:0".parse().unwrap());
    change(&mut config);
    (Server::start(config).await.unwrap(), data)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_of_a_request_is_at_most_8_kib_in_64_lines() {
    let (relay, _data) = start(|_| {}).await;
    let head = |fill: usize, lines: usize| {
        let lines: String = (0..lines).map(|i| format!("X-{i}: y\r\n")).collect();
        let fill = "x".repeat(fill);
        format!("GET /healthz HTTP/1.1\r\nHost: relay\r\nConnection: close\r\nX-Long: {fill}\r\n{lines}\r\n")
    };
    let rest = head(0, 0).len();
    let most = limits::UPGRADE_HEAD_BYTES_MAX;
    for (fill, lines, fits) in [
        (most - rest - 1, 0, true),
        (most - rest + 1, 0, false),
        (0, limits::UPGRADE_HEADERS_MAX - 3, true),
        (0, limits::UPGRADE_HEADERS_MAX - 2, false),
    ] {
        let answer = ask(relay.local_addr(), &head(fill, lines)).await;
        let expected = if fits { answer.ends_with("ok\n") } else { answer.starts_with("HTTP/1.1 431") };
        assert!(expected, "{fill} {lines}: {answer:?}");
    }
    reaches(relay.local_addr(), "connections_refused_total{limit=\"request_head\"}", 2).await;
    relay.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_ask_within_five_seconds_is_dropped() {
    let (relay, _data) = start(|_| {}).await;
    let began = Instant::now();
    let mut silent = TcpStream::connect(relay.local_addr()).await.unwrap();
    let mut drips = TcpStream::connect(relay.local_addr()).await.unwrap();
    let mut asks_again = TcpStream::connect(relay.local_addr()).await.unwrap();
    let dripping = async {
        for byte in UPGRADE.bytes() {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if drips.write_all(&[byte]).await.is_err() {
                break;
            }
        }
        began.elapsed()
    };
    let asking = async {
        while asks_again.write_all(b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n").await.is_ok() {
            if heard(&mut asks_again, Duration::from_millis(300)).await.1 {
                break;
            }
        }
        began.elapsed()
    };
    let silence = async {
        assert!(heard(&mut silent, PATIENCE).await.1);
        began.elapsed()
    };
    let (silence, dripping, asking) = tokio::join!(silence, dripping, asking);
    println!(
        "dropped: silent after {silence:?}, dripping after {dripping:?}, keeping alive after {asking:?}"
    );
    for after in [silence, dripping, asking] {
        assert!(after > limits::UPGRADE_TIMEOUT - Duration::from_secs(1), "{after:?}");
        assert!(after < limits::UPGRADE_TIMEOUT + Duration::from_secs(3), "{after:?}");
    }
    // The third did ask.
    reaches(relay.local_addr(), "connections_refused_total{limit=\"request_time\"}", 2).await;
    // A whole request in time is another matter, also if it takes a while.
    let mut slow = TcpStream::connect(relay.local_addr()).await.unwrap();
    slow.write_all(UPGRADE.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    slow.write_all(b"\r\n").await.unwrap();
    let (answer, closed) = heard(&mut slow, Duration::from_secs(4)).await;
    assert!(answer.starts_with("HTTP/1.1 101") && !closed, "{answer}");
    relay.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_compressed() {
    let (relay, _data) = start(|_| {}).await;
    let mut stream = TcpStream::connect(relay.local_addr()).await.unwrap();
    let head =
        format!("{UPGRADE}Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (answer, closed) = heard(&mut stream, Duration::from_millis(300)).await;
    assert!(answer.starts_with("HTTP/1.1 101") && !closed, "{answer}");
    assert!(!answer.to_lowercase().contains("sec-websocket-extensions"), "{answer}");
    // A frame that says it is compressed all the same: final, RSV1, binary, masked, no byte.
    stream.write_all(&[0xc2, 0x80, 0, 0, 0, 0]).await.unwrap();
    assert!(heard(&mut stream, PATIENCE).await.1);
    relay.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_and_a_message_have_at_most_65535_bytes() {
    let (relay, _data) = start(|_| {}).await;
    let most = limits::FRAME_BYTES_MAX;
    let part = |bytes: usize, opcode, last| {
        Message::Frame(Frame::message(vec![7; bytes], OpCode::Data(opcode), last))
    };
    let cases: [(&str, Vec<Message>, bool); 4] = [
        ("a frame", vec![Message::Binary(vec![7; most].into())], true),
        ("a frame that is too long", vec![Message::Binary(vec![7; most + 1].into())], false),
        ("parts", vec![part(most - 9, Data::Binary, false), part(9, Data::Continue, true)], true),
        (
            "parts that are too long",
            vec![part(most - 9, Data::Binary, false), part(10, Data::Continue, true)],
            false,
        ),
    ];
    for (what, messages, fits) in cases {
        let url = format!("ws://{}/dinh/v1", relay.local_addr());
        let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
        for message in messages {
            let _ = socket.send(message).await;
        }
        let mut answered = false;
        let end = async {
            while let Some(Ok(message)) = socket.next().await {
                // It is no handshake, and the relay says so, if it looks at it.
                answered |= message.is_binary();
            }
        };
        tokio::time::timeout(PATIENCE, end).await.expect("it stays connected");
        assert_eq!(answered, fits, "{what}");
    }
    relay.shutdown().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn ten_of_an_address_may_be_greeting_and_devices_that_greeted_do_not_count() {
    let (relay, _data) = start(|_| {}).await;
    let to = relay.local_addr();
    // A hall behind one address.
    let mut hall = Vec::new();
    for n in 0..30 {
        let stream = connect_from(2, to).await;
        hall.push(
            Client::over(stream, &relay.public(), &DeviceKey::from_seed(&[n; 32])).await.expect("a welcome"),
        );
    }
    let began = Instant::now();
    let mut silent = Vec::new();
    for i in 0..limits::GREETING_CONNECTIONS_PER_ADDRESS_MAX {
        let mut stream = connect_from(2, to).await;
        if i == 0 {
            stream.write_all(format!("{UPGRADE}\r\n").as_bytes()).await.unwrap();
            assert!(heard(&mut stream, Duration::from_millis(100)).await.0.starts_with("HTTP/1.1 101"));
        }
        silent.push(stream);
    }
    let mut one_more = connect_from(2, to).await;
    let (answer, closed) = heard(&mut one_more, PATIENCE).await;
    assert!(closed && answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(began.elapsed() < limits::GREETING_GRACE, "too slow a machine for this test");
    assert_eq!(metric(to, "connections_refused_total{limit=\"address\"}").await, 1);
    // Others are not affected, nor is who is connected.
    let key = DeviceKey::from_seed(&[99; 32]);
    assert!(Client::over(connect_from(3, to).await, &relay.public(), &key).await.is_some());
    assert!(hall[0].answers_after().await < Duration::from_secs(1));
    // After its time the oldest gives way, and is told why in the clear: refusal, TooMany.
    tokio::time::sleep(limits::GREETING_GRACE).await;
    assert!(Client::over(connect_from(2, to).await, &relay.public(), &key).await.is_some());
    let (_, closed) = heard(&mut silent[0], PATIENCE).await;
    assert!(closed);
    assert_eq!(metric(to, "connections_refused_total{limit=\"gave_way\"}").await, 1);
    assert_eq!(metric(to, "closes_total{code=\"TooMany\"}").await, 1);
    relay.shutdown().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn so_many_may_be_greeting_in_all() {
    let (relay, _data) = start(|config| config.greeting.total = 20).await;
    let to = relay.local_addr();
    let mut silent = Vec::new();
    for i in 0..20 {
        silent.push(connect_from(10 + i % 10, to).await);
    }
    let (answer, closed) = heard(&mut connect_from(50, to).await, PATIENCE).await;
    assert!(closed && answer.starts_with("HTTP/1.1 503"), "{answer}");
    drop(silent.pop());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let key = DeviceKey::from_seed(&[99; 32]);
    let mut client =
        Client::over(connect_from(50, to).await, &relay.public(), &key).await.expect("a welcome");
    assert!(client.answers_after().await < Duration::from_secs(1));
    assert_eq!(metric(to, "connections_refused_total{limit=\"greeting\"}").await, 1);
    relay.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_talks_too_fast_is_read_later_and_nobody_else_is() {
    let second = Duration::from_secs(1);
    let (relay, _data) = start(|config| {
        config.frames = Rate::new(100, second);
        config.hub.quotas.messages = Rate::new(20, second);
    })
    .await;
    let mut clients = Vec::new();
    for n in 1..4 {
        let stream = TcpStream::connect(relay.local_addr()).await.unwrap();
        clients.push(Client::over(stream, &relay.public(), &DeviceKey::from_seed(&[n; 32])).await.unwrap());
    }
    let [pings, speaks, quiet] = &mut clients[..] else { panic!("three") };
    // Under the limits nothing waits.
    let presence = |device| Ephemeral { space: SpaceId([1; 16]), device, payload: vec![1].into() };
    let say = async |client: &mut Client, times: usize| {
        for _ in 0..times {
            client.session.ephemeral(presence(DeviceId([1; 16])));
            client.send().await;
        }
    };
    for _ in 0..90 {
        pings.socket.send(Message::Ping(vec![1].into())).await.unwrap();
    }
    say(speaks, 20).await;
    for client in [&mut *pings, &mut *speaks] {
        let after = client.answers_after().await;
        assert!(after < second / 2, "{after:?}");
    }
    // 100 pings over the limit of 100 a second, 20 messages over the limit of 20.
    for _ in 0..100 {
        pings.socket.send(Message::Ping(vec![1].into())).await.unwrap();
    }
    say(speaks, 20).await;
    let (one, other, third) =
        tokio::join!(pings.answers_after(), speaks.answers_after(), quiet.answers_after());
    println!("answers after {one:?} and {other:?}; to another after {third:?}");
    assert!(third < second / 2, "{third:?}");
    for after in [one, other] {
        assert!(after > second / 2 && after < 3 * second, "{after:?}");
    }
    for limit in ["frames", "messages"] {
        assert!(metric(relay.local_addr(), &format!("reads_paused_total{{limit=\"{limit}\"}}")).await >= 1);
    }
    relay.shutdown().await.unwrap();
}

/// Memory of this process, MiB.
#[cfg(target_os = "linux")]
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
}

/// Bar 26 of the security notes, the light version: prints what an honest phone sees meanwhile.
#[cfg(target_os = "linux")]
#[ignore = "a measurement: cargo test -p dinh-server --test crowds -- --ignored --nocapture"]
#[tokio::test(flavor = "multi_thread")]
async fn more_silent_sockets_than_there_may_be_do_not_keep_an_honest_phone_out() {
    const SOCKETS: u32 = 700;
    let (relay, _data) = start(|_| {}).await;
    let to = relay.local_addr();
    let mut attackers = Vec::new();
    for i in 0..SOCKETS {
        let last = 2 + (i / 10) as u8;
        // Each comes back as soon as it is dropped. Half of them upgrade first, and a fifth sends a byte a second.
        attackers.push(tokio::spawn(async move {
            loop {
                let mut stream = connect_from(last, to).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                if i % 2 == 0 && stream.write_all(format!("{UPGRADE}\r\n").as_bytes()).await.is_err() {
                    continue;
                }
                if i % 5 == 0 {
                    while stream.write_all(b"G").await.is_ok() {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                } else {
                    heard(&mut stream, Duration::from_secs(60)).await;
                }
            }
        }));
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (mut took, mut refused) = (Vec::new(), 0);
    let began = Instant::now();
    let key = DeviceKey::from_seed(&[99; 32]);
    while began.elapsed() < Duration::from_secs(20) {
        let one = Instant::now();
        let welcome = async {
            loop {
                let stream = connect_from(200, to).await;
                if let Some(client) = Client::over(stream, &relay.public(), &key).await {
                    return client;
                }
                refused += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        drop(tokio::time::timeout(PATIENCE, welcome).await.expect("kept out"));
        took.push(one.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let pings = Client::over(TcpStream::connect(to).await.unwrap(), &relay.public(), &key).await;
    println!("to one that is connected: {:?}", pings.unwrap().answers_after().await);
    took.sort_unstable();
    let (p50, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    println!(
        "{SOCKETS} sockets; {} greetings of an honest phone: p50 {p50:?}, p99 {p99:?}, most {:?}; refused {refused} times; \
         {} MiB resident (attackers and relay)",
        took.len(),
        took.last().unwrap(),
        resident_mib()
    );
    for limit in ["all", "greeting", "address", "gave_way"] {
        println!(
            "refused, {limit}: {}",
            metric(to, &format!("connections_refused_total{{limit=\"{limit}\"}}")).await
        );
    }
    attackers.iter().for_each(tokio::task::JoinHandle::abort);
    assert!(p99 <= Duration::from_secs(1), "{p99:?}");
    assert!(resident_mib() <= 256);
    relay.shutdown().await.unwrap();
}
