//! Addresses: which are trusted proxies, whose a connection is that came through one, and which count as one.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName, header};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Addresses that begin with the same bits, as in `10.0.0.0/8`; one address if there is no length.
///
/// (Own code: the crate for this does not read a single address, so most of it would be written anyway.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

/// Why a text is no [`Prefix`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PrefixError {
    /// Neither an address nor the beginning of some.
    #[error("{0:?} is no address: write one such as 10.0.0.7 or 2001:db8::7, or a prefix such as 10.0.0.0/8")]
    Address(String),
    /// The length is none.
    #[error("{0:?} has no length of a prefix after the slash: of IPv4 0 to 32, of IPv6 0 to 128")]
    Bits(String),
    /// The address has bits after the prefix, so something else was meant.
    #[error("{given:?} says more than a prefix: write {meant}, or leave out the slash for one address")]
    Host {
        /// As it was written.
        given: String,
        /// What it would be.
        meant: Prefix,
    },
}

impl Prefix {
    /// One address.
    #[must_use]
    pub fn one(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, bits: width(address) }
    }

    /// Whether the address is one of them. IPv4 inside IPv6 is IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && first_bits(address, self.bits) == self.address
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| PrefixError::Address(text.to_owned()))?;
        let Some(bits) = bits else { return Ok(Self::one(address)) };
        let bits = bits.parse().ok().filter(|bits| *bits <= width(address));
        let bits = bits.ok_or_else(|| PrefixError::Bits(text.to_owned()))?;
        let meant = Self { address: first_bits(address, bits), bits };
        if meant.address == address {
            Ok(meant)
        } else {
            Err(PrefixError::Host { given: text.to_owned(), meant })
        }
    }
}

impl TryFrom<String> for Prefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Self, PrefixError> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bits == width(self.address) {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.bits)
        }
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn first_bits(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::from((v4.to_bits() & mask).to_be_bytes())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

/// What is counted as one address: of IPv6 the first 64 bits, since a customer gets as many.
pub(crate) fn counted(address: IpAddr) -> IpAddr {
    let address = address.to_canonical();
    first_bits(address, if address.is_ipv4() { 32 } else { 64 })
}

/// The header in which trusted proxies say for whom they speak. Only one is read: what a proxy does not write itself, it passes on as
/// the client wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyHeader {
    /// The usual one: a list of addresses, to which each proxy adds the one that it hears.
    XForwardedFor,
    /// That of RFC 7239.
    Forwarded,
}

/// Whose a request is that came from `peer`: by the rightmost address in the header that is no proxy's, if `peer` is one. `None` for a
/// proxy that does not say.
pub(crate) fn client(
    peer: IpAddr,
    headers: &HeaderMap,
    is_proxy: impl Fn(IpAddr) -> bool,
    header: ProxyHeader,
) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    if !is_proxy(peer) {
        return Some(peer);
    }
    let (name, address): (HeaderName, fn(&str) -> Option<IpAddr>) = match header {
        ProxyHeader::XForwardedFor => (HeaderName::from_static("x-forwarded-for"), address),
        ProxyHeader::Forwarded => (header::FORWARDED, forwarded_for),
    };
    // A proxy may add to the last line, or add a line.
    for line in headers.get_all(name).into_iter().collect::<Vec<_>>().into_iter().rev() {
        // What is no text was written by no proxy, and the rest of it is worth nothing.
        for hop in line.to_str().ok()?.rsplit(',') {
            let address = address(hop.trim())?;
            if !is_proxy(address) {
                return Some(address);
            }
        }
    }
    None
}

/// With or without a port, and of IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse().map(|with_port: SocketAddr| with_port.ip()));
    address.ok().map(|address| address.to_canonical())
}

