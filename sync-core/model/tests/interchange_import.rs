//! What another program wrote into a copy of a document comes back in, and what cannot come in says why.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod village;

use dinh_core::document::{Document, Edit, EditError, Expand, FILE_BYTES_MAX, FileError, Value};
use dinh_core::path;
use dinh_core::replica::{Now, ReplicaError};
use dinh_model::interchange::export;
use dinh_model::interchange::import::{self, ImportError, Taken};
use dinh_model::minutes::{self, Kind, NewMinutes};
use dinh_model::outline::{self, Put};
use dinh_model::resolution::{self, NewAssignment};
use dinh_proto::charter::record::{Role, Writers};
use dinh_proto::ids::DocId;
use dinh_proto::time::{Timestamp, WallTime};
use sha2::{Digest, Sha256};
use village::{RECORDER, SECRETARY, Village, who};

const MEMBER: usize = 2;
const SAID: &str = "Đồng chí Hạnh đề nghị khởi công trong tháng.";

/// Minutes with one block, on three phones.
fn written() -> (Village, DocId, String) {
    let mut village = Village::new(&[Role::Member, Role::Member]);
    let doc = village.create(SECRETARY, Writers::All, &minutes::SCHEMA);
    let header = [("issuing_org", "CHI BỘ THÔN NÀ MẬN"), ("place", "Tân Khê")];
    let new = NewMinutes { meeting: "m1", period: "2026-12", kind: Kind::Regular, header: &header };
    village.act(SECRETARY, &doc, |e, _| minutes::create(e, &new));
    village.phones[SECRETARY].name_recorder(doc, who(RECORDER)).unwrap();
    village.sync();
    let section = village.act(RECORDER, &doc, |e, me| outline::add_section(e, me, "II.", Put::Last));
    let block = village
        .act(RECORDER, &doc, |e, me| outline::add_block(e, me, &section, "speech", SAID, None, Put::Last));
    village.sync();
    (village, doc, block)
}

fn file(village: &mut Village, i: usize, doc: &DocId) -> Vec<u8> {
    village.phones[i].document(doc, export::automerge_file).unwrap()
}

