//! From a relay's address to an open WebSocket.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use dinh_proto::keys::RelayPublic;
use dinh_proto::limits;
use dinh_proto::permit::{Permit, PermitError};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderMap, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_with_config};

#[cfg(feature = "tls")]
use super::tls::Tls;

/// The header of the relay's answer with the 32 bytes that bind the conversation to this connection.
const CHALLENGE_HEADER: &str = "dinh-challenge";
/// The path that is used if the address has none.
const DEFAULT_PATH: &str = "/dinh/v1";
/// Allocated for each connection, and what one read from the system may bring.
const READ_BUFFER_BYTES: usize = 16 * 1024;
/// Bytes gathered before they are written without a flush.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// A name has two addresses or three.
const ADDRESSES_MAX: usize = 8;
/// Never reached: a frame is given to the socket only when it can take one.
const WRITE_BUFFER_BYTES_MAX: usize = 4 * limits::FRAME_BYTES_MAX;

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The address of a relay with the key that it must prove: `ws://host:port/dinh/v1#key`, or `wss://` behind a proxy that speaks
/// TLS. The path may be left out. A relay prints its key when it starts, and `dinh-relay key` prints it at any time.
///
/// A relay that takes new branches with a permit only gets it at the end: `…#key.permit`. It is needed by the device that founds a
/// branch, does no harm elsewhere, and whoever has it may use it: it is not passed on to others with the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayUrl {
    uri: Uri,
    key: RelayPublic,
    permit: Option<Permit>,
    host: String,
    port: u16,
    is_tls: bool,
}

/// Why an address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadRelayUrl {
    /// It does not read as an address.
    #[error(
        "{url:?} is not an address of a relay ({reason}): it looks like ws://relay.example:4480/dinh/v1#KEY"
    )]
    Malformed {
        /// What was given.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The scheme is not one of a WebSocket.
    #[error("{url:?} does not begin with ws:// or wss://")]
    Scheme {
        /// What was given.
        url: String,
    },
    /// The relay's key is not there, or has a mistake.
    #[error(
        "{url:?} does not end in # and the relay's key ({reason}): without it nobody could tell the relay from someone \
         in between. The relay prints its address with the key when it starts; `dinh-relay key` prints the key"
    )]
    NoKey {
        /// What was given.
        url: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// What follows the relay's key is no permit.
    #[error("what follows the point after the relay's key is not a permit: {source}")]
    BadPermit {
        /// Why.
        source: PermitError,
    },
    /// This build has no TLS.
    #[error("{url:?} asks for TLS, which this build does not have: build dinh-core with its feature `tls`")]
    NoTls {
        /// What was given.
        url: String,
    },
}

impl RelayUrl {
    /// Reads an address.
    pub fn parse(url: &str) -> Result<Self, BadRelayUrl> {
        // Errors go to logs, and whoever reads a permit may use it.
        let shown = match url.split_once('#') {
            Some((address, key)) => format!("{address}#{}", key.split('.').next().unwrap_or_default()),
            None => url.to_owned(),
        };
        let malformed = |reason: &str| BadRelayUrl::Malformed { url: shown.clone(), reason: reason.into() };
        let (address, key) = match url.trim().split_once('#') {
            Some((address, key)) => (address, Some(key)),
            None => (url.trim(), None),
        };
        let uri: Uri = address.parse().map_err(|e| malformed(&format!("{e}")))?;
        let is_tls = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") if cfg!(feature = "tls") => true,
            Some("wss") => return Err(BadRelayUrl::NoTls { url: shown.clone() }),
            _ => return Err(BadRelayUrl::Scheme { url: shown.clone() }),
        };
        let authority = uri.authority().map_or("", |a| a.as_str());
        let host = uri.host().filter(|h| !h.is_empty()).ok_or_else(|| malformed("there is no host"))?;
        // What the parser takes for no port, and user names, which a relay has no use for.
        let port = match authority.strip_prefix(host) {
            Some("") if is_tls => 443,
            Some("") => 80,
            Some(_) => uri.port_u16().ok_or_else(|| malformed("the port is not a number up to 65535"))?,
            None => return Err(malformed("it has a user name")),
        };
        // The system's resolver wants IPv6 addresses without the brackets.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let uri = if matches!(uri.path(), "" | "/") {
            let mut parts = uri.into_parts();
            parts.path_and_query = DEFAULT_PATH.parse().ok();
            Uri::from_parts(parts).map_err(|e| malformed(&format!("{e}")))?
        } else {
            uri
        };
        let no_key = |reason| BadRelayUrl::NoKey { url: shown.clone(), reason };
        let key = key.ok_or_else(|| no_key("there is no #"))?;
        let (key, permit) = match key.split_once('.') {
            Some((key, permit)) => (key, Some(permit)),
            None => (key, None),
        };
        let key = key.parse().map_err(|_| no_key("what follows # is not a key, or has a mistake"))?;
        let permit =
            permit.map(str::parse).transpose().map_err(|source| BadRelayUrl::BadPermit { source })?;
        Ok(Self { uri, key, permit, host, port, is_tls })
    }

    /// The address without the key.
    pub fn address(&self) -> String {
        self.uri.to_string()
    }

    /// The key that the relay must prove.
    pub fn key(&self) -> &RelayPublic {
        &self.key
    }

    /// The permit to found branches with, if there is one.
    pub fn permit(&self) -> Option<&Permit> {
        self.permit.as_ref()
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.uri, self.key)?;
        self.permit.as_ref().map_or(Ok(()), |permit| write!(f, ".{}", permit.body()))
    }
}

