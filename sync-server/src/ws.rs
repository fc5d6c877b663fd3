//! One socket and its hub peer: frames in, frames out when the socket can take them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use dinh_proto::limits;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tracing::{Instrument, Span};

use crate::bucket::{Bucket, Rate};
use crate::doorstep::{Open, Visit};
use crate::driver::{Driver, Signals};
use crate::hub::PeerId;
use crate::metrics::Refused;
use crate::request_id::Caller;

/// The response header with the challenge that the channel's handshake is bound to: 64 hexadecimal digits.
pub(crate) const CHALLENGE_HEADER: &str = "dinh-challenge";

/// Allocated for every connection, also an idle one: the default of 128 KiB would be most of a relay's memory.
const READ_BUFFER_BYTES: usize = 2 * 1024;
/// Bytes gathered before they are written without a flush.
const WRITE_BUFFER_BYTES: usize = 8 * 1024;
/// Never reached: a frame is given to the socket only when the one before it was taken.
const WRITE_BUFFER_BYTES_MAX: usize = 4 * limits::FRAME_BYTES_MAX;
/// Messages of one connection that are looked at before others get their turn. Tokio by itself would let it go on for 128, and
/// then somebody who floods through a few connections holds up everybody else by tens of milliseconds.
const MESSAGES_PER_TURN: u32 = 4;
/// What a connection that was ended may take to receive its last frames and to agree.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

type Sink = SplitSink<WebSocket, Message>;

/// What a new connection needs.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) driver: Arc<Driver>,
    pub(crate) challenge: [u8; 32],
    /// The channel's randomness.
    pub(crate) seed: [u8; 32],
    /// Messages of any kind that may come.
    pub(crate) frames: Rate,
    /// Its place until it has greeted.
    pub(crate) visit: Arc<Visit>,
    /// Who is at the other end.
    pub(crate) caller: Caller,
    /// Held as long as the connection lives, as one of its address.
    pub(crate) _open: Open,
    /// Held as long as the connection lives.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Accepts the upgrade. No extension is agreed upon, so nothing is compressed: there is no bomb to unpack, and sizes do not
/// tell what two texts have in common.
pub(crate) fn accept(upgrade: WebSocketUpgrade, opening: Opening) -> Response {
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(limits::FRAME_BYTES_MAX)
        .max_frame_size(limits::FRAME_BYTES_MAX)
        .on_upgrade(move |socket| {
            let span = opening.caller.span();
            serve(opening, socket).instrument(span)
        })
}

async fn serve(opening: Opening, socket: WebSocket) {
    let Opening { driver, challenge, seed, frames, visit, caller, _open, permit } = opening;
    if let Some((peer, signals)) = driver.connect(challenge, seed, caller) {
        tracing::debug!(address = %caller.address, "connected");
        let connection = Connection { driver: &driver, peer, signals, visit: &visit, from: caller.address };
        connection.serve(socket, frames).await;
    }
    // The driver first: who waits for all permits wants to have it alone.
    drop(driver);
    drop(permit);
}

struct Connection<'a> {
    driver: &'a Driver,
    peer: PeerId,
    signals: Arc<Signals>,
    visit: &'a Visit,
    from: IpAddr,
}

/// Tells the hub, however the task ends.
impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.driver.disconnect(self.peer);
    }
}

impl Connection<'_> {
    async fn serve(self, socket: WebSocket, frames: Rate) {
        let (mut sink, mut stream) = socket.split();
        let why = tokio::select! {
            why = self.read(&mut stream, frames) => why,
            why = self.write(&mut sink) => why,
            why = self.out_of_patience() => why,
            why = self.give_way() => why,
        };
        tracing::debug!(why, "disconnected");
    }

    /// Pings are answered by the WebSocket layer while this waits for the next message.
    async fn read(&self, stream: &mut SplitStream<WebSocket>, rate: Rate) -> &'static str {
        let mut frames = Bucket::default();
        let mut this_turn = 0;
        let mut is_known = false;
        while let Some(message) = stream.next().await {
            this_turn += 1;
            if this_turn == MESSAGES_PER_TURN {
                this_turn = 0;
                tokio::task::yield_now().await;
            }
            let arrived = self.driver.now();
            let ready = frames.ready_at(&rate, 1);
            frames.take(arrived, &rate, 1);
            if ready > arrived {
                self.driver.observer().paused_frames(self.from);
                tokio::time::sleep(ready - arrived).await;
            }
            match message {
                Ok(Message::Binary(frame)) => {
                    self.driver.room().await;
                    let heard = self.driver.frame(self.peer, arrived, frame);
                    if let Some(device) = heard.device.filter(|_| !is_known) {
                        is_known = true;
                        Span::current().record("device", tracing::field::display(device));
                        tracing::debug!("greeted");
                        self.visit.leave();
                    }
                    if !heard.pause.is_zero() {
                        tokio::time::sleep(heard.pause).await;
                    }
                }
                Ok(Message::Text(_)) => return "text frame",
                // After the other's close the stream ends by itself, once the answer is out.
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_)) => {}
                Err(error) => {
                    tracing::debug!(%error, "socket");
                    return "socket error";
                }
            }
        }
        "closed by the other side"
    }

    async fn write(&self, sink: &mut Sink) -> &'static str {
        loop {
            self.signals.wake.notified().await;
            // Asked before the frames are: what the hub wanted to say at the end is among them.
            let last = self.signals.has_ended();
            if send_all(self.driver, self.peer, sink).await.is_err() {
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

    async fn out_of_patience(&self) -> &'static str {
        self.signals.end.notified().await;
        tokio::time::sleep(CLOSE_TIMEOUT).await;
        "closed by the relay"
    }

    /// Another connection needs the place of this one, which has not said who it is.
    async fn give_way(&self) -> &'static str {
        self.visit.asked_to_go().await;
        self.driver.observer().refused_connection(Refused::GaveWay, self.from);
        self.driver.turn_away(self.peer);
        std::future::pending().await
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
