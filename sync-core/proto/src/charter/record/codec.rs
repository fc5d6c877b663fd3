//! Records to bytes and back. The first byte is the type; numbers are little-endian; lists have one order.
//!
//! ```text
//! mark        = space 16 ‖ device 16 ‖ session 8 ‖ n u32 ‖ link 16
//! frontier    = list of mark, sorted by (space, device, session)
//! wrap        = tag 8 ‖ encapsulated key 32 ‖ sealed key 48
//! sealed key  = epoch 16 ‖ nonce 24 ‖ sealed key 48
//! certificate = member 16 ‖ role u8 ‖ algorithm u8 (1) ‖ public keys 96 ‖ sealed name (blob)
//!               ‖ proof 64 by the certified key over "dinh/crt1\0" ‖ algorithm ‖ public keys
//!
//!  1 genesis   rules u16 ‖ root public key 32 ‖ certificate ‖ root signature 64 over "dinh/gen1\0" ‖ all before
//!  2 device    certificate ‖ list of (device 16 ‖ session 8 ‖ n u32), sorted
//!  3 space     nonce 16 ‖ flags u8 (1 history, 2 padded) ‖ audience u8 (0 everyone, 1 members) ‖ [list of member 16, sorted]
//!  4 grant     space 16 ‖ member 16 ‖ generation u32
//!  5 document  nonce 16 ‖ space 16 ‖ writers u8 (0 all, 1 members, 2 committee, 3 officers) ‖ flag ‖ [sealed schema 80]
//!  6 removal   device 16 ‖ reason u8 ‖ frontier
//!  7 role      device 16 ‖ role u8 ‖ generation u32 ‖ frontier
//!  8 revoke    space 16 ‖ member 16 ‖ generation u32 ‖ frontier
//!  9 epoch     space 16 ‖ generation u32 ‖ epoch 16 ‖ issued u64 ‖ list of sealed key, sorted by epoch
//!              ‖ list of wrap, sorted by tag
//! 10 wraps     space 16 ‖ epoch 16 ‖ list of wrap, sorted by tag
//! 11 recorder  document 16 ‖ member 16
//! 12 cut       space 16 ‖ device 16 ‖ session 8 ‖ keep u32
//! 13 upper     generation u32 ‖ flag ‖ [branch 16]
//! 14 root      branch 16 ‖ generation u32 ‖ certificate ‖ list of (device 16 ‖ reason u8 ‖ frontier), sorted by device
//!              ‖ root signature 64 over "dinh/rot1\0" ‖ all before
//! 15 frontier  item id 32 ‖ device 16 ‖ frontier
//! 16 accept    item id 32
//! ```

use super::{
    Audience, Certificate, EpochRecord, Frontier, Genesis, Mark, RULES_VERSION, Reason, Record, Role, Root,
    Writers,
};
use crate::codec::{Reader, Write};
use crate::crypto::{SEALED_SCHEMA_BYTES, SealedKey, Wrap};
use crate::error::InvalidMessage;
use crate::ids::{Author, DeviceId, DocId, EpochId, ItemId, MemberId, SessionId, SpaceId};
use crate::keys::{SignKey, SignPublic};
use crate::limits;

const GENESIS_DOMAIN: &[u8] = b"dinh/gen1\0";
const ROOT_DOMAIN: &[u8] = b"dinh/rot1\0";

