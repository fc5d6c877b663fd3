//! The relay's process: the one that operators run.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use dinh_server::{Server, ServerConfig};
use tokio::io::AsyncReadExt;

use crate::protocol::RelayReady;

/// Runs a relay until stdin ends: then whoever started it is gone. `tells`: a test's relay, which writes down what it must not know.
///
/// # Errors
/// If it cannot start, or has to stop.
pub async fn run(data: PathBuf, listen: SocketAddr, tells: Option<String>) -> io::Result<()> {
    if let Some(tells) = tells {
        std::fs::write(data.join("notes"), tells)?;
    }
    let running = Server::start(ServerConfig::new(data, listen)).await.map_err(io::Error::other)?;
    let (listening, key) = (running.local_addr().to_string(), running.public().to_string());
    let ready = RelayReady { listening, key };
    println!("{}", serde_json::to_string(&ready)?);
    let mut ignored = [0; 64];
    let mut stdin = tokio::io::stdin();
    let orphaned = async { while stdin.read(&mut ignored).await.is_ok_and(|n| n > 0) {} };
    tokio::select! {
        error = running.failed() => return Err(io::Error::other(error)),
        () = orphaned => {}
    }
    running.shutdown().await.map_err(io::Error::other)
}
