//! A document file of another program, taken into a document: bytes of any kind; whole files with columns replaced, behind a right
//! checksum; and files that the engine itself wrote, which must come in as its own merge would have it.
#![no_main]

use std::sync::OnceLock;

use dinh_core::document::{Document, Edit, EditError, Expand, FILE_BYTES_MAX, Value};
use dinh_core::path;
use dinh_fuzz::chunk::{self, Table};
use dinh_fuzz::{Feed, quiet, seed, within};
use libfuzzer_sys::fuzz_target;

/// What reading one file may take, bytes: unpacked columns (64 MiB), and operations and changes of bounded number.
const MEMORY_MAX: usize = 256 << 20;
const CHANGE_COLUMNS: [u64; 9] = [0x01, 0x03, 0x13, 0x23, 0x35, 0x40, 0x43, 0x56, 0x57];
const OP_COLUMNS: [u64; 16] =
    [0x01, 0x02, 0x11, 0x13, 0x15, 0x21, 0x23, 0x34, 0x42, 0x56, 0x57, 0x80, 0x81, 0x83, 0x94, 0xa5];

fn ours() -> &'static Document {
    static OURS: OnceLock<Document> = OnceLock::new();
    OURS.get_or_init(|| {
        let mut document = Document::new([1; 16]);
        edit(&mut document, |e| {
            e.put_map(&path!["m"])?;
            e.put_list(&path!["l"])?;
            e.put_text(&path!["t"])?;
            e.set_text(&path!["t"], "Đảng viên dự họp")?;
            e.mark(&path!["t"], 0..4, "bold", true, Expand::After)?;
            (0..4).try_for_each(|n| e.push(&path!["l"], n))?;
            e.put(&path!["m", "k"], "một")
        });
        document.set_actor([2; 16]);
        edit(&mut document, |e| e.put(&path!["m", "k2"], 7));
        document
    })
}

fn edit(document: &mut Document, f: impl FnOnce(&mut Edit<'_>) -> Result<(), EditError>) {
    document.edit::<(), EditError>(1_796_300_000, None, f).expect("the fixture's edits are possible");
}

/// The fixture, changed by somebody else.
fn theirs() -> &'static Vec<u8> {
    static THEIRS: OnceLock<Vec<u8>> = OnceLock::new();
    THEIRS.get_or_init(|| {
        let mut document = Document::load(&ours().save(), [200; 16]).expect("just saved");
        edit(&mut document, |e| {
            e.splice_text(&path!["t"], 2, 3, "ang")?;
            e.mark(&path!["t"], 1..6, "em", "x", Expand::None)?;
            e.delete(&path!["l", 1])?;
            e.insert(&path!["l"], 1, "chen")?;
            e.put(&path!["m", "k"], Value::Map([("in".to_owned(), Value::text("trong"))].into()))
        });
        edit(&mut document, |e| e.delete(&path!["m", "k2"]));
        document.save()
    })
}

struct File {
    actors: Vec<Vec<u8>>,
    heads: Vec<Vec<u8>>,
    changes: Table,
    ops: Table,
    tail: Vec<u8>,
}

/// Takes a saved document apart; its columns come unpacked.
fn parse(file: &[u8]) -> Option<File> {
    let mut bytes = file.get(9..)?;
    chunk::read_uleb(&mut bytes)?;
    let take = |bytes: &mut &[u8], n: usize| {
        let (taken, rest) = bytes.split_at_checked(n)?;
        *bytes = rest;
        Some(taken.to_vec())
    };
    let n = chunk::read_uleb(&mut bytes)?;
    let actors = (0..n)
        .map(|_| {
            let n = chunk::read_uleb(&mut bytes)? as usize;
            take(&mut bytes, n)
        })
        .collect::<Option<Vec<_>>>()?;
    let n = chunk::read_uleb(&mut bytes)?;
    let heads = (0..n).map(|_| take(&mut bytes, 32)).collect::<Option<Vec<_>>>()?;
    let (of_changes, of_ops) = (chunk::read_head(&mut bytes)?, chunk::read_head(&mut bytes)?);
    let mut table = |head: Vec<(u64, usize)>| -> Option<Table> {
        head.into_iter()
            .map(|(spec, n)| {
                let stored = take(&mut bytes, n)?;
                let mut plain = Vec::new();
                if spec & chunk::DEFLATED == 0 {
                    plain = stored;
                } else {
                    std::io::Read::read_to_end(
                        &mut flate2::read::DeflateDecoder::new(&stored[..]),
                        &mut plain,
                    )
                    .ok()?;
                }
                Some((spec & !chunk::DEFLATED, plain))
            })
            .collect()
    };
    let (changes, ops) = (table(of_changes)?, table(of_ops)?);
    Some(File { actors, heads, changes, ops, tail: bytes.to_vec() })
}