impl Record {
    /// The payload bytes. Lists are put into their order. A genesis is made by [`found`](super::found), a root record by
    /// [`recover`](super::recover), which hold the root key.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            // Its signature is not kept: only the bytes that were signed are of use.
            Self::Genesis(genesis) => write_genesis(genesis, &mut out),
            Self::Device { certificate, seen } => {
                out.put_u8(2);
                certificate.write(&mut out);
                let mut seen = seen.clone();
                seen.sort_unstable();
                out.put_uleb(seen.len() as u64);
                for (author, n) in seen {
                    write_author(&author, &mut out);
                    out.put_u32(n);
                }
            }
            Self::Space { nonce, history, padded, audience } => {
                out.put_u8(3);
                out.put_bytes(nonce);
                out.put_u8(u8::from(*history) | u8::from(*padded) << 1);
                match audience {
                    Audience::Everyone => out.put_u8(0),
                    Audience::Members(members) => {
                        let mut members = members.clone();
                        members.sort();
                        members.dedup();
                        out.put_u8(1);
                        out.put_uleb(members.len() as u64);
                        members.iter().for_each(|m| out.put_bytes(&m.0));
                    }
                }
            }
            Self::Grant { space, member, generation } => {
                out.put_u8(4);
                out.put_bytes(&space.0);
                out.put_bytes(&member.0);
                out.put_u32(*generation);
            }
            Self::Document { nonce, space, writers, schema } => {
                out.put_u8(5);
                out.put_bytes(nonce);
                out.put_bytes(&space.0);
                out.put_u8(match writers {
                    Writers::All => 0,
                    Writers::Members => 1,
                    Writers::Committee => 2,
                    Writers::Officers => 3,
                });
                out.put_u8(u8::from(!schema.is_empty()));
                out.put_bytes(schema);
            }
            Self::Removal { device, reason, frontier } => {
                out.put_u8(6);
                out.put_bytes(&device.0);
                out.put_u8(reason_byte(*reason));
                frontier.write(&mut out);
            }
            Self::Role { device, role, generation, frontier } => {
                out.put_u8(7);
                out.put_bytes(&device.0);
                out.put_u8(role.to_wire());
                out.put_u32(*generation);
                frontier.write(&mut out);
            }
            Self::Revoke { space, member, generation, frontier } => {
                out.put_u8(8);
                out.put_bytes(&space.0);
                out.put_bytes(&member.0);
                out.put_u32(*generation);
                frontier.write(&mut out);
            }
            Self::Epoch(epoch) => {
                out.put_u8(9);
                out.put_bytes(&epoch.space.0);
                out.put_u32(epoch.generation);
                out.put_bytes(&epoch.id.0);
                out.put_u64(epoch.issued);
                let mut prev = epoch.prev.clone();
                prev.sort_by_key(|s| s.epoch);
                out.put_uleb(prev.len() as u64);
                for sealed in prev {
                    out.put_bytes(&sealed.epoch.0);
                    out.put_bytes(&sealed.nonce);
                    out.put_bytes(&sealed.ct);
                }
                write_wraps(&epoch.wraps, &mut out);
            }
            Self::Wraps { space, epoch, wraps } => {
                out.put_u8(10);
                out.put_bytes(&space.0);
                out.put_bytes(&epoch.0);
                write_wraps(wraps, &mut out);
            }
            Self::Recorder { doc, member } => {
                out.put_u8(11);
                out.put_bytes(&doc.0);
                out.put_bytes(&member.0);
            }
            Self::Cut { space, author, keep } => {
                out.put_u8(12);
                out.put_bytes(&space.0);
                write_author(author, &mut out);
                out.put_u32(*keep);
            }
            Self::Upper { generation, upper } => {
                out.put_u8(13);
                out.put_u32(*generation);
                out.put_u8(u8::from(upper.is_some()));
                upper.iter().for_each(|branch| out.put_bytes(&branch.0));
            }
            Self::Root(root) => {
                write_root(root, &mut out);
                out.put_bytes(&root.signature);
            }
            Self::Frontier { about, device, frontier } => {
                out.put_u8(15);
                out.put_bytes(&about.0);
                out.put_bytes(&device.0);
                frontier.write(&mut out);
            }
            Self::Accept { certificate } => {
                out.put_u8(16);
                out.put_bytes(&certificate.0);
            }
        }
        out
    }

    /// Reads a payload. A genesis is checked against its root key; key proofs are checked too. A root record's signature
    /// is not: its key is in the genesis ([`Root::is_signed_by`]).
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(bytes);
        let record = match r.u8("record type")? {
            1 => read_genesis(&mut r, bytes)?,
            2 => {
                let certificate = Box::new(Certificate::read(&mut r)?);
                let n = r.count(limits::SEEN_CHAINS_MAX, 28, "seen chains")?;
                let one = |r: &mut Reader<'_>| Ok((read_author(r)?, counter(r, "n")?));
                let seen: Vec<(Author, u32)> =
                    (0..n).map(|_| one(&mut r)).collect::<Result<_, InvalidMessage>>()?;
                sorted(seen.iter().map(|(author, _)| author), "seen chains")?;
                Self::Device { certificate, seen }
            }
            3 => {
                let nonce = r.array("nonce")?;
                let flags = r.u8("space flags")?;
                if flags > 3 {
                    return Err(InvalidMessage::Unknown { what: "space flags", value: u64::from(flags) });
                }
                let audience = match r.u8("audience")? {
                    0 => Audience::Everyone,
                    1 => Audience::Members(read_members(&mut r)?),
                    v => return Err(InvalidMessage::Unknown { what: "audience", value: u64::from(v) }),
                };
                Self::Space { nonce, history: flags & 1 != 0, padded: flags & 2 != 0, audience }
            }
            4 => Self::Grant {
                space: SpaceId(r.array("space")?),
                member: MemberId(r.array("member")?),
                generation: counter(&mut r, "generation")?,
            },
            5 => read_document(&mut r)?,
            6 => Self::Removal {
                device: DeviceId(r.array("device")?),
                reason: read_reason(&mut r)?,
                frontier: Frontier::read(&mut r)?,
            },
            7 => Self::Role {
                device: DeviceId(r.array("device")?),
                role: Role::from_wire(r.u8("role")?)?,
                generation: counter(&mut r, "generation")?,
                frontier: Frontier::read(&mut r)?,
            },
            8 => Self::Revoke {
                space: SpaceId(r.array("space")?),
                member: MemberId(r.array("member")?),
                generation: counter(&mut r, "generation")?,
                frontier: Frontier::read(&mut r)?,
            },
            9 => read_epoch(&mut r)?,
            10 => Self::Wraps {
                space: SpaceId(r.array("space")?),
                epoch: EpochId(r.array("epoch")?),
                wraps: read_wraps(&mut r)?,
            },
            11 => Self::Recorder { doc: DocId(r.array("document")?), member: MemberId(r.array("member")?) },
            12 => Self::Cut {
                space: SpaceId(r.array("space")?),
                author: read_author(&mut r)?,
                keep: r.u32("keep")?,
            },
            13 => {
                let generation = counter(&mut r, "generation")?;
                let upper = match r.u8("upper body")? {
                    0 => None,
                    1 => Some(SpaceId(r.array("upper body")?)),
                    v => return Err(InvalidMessage::Unknown { what: "upper body", value: u64::from(v) }),
                };
                Self::Upper { generation, upper }
            }
            14 => read_root(&mut r)?,
            15 => Self::Frontier {
                about: ItemId(r.array("item")?),
                device: DeviceId(r.array("device")?),
                frontier: Frontier::read(&mut r)?,
            },
            16 => Self::Accept { certificate: ItemId(r.array("item")?) },
            v => return Err(InvalidMessage::Unknown { what: "record type", value: u64::from(v) }),
        };
        r.finish("charter record")?;
        Ok(record)
    }
}

