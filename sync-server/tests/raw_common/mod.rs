//! Devices over real sockets that do one thing at a time, and what comes before a device is known.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dinh_proto::channel::Binding;
use dinh_proto::item::Item;
use dinh_proto::keys::{DeviceKey, RelayPublic};
use dinh_proto::session::{DeviceEvent, DeviceSession};
use dinh_proto::time::Timestamp;
use dinh_proto::wire::Hello;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

pub const PATIENCE: Duration = Duration::from_secs(20);
pub const UPGRADE: &str = "GET /dinh/v1 HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A connection from another address of this machine: not from the one that the relay takes for a proxy's.
pub async fn connect_from(last: u8, relay: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
    socket.connect(relay).await.unwrap()
}

/// What the other side says until it closes or is silent for this long.
pub async fn heard(stream: &mut TcpStream, silence: Duration) -> (String, bool) {
    let (mut all, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        match tokio::time::timeout(silence, stream.read(&mut buffer)).await {
            Ok(Ok(n)) if n > 0 => all.extend_from_slice(&buffer[..n]),
            Ok(_closed) => return (String::from_utf8_lossy(&all).into_owned(), true),
            Err(_silent) => return (String::from_utf8_lossy(&all).into_owned(), false),
        }
    }
}

pub async fn ask(relay: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(relay).await.unwrap();
    // The relay may answer before it has read everything.
    let _ = stream.write_all(head.as_bytes()).await;
    let (answer, closed) = heard(&mut stream, PATIENCE).await;
    assert!(closed);
    answer
}

pub async fn metric(relay: SocketAddr, name: &str) -> u64 {
    let page = ask(relay, "GET /metrics HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n").await;
    let line = page.lines().find(|l| l.starts_with(&format!("dinh_relay_{name} ")));
    line.unwrap_or_else(|| panic!("{name} is not in {page}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// Waits until this is counted: a connection may be closed a moment before.
pub async fn reaches(relay: SocketAddr, name: &str, number: u64) {
    let counted = async {
        while metric(relay, name).await != number {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.unwrap_or_else(|_| panic!("{name} is never {number}"));
}

/// A device that has connected and sent its greeting.
pub struct Client {
    pub socket: WebSocketStream<TcpStream>,
    pub session: DeviceSession,
}

impl Client {
    pub async fn over(stream: TcpStream, relay: &RelayPublic, key: &DeviceKey) -> Option<Self> {
        let request = "ws://relay/dinh/v1".into_client_request().unwrap();
        let (socket, response) = tokio_tungstenite::client_async(request, stream).await.ok()?;
        let hex = response.headers()["dinh-challenge"].to_str().unwrap();
        let mut binding = [0; 32];
        for (i, byte) in binding.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap();
        }
        let hello = Hello::default();
        let session = DeviceSession::new(key, relay, Binding(binding), [7; 32], hello, Timestamp(0));
        let mut client = Self { socket, session };
        client.send().await;
        matches!(client.event().await?, DeviceEvent::Welcomed(_)).then_some(client)
    }

    pub async fn send(&mut self) {
        let mut frame = Vec::new();
        while self.session.poll_transmit(&mut frame) {
            self.socket.send(Message::Binary(std::mem::take(&mut frame).into())).await.unwrap();
        }
    }

    pub async fn event(&mut self) -> Option<DeviceEvent> {
        loop {
            if let Some(event) = self.session.poll_event() {
                return Some(event);
            }
            match self.socket.next().await? {
                Ok(Message::Binary(frame)) => self.session.handle_frame(Timestamp(0), &frame),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// Puts an item and waits until the relay has it on disk.
    pub async fn put(&mut self, item: &Item) {
        self.session.put(item.id(), item.bytes().clone(), false);
        self.send().await;
        let acked = async {
            loop {
                match self.event().await.expect("it stays connected") {
                    DeviceEvent::Acked { id, .. } if id == item.id() => return,
                    DeviceEvent::Rejected { code, detail, .. } => panic!("{code:?}: {detail}"),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, acked).await.expect("an acknowledgement");
    }

    /// How long the relay takes to answer after everything that it was sent before.
    pub async fn answers_after(&mut self) -> Duration {
        let began = Instant::now();
        self.socket.send(Message::Ping(vec![9].into())).await.unwrap();
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("no answer");
            match next.unwrap().unwrap() {
                Message::Pong(payload) if payload[..] == [9] => return began.elapsed(),
                _ => {}
            }
        }
    }
}
