//! Writing a stream and reading it back: see the [format](super).

use std::io::{self, Read, Write as IoWrite};

use bytes::Bytes;
use dinh_proto::codec::{Reader, Write};
use dinh_proto::item::ITEM_OVERHEAD_BYTES;
use dinh_proto::limits::ITEM_PAYLOAD_BYTES_MAX;
use sha2::{Digest, Sha256};

use super::{ArchiveError, CHUNK_BYTES, HEADER_BYTES_MAX, Header};

const MAGIC: &[u8; 12] = b"dinh-backup\0";
const VERSION: u8 = 1;
const HEADER_DOMAIN: &[u8] = b"dinh/bks1\0";
const CHUNK_DOMAIN: &[u8] = b"dinh/bkc1\0";
const CHUNK: u8 = 1;
const TRAILER: u8 = 2;
const ITEM_BYTES_MAX: usize = ITEM_OVERHEAD_BYTES + ITEM_PAYLOAD_BYTES_MAX;
/// One item over the length at which a chunk ends, and the lengths of all.
const BODY_BYTES_MAX: usize = 2 * CHUNK_BYTES + ITEM_BYTES_MAX;
/// Items are at least this long in a body.
const ITEM_ENTRY_BYTES_MIN: usize = 4 + ITEM_OVERHEAD_BYTES;

/// Writes one stream. Only [`StreamWriter::finish`] makes it whole.
#[derive(Debug)]
pub struct StreamWriter<W> {
    out: W,
    hash: [u8; 32],
    chunks: u64,
    items: u64,
    bytes: u64,
}

impl<W: IoWrite> StreamWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// What `out` says.
    pub fn new(mut out: W, header: &Header) -> io::Result<Self> {
        let header = header.encode();
        if header.len() > HEADER_BYTES_MAX {
            return Err(io::Error::other("the operator's rows are too long for the header of a backup"));
        }
        let mut head = zeroize::Zeroizing::new(MAGIC.to_vec());
        head.put_u8(VERSION);
        head.put_u32(header.len() as u32);
        head.put_bytes(&header);
        let hash: [u8; 32] = Sha256::new_with_prefix(HEADER_DOMAIN).chain_update(&head[..]).finalize().into();
        out.write_all(&head)?;
        out.write_all(&hash)?;
        Ok(Self { out, hash, chunks: 0, items: 0, bytes: 0 })
    }

    /// Writes items as one chunk, which must not be longer than what is read: give it what [`ReadLog::chunk`] gives for
    /// the crate's own chunk size, or what [`StreamReader::chunk`] gave.
    ///
    /// # Errors
    /// What `out` says.
    ///
    /// [`ReadLog::chunk`]: crate::log::ReadLog::chunk
    pub fn chunk(&mut self, items: &[Bytes]) -> io::Result<()> {
        let mut body = Vec::new();
        for item in items {
            body.put_u32(item.len() as u32);
            body.put_bytes(item);
            self.bytes += item.len() as u64;
        }
        debug_assert!(body.len() <= BODY_BYTES_MAX, "a reader would refuse it");
        self.chunks += 1;
        self.items += items.len() as u64;
        let mut head = vec![CHUNK];
        head.put_u32(items.len() as u32);
        head.put_u32(body.len() as u32);
        self.part(&[&head, &body])
    }

    fn part(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let mut hasher = Sha256::new_with_prefix(CHUNK_DOMAIN).chain_update(self.hash);
        for part in parts {
            hasher.update(part);
            self.out.write_all(part)?;
        }
        self.hash = hasher.finalize().into();
        self.out.write_all(&self.hash)
    }

    /// Writes the trailer. Gives back what it wrote to, and the stream's hash.
    ///
    /// # Errors
    /// What `out` says.
    pub fn finish(mut self) -> io::Result<(W, [u8; 32])> {
        let mut trailer = vec![TRAILER];
        trailer.put_u64(self.chunks);
        trailer.put_u64(self.items);
        trailer.put_u64(self.bytes);
        self.part(&[&trailer])?;
        self.out.flush()?;
        Ok((self.out, self.hash))
    }
}

/// Reads one stream, and believes nothing that it has not checked.
#[derive(Debug)]
pub struct StreamReader<R> {
    input: R,
    name: String,
    /// All before it was good.
    at: u64,
    read: u64,
    hash: [u8; 32],
    chunks: u64,
    items: u64,
    bytes: u64,
    expected: u64,
    is_whole: bool,
}

impl<R: Read> StreamReader<R> {
    /// Reads the header. `name` is for messages.
    ///
    /// # Errors
    /// If it is no stream, damaged, or of a later release.
    pub fn open(input: R, name: impl Into<String>) -> Result<(Header, Self), ArchiveError> {
        let mut reader = Self {
            input,
            name: name.into(),
            at: 0,
            read: 0,
            hash: [0; 32],
            chunks: 0,
            items: 0,
            bytes: 0,
            expected: 0,
            is_whole: false,
        };
        let header = reader.header()?;
        reader.expected = header.items();
        Ok((header, reader))
    }

