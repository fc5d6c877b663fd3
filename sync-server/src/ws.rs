//! One socket and its hub peer: frames in, frames out when the socket can take them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use dinh_proto::limits;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::OwnedSemaphorePermit;

use crate::driver::{Driver, Signals};
use crate::hub::PeerId;

/// The response header with the challenge that the channel's handshake is bound to: 64 hexadecimal digits.
pub(crate) const CHALLENGE_HEADER: &str = "dinh-challenge";

/// Allocated for every connection, also an idle one: the default of 128 KiB would be most of a relay's memory.
const READ_BUFFER_BYTES: usize = 2 * 1024;
/// Bytes gathered before they are written without a flush.
const WRITE_BUFFER_BYTES: usize = 8 * 1024;
/// Never reached: a frame is given to the socket only when the one before it was taken.
const WRITE_BUFFER_BYTES_MAX: usize = 4 * limits::FRAME_BYTES_MAX;
/// What a connection that was ended may take to receive its last frames and to agree.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

type Sink = SplitSink<WebSocket, Message>;

/// Accepts the upgrade. `seed` is the channel's randomness; `permit` is held as long as the connection lives.
pub(crate) fn accept(
    upgrade: WebSocketUpgrade,
    driver: Arc<Driver>,
    challenge: [u8; 32],
    seed: [u8; 32],
    permit: OwnedSemaphorePermit,
) -> Response {
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(limits::FRAME_BYTES_MAX)
        .max_frame_size(limits::FRAME_BYTES_MAX)
        .on_upgrade(move |socket| async move {
            serve(&driver, socket, challenge, seed).await;
            // The driver first: who waits for all permits wants to have it alone.
            drop(driver);
            drop(permit);
        })
}

async fn serve(driver: &Driver, socket: WebSocket, challenge: [u8; 32], seed: [u8; 32]) {
    let Some((peer, signals)) = driver.connect(challenge, seed) else { return };
    let _connection = Connection { driver, peer };
    tracing::debug!(peer = peer.0, "connected");
    let (mut sink, mut stream) = socket.split();
    let why = tokio::select! {
        why = read(driver, peer, &mut stream) => why,
        why = write(driver, peer, &signals, &mut sink) => why,
        why = out_of_patience(&signals) => why,
    };
    tracing::debug!(peer = peer.0, why, "disconnected");
}

/// Tells the hub, however the task ends.
struct Connection<'a> {
    driver: &'a Driver,
    peer: PeerId,
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.driver.disconnect(self.peer);
    }
}

/// Pings are answered by the WebSocket layer while this waits for the next message.
async fn read(driver: &Driver, peer: PeerId, stream: &mut SplitStream<WebSocket>) -> &'static str {
    while let Some(message) = stream.next().await {
        match message {
            Ok(Message::Binary(frame)) => {
                driver.room().await;
                driver.frame(peer, frame);
            }
            Ok(Message::Text(_)) => return "text frame",
            // After the other's close the stream ends by itself, once the answer is out.
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_)) => {}
            Err(error) => {
                tracing::debug!(peer = peer.0, %error, "socket");
                return "socket error";
            }
        }
    }
    "closed by the other side"
}

async fn write(driver: &Driver, peer: PeerId, signals: &Signals, sink: &mut Sink) -> &'static str {
    loop {
        signals.wake.notified().await;
        // Asked before the frames are: what the hub wanted to say at the end is among them.
        let last = signals.has_ended();
        if send_all(driver, peer, sink).await.is_err() {
            return "socket error";
        }
        if last {
            let frame = CloseFrame { code: close_code::NORMAL, reason: "".into() };
            if sink.send(Message::Close(Some(frame))).await.is_err() {
                return "socket error";
            }
            // Not dropped at once: unread bytes would make the system discard what was just sent.
            return std::future::pending().await;
        }
    }
}

/// Everything there is to send, with one flush.
async fn send_all(driver: &Driver, peer: PeerId, sink: &mut Sink) -> Result<(), axum::Error> {
    loop {
        let frames = driver.frames(peer);
        if frames.is_empty() {
            return sink.flush().await;
        }
        for frame in frames {
            sink.feed(Message::Binary(frame)).await?;
        }
    }
}

async fn out_of_patience(signals: &Signals) -> &'static str {
    signals.end.notified().await;
    tokio::time::sleep(CLOSE_TIMEOUT).await;
    "closed by the relay"
}
