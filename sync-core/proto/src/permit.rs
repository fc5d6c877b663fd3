//! Permits: what an operator signs so that somebody may found a branch on a relay.
//!
//! ```text
//! permit    "DNP1" ‖ operator's key 32 ‖ id 16 ‖ flag ‖ if 1: relay's key 32 ‖ n branches 1 … 10,000
//!           ‖ flag ‖ if 1: branch 16 ‖ flag ‖ if 1: device 16 ‖ n expires ‖ limits
//!           ‖ signature 64 ("dinh/per1\0" over all before)
//! limits    u8 mask; for each bit, from the lowest: n ≥ 1
//!           1 document bytes, 2 space bytes, 4 documents of the branch, 8 bytes of its charter
//!
//! text      dinh-permit:X, X = Base58Check of the bytes; at the end of a relay's address: …#KEY.X
//! operator  dinh-operator:X, X = Base58Check of the public key 32
//! ```
//!
//! Whoever has a permit may use it: it is handed over like a key, and shown in no log. The relay judges it by its own clock, when the
//! branch's first record comes; a branch that was admitted stays so when its permit expires or is revoked.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::codec::{Reader, Write};
use crate::error::InvalidMessage;
use crate::ids::{DeviceId, SpaceId};
use crate::keys::{RelayPublic, SignKey, SignPublic};
use crate::time::WallTime;

/// The longest permit has 236 bytes.
pub const PERMIT_BYTES_MAX: usize = 256;
/// Branches that one permit may be for.
pub const PERMIT_BRANCHES_MAX: u32 = 10_000;

/// Longest text that is looked at, bytes: Base58Check of [`PERMIT_BYTES_MAX`] has at most 356.
const TEXT_BYTES_MAX: usize = 380;
const SCHEME: &str = "dinh-permit:";
const OPERATOR_SCHEME: &str = "dinh-operator:";
const MAGIC: &[u8; 4] = b"DNP1";
const DOMAIN: &[u8] = b"dinh/per1\0";
const SIGNATURE_BYTES: usize = 64;

/// Names a permit: random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PermitId(pub [u8; 16]);

impl fmt::Display for PermitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The public half of an operator's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperatorPublic(pub SignPublic);

impl fmt::Display for OperatorPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{OPERATOR_SCHEME}{}", bs58::encode(self.0.as_bytes()).with_check().into_string())
    }
}

impl FromStr for OperatorPublic {
    type Err = InvalidMessage;

    fn from_str(text: &str) -> Result<Self, InvalidMessage> {
        let bad = InvalidMessage::NotAllowed("operator key");
        let body = text.trim().strip_prefix(OPERATOR_SCHEME).ok_or_else(|| bad.clone())?;
        if body.len() > TEXT_BYTES_MAX {
            return Err(bad);
        }
        let bytes = bs58::decode(body).with_check(None).into_vec().map_err(|_| bad.clone())?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| bad)?;
        SignPublic::from_bytes(&bytes).map(Self)
    }
}

/// What one branch may take of a relay, where that is other than the relay's own limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BranchLimits {
    /// Bytes of the runs of one document.
    pub document_bytes: Option<u64>,
    /// Bytes of all items of one space.
    pub space_bytes: Option<u64>,
    /// Documents of the branch.
    pub documents: Option<u64>,
    /// Bytes of all records of the charter.
    pub charter_bytes: Option<u64>,
}

impl BranchLimits {
    fn all(&self) -> [Option<u64>; 4] {
        [self.document_bytes, self.space_bytes, self.documents, self.charter_bytes]
    }

