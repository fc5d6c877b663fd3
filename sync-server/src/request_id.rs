//! Short random names of connections and requests: what their log lines share, and what an answer's `x-request-id` says.

use std::fmt;
use std::net::IpAddr;

/// The header that tells whoever asks how their connection or request is called in the log.
pub(crate) const HEADER: &str = "x-request-id";

/// Eight hexadecimal digits. It tells lines apart and proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestId(u32);

impl RequestId {
    pub(crate) fn draw() -> Self {
        // Without randomness no connection gets further than this.
        Self(getrandom::u32().unwrap_or_default())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) id: RequestId,
    pub(crate) address: IpAddr,
}

impl Caller {
    pub(crate) fn new(address: IpAddr) -> Self {
        Self { id: RequestId::draw(), address: address.to_canonical() }
    }

    /// What the log lines about this connection stand in. Of the highest level, so that a line that is written never lacks it.
    pub(crate) fn span(&self) -> tracing::Span {
        tracing::error_span!("connection", conn = %self.id, device = tracing::field::Empty)
    }
}

#[cfg(test)]
impl Caller {
    pub(crate) fn of_test() -> Self {
        Self::new(IpAddr::from([127, 0, 0, 1]))
    }
}