    fn header(&mut self) -> Result<Header, ArchiveError> {
        let mut head = zeroize::Zeroizing::new(self.bytes(MAGIC.len() + 5)?);
        let mut r = Reader::new(&head);
        if r.bytes(MAGIC.len(), "mark") != Ok(&MAGIC[..]) {
            return Err(self.damaged("it does not begin as a backup"));
        }
        let version = r.u8("version").unwrap_or_default();
        let len = r.u32("length").unwrap_or_default() as usize;
        if version != VERSION {
            // An older one there never was.
            return Err(match version {
                0 => self.damaged("its version is 0"),
                found => ArchiveError::Newer { name: self.name.clone(), found, known: VERSION },
            });
        }
        if len > HEADER_BYTES_MAX {
            return Err(self.damaged("its header is too long"));
        }
        head.extend_from_slice(&zeroize::Zeroizing::new(self.bytes(len)?));
        let hash: [u8; 32] = Sha256::new_with_prefix(HEADER_DOMAIN).chain_update(&head[..]).finalize().into();
        if self.bytes(32)? != hash {
            return Err(self.damaged("its header is not what was written"));
        }
        self.hash = hash;
        let header = Header::decode(&head[MAGIC.len() + 5..]).map_err(|e| self.damaged(e))?;
        self.at = self.read;
        Ok(header)
    }

    /// The next items; `None` after the last, when all of the stream was found to be there.
    ///
    /// # Errors
    /// If it is damaged, cut short or followed by more.
    pub fn chunk(&mut self) -> Result<Option<Vec<Bytes>>, ArchiveError> {
        if self.is_whole {
            return Ok(None);
        }
        let tag = self.bytes(1)?;
        match tag[0] {
            CHUNK => self.items(tag).map(Some),
            TRAILER => self.trailer(tag).map(|()| None),
            _ => Err(self.damaged("neither items nor the end follow")),
        }
    }

    fn items(&mut self, mut head: Vec<u8>) -> Result<Vec<Bytes>, ArchiveError> {
        head.extend(self.bytes(8)?);
        let mut r = Reader::new(&head[1..]);
        let count = r.u32("items").unwrap_or_default() as usize;
        let len = r.u32("length").unwrap_or_default() as usize;
        if len > BODY_BYTES_MAX || count.saturating_mul(ITEM_ENTRY_BYTES_MIN) > len || count == 0 {
            return Err(self.damaged("the length of a chunk cannot be"));
        }
        let body = self.bytes(len)?;
        self.check(&[&head, &body], "items are not what was written")?;
        let body = Bytes::from(body);
        let (mut items, mut at) = (Vec::with_capacity(count), 0);
        for _ in 0..count {
            let len = Reader::new(&body[at..]).u32("item").map_err(|e| self.damaged(e))? as usize;
            let end = (at + 4).saturating_add(len);
            if len > ITEM_BYTES_MAX || end > body.len() {
                return Err(self.damaged("the length of an item cannot be"));
            }
            items.push(body.slice(at + 4..end));
            at = end;
            self.bytes += len as u64;
        }
        if at != body.len() {
            return Err(self.damaged("a chunk is longer than its items"));
        }
        self.chunks += 1;
        self.items += count as u64;
        if self.items > self.expected {
            return Err(self.damaged("there are more items than its header says"));
        }
        self.at = self.read;
        Ok(items)
    }

    fn trailer(&mut self, mut trailer: Vec<u8>) -> Result<(), ArchiveError> {
        trailer.extend(self.bytes(24)?);
        self.check(&[&trailer], "its end is not what was written")?;
        let counted = [self.chunks, self.items, self.bytes];
        let mut r = Reader::new(&trailer[1..]);
        if counted.iter().any(|n| r.u64("count") != Ok(*n)) || self.items != self.expected {
            return Err(self.damaged("its counts are not those of what is there"));
        }
        self.at = self.read;
        let mut more = [0];
        loop {
            match self.input.read(&mut more) {
                Ok(0) => break,
                Ok(_) => return Err(self.damaged("more follows its end")),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        self.is_whole = true;
        Ok(())
    }

    /// Reads the hash that follows and compares.
    fn check(&mut self, parts: &[&[u8]], what: &str) -> Result<(), ArchiveError> {
        let mut hasher = Sha256::new_with_prefix(CHUNK_DOMAIN).chain_update(self.hash);
        parts.iter().for_each(|part| hasher.update(part));
        let hash: [u8; 32] = hasher.finalize().into();
        if self.bytes(32)? != hash {
            return Err(self.damaged(what));
        }
        self.hash = hash;
        Ok(())
    }

    /// `n` bytes, which the caller has bounded. Memory is taken as they come.
    fn bytes(&mut self, n: usize) -> Result<Vec<u8>, ArchiveError> {
        let mut out = Vec::with_capacity(n.min(CHUNK_BYTES));
        let got = (&mut self.input).take(n as u64).read_to_end(&mut out).map_err(|e| self.failed(e))?;
        if got < n {
            return Err(self.damaged("it is cut short"));
        }
        self.read += n as u64;
        Ok(out)
    }

    fn damaged(&self, what: impl std::fmt::Display) -> ArchiveError {
        ArchiveError::Damaged { name: self.name.clone(), at: self.at, what: what.to_string() }
    }

    fn failed(&self, error: io::Error) -> ArchiveError {
        ArchiveError::io(self.name.as_ref(), error)
    }

    /// The stream's hash, once all of it was found to be there.
    pub fn hash(&self) -> Option<[u8; 32]> {
        self.is_whole.then_some(self.hash)
    }
}