    /// Appends the mask and the numbers.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mask = self.all().iter().zip(0u8..).map(|(limit, bit)| u8::from(limit.is_some()) << bit).sum();
        out.put_u8(mask);
        self.all().into_iter().flatten().for_each(|limit| out.put_uleb(limit));
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// A bit that is not known, a limit of 0.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        let mask = r.u8("limits")?;
        if mask > 15 {
            return Err(InvalidMessage::Unknown { what: "limits", value: u64::from(mask) });
        }
        let mut limit = |bit: u8| -> Result<Option<u64>, InvalidMessage> {
            if mask & bit == 0 {
                return Ok(None);
            }
            match r.uleb("limit")? {
                0 => Err(InvalidMessage::NotAllowed("limit")),
                limit => Ok(Some(limit)),
            }
        };
        Ok(Self {
            document_bytes: limit(1)?,
            space_bytes: limit(2)?,
            documents: limit(4)?,
            charter_bytes: limit(8)?,
        })
    }
}

/// What a permit allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PermitTerms {
    /// Names it.
    pub id: PermitId,
    /// The relay that it is for; any that trusts the operator, if none.
    pub relay: Option<RelayPublic>,
    /// How many branches may be founded with it on one relay: 1 … [`PERMIT_BRANCHES_MAX`], and 1 if `branch` is given.
    pub branches: u32,
    /// The only branch that may be founded with it.
    pub branch: Option<SpaceId>,
    /// The only device that may found with it.
    pub device: Option<DeviceId>,
    /// From then on nothing is founded with it, by the relay's clock.
    pub expires: Option<WallTime>,
    /// What each of the branches may take.
    pub limits: BranchLimits,
}

/// Why something is no permit. The text is meant for people.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PermitError {
    /// Something else altogether.
    #[error("this is not a permit of a Dinh relay")]
    NotAPermit,
    /// It was changed or cut on its way.
    #[error("this permit is damaged or incomplete: copy it again")]
    Damaged,
    /// A form that this version does not know.
    #[error("this permit was made for a newer version: update this one")]
    Newer,
    /// The operator whose key is in it has not signed it.
    #[error("this permit is not signed by the operator that it names")]
    Forged,
    /// A part of it has a value that it may not have.
    #[error("this permit is not well formed: {0}")]
    Invalid(#[from] InvalidMessage),
}

/// A permit, signed by the operator that it names. Whether that operator is trusted, and whether it holds now, a relay knows.
#[derive(Clone, PartialEq, Eq)]
pub struct Permit {
    operator: OperatorPublic,
    terms: PermitTerms,
    bytes: Vec<u8>,
}

/// Not the permit itself: whoever reads it may use it.
impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({})", self.terms.id)
    }
}

impl Permit {
    /// Signs a permit.
    ///
    /// # Errors
    /// If the terms contradict each other, or a number is out of its range.
    pub fn issue(operator: &SignKey, terms: PermitTerms) -> Result<Self, PermitError> {
        let public = operator.public();
        let mut bytes = Vec::with_capacity(PERMIT_BYTES_MAX);
        bytes.put_bytes(MAGIC);
        bytes.put_bytes(public.as_bytes());
        bytes.put_bytes(&terms.id.0);
        put_optional(&mut bytes, terms.relay.as_ref().map(|key| &key.as_bytes()[..]));
        bytes.put_uleb(u64::from(terms.branches));
        put_optional(&mut bytes, terms.branch.as_ref().map(|id| &id.0[..]));
        put_optional(&mut bytes, terms.device.as_ref().map(|id| &id.0[..]));
        bytes.put_uleb(terms.expires.map_or(0, |at| at.0.max(1)));
        terms.limits.encode(&mut bytes);
        let signature = operator.sign(DOMAIN, &bytes);
        bytes.put_bytes(&signature);
        // By the rules for everybody's.
        Self::from_bytes(&bytes)
    }

