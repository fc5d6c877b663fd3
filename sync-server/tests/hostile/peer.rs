//! A peer that says what it likes, over a real socket; and a device that behaves, to see whether it notices.

use std::time::{Duration, Instant};

use dinh_proto::channel::{Binding, Channel};
use dinh_proto::error::{CloseCode, SessionError};
use dinh_proto::item::Item;
use dinh_proto::keys::{DeviceKey, RelayPublic};
use dinh_proto::session::{DeviceEvent, DeviceSession};
use dinh_proto::time::Timestamp;
use dinh_proto::wire::{Hello, Message, MessageReader, write_message};
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) type Socket = WebSocketStream<TcpStream>;

/// How a connection ended, or did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With this code, under encryption.
    Closed(CloseCode),
    /// With this code, in the clear.
    InTheClear(CloseCode),
    /// The socket was closed without a word of the protocol.
    Silent,
}

pub(crate) fn hello() -> Message {
    Message::Hello(Hello::default())
}

pub(crate) fn wire(messages: &[Message]) -> Vec<u8> {
    let mut out = Vec::new();
    messages.iter().for_each(|m| write_message(m, &mut out));
    out
}

/// Where a relay is: what it printed.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) key: RelayPublic,
}

impl Address {
    pub(crate) fn parse(printed: &str) -> Self {
        let (url, key) = printed.split_once('#').unwrap();
        let host = url.strip_prefix("ws://").and_then(|u| u.strip_suffix("/dinh/v1")).unwrap();
        Self { host: host.to_owned(), key: key.parse().unwrap() }
    }

    /// A TCP connection from another address of this machine: 127.0.0.1 counts as a proxy's.
    pub(crate) async fn tcp(&self, last: u8) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        // As the client does: else it is Nagle's algorithm that is measured, which holds back what follows a small frame.
        socket.set_nodelay(true)?;
        socket.bind(([127, 0, 0, last], 0).into())?;
        socket.connect(self.host.parse().unwrap()).await
    }

    /// An upgraded connection and its challenge.
    pub(crate) async fn upgrade(&self, last: u8) -> Option<(Socket, Binding)> {
        let request = format!("ws://{}/dinh/v1", self.host).into_client_request().unwrap();
        let stream = self.tcp(last).await.ok()?;
        let (socket, response) = tokio_tungstenite::client_async(request, stream).await.ok()?;
        let hex = response.headers().get("dinh-challenge")?.to_str().ok()?.to_owned();
        let mut binding = [0; 32];
        for (i, byte) in binding.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()?;
        }
        Some((socket, Binding(binding)))
    }
}

/// Speaks the channel, and whatever it is given inside.
pub(crate) struct Peer {
    pub(crate) socket: Socket,
    pub(crate) channel: Channel,
    reader: MessageReader,
}

impl Peer {
    pub(crate) async fn connect(to: &Address, key: &DeviceKey) -> Self {
        Self::from(to, key, &to.key, 1).await.expect("an upgrade")
    }

