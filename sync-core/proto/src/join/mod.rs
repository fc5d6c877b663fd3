//! The codes by which phones join a branch, and the one that is put on paper.
//!
//! ```text
//! join      "DNJ1" ‖ algorithm u8 ‖ public keys 96 ‖ proof 64                           165 bytes; a new phone shows it
//! welcome   "DNW1" ‖ branch 16 ‖ certificate's item id 32 ‖ relay's key 32 ‖ text ≤ 80    who admitted it shows this
//! root key  "DNR1" ‖ root secret 32 ‖ branch 16                                         52 bytes; on paper, secret
//!
//! link      dinh:join?X, dinh:welcome?X, dinh:root?X    X = Base58Check of the bytes
//! ```
//!
//! A QR image holds the link, as text: every scanner gives text, and the same link can be sent by other means. Each kind begins
//! differently, and whoever expects one kind is told when another is shown ([`JoinError::WrongCode`]): nothing is ever granted
//! because some code was scanned. For the same reason no app registers `dinh:` with its system: codes are scanned or pasted
//! where they are asked for.
//!
//! A join code is proved by its keys. A welcome code is not proved by itself: the branch's id is the hash of its founding record,
//! so the phone that follows the code sees whether it got the right charter, and whether its own certificate is in it.

mod words;

#[cfg(test)]
mod tests;

use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::charter::record::JoinRequest;
use crate::codec::{Reader, Write};
use crate::error::InvalidMessage;
use crate::ids::{ItemId, SpaceId};
use crate::keys::{RelayPublic, SignKey};

/// Longest relay address in a welcome code, bytes, without the relay's key.
pub const RELAY_URL_BYTES_MAX: usize = 80;
/// Longest code, bytes. A [`Welcome`] with the longest address and a join request have the same length.
pub const CODE_BYTES_MAX: usize = 165;
/// Words of a root key on paper.
pub const ROOT_WORDS: usize = 24;

/// Longest link that is looked at, bytes: Base58Check of [`CODE_BYTES_MAX`] has at most 231.
const LINK_BYTES_MAX: usize = 260;
const SCHEME: &str = "dinh:";

/// The kinds of codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CodeKind {
    /// What a new phone shows.
    Join,
    /// What the phone that admitted it shows.
    Welcome,
    /// The branch's root key, on paper.
    Root,
}

impl CodeKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Join, Self::Welcome, Self::Root];

    fn magic(self) -> &'static [u8; 4] {
        match self {
            Self::Join => b"DNJ1",
            Self::Welcome => b"DNW1",
            Self::Root => b"DNR1",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Welcome => "welcome",
            Self::Root => "root",
        }
    }
}

impl fmt::Display for CodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Join => "a join code (a new phone shows it to the secretary)",
            Self::Welcome => "a welcome code (the secretary's phone shows it to the new phone)",
            Self::Root => "the branch's root key (kept on paper; it is secret, show it to nobody)",
        })
    }
}

/// Why a code is not accepted. The text is meant for people.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Something else altogether.
    #[error("this is not a code of Dinh")]
    NotACode,
    /// It was changed or cut on its way.
    #[error("this code is damaged or incomplete: scan or copy it again")]
    Damaged,
    /// A kind or form that this version does not know.
    #[error("this code was made by a newer version of the app: update this one")]
    Newer,
    /// A code, but of another kind.
    #[error("this is {found}; what is needed here is {expected}")]
    WrongCode {
        /// The kind that is expected here.
        expected: CodeKind,
        /// The kind that was shown.
        found: CodeKind,
    },
    /// The keys in a join code did not sign it: whoever shows it does not hold them.
    #[error("the phone that shows this code does not hold the keys in it")]
    NotProved,
    /// A part of it has a value that it may not have.
    #[error("this code is not well formed: {0}")]
    Invalid(#[from] InvalidMessage),
    /// A word that is not in the list.
    #[error("word {position}, “{word}”, is not in the list of words: look at the paper again")]
    UnknownWord {
        /// Its place, from 1.
        position: usize,
        /// The word as it was typed.
        word: String,
    },
    /// Too few or too many words.
    #[error("there are {0} words; a root key has 24")]
    WordCount(usize),
    /// All words are in the list, but they do not belong together.
    #[error("these words do not belong together: one is another word of the list, or two changed places")]
    WordsDamaged,
}

/// What the phone that admitted a new one shows to it: where the branch is, and what shall be found in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    branch: SpaceId,
    certificate: ItemId,
    relay: RelayPublic,
    url: String,
}