    /// Reads and verifies the bytes of a permit.
    ///
    /// # Errors
    /// See [`PermitError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PermitError> {
        let mut r = Reader::new(bytes);
        let magic: [u8; 4] = r.array("permit").map_err(|_| PermitError::NotAPermit)?;
        if magic != *MAGIC {
            return Err(if magic.starts_with(b"DNP") { PermitError::Newer } else { PermitError::NotAPermit });
        }
        if bytes.len() > PERMIT_BYTES_MAX {
            return Err(InvalidMessage::TooLarge { what: "permit", limit: PERMIT_BYTES_MAX as u64 }.into());
        }
        let operator = SignPublic::from_bytes(&r.array("operator key")?)?;
        let id = PermitId(r.array("permit id")?);
        let relay = optional(&mut r, "relay key")?.map(RelayPublic::from_bytes).transpose()?;
        let branches = r.uleb_max(u64::from(PERMIT_BRANCHES_MAX), "branches")?;
        let branches = u32::try_from(branches).unwrap_or(PERMIT_BRANCHES_MAX);
        let branch = optional(&mut r, "branch")?.map(SpaceId);
        let device = optional(&mut r, "device")?.map(DeviceId);
        if branches == 0 || (branch.is_some() && branches != 1) {
            return Err(InvalidMessage::NotAllowed("branches").into());
        }
        let expires = Some(r.uleb("expires")?).filter(|at| *at != 0).map(WallTime);
        let limits = BranchLimits::decode(&mut r)?;
        let signed = bytes.len() - r.remaining();
        let signature: [u8; SIGNATURE_BYTES] = r.array("signature")?;
        r.finish("permit")?;
        if !operator.verify(DOMAIN, &bytes[..signed], &signature) {
            return Err(PermitError::Forged);
        }
        let terms = PermitTerms { id, relay, branches, branch, device, expires, limits };
        Ok(Self { operator: OperatorPublic(operator), terms, bytes: bytes.to_vec() })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whose key signed it.
    pub fn operator(&self) -> OperatorPublic {
        self.operator
    }

    /// What it allows.
    pub fn terms(&self) -> &PermitTerms {
        &self.terms
    }

    /// What stands in its text after the colon, and in a relay's address after the point.
    pub fn body(&self) -> String {
        bs58::encode(&self.bytes).with_check().into_string()
    }

    /// One line, for a message or a QR image.
    pub fn text(&self) -> String {
        format!("{SCHEME}{}", self.body())
    }
}

/// Reads a text with or without what stands before its colon. White space in it, as from a message that was wrapped, is passed over.
impl FromStr for Permit {
    type Err = PermitError;

    fn from_str(text: &str) -> Result<Self, PermitError> {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).take(TEXT_BYTES_MAX + 1).collect();
        let body = match text.split_at_checked(SCHEME.len()) {
            Some((scheme, body)) if scheme.eq_ignore_ascii_case(SCHEME) => body,
            _ if text.contains(':') => return Err(PermitError::NotAPermit),
            _ => &text,
        };
        if body.is_empty() || text.len() > TEXT_BYTES_MAX {
            return Err(PermitError::NotAPermit);
        }
        let bytes = bs58::decode(body).with_check(None).into_vec().map_err(|_| PermitError::Damaged)?;
        Self::from_bytes(&bytes)
    }
}

fn put_optional(out: &mut Vec<u8>, value: Option<&[u8]>) {
    out.put_u8(u8::from(value.is_some()));
    out.put_bytes(value.unwrap_or_default());
}

