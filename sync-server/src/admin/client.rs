//! How a command asks the relay that runs on a data directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::TcpStream;

use super::{Access, FILE};

/// An answer that is read as a whole.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why a running relay did not do what it was asked.
#[derive(Debug, Error)]
pub(crate) enum AskError {
    #[error("cannot read {}: {source}", path.display())]
    Access { path: PathBuf, source: io::Error },
    #[error("the relay does not answer: {0}")]
    Gone(String),
    #[error("the relay refuses: {0}")]
    Refused(String),
    #[error("the relay answers what this program does not understand ({0}): are both of the same version?")]
    Answer(String),
}

/// A relay that runs.
#[derive(Debug)]
pub(crate) struct AdminClient {
    access: Access,
}

impl AdminClient {
    /// The relay that runs on this directory; `None` if none does.
    pub(crate) async fn of(data: &Path) -> Result<Option<Self>, AskError> {
        let path = data.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(AskError::Access { path, source }),
        };
        let access = serde_json::from_str(&text)
            .map_err(|e| AskError::Access { path, source: io::Error::new(io::ErrorKind::InvalidData, e) })?;
        let client = Self { access };
        // A relay that was killed leaves the file behind, and another program may have its port by now.
        match client.get::<super::api::Status>("/api/v1/status").await {
            Ok(_) => Ok(Some(client)),
            Err(error) => {
                tracing::debug!(%error, "no relay answers");
                Ok(None)
            }
        }
    }

    /// How it is reached.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    pub(crate) async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, AskError> {
        self.ask::<(), A>(Method::GET, path, None).await
    }

    pub(crate) async fn post<Q: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        question: &Q,
    ) -> Result<A, AskError> {
        self.ask(Method::POST, path, Some(question)).await
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        question: Option<&Q>,
    ) -> Result<A, AskError> {
        let body =
            question.map(serde_json::to_vec).transpose().map_err(|e| AskError::Answer(e.to_string()))?;
        let answer = self.stream(method, path, body.unwrap_or_default()).await?;
        let bytes = read(answer).await?;
        serde_json::from_slice(&bytes).map_err(|e| AskError::Answer(e.to_string()))
    }

    /// The body of the answer as it comes.
    pub(crate) async fn stream(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Body, AskError> {
        let gone = |e: &dyn std::fmt::Display| AskError::Gone(e.to_string());
        let stream = TcpStream::connect(self.access.address).await.map_err(|e| gone(&e))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| gone(&e))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the relay");
            }
        });
        let request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.access.address.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.access.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .map_err(|e| AskError::Answer(e.to_string()))?;
        let response = sender.send_request(request).await.map_err(|e| gone(&e))?;
        let status = response.status();
        let body = Body::new(response.into_body());
        if status == StatusCode::OK {
            return Ok(body);
        }
        let why = read(body).await?;
        Err(AskError::Refused(format!("{} ({status})", String::from_utf8_lossy(&why).trim())))
    }
}

async fn read(body: Body) -> Result<Vec<u8>, AskError> {
    let bytes = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await;
    bytes.map(|b| b.to_vec()).map_err(|e| AskError::Gone(e.to_string()))
}