/// `for="[2001:db8::7]:4711";proto=https`. A comma inside quotes ends the hop all the same: then it is no address.
fn forwarded_for(hop: &str) -> Option<IpAddr> {
    let pairs = hop.split(';').filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(name, _)| name.eq_ignore_ascii_case("for")).map(|(_, value)| value);
    let value = values.next().filter(|_| values.next().is_none())?;
    address(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn prefixes_are_read_written_and_hold_what_begins_with_them() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("192.168.4.0/22", "192.168.7.255", "192.168.8.0"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "2001:db8::1", "203.0.113.9"),
            ("::1", "::1", "::2"),
            ("127.0.0.0/8", "::ffff:127.0.0.9", "::7f00:9"),
        ] {
            let prefix: Prefix = text.parse().unwrap();
            assert!(prefix.contains(ip(inside)) && !prefix.contains(ip(outside)), "{text}");
            assert_eq!(prefix.to_string(), text);
        }
        for (text, told) in [
            ("proxy.example", "is no address"),
            ("10.0.0.0/33", "0 to 32"),
            ("::/129", "0 to 128"),
            ("10.0.0.0/", "length"),
            ("10.0.0.0/8/8", "length"),
            ("10.0.0.1/8", "write 10.0.0.0/8"),
            ("", "is no address"),
        ] {
            let error = text.parse::<Prefix>().unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_no_proxy_s() {
        let proxies: Vec<Prefix> = ["127.0.0.1", "10.0.0.0/8"].map(|p| p.parse().unwrap()).into();
        let is_proxy = |address| proxies.iter().any(|p| p.contains(address));
        let of = |peer: &str, lines: &[(&'static str, &str)], header| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, value.parse().unwrap());
            }
            client(ip(peer), &headers, is_proxy, header).map(|address| address.to_string())
        };
        let xff = |peer: &str, lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
            of(peer, &lines, ProxyHeader::XForwardedFor)
        };
        for (what, peer, lines, expected) in [
            ("no proxy", "203.0.113.1", &["198.51.100.7"][..], Some("203.0.113.1")),
            ("no proxy that says it is one", "203.0.113.1", &["127.0.0.1"], Some("203.0.113.1")),
            ("a proxy that says nothing", "127.0.0.1", &[], None),
            ("a client", "127.0.0.1", &["198.51.100.7"], Some("198.51.100.7")),
            ("a client with a port", "127.0.0.1", &["198.51.100.7:5000"], Some("198.51.100.7")),
            ("IPv6", "127.0.0.1", &["2001:db8::7"], Some("2001:db8::7")),
            ("IPv6 with a port", "127.0.0.1", &["[2001:db8::7]:5000"], Some("2001:db8::7")),
            ("what the client wrote itself", "127.0.0.1", &["1.1.1.1, 198.51.100.7"], Some("198.51.100.7")),
            ("a client that names a proxy", "127.0.0.1", &["10.0.0.1, 198.51.100.7"], Some("198.51.100.7")),
            ("two proxies", "127.0.0.1", &["1.1.1.1,198.51.100.7 , 10.0.0.1"], Some("198.51.100.7")),
            ("two lines", "127.0.0.1", &["1.1.1.1", "198.51.100.7", "10.0.0.1"], Some("198.51.100.7")),
            ("nonsense before it", "127.0.0.1", &["; drop, 198.51.100.7"], Some("198.51.100.7")),
            ("nonsense", "127.0.0.1", &["198.51.100.7, unknown"], None),
            ("nothing in it", "127.0.0.1", &[""], None),
            ("proxies only", "127.0.0.1", &["10.0.0.1, 10.0.0.2"], None),
            ("IPv4 in IPv6", "::ffff:127.0.0.1", &["::ffff:198.51.100.7"], Some("198.51.100.7")),
        ] {
            assert_eq!(xff(peer, lines).as_deref(), expected, "{what}");
        }
        // The header that is not read may say what it likes.
        let both = [("x-forwarded-for", "198.51.100.7"), ("forwarded", "for=1.1.1.1")];
        assert_eq!(of("127.0.0.1", &both, ProxyHeader::XForwardedFor).as_deref(), Some("198.51.100.7"));
        assert_eq!(of("127.0.0.1", &both, ProxyHeader::Forwarded).as_deref(), Some("1.1.1.1"));
        assert_eq!(of("127.0.0.1", &both[1..], ProxyHeader::XForwardedFor), None);
        for (line, expected) in [
            ("for=198.51.100.7;proto=https;by=10.0.0.1", Some("198.51.100.7")),
            ("For=\"[2001:db8::7]:4711\"", Some("2001:db8::7")),
            ("for=1.1.1.1, proto=https; for=198.51.100.7, for=10.0.0.1", Some("198.51.100.7")),
            ("for=1.1.1.1, for=_hidden", None),
            ("for=1.1.1.1, for=198.51.100.7;for=10.0.0.1", None),
            ("for=\"1.1.1.1, 198.51.100.7\"", None),
            ("by=198.51.100.7", None),
        ] {
            let found = of("127.0.0.1", &[("forwarded", line)], ProxyHeader::Forwarded);
            assert_eq!(found.as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn one_customer_s_ipv6_addresses_count_as_one() {
        assert_eq!(counted(ip("2001:db8::1")), counted(ip("2001:db8::ffff:1")));
        assert_ne!(counted(ip("2001:db8::1")), counted(ip("2001:db8:0:1::1")));
        assert_eq!(counted(ip("::ffff:203.0.113.1")), ip("203.0.113.1"));
        assert_ne!(counted(ip("203.0.113.1")), counted(ip("203.0.113.2")));
    }
}
