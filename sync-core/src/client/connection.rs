//! An open socket as the driver sees it: what came, whether more may be sent, that it ended.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use dinh_proto::time::Timestamp;
use futures_util::{Sink, SinkExt, Stream};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::transport::Socket;

/// What a connection that was ended here may take to send its last frames.
const FAREWELL: Duration = Duration::from_secs(2);

/// What happened at a socket.
#[derive(Debug)]
pub(super) enum Io {
    /// A frame came.
    Frame(Bytes),
    /// More can be sent, and was asked for.
    Writable,
    /// The socket is of no more use, and why.
    Ended(String),
}

/// An open WebSocket. Reading always goes on; writing is asked for, and pulled when the socket can take more.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    /// There may be frames to pull.
    pub(super) wants_write: bool,
    /// Frames were given to the socket and not flushed.
    unflushed: bool,
    /// Something was suspicious: if nothing is heard until then, the connection is dead.
    pub(super) suspect_until: Option<Timestamp>,
}

impl Connection {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket, wants_write: true, unflushed: false, suspect_until: None }
    }

    /// The next thing that happens. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Io {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// What has happened already.
    pub(super) async fn next_now(&mut self) -> Option<Io> {
        std::future::poll_fn(|cx| {
            Poll::Ready(match self.poll(cx) {
                Poll::Ready(io) => Some(io),
                Poll::Pending => None,
            })
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Io> {
        loop {
            match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Ready(Some(Ok(Message::Binary(frame)))) => return Poll::Ready(Io::Frame(frame)),
                // Answers to pings, and to a close, are sent by the WebSocket layer while this reads on.
                Poll::Ready(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_)))) => {}
                Poll::Ready(Some(Ok(Message::Text(_) | Message::Frame(_)))) => {
                    return Poll::Ready(Io::Ended("the relay sent a frame that is not binary".into()));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Io::Ended(why(&error))),
                Poll::Ready(None) => {
                    return Poll::Ready(Io::Ended("the relay closed the connection".into()));
                }
                Poll::Pending => break,
            }
        }
        if self.wants_write {
            match Pin::new(&mut self.socket).poll_ready(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(Io::Writable),
                Poll::Ready(Err(error)) => return Poll::Ready(Io::Ended(why(&error))),
                Poll::Pending => {}
            }
        } else if self.unflushed {
            match Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Poll::Ready(Io::Ended(why(&error))),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// Gives a frame to the socket, which said that it can take one. It goes out when the driver next waits.
    pub(super) fn send(&mut self, frame: Vec<u8>) -> Result<(), String> {
        self.unflushed = true;
        Pin::new(&mut self.socket).start_send(Message::Binary(frame.into())).map_err(|e| why(&e))
    }

    /// Sends what is left and closes, for a moment at most.
    pub(super) async fn farewell(mut self, frames: Vec<Vec<u8>>) {
        let last = async {
            for frame in frames {
                self.socket.feed(Message::Binary(frame.into())).await?;
            }
            self.socket.close(None).await
        };
        // Nobody is left to tell.
        let _ = tokio::time::timeout(FAREWELL, last).await;
    }
}

fn why(error: &WsError) -> String {
    format!("the connection broke: {error}")
}
