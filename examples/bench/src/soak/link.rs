//! One connection of a device: the socket and the production session over it.

use std::time::{Duration, Instant};

use dinh_proto::channel::Binding;
use dinh_proto::ids::Cursor;
use dinh_proto::keys::DeviceKey;
use dinh_proto::limits;
use dinh_proto::session::{DeviceEvent, DeviceSession};
use dinh_proto::time::Timestamp;
use dinh_proto::wire::Hello;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::counts::Counts;
use super::relay::Address;

/// Allocated for each of thousands of connections.
const BUFFER_BYTES: usize = 4 * 1024;
/// From dialling to the end of the upgrade.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum NoLink {
    /// The relay has no room.
    TurnedAway,
    /// Anything else.
    Failed(String),
}

pub(super) struct Link {
    socket: WebSocketStream<TcpStream>,
    pub(super) session: DeviceSession,
    began: Instant,
}

impl Link {
    /// Dials, upgrades, and begins a session. `began` is the session's zero of time.
    pub(super) async fn open(
        to: &Address,
        key: &DeviceKey,
        cursor: Option<Cursor>,
        counts: &Counts,
    ) -> Result<Self, NoLink> {
        let failed = |what: &str, error: &dyn std::fmt::Display| NoLink::Failed(format!("{what}: {error}"));
        let dialling = async {
            let stream = TcpStream::connect(&to.host).await.map_err(|e| failed("dialling", &e))?;
            stream.set_nodelay(true).map_err(|e| failed("TCP_NODELAY", &e))?;
            let request = to.url.as_str().into_client_request().map_err(|e| failed("the address", &e))?;
            let config = WebSocketConfig::default()
                .read_buffer_size(BUFFER_BYTES)
                .write_buffer_size(BUFFER_BYTES)
                .max_write_buffer_size(4 * limits::FRAME_BYTES_MAX)
                .max_message_size(Some(limits::FRAME_BYTES_MAX))
                .max_frame_size(Some(limits::FRAME_BYTES_MAX));
            client_async_with_config(request, stream, Some(config)).await.map_err(|error| match error {
                WsError::Http(answer) if answer.status().as_u16() == 503 => NoLink::TurnedAway,
                error => failed("the upgrade", &error),
            })
        };
        let dialled = tokio::time::timeout(DIAL_TIMEOUT, dialling).await;
        let (socket, answer) = dialled.unwrap_or_else(|late| Err(failed("the upgrade", &late)))?;
        counts.connects.add(1);
        let binding = answer.headers().get("dinh-challenge").and_then(|hex| binding(hex.to_str().ok()?));
        let binding = binding.ok_or_else(|| NoLink::Failed("the answer has no dinh-challenge".to_owned()))?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|e| failed("randomness", &e))?;
        let hello = Hello { cursor, ..Hello::default() };
        let session = DeviceSession::new(key, &to.key, Binding(binding), seed, hello, Timestamp(0));
        Ok(Self { socket, session, began: Instant::now() })
    }

    fn now(&self) -> Timestamp {
        Timestamp::default() + self.began.elapsed()
    }

    /// Sends what there is to send.
    pub(super) async fn flush(&mut self, counts: &Counts) -> Result<(), String> {
        let mut frame = Vec::new();
        while self.session.poll_transmit(&mut frame) {
            counts.sent_bytes.add(frame.len() as u64);
            let message = Message::Binary(std::mem::take(&mut frame).into());
            self.socket.feed(message).await.map_err(|e| format!("sending: {e}"))?;
        }
        self.socket.flush().await.map_err(|e| format!("sending: {e}"))
    }

    /// Waits for a frame, or for the session's timer, and takes it in. Dropping the future loses nothing.
    pub(super) async fn hear(&mut self, counts: &Counts) -> Result<(), String> {
        let timer = self.session.poll_timeout().map(|at| self.began + (at - Timestamp(0)));
        let timer = async {
            match timer {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let message = tokio::select! {
            message = self.socket.next() => Some(message),
            () = timer => None,
        };
        let now = self.now();
        match message {
            None => self.session.handle_timeout(now),
            Some(Some(Ok(Message::Binary(frame)))) => {
                counts.received_bytes.add(frame.len() as u64);
                self.session.handle_frame(now, &frame);
            }
            Some(Some(Ok(_))) => {}
            Some(Some(Err(error))) => return Err(format!("reading: {error}")),
            Some(None) => return Err("the relay closed the socket".to_owned()),
        }
        Ok(())
    }

    pub(super) fn event(&mut self) -> Option<DeviceEvent> {
        self.session.poll_event()
    }
}

fn binding(hex: &str) -> Option<[u8; 32]> {
    let mut binding = [0; 32];
    for (i, byte) in binding.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(binding)
}