fn optional<const N: usize>(
    r: &mut Reader<'_>,
    what: &'static str,
) -> Result<Option<[u8; N]>, InvalidMessage> {
    match r.u8(what)? {
        0 => Ok(None),
        1 => r.array(what).map(Some),
        value => Err(InvalidMessage::Unknown { what, value: u64::from(value) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::RelayKey;

    fn operator() -> SignKey {
        SignKey::from_seed(&[42; 32])
    }

    fn terms() -> PermitTerms {
        PermitTerms {
            id: PermitId([7; 16]),
            relay: None,
            branches: 3,
            branch: None,
            device: None,
            expires: None,
            limits: BranchLimits::default(),
        }
    }

    fn full() -> PermitTerms {
        PermitTerms {
            relay: Some(RelayKey::from_seed(&[1; 32]).public()),
            branches: 1,
            branch: Some(SpaceId([8; 16])),
            device: Some(DeviceId([9; 16])),
            expires: Some(WallTime(u64::MAX)),
            limits: BranchLimits {
                document_bytes: Some(u64::MAX),
                space_bytes: Some(u64::MAX),
                documents: Some(u64::MAX),
                charter_bytes: Some(u64::MAX),
            },
            ..terms()
        }
    }

    #[test]
    fn a_permit_says_in_every_form_what_was_signed() {
        for terms in [terms(), full()] {
            let permit = Permit::issue(&operator(), terms).unwrap();
            assert_eq!(permit.terms(), &terms);
            assert_eq!(permit.operator().0, operator().public());
            let text = permit.text();
            let wrapped = format!(
                " {}\r\n{}\n",
                text[..40].to_uppercase().replace(&text[12..40].to_uppercase(), &text[12..40]),
                &text[40..]
            );
            for form in [&text, &permit.body(), &wrapped] {
                assert_eq!(form.parse::<Permit>().as_ref(), Ok(&permit), "{form}");
            }
            assert!(text.len() <= TEXT_BYTES_MAX);
            assert!(!format!("{permit:?}").contains(&permit.body()));
        }
        assert!(Permit::issue(&operator(), full()).unwrap().bytes().len() <= PERMIT_BYTES_MAX);
        let public = OperatorPublic(operator().public());
        assert_eq!(public.to_string().parse(), Ok(public));
        assert!(RelayKey::from_seed(&[1; 32]).public().to_string().parse::<OperatorPublic>().is_err());
    }

    #[test]
    fn no_bit_of_a_permit_can_be_changed() {
        let permit = Permit::issue(&operator(), full()).unwrap();
        for bit in 0..permit.bytes().len() * 8 {
            let mut bytes = permit.bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Permit::from_bytes(&bytes).is_err(), "bit {bit}");
        }
        for end in 0..permit.bytes().len() {
            assert!(Permit::from_bytes(&permit.bytes()[..end]).is_err(), "{end} bytes");
        }
        let longer = [permit.bytes(), &[0]].concat();
        assert!(Permit::from_bytes(&longer).is_err());
        // Another operator's signature under this one's name.
        let forged = SignKey::from_seed(&[43; 32]);
        let signed = permit.bytes().len() - SIGNATURE_BYTES;
        let signature = forged.sign(DOMAIN, &permit.bytes()[..signed]);
        let bytes = [&permit.bytes()[..signed], &signature].concat();
        assert_eq!(Permit::from_bytes(&bytes), Err(PermitError::Forged));
    }

    #[test]
    fn terms_that_contradict_each_other_are_not_signed() {
        let bad = [
            PermitTerms { branches: 0, ..terms() },
            PermitTerms { branches: PERMIT_BRANCHES_MAX + 1, ..terms() },
            PermitTerms { branches: 2, ..full() },
            PermitTerms { limits: BranchLimits { documents: Some(0), ..BranchLimits::default() }, ..terms() },
        ];
        for terms in bad {
            assert!(matches!(Permit::issue(&operator(), terms), Err(PermitError::Invalid(_))), "{terms:?}");
        }
    }

    #[test]
    fn what_is_no_permit_is_refused_with_what_to_do() {
        let text = Permit::issue(&operator(), terms()).unwrap().text();
        let mut changed = text.clone();
        changed.replace_range(50..51, if &text[50..51] == "2" { "3" } else { "2" });
        for (text, told) in [
            ("", "not a permit"),
            ("dinh:join?abc", "not a permit"),
            ("dinh-permit:", "not a permit"),
            (&changed, "copy it again"),
            (&text[..text.len() - 1], "copy it again"),
            (&"a".repeat(5_000), "not a permit"),
        ] {
            let error = text.parse::<Permit>().unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
        let newer = bs58::encode(b"DNP2 whatever").with_check().into_string();
        assert_eq!(newer.parse::<Permit>(), Err(PermitError::Newer));
    }
}