/// Another program: it has the whole file, and no idea of rights.
fn elsewhere(file: &[u8], actor: u8, f: impl FnOnce(&mut Edit<'_>) -> Result<(), EditError>) -> Vec<u8> {
    let mut copy = Document::load(file, [actor; 16]).unwrap();
    copy.edit::<(), EditError>(1_796_300_000, None, f).unwrap();
    copy.save()
}

fn take_in(village: &mut Village, i: usize, doc: &DocId, file: &[u8]) -> Result<Taken, ImportError> {
    let now = Now { mono: Timestamp(90_000_000_000), wall: WallTime(1_796_310_000_000) };
    import::take_in(&mut village.phones[i], now, doc, file)
}

#[test]
fn both_sides_of_a_text_stay_and_what_both_wrote_is_listed() {
    let (mut village, doc, block) = written();
    let text = outline::text_of(&block);
    let sent = file(&mut village, RECORDER, &doc);
    let back = elsewhere(&sent, 200, |e| {
        e.set_text(&text, &SAID.replace("đề nghị", "đề xuất"))?;
        e.mark(&text, 0..9, "bold", true, Expand::After)?;
        e.put(&path!["venue"], "Nhà ông Sinh")?;
        e.put(&path!["header", "symbol"], "BB/CB")?;
        e.put(&path!["header", "place"], "Lam Giang")?;
        e.put(&path!["decisions", "d1"], Value::Map([("text".to_owned(), Value::text("Khởi công."))].into()))
    });
    // Twice in the other program, one on top of the other.
    let back = elsewhere(&back, 201, |e| e.splice_text(&path!["decisions", "d1", "text"], 10, 0, " Ngay."));
    village.act(RECORDER, &doc, |e, _| e.set_text(&text, &SAID.replace("tháng", "quý I")));
    village.act(SECRETARY, &doc, |e, _| minutes::set(e, &path!["venue"], "Nhà văn hóa"));
    village.sync();
    let taken = take_in(&mut village, RECORDER, &doc, &back).unwrap();
    assert_eq!(taken.left.len(), 1, "{taken:?}");
    assert_eq!(taken.left[0].path, path!["venue"]);
    assert_eq!(taken.left[0].says, Some(Value::from("Nhà ông Sinh")));
    assert_eq!(taken.left[0].stands, Some(Value::from("Nhà văn hóa")));
    village.sync();
    for i in 0..3 {
        let found = village.minutes(i, &doc);
        let expected = SAID.replace("đề nghị", "đề xuất").replace("tháng", "quý I");
        assert_eq!(found.outline.block(&block).unwrap().text, expected, "phone {i}");
        assert_eq!(found.venue.get().map(String::as_str), Some("Nhà văn hóa"));
        assert!(!found.venue.is_contested());
        assert_eq!(found.header["place"].get().map(String::as_str), Some("Lam Giang"));
        assert_eq!(found.header["symbol"].get().map(String::as_str), Some("BB/CB"));
        assert_eq!(found.decisions["d1"].text, "Khởi công. Ngay.");
        let marks = village.phones[i].view(&doc, |v| v.marks(&text)).unwrap();
        assert_eq!((marks.len(), marks[0].start, marks[0].end), (1, 0, 9));
    }
    // Once, whoever does it; and from now on in a new export only.
    for i in [RECORDER, SECRETARY] {
        assert!(matches!(take_in(&mut village, i, &doc, &back), Err(ImportError::TakenBefore)));
        let more = elsewhere(&back, 200, |e| e.put(&path!["venue"], "khác"));
        assert!(matches!(take_in(&mut village, i, &doc, &more), Err(ImportError::TakenBefore)));
    }
    let sent = file(&mut village, SECRETARY, &doc);
    let back = elsewhere(&sent, 202, |e| e.put(&path!["venue"], "khác"));
    assert!(take_in(&mut village, SECRETARY, &doc, &back).unwrap().change.is_some());
    // What says nothing new makes no change.
    let sent = file(&mut village, SECRETARY, &doc);
    assert_eq!(take_in(&mut village, SECRETARY, &doc, &sent).unwrap(), Taken { change: None, left: vec![] });
}

#[test]
fn lists_and_deletions_come_in_unless_they_take_away_what_was_written_here() {
    let mut village = Village::new(&[Role::Member, Role::Member]);
    let doc = village.create(SECRETARY, Writers::Members, &resolution::SCHEMA);
    village.act(SECRETARY, &doc, |e, _| resolution::create(e, &resolution::SCHEMA, "2026-12", &[]));
    let new = |task| NewAssignment { task, owners: &[], quantity: "", due: "2026-12-10" };
    let first = village.act(SECRETARY, &doc, |e, me| resolution::assign(e, me, &new("một")));
    let second = village.act(SECRETARY, &doc, |e, me| resolution::assign(e, me, &new("hai")));
    let third = village.act(SECRETARY, &doc, |e, me| resolution::assign(e, me, &new("ba")));
    let owners = path!["assignments", third.as_str(), "owners"];
    village
        .act(SECRETARY, &doc, |e, _| (0..4).try_for_each(|i| e.push(&owners, who(i).to_string().as_str())));
    let sent = file(&mut village, SECRETARY, &doc);
    let back = elsewhere(&sent, 200, |e| {
        e.delete(&path!["assignments", first.as_str()])?;
        e.delete(&path!["assignments", second.as_str()])?;
        e.delete(&owners.join(1))?;
        e.put(&owners.join(0), who(9).to_string().as_str())?;
        e.insert(&owners, 1, who(8).to_string().as_str())
    });
    village.act(SECRETARY, &doc, |e, _| resolution::set_due(e, &second, "2026-12-20"));
    village.act(SECRETARY, &doc, |e, _| e.push(&owners, who(7).to_string().as_str()));
    let taken = take_in(&mut village, SECRETARY, &doc, &back).unwrap();
    assert_eq!(taken.left.len(), 1);
    assert_eq!((&taken.left[0].path, &taken.left[0].says), (&path!["assignments", second.as_str()], &None));
    let found = village.resolution(SECRETARY, &doc).assignments;
    let tasks: Vec<&str> = found.iter().map(|a| a.task.get().unwrap().as_str()).collect();
    assert_eq!(tasks, ["hai", "ba"]);
    let expected: Vec<String> = [9, 8, 2, 3, 7].into_iter().map(|i| who(i).to_string()).collect();
    assert_eq!(found[1].owners.get(), Some(&expected));
}

#[test]
fn what_cannot_come_in_says_why_and_leaves_the_document_as_it_was() {
    let (mut village, doc, block) = written();
    let sent = file(&mut village, RECORDER, &doc);
    let before = village.phones[RECORDER].document(&doc, |d| d.heads()).unwrap();
    let mut refused = 0;
    let mut refuse = |village: &mut Village, i: usize, file: &[u8], expected: fn(&ImportError) -> bool| {
        let error = take_in(village, i, &doc, file).unwrap_err();
        assert!(expected(&error), "{error:?}");
        println!("{error}");
        assert_eq!(village.phones[i].document(&doc, |d| d.heads()).unwrap(), before);
        refused += 1;
    };
    // Who may not write it here may not write it by a file: a member is no recorder, and what is set once stays.
    let back = elsewhere(&sent, 200, |e| e.set_text(&outline::text_of(&block), "khác"));
    let denied = |e: &ImportError| matches!(e, ImportError::NotWritten(ReplicaError::Denied(_)));
    refuse(&mut village, MEMBER, &back, denied);
    let back = elsewhere(&sent, 200, |e| e.put(&path!["period"], "2027-01"));
    refuse(&mut village, RECORDER, &back, denied);
    // Another document; no document; too large; cut; changed on the way.
    let mut other = Document::new([9; 16]);
    other.edit::<_, EditError>(1, None, |e| e.put(&path!["venue"], "khác")).unwrap();
    refuse(&mut village, RECORDER, &other.save(), |e| {
        matches!(e, ImportError::File(FileError::NothingInCommon))
    });
    let no_file = |e: &ImportError| matches!(e, ImportError::File(FileError::NotAutomerge(_)));
    refuse(&mut village, RECORDER, b"", no_file);
    refuse(&mut village, RECORDER, "Biên bản".as_bytes(), no_file);
    refuse(&mut village, RECORDER, &[&back[..], &back[..]].concat(), no_file);
    let raw = village.phones[RECORDER].document(&doc, |d| d.changes_raw(&[])[0].1.clone()).unwrap();
    refuse(&mut village, RECORDER, &raw, no_file);
    refuse(&mut village, RECORDER, &vec![0x85; FILE_BYTES_MAX + 1], |e| {
        matches!(e, ImportError::File(FileError::TooLarge { .. }))
    });
    let damaged = |e: &ImportError| matches!(e, ImportError::File(FileError::Damaged(_)));
    refuse(&mut village, RECORDER, &back[..back.len() - 1], damaged);
    let mut flipped = back.clone();
    flipped[60] ^= 1;
    refuse(&mut village, RECORDER, &flipped, damaged);
    // More programs than can be named.
    let many = (0..9)
        .fold(sent.clone(), |file, n| elsewhere(&file, 100 + n, |e| e.put(&path!["venue"], i64::from(n))));
    refuse(&mut village, RECORDER, &many, |e| matches!(e, ImportError::TooManyAuthors));
    // Somebody of the branch wrote on, and this phone has not heard of it.
    village.leave(RECORDER);
    village.act(SECRETARY, &doc, |e, _| minutes::set(e, &path!["venue"], "Nhà văn hóa"));
    let ahead = file(&mut village, SECRETARY, &doc);
    refuse(&mut village, RECORDER, &ahead, |e| matches!(e, ImportError::File(FileError::NotHereYet)));
    println!("{refused} files refused");
}

/// A file that says it is whole.
fn with_checksum(mut file: Vec<u8>) -> Vec<u8> {
    if let Some((head, content)) = file.split_at_mut_checked(9) {
        let sum = Sha256::new().chain_update([head[8]]).chain_update(&*content).finalize();
        head[4..8].copy_from_slice(&sum[..4]);
    }
    file
}

#[test]
fn mutated_files_are_refused_or_read_and_nothing_else() {
    let (mut village, doc, block) = written();
    let text = outline::text_of(&block);
    let sent = file(&mut village, RECORDER, &doc);
    let back = elsewhere(&sent, 200, |e| {
        e.set_text(&text, &SAID.replace("đề nghị", "đề xuất"))?;
        e.mark(&text, 0..9, "bold", true, Expand::After)?;
        e.put(&path!["started_at"], Value::Timestamp(1_796_300_000_000))?;
        e.delete(&path!["header", "place"])
    });
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    let whole = village.phones[RECORDER].document(&doc, |d| import::read(d, &back).unwrap()).unwrap();
    let (mut read, mut same, mut refused) = (0, 0, std::collections::BTreeMap::<String, u32>::new());
    village.phones[RECORDER]
        .document(&doc, |document| {
            for _ in 0..10_000 {
                let mut bytes = back.clone();
                for _ in 0..=random(3) {
                    let at = 9 + random(bytes.len() - 9);
                    match random(4) {
                        0 => bytes[at] = random(256) as u8,
                        1 => bytes[at] ^= 1 << random(8),
                        2 => drop(bytes.remove(at)),
                        _ => bytes.insert(at, random(256) as u8),
                    }
                }
                match import::read(document, &with_checksum(bytes)) {
                    Ok(found) => {
                        read += 1;
                        same += u32::from(found == whole);
                    }
                    Err(error) => {
                        let name = format!("{error:?}");
                        *refused.entry(name.chars().take(28).collect()).or_default() += 1;
                    }
                }
            }
        })
        .unwrap();
    println!("10,000 mutated files: {read} read ({same} as before), the others refused: {refused:#?}");
    // The heads bind every byte of what is taken in.
    assert_eq!(read, same);
    assert!(read < 5_000);
    assert_eq!(take_in(&mut village, RECORDER, &doc, &back).unwrap().left, []);
}
