//! Documents to pack.

use automerge::marks::{ExpandMark, Mark};
use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, Author, AutoCommit, ObjId, ObjType, ROOT, ReadDoc};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

const SYLLABLES: [&str; 40] = [
    "chi",
    "bộ",
    "họp",
    "đồng",
    "chí",
    "ý",
    "kiến",
    "biểu",
    "quyết",
    "thống",
    "nhất",
    "nghị",
    "tháng",
    "nhiệm",
    "vụ",
    "đảng",
    "viên",
    "thảo",
    "luận",
    "kết",
    "thôn",
    "xã",
    "đường",
    "nước",
    "sạch",
    "của",
    "và",
    "đã",
    "được",
    "những",
    "công",
    "tác",
    "phát",
    "triển",
    "kinh",
    "tế",
    "hộ",
    "nghèo",
    "mùa",
    "gặt",
];

/// Wall time of the first commit, in seconds.
pub(super) const START: i64 = 1_760_000_000;

/// `small`, or `full` when the variable DINH_FULL is set.
#[allow(clippy::disallowed_methods, reason = "the one switch of these tests")]
pub(super) fn scaled(small: u64, full: u64) -> u64 {
    if std::env::var_os("DINH_FULL").is_some() { full } else { small }
}

pub(super) fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

pub(super) fn below(rng: &mut impl RngCore, bound: usize) -> usize {
    (rng.next_u64() % bound as u64) as usize
}

pub(super) fn syllable(rng: &mut impl RngCore) -> &'static str {
    SYLLABLES[below(rng, SYLLABLES.len())]
}

/// 16 bytes that do not compress, as real actor ids.
fn actor_id(actor: u8) -> ActorId {
    ActorId::from(&Sha256::digest([actor])[..16])
}

/// A document of the given actor with an empty text, committed.
pub(super) fn text_document(actor: u8) -> (AutoCommit, ObjId) {
    // The author first: setting one makes Automerge draw a new actor id.
    let author = Author::from(vec![7; 16]);
    let actor = actor_id(actor);
    let mut doc = AutoCommit::new().with_author(Some(author)).with_actor(actor);
    let text = doc.put_object(ROOT, "text", ObjType::Text).unwrap();
    commit(&mut doc, START, None);
    (doc, text)
}

pub(super) fn commit(doc: &mut AutoCommit, time: i64, message: Option<&str>) {
    let options = CommitOptions::default().with_time(time);
    doc.commit_with(match message {
        Some(message) => options.with_message(message),
        None => options,
    });
}

pub(super) fn raw_changes(doc: &mut AutoCommit) -> Vec<Vec<u8>> {
    doc.get_changes(&[]).iter().map(|change| change.raw_bytes().to_vec()).collect()
}

/// Minutes typed by one author, one commit for each run of `syllables` syllables.
pub(super) fn minutes(words: usize, syllables: usize) -> AutoCommit {
    let (mut doc, text) = text_document(1);
    let mut rng = rng(words as u64);
    let mut time = START;
    let mut written = 0;
    while written < words {
        let mut typed = String::new();
        for _ in 0..syllables.min(words - written) {
            typed.push_str(syllable(&mut rng));
            typed.push(' ');
            written += 1;
        }
        let end = doc.length(&text);
        // Now and then a correction somewhere in the middle.
        let at = if end > 20 && below(&mut rng, 20) == 0 { below(&mut rng, end) } else { end };
        doc.splice_text(&text, at, 0, &typed).unwrap();
        time += below(&mut rng, 8) as i64;
        commit(&mut doc, time, None);
    }
    doc
}

/// The state after every key of a Telex keyboard: `vieetj` is v, vi, vie, viê, viêt, việt.
pub(super) fn telex(words: usize) -> AutoCommit {
    let (mut doc, text) = text_document(2);
    let mut rng = rng(words as u64);
    let mut time = START;
    for _ in 0..words {
        for letter in syllable(&mut rng).chars().chain([' ']) {
            let end = doc.length(&text);
            if !letter.is_ascii() {
                doc.splice_text(&text, end, 0, "a").unwrap();
                commit(&mut doc, time, None);
                doc.splice_text(&text, end, 1, &letter.to_string()).unwrap();
            } else {
                doc.splice_text(&text, end, 0, &letter.to_string()).unwrap();
            }
            time += below(&mut rng, 2) as i64;
            commit(&mut doc, time, None);
        }
    }
    doc
}

/// One edit out of everything the document model uses, chosen by `choice`.
pub(super) fn edit(doc: &mut AutoCommit, text: &ObjId, rng: &mut impl RngCore, choice: usize) {
    let length = doc.length(text);
    match choice % 8 {
        0..=2 => doc.splice_text(text, below(rng, length + 1), 0, syllable(rng)).unwrap(),
        3 if length > 3 => doc.splice_text(text, below(rng, length - 2), 2, "").unwrap(),
        4 if length > 3 => {
            let mark = Mark::new("bold".to_owned(), true, 0, 1 + below(rng, length - 1));
            doc.mark(text, mark, ExpandMark::Both).unwrap();
        }
        5 => doc.put(ROOT, syllable(rng), rng.next_u32() as i64 - (1 << 31)).unwrap(),
        6 => {
            let list = doc.put_object(ROOT, syllable(rng), ObjType::List).unwrap();
            doc.insert(&list, 0, syllable(rng)).unwrap();
            let map = doc.insert_object(&list, 1, ObjType::Map).unwrap();
            doc.put(&map, "có", 0.5).unwrap();
        }
        _ => doc.put(ROOT, "bytes", vec![9; below(rng, 40)]).unwrap(),
    }
}

/// Several authors who edit apart and merge now and then, chosen by `choices`.
pub(super) fn session(seed: u64, authors: usize, choices: &[u8]) -> AutoCommit {
    let mut rng = rng(seed);
    let (mut first, text) = text_document(1);
    let mut docs: Vec<AutoCommit> =
        (1..authors as u8).map(|author| first.fork().with_actor(actor_id(author + 1))).collect();
    docs.insert(0, first);
    let mut time = START;
    for choice in choices {
        let author = below(&mut rng, docs.len());
        if choice % 11 == 10 {
            let mut other = docs[below(&mut rng, authors)].clone();
            docs[author].merge(&mut other).unwrap();
            continue;
        }
        for _ in 0..=choice % 3 {
            edit(&mut docs[author], &text, &mut rng, usize::from(*choice));
        }
        // Clocks are not to be trusted: sometimes they run backwards, or before 1970.
        time += below(&mut rng, 100) as i64 - 10;
        let time = if choice % 13 == 0 { -time } else { time };
        commit(&mut docs[author], time, (choice % 5 == 0).then_some("sửa biên bản"));
    }
    let mut all = docs.remove(0);
    for mut doc in docs {
        all.merge(&mut doc).unwrap();
    }
    all
}