impl std::str::FromStr for RelayUrl {
    type Err = BadRelayUrl;

    fn from_str(url: &str) -> Result<Self, BadRelayUrl> {
        Self::parse(url)
    }
}

/// Why no connection could be made. All of them are tried again.
#[derive(Debug, Error)]
pub(super) enum ConnectError {
    #[error("cannot reach the relay: {0}")]
    Unreachable(std::io::Error),
    #[error("the relay did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("the relay refuses the connection with HTTP status {0}: is the address right?")]
    Status(u16),
    #[error("the other side is not a relay: {0}")]
    NotAWebSocket(WsError),
    #[cfg(feature = "tls")]
    #[error("{0}")]
    Tls(String),
    #[error("the operating system gives no randomness: {0}")]
    Randomness(getrandom::Error),
    #[error("the other side is not a Dinh relay: its answer has {0} Dinh-Challenge header")]
    Challenge(&'static str),
}

/// What dialling needs besides the address.
#[derive(Clone)]
pub(super) struct Dial {
    /// From dialling to the end of the upgrade.
    pub(super) within: Duration,
    #[cfg(feature = "tls")]
    pub(super) tls: Tls,
}

/// Connects and upgrades; gives the socket and the channel binding.
pub(super) async fn connect(url: RelayUrl, dial: Dial) -> Result<(Socket, [u8; 32]), ConnectError> {
    let within = dial.within;
    let connecting = async {
        let stream = reach(&url, within).await.map_err(ConnectError::Unreachable)?;
        // Frames are gathered before they are written, so waiting for more would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let stream = secured(&url, &dial, stream).await?;
        let request = url.uri.clone().into_client_request().map_err(ConnectError::NotAWebSocket)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
            .max_message_size(Some(limits::FRAME_BYTES_MAX))
            .max_frame_size(Some(limits::FRAME_BYTES_MAX));
        let (socket, response) =
            client_async_with_config(request, stream, Some(config)).await.map_err(|e| match e {
                WsError::Http(response) => ConnectError::Status(response.status().as_u16()),
                WsError::Io(error) => ConnectError::Unreachable(error),
                error => ConnectError::NotAWebSocket(error),
            })?;
        Ok((socket, challenge(response.headers())?))
    };
    tokio::time::timeout(within, connecting).await.unwrap_or(Err(ConnectError::TimedOut(within)))
}

/// Tries the addresses of a name one after the other. One that swallows everything (IPv6 that leads nowhere) must not take the
/// time of those that would answer, so each but the last has its part of it; the last has what is left.
async fn reach(url: &RelayUrl, within: Duration) -> std::io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host((url.host.as_str(), url.port)).await?.take(ADDRESSES_MAX).collect();
    let Some((last, others)) = addresses.split_last() else {
        return Err(std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address"));
    };
    let each = within / (others.len() as u32 + 2);
    for address in others {
        match tokio::time::timeout(each, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => tracing::debug!(%address, %error, "the next address of this name is tried"),
            Err(_) => tracing::debug!(%address, "no answer: the next address of this name is tried"),
        }
    }
    TcpStream::connect(last).await
}

#[cfg(feature = "tls")]
async fn secured(
    url: &RelayUrl,
    dial: &Dial,
    stream: TcpStream,
) -> Result<MaybeTlsStream<TcpStream>, ConnectError> {
    match url.is_tls {
        true => dial.tls.connect(&url.host, stream).await,
        false => Ok(MaybeTlsStream::Plain(stream)),
    }
}

#[cfg(not(feature = "tls"))]
async fn secured(
    url: &RelayUrl,
    _: &Dial,
    stream: TcpStream,
) -> Result<MaybeTlsStream<TcpStream>, ConnectError> {
    debug_assert!(!url.is_tls, "such an address is not read");
    Ok(MaybeTlsStream::Plain(stream))
}

/// The 32 bytes of the challenge, written as 64 hexadecimal digits in exactly one header.
fn challenge(headers: &HeaderMap) -> Result<[u8; 32], ConnectError> {
    let mut values = headers.get_all(CHALLENGE_HEADER).iter();
    let value = values.next().ok_or(ConnectError::Challenge("no"))?;
    if values.next().is_some() {
        return Err(ConnectError::Challenge("more than one"));
    }
    let digits = value.as_bytes();
    let mut out = [0; 32];
    if digits.len() != 64 {
        return Err(ConnectError::Challenge("a damaged"));
    }
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |d: u8| char::from(d).to_digit(16).ok_or(ConnectError::Challenge("a damaged"));
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).unwrap_or_default();
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use dinh_proto::keys::RelayKey;