impl Root {
    /// Whether the branch's root key made it.
    pub fn is_signed_by(&self, root: &SignPublic) -> bool {
        let mut signed = Vec::new();
        write_root(self, &mut signed);
        root.verify(ROOT_DOMAIN, &signed, &self.signature)
    }
}

impl Frontier {
    fn write(&self, out: &mut Vec<u8>) {
        let mut marks = self.0.clone();
        marks.sort_by_key(|m| (m.space, m.author));
        out.put_uleb(marks.len() as u64);
        for mark in marks {
            out.put_bytes(&mark.space.0);
            write_author(&mark.author, out);
            out.put_u32(mark.n);
            out.put_bytes(&mark.link);
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        let n = r.count(limits::FRONTIER_MARKS_MAX, 60, "marks")?;
        let mut marks = Vec::with_capacity(n);
        for _ in 0..n {
            let space = SpaceId(r.array("space")?);
            let author = read_author(r)?;
            marks.push(Mark { space, author, n: counter(r, "n")?, link: r.array("link")? });
        }
        sorted(marks.iter().map(|m| (m.space, m.author)), "marks")?;
        Ok(Self(marks))
    }
}

pub(super) fn sign_genesis(root: &SignKey, genesis: &Genesis) -> Vec<u8> {
    let mut out = Vec::new();
    write_genesis(genesis, &mut out);
    let signature = root.sign(GENESIS_DOMAIN, &out);
    out.put_bytes(&signature);
    out
}

pub(super) fn sign_root(key: &SignKey, root: Root) -> Vec<u8> {
    let mut out = Vec::new();
    write_root(&root, &mut out);
    let signature = key.sign(ROOT_DOMAIN, &out);
    out.put_bytes(&signature);
    out
}

fn write_genesis(genesis: &Genesis, out: &mut Vec<u8>) {
    out.put_u8(1);
    out.put_u16(genesis.rules);
    out.put_bytes(genesis.root.as_bytes());
    genesis.secretary.write(out);
}

fn read_genesis(r: &mut Reader<'_>, bytes: &[u8]) -> Result<Record, InvalidMessage> {
    let rules = r.u16("rules version")?;
    if rules != RULES_VERSION {
        return Err(InvalidMessage::Unknown { what: "rules version", value: u64::from(rules) });
    }
    let root = SignPublic::from_bytes(&r.array("root key")?)?;
    let secretary = Certificate::read(r)?;
    let signed = &bytes[..bytes.len() - r.remaining()];
    if !root.verify(GENESIS_DOMAIN, signed, &r.array("root signature")?) {
        return Err(InvalidMessage::HashMismatch("root signature"));
    }
    Ok(Record::Genesis(Box::new(Genesis { rules, root, secretary })))
}

fn write_root(root: &Root, out: &mut Vec<u8>) {
    out.put_u8(14);
    out.put_bytes(&root.branch.0);
    out.put_u32(root.generation);
    root.secretary.write(out);
    let mut removals: Vec<_> = root.removals.iter().collect();
    removals.sort_by_key(|(device, _, _)| *device);
    out.put_uleb(removals.len() as u64);
    for (device, reason, frontier) in removals {
        out.put_bytes(&device.0);
        out.put_u8(reason_byte(*reason));
        frontier.write(out);
    }
}

fn read_root(r: &mut Reader<'_>) -> Result<Record, InvalidMessage> {
    let branch = SpaceId(r.array("branch")?);
    // There is always a next one.
    let generation = counter(r, "generation")?;
    if generation == u32::MAX {
        return Err(InvalidMessage::NotAllowed("generation"));
    }
    let secretary = Certificate::read(r)?;
    let n = r.count(limits::ROOT_REMOVALS_MAX, 18, "removals")?;
    let mut removals = Vec::with_capacity(n);
    for _ in 0..n {
        removals.push((DeviceId(r.array("device")?), read_reason(r)?, Frontier::read(r)?));
    }
    sorted(removals.iter().map(|(device, _, _)| device), "removals")?;
    let signature = r.array("root signature")?;
    Ok(Record::Root(Box::new(Root { branch, generation, secretary, removals, signature })))
}

fn read_document(r: &mut Reader<'_>) -> Result<Record, InvalidMessage> {
    let (nonce, space) = (r.array("nonce")?, SpaceId(r.array("space")?));
    let writers = match r.u8("writers")? {
        0 => Writers::All,
        1 => Writers::Members,
        2 => Writers::Committee,
        3 => Writers::Officers,
        v => return Err(InvalidMessage::Unknown { what: "writers", value: u64::from(v) }),
    };
    let schema = match r.u8("schema")? {
        0 => Vec::new(),
        1 => r.bytes(SEALED_SCHEMA_BYTES, "schema")?.to_vec(),
        v => return Err(InvalidMessage::Unknown { what: "schema", value: u64::from(v) }),
    };
    Ok(Record::Document { nonce, space, writers, schema })
}

fn read_epoch(r: &mut Reader<'_>) -> Result<Record, InvalidMessage> {
    let space = SpaceId(r.array("space")?);
    let generation = counter(r, "generation")?;
    let (id, issued) = (EpochId(r.array("epoch")?), r.u64("issued")?);
    let n = r.count(limits::EPOCH_PREV_MAX, 88, "older keys")?;
    let mut prev = Vec::with_capacity(n);
    for _ in 0..n {
        let epoch = EpochId(r.array("epoch")?);
        prev.push(SealedKey { epoch, nonce: r.array("nonce")?, ct: r.array("sealed key")? });
    }
    sorted(prev.iter().map(|s| s.epoch), "older keys")?;
    let wraps = read_wraps(r)?;
    Ok(Record::Epoch(Box::new(EpochRecord { space, generation, id, issued, prev, wraps })))
}

fn write_wraps(wraps: &[Wrap], out: &mut Vec<u8>) {
    let mut wraps: Vec<&Wrap> = wraps.iter().collect();
    wraps.sort_by_key(|w| (w.tag, w.enc));
    out.put_uleb(wraps.len() as u64);
    for wrap in wraps {
        out.put_bytes(&wrap.tag);
        out.put_bytes(&wrap.enc);
        out.put_bytes(&wrap.ct);
    }
}

fn read_wraps(r: &mut Reader<'_>) -> Result<Vec<Wrap>, InvalidMessage> {
    let n = r.count(limits::WRAPS_PER_RECORD_MAX, 88, "wraps")?;
    let mut wraps = Vec::with_capacity(n);
    for _ in 0..n {
        wraps.push(Wrap {
            tag: r.array("tag")?,
            enc: r.array("encapsulated key")?,
            ct: r.array("sealed key")?,
        });
    }
    // One for each device: nobody makes a device open hundreds in one record.
    sorted(wraps.iter().map(|w| w.tag), "wraps")?;
    Ok(wraps)
}

fn read_members(r: &mut Reader<'_>) -> Result<Vec<MemberId>, InvalidMessage> {
    let n = r.count(limits::AUDIENCE_MEMBERS_MAX, MemberId::BYTES, "audience members")?;
    let members =
        (0..n).map(|_| Ok(MemberId(r.array("member")?))).collect::<Result<Vec<_>, InvalidMessage>>()?;
    sorted(members.iter(), "audience members")?;
    Ok(members)
}

fn write_author(author: &Author, out: &mut Vec<u8>) {
    out.put_bytes(&author.device.0);
    out.put_bytes(&author.session.0);
}

fn read_author(r: &mut Reader<'_>) -> Result<Author, InvalidMessage> {
    Ok(Author { device: DeviceId(r.array("device")?), session: SessionId(r.array("session")?) })
}

fn counter(r: &mut Reader<'_>, what: &'static str) -> Result<u32, InvalidMessage> {
    match r.u32(what)? {
        0 => Err(InvalidMessage::NotAllowed(what)),
        n => Ok(n),
    }
}

fn reason_byte(reason: Reason) -> u8 {
    match reason {
        Reason::Left => 0,
        Reason::Lost => 1,
        Reason::Expelled => 2,
        Reason::Replaced => 3,
    }
}

fn read_reason(r: &mut Reader<'_>) -> Result<Reason, InvalidMessage> {
    match r.u8("reason")? {
        0 => Ok(Reason::Left),
        1 => Ok(Reason::Lost),
        2 => Ok(Reason::Expelled),
        3 => Ok(Reason::Replaced),
        v => Err(InvalidMessage::Unknown { what: "reason", value: u64::from(v) }),
    }
}

/// Strictly increasing.
fn sorted<T: PartialOrd>(keys: impl Iterator<Item = T>, what: &'static str) -> Result<(), InvalidMessage> {
    let mut last = None;
    for key in keys {
        if last.as_ref().is_some_and(|last| *last >= key) {
            return Err(InvalidMessage::NotSorted(what));
        }
        last = Some(key);
    }
    Ok(())
}