impl Welcome {
    /// `certificate` is the id of the item that certifies the new device. `url` is the relay's address without its key.
    ///
    /// # Errors
    /// The address is over [`RELAY_URL_BYTES_MAX`], does not begin with `ws://` or `wss://`, or has characters that do not
    /// belong into it: spaces, control characters, anything but ASCII, or `#`, which would be another key.
    pub fn new(
        branch: SpaceId,
        certificate: ItemId,
        relay: RelayPublic,
        url: &str,
    ) -> Result<Self, InvalidMessage> {
        if url.len() > RELAY_URL_BYTES_MAX {
            let limit = RELAY_URL_BYTES_MAX as u64;
            return Err(InvalidMessage::TooLarge { what: "relay address", limit });
        }
        let host = url.strip_prefix("ws://").or_else(|| url.strip_prefix("wss://"));
        let whole = host.is_some_and(|host| !host.is_empty() && !host.starts_with('/'));
        if !whole || url.bytes().any(|b| !b.is_ascii_graphic() || b == b'#') {
            return Err(InvalidMessage::NotAllowed("relay address"));
        }
        Ok(Self { branch, certificate, relay, url: url.to_owned() })
    }

    /// The branch to join.
    pub fn branch(&self) -> SpaceId {
        self.branch
    }

    /// The item that certifies the new device.
    pub fn certificate(&self) -> ItemId {
        self.certificate
    }

    /// The relay's key.
    pub fn relay(&self) -> &RelayPublic {
        &self.relay
    }

    /// The relay's address, without its key.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The relay's address with its key, as a client takes it.
    pub fn address(&self) -> String {
        format!("{}#{}", self.url, self.relay)
    }
}

/// The secret of a branch's root key, and the branch that it is for. It is shown once, to be put on paper.
#[derive(Clone, PartialEq, Eq)]
pub struct RootKey {
    secret: Zeroizing<[u8; 32]>,
    branch: SpaceId,
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootKey(of {:?})", self.branch)
    }
}

impl RootKey {
    /// From the secret 32 bytes with which the branch was founded.
    pub fn new(secret: &[u8; 32], branch: SpaceId) -> Self {
        Self { secret: Zeroizing::new(*secret), branch }
    }

    /// From the words on paper (see [`RootKey::words`]). Upper and lower case are the same, and any spaces and line breaks
    /// may stand between the words. The words do not name the branch.
    ///
    /// # Errors
    /// [`JoinError::UnknownWord`] names the first word that is not in the list and its place; `WordCount`, `WordsDamaged`.
    pub fn from_words(text: &str, branch: SpaceId) -> Result<Self, JoinError> {
        Ok(Self { secret: words::read(text)?, branch })
    }

    /// The secret as 24 words of BIP 39's English list (there is no Vietnamese one), with a checksum among them.
    pub fn words(&self) -> Zeroizing<String> {
        words::write(&self.secret)
    }

    /// The branch.
    pub fn branch(&self) -> SpaceId {
        self.branch
    }

    /// The key. Whether it is the branch's the charter says, by its public half.
    pub fn sign_key(&self) -> SignKey {
        SignKey::from_seed(&self.secret)
    }
}

/// A code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    /// What a new phone shows. Its keys signed it.
    Join(Box<JoinRequest>),
    /// What the phone that admitted it shows.
    Welcome(Welcome),
    /// The branch's root key.
    Root(RootKey),
}