impl File {
    fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        chunk::uleb(self.actors.len() as u64, &mut out);
        for actor in &self.actors {
            chunk::uleb(actor.len() as u64, &mut out);
            out.extend_from_slice(actor);
        }
        chunk::uleb(self.heads.len() as u64, &mut out);
        self.heads.iter().for_each(|head| out.extend_from_slice(head));
        let changes = chunk::write_head(&self.changes, &mut out);
        let ops = chunk::write_head(&self.ops, &mut out);
        chunk::chunk(chunk::DOCUMENT, &[&out[..], &changes, &ops, &self.tail].concat())
    }
}

/// Reads a file, and returns the heads of both together if it can be taken.
fn read(file: &[u8]) -> bool {
    let before = ours().heads();
    let merged = within(MEMORY_MAX, || ours().merged_with_file(file));
    assert_eq!(ours().heads(), before, "looking changes nothing");
    let Ok(merged) = merged else { return false };
    assert!(file.len() <= FILE_BYTES_MAX);
    assert!(merged.changes > 0 || merged.patches.is_empty(), "patches of no change");
    let mut document = merged.document;
    let loaded = Document::load(&document.save(), [9; 16]).expect("what was taken can be saved and loaded");
    assert_eq!(loaded.heads(), document.heads());
    edit(&mut document, |e| e.put(&path!["after"], 1));
    true
}

/// Edits as another program makes them, and edits here at the same time.
fn together(feed: &mut Feed<'_>) {
    let mut theirs = Document::load(&ours().save(), [201; 16]).expect("just saved");
    for _ in 0..=feed.below(3) {
        script(feed, &mut theirs);
    }
    let file = theirs.save();
    if theirs.heads() != ours().heads() {
        let merged = match ours().merged_with_file(&file) {
            Ok(merged) => merged,
            // The other program may write what no app here does; it says so.
            Err(_) => return,
        };
        assert_eq!(merged.document.heads(), theirs.heads(), "nothing was changed here since");
        assert_eq!(
            merged.document.save(),
            Document::load(&file, merged.document.actor()).expect("saved").save()
        );
    }
}

fn script(feed: &mut Feed<'_>, document: &mut Document) {
    let (places, keys) = ([path!["m"], path!["m", "k"], path!["n"], path![]], ["k", "k2", "x", "é"]);
    let _ = document.edit::<(), EditError>(1_796_300_000, None, |e| {
        for _ in 0..=feed.below(6) {
            let at = feed.one_of(&places).join(*feed.one_of(&keys));
            let text = String::from_utf8_lossy(feed.bytes()).into_owned();
            // What is not possible at that place is left out.
            let _ = match feed.below(9) {
                0 => e.put(&at, Value::text(text)),
                1 => e.put(&at, text.as_str()),
                2 => e.put_map(&at),
                3 => e.delete(&at),
                4 => e.splice_text(&path!["t"], feed.below(20), feed.below(5), &text),
                5 => e.insert(&path!["l"], feed.below(6), text.as_str()),
                6 => e.delete(&path!["l", feed.below(6)]),
                7 => e.mark(
                    &path!["t"],
                    feed.below(9)..10 + feed.below(9),
                    *feed.one_of(&keys),
                    true,
                    Expand::Both,
                ),
                _ => e.put(&at, feed.number().cast_signed()),
            };
        }
        Ok(())
    });
}

fuzz_target!(init: {
    quiet();
    seed("theirs", &[&[0], &theirs()[..]].concat());
    seed("content", &[&[1], &theirs()[9..]].concat());
    assert!(read(theirs()), "the fixture comes in");
    let again = parse(theirs()).expect("a saved document").write();
    assert!(read(&again), "taken apart and put together it comes in too");
}, |data: &[u8]| {
    let mut feed = Feed(data);
    match feed.below(8) {
        0 => {
            read(feed.0);
        }
        1 => {
            read(&chunk::chunk(chunk::DOCUMENT, feed.0));
        }
        2 => together(&mut feed),
        _ => {
            let mut file = parse(theirs()).expect("a saved document");
            match feed.below(8) {
                0 => file.actors.push(feed.take(16).to_vec()),
                1 => file.heads.push(feed.take(32).to_vec()),
                2 => file.tail = feed.bytes().to_vec(),
                3 => drop(file.heads.pop()),
                _ => {}
            }
            chunk::spoil(&mut feed, &mut file.changes, &CHANGE_COLUMNS, 1 << 20);
            chunk::spoil(&mut feed, &mut file.ops, &OP_COLUMNS, 16 << 20);
            read(&file.write());
        }
    }
});