    use super::*;

    #[test]
    fn addresses_are_read_and_refused_with_a_reason() {
        let key = RelayKey::from_seed(&[1; 32]).public();
        let with_key = |url: &str| format!("{}#{key} ", url.trim_end());
        let read = |url: &str| {
            RelayUrl::parse(&with_key(url)).map(|u| {
                assert_eq!((u.key(), RelayUrl::parse(&u.to_string())), (&key, Ok(u.clone())));
                (u.host.clone(), u.port, u.uri.to_string())
            })
        };
        let ok = |host: &str, port, url: &str| Ok((host.to_owned(), port, url.to_owned()));
        assert_eq!(read("ws://h:4480/dinh/v1"), ok("h", 4480, "ws://h:4480/dinh/v1"));
        assert_eq!(read("ws://h:4480"), ok("h", 4480, "ws://h:4480/dinh/v1"));
        assert_eq!(read(" ws://relay.example/ "), ok("relay.example", 80, "ws://relay.example/dinh/v1"));
        assert_eq!(read("ws://[::1]:9/x/y?z"), ok("::1", 9, "ws://[::1]:9/x/y?z"));
        if cfg!(feature = "tls") {
            assert_eq!(read("wss://h"), ok("h", 443, "wss://h/dinh/v1"));
            assert_eq!(read("wss://h:8443/x"), ok("h", 8443, "wss://h:8443/x"));
        } else {
            assert!(read("wss://h/dinh/v1").unwrap_err().to_string().contains("feature `tls`"));
        }
        assert!(matches!(read("http://h/"), Err(BadRelayUrl::Scheme { .. })));
        assert!(matches!(read("h:4480"), Err(BadRelayUrl::Scheme { .. } | BadRelayUrl::Malformed { .. })));
        for bad in
            ["", "ws://", "ws:///x", "ws://h:/", "ws://h:99999", "ws://a b/", "ws://u@h/", "ws://u:p@h:1/"]
        {
            assert!(
                matches!(read(bad), Err(BadRelayUrl::Malformed { .. } | BadRelayUrl::Scheme { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn an_address_without_the_relay_s_key_is_refused_and_says_where_the_key_is() {
        let key = RelayKey::from_seed(&[1; 32]).public().to_string();
        let mut mistaken = key.clone();
        mistaken.replace_range(..1, if key.starts_with('A') { "B" } else { "A" });
        for tail in ["", "#", "#abc", &format!("#{mistaken}"), &format!("#{key}{key}"), &format!("#{key}#")] {
            let error = RelayUrl::parse(&format!("ws://h:1/dinh/v1{tail}")).unwrap_err();
            assert!(matches!(error, BadRelayUrl::NoKey { .. }), "{tail}: {error}");
            assert!(error.to_string().contains("dinh-relay key"), "{error}");
        }
        assert!(RelayUrl::parse(&format!("ws://h:1#{key}")).is_ok());
    }

    #[test]
    fn a_challenge_is_64_digits_in_one_header() {
        let with = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CHALLENGE_HEADER, value.parse().unwrap());
            }
            challenge(&headers)
        };
        let mut expected = [0xab; 32];
        expected[0] = 0x01;
        assert_eq!(with(&[&format!("01{}", "aB".repeat(31))]).unwrap(), expected);
        assert!(with(&[]).unwrap_err().to_string().contains("no Dinh-Challenge"));
        let good = "ab".repeat(32);
        assert!(with(&[&good, &good]).is_err());
        for bad in ["", "ab", &"ab".repeat(33), &"+1".repeat(32), &"zz".repeat(32)] {
            assert!(with(&[bad]).is_err(), "{bad}");
        }
    }
}