impl Code {
    /// Reads what was scanned or pasted: a link, or the bytes of a code.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub fn parse(scanned: &[u8]) -> Result<Self, JoinError> {
        if scanned.starts_with(b"DN") {
            return Self::from_bytes(scanned);
        }
        Self::from_link(std::str::from_utf8(scanned).map_err(|_| JoinError::NotACode)?)
    }

    /// Reads a link. Spaces and line breaks anywhere in it, as from a message that was wrapped, are passed over.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub fn from_link(text: &str) -> Result<Self, JoinError> {
        // What is pasted may be anything, and of any length: it is not copied beyond what a link can have.
        let link: Zeroizing<String> =
            Zeroizing::new(text.chars().filter(|c| !c.is_whitespace()).take(LINK_BYTES_MAX + 1).collect());
        let (scheme, rest) = link.split_at_checked(SCHEME.len()).ok_or(JoinError::NotACode)?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(JoinError::NotACode);
        }
        let (name, body) = rest.split_once('?').ok_or(JoinError::Damaged)?;
        if link.len() > LINK_BYTES_MAX {
            return Err(JoinError::Damaged);
        }
        let bytes = bs58::decode(body).with_check(None).into_vec().map_err(|_| JoinError::Damaged)?;
        let code = Self::from_bytes(&Zeroizing::new(bytes))?;
        // The name is not in the checksum.
        if name.eq_ignore_ascii_case(code.kind().name()) { Ok(code) } else { Err(JoinError::Damaged) }
    }

    /// Reads the bytes of a code.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, JoinError> {
        let (magic, body) = bytes.split_first_chunk().ok_or(JoinError::NotACode)?;
        let Some(kind) = CodeKind::ALL.into_iter().find(|kind| kind.magic() == magic) else {
            return Err(if magic.starts_with(b"DN") { JoinError::Newer } else { JoinError::NotACode });
        };
        let mut r = Reader::new(body);
        let code = match kind {
            CodeKind::Join => {
                let request = JoinRequest::decode(r.rest())?;
                if !request.is_proved() {
                    return Err(JoinError::NotProved);
                }
                Self::Join(Box::new(request))
            }
            CodeKind::Welcome => {
                let (branch, certificate) = (SpaceId(r.array("branch")?), ItemId(r.array("certificate")?));
                let relay = RelayPublic::from_bytes(r.array("relay key")?)?;
                let url = r.text(RELAY_URL_BYTES_MAX, "relay address")?;
                Self::Welcome(Welcome::new(branch, certificate, relay, url)?)
            }
            CodeKind::Root => {
                let secret = Zeroizing::new(r.array("root secret")?);
                Self::Root(RootKey { secret, branch: SpaceId(r.array("branch")?) })
            }
        };
        r.finish("code")?;
        Ok(code)
    }

    /// Which kind it is.
    pub fn kind(&self) -> CodeKind {
        match self {
            Self::Join(_) => CodeKind::Join,
            Self::Welcome(_) => CodeKind::Welcome,
            Self::Root(_) => CodeKind::Root,
        }
    }

    /// The bytes. Those of a root key are secret.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // With room for all of it: what grows leaves copies behind.
        let mut out = Zeroizing::new(Vec::with_capacity(CODE_BYTES_MAX));
        out.put_bytes(self.kind().magic());
        match self {
            Self::Join(request) => out.put_bytes(&request.encode()),
            Self::Welcome(welcome) => {
                out.put_bytes(&welcome.branch.0);
                out.put_bytes(&welcome.certificate.0);
                out.put_bytes(welcome.relay.as_bytes());
                out.put_blob(welcome.url.as_bytes());
            }
            Self::Root(root) => {
                out.put_bytes(&*root.secret);
                out.put_bytes(&root.branch.0);
            }
        }
        out
    }

    /// The link: what a QR image holds and what may be sent as text. That of a root key is secret.
    pub fn link(&self) -> Zeroizing<String> {
        let body = Zeroizing::new(bs58::encode(&*self.to_bytes()).with_check().into_string());
        Zeroizing::new(format!("{SCHEME}{}?{}", self.kind().name(), *body))
    }

    /// The join request, where one is expected.
    ///
    /// # Errors
    /// [`JoinError::WrongCode`] if it is another code.
    pub fn into_join(self) -> Result<JoinRequest, JoinError> {
        match self {
            Self::Join(request) => Ok(*request),
            other => Err(other.instead_of(CodeKind::Join)),
        }
    }

    /// The welcome, where one is expected.
    ///
    /// # Errors
    /// [`JoinError::WrongCode`] if it is another code.
    pub fn into_welcome(self) -> Result<Welcome, JoinError> {
        match self {
            Self::Welcome(welcome) => Ok(welcome),
            other => Err(other.instead_of(CodeKind::Welcome)),
        }
    }

    /// The root key, where it is expected.
    ///
    /// # Errors
    /// [`JoinError::WrongCode`] if it is another code.
    pub fn into_root(self) -> Result<RootKey, JoinError> {
        match self {
            Self::Root(root) => Ok(root),
            other => Err(other.instead_of(CodeKind::Root)),
        }
    }

    fn instead_of(&self, expected: CodeKind) -> JoinError {
        JoinError::WrongCode { expected, found: self.kind() }
    }
}

impl From<JoinRequest> for Code {
    fn from(request: JoinRequest) -> Self {
        Self::Join(Box::new(request))
    }
}

impl From<Welcome> for Code {
    fn from(welcome: Welcome) -> Self {
        Self::Welcome(welcome)
    }
}

impl From<RootKey> for Code {
    fn from(root: RootKey) -> Self {
        Self::Root(root)
    }
}