    pub(crate) async fn from(to: &Address, key: &DeviceKey, relay: &RelayPublic, last: u8) -> Option<Self> {
        let (socket, binding) = to.upgrade(last).await?;
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&binding.0[..8]);
        let channel = Channel::device(key, relay, binding, seed);
        Some(Self { socket, channel, reader: MessageReader::default() })
    }

    /// One frame with these plain bytes, spoiled. What cannot be sent is learned by reading.
    pub(crate) async fn send_plain(&mut self, plain: &[u8], spoil: impl FnOnce(&mut Vec<u8>)) {
        let mut frame = Vec::new();
        self.channel.seal(plain, &mut frame);
        spoil(&mut frame);
        let _ = self.socket.send(Frame::Binary(frame.into())).await;
    }

    pub(crate) async fn send(&mut self, messages: &[Message]) {
        self.send_plain(&wire(messages), |_| {}).await;
    }

    /// Greets, and waits for the answer.
    pub(crate) async fn greet(&mut self) {
        self.send(&[hello()]).await;
        let first = self.next().await;
        assert!(matches!(first, Ok(Message::Welcome(_))), "{first:?}");
    }

    /// The next message, or how it ended.
    pub(crate) async fn next(&mut self) -> Result<Message, End> {
        tokio::time::timeout(PATIENCE, self.next_without_limit()).await.expect("the relay says nothing")
    }

    pub(crate) async fn next_without_limit(&mut self) -> Result<Message, End> {
        loop {
            match self.reader.next_message().expect("the relay's messages read") {
                Some((Message::Close { code, .. }, _)) => return Err(End::Closed(code)),
                Some((message, _)) => return Ok(message),
                None => {}
            }
            match self.socket.next().await {
                Some(Ok(Frame::Binary(frame))) => match self.channel.open(&frame) {
                    Ok(plain) => self.reader.push(&plain),
                    Err(SessionError::ClosedByPeer { code, .. }) => return Err(End::InTheClear(code)),
                    Err(error) => panic!("the relay's frames open: {error}"),
                },
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(End::Silent),
            }
        }
    }

    /// How it ends, whatever is said before; the socket must be closed too.
    pub(crate) async fn end(&mut self) -> End {
        let end = loop {
            if let Err(end) = self.next().await {
                break end;
            }
        };
        let rest = async { while let Some(Ok(_)) = self.socket.next().await {} };
        tokio::time::timeout(PATIENCE, rest).await.expect("the socket stays open");
        end
    }

    /// Whether it is answered as before.
    pub(crate) async fn is_answered(&mut self) -> bool {
        self.send(&[Message::Ping]).await;
        loop {
            match self.next().await {
                Ok(Message::Pong) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }
}

/// A production session.
pub(crate) struct Honest {
    socket: Socket,
    session: DeviceSession,
    began: Instant,
}

impl Honest {
    pub(crate) async fn connect(to: &Address, key: &DeviceKey) -> Self {
        let (socket, binding) = to.upgrade(1).await.expect("an upgrade");
        let hello = Hello::default();
        let session = DeviceSession::new(key, &to.key, binding, binding.0, hello, Timestamp(0));
        let mut honest = Self { socket, session, began: Instant::now() };
        loop {
            if let DeviceEvent::Welcomed(_) = honest.event().await {
                return honest;
            }
        }
    }

    async fn event(&mut self) -> DeviceEvent {
        tokio::time::timeout(PATIENCE, self.next_event()).await.expect("the relay does not serve who behaves")
    }

    /// Can be given up while it waits.
    async fn next_event(&mut self) -> DeviceEvent {
        loop {
            if let Some(event) = self.session.poll_event() {
                match event {
                    DeviceEvent::Closed(error) => panic!("who behaves is closed: {error}"),
                    DeviceEvent::Items { bytes, .. } => self.session.release(bytes),
                    other => return other,
                }
                continue;
            }
            let mut frame = Vec::new();
            while self.session.poll_transmit(&mut frame) {
                self.socket.send(Frame::Binary(std::mem::take(&mut frame).into())).await.unwrap();
            }
            match self.socket.next().await {
                Some(Ok(Frame::Binary(frame))) => {
                    self.session.handle_frame(Timestamp(0) + self.began.elapsed(), &frame);
                }
                Some(Ok(_)) => {}
                gone => panic!("who behaves is dropped: {gone:?}"),
            }
        }
    }

    /// Puts an item: how long until it is durable.
    pub(crate) async fn put(&mut self, item: &Item) -> Duration {
        let began = Instant::now();
        self.session.put(item.id(), item.bytes().clone(), false);
        loop {
            match self.event().await {
                DeviceEvent::Acked { id, .. } if id == item.id() => return began.elapsed(),
                DeviceEvent::Rejected { code, detail, .. } => {
                    panic!("who behaves is refused: {code:?} {detail}")
                }
                _ => {}
            }
        }
    }

    /// Reads what comes, for this long.
    pub(crate) async fn rest(&mut self, pause: Duration) {
        let reading = async {
            loop {
                self.next_event().await;
            }
        };
        let _ = tokio::time::timeout(pause, reading).await;
    }
}
