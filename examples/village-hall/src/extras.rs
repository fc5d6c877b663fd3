//! Acts beyond the fixture, drawn from the seed: what members say, propose and write, each with a mark of its own.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::Value;

use crate::act::{Act, Doc, New};
use crate::cast::{Cast, Fixtures};
use crate::story::text;

/// Blocks of the resolution at whose end clauses are put.
const CLAUSE_BLOCKS: [&str; 5] = ["r3b1", "r3b4", "r3b5", "r4b1", "r4b2"];
/// Phrases of the resolution that nobody replaces, to which members propose others.
const PHRASES: [(&str, &str); 4] = [
    ("r3b1", "Khuyến nông viên thôn"),
    ("r3b4", "tuyên truyền phòng cháy mùa hanh khô"),
    ("r3b5", "hoàn thành kiểm điểm"),
    ("r4b2", "Đảng viên gương mẫu thực hiện trước"),
];

/// What the script has made, that acts are about: names of the story, and ids in documents.
pub(crate) type Names = BTreeMap<String, String>;

/// A seeded source of acts.
#[derive(Debug)]
pub(crate) struct Extras {
    rng: ChaCha8Rng,
    /// How many acts each phone has drawn: the number in its marks.
    drawn: BTreeMap<usize, u32>,
}

impl Extras {
    /// A source.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), drawn: BTreeMap::new() }
    }

    /// A number below `bound`; 0 if that is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.rng.next_u64() % bound }
    }

    /// Something new at a time.
    pub(crate) fn new_thing(&mut self, at: i64) -> New {
        let mut seed = [0; 16];
        self.rng.fill_bytes(&mut seed);
        New { at, seed }
    }

    /// An act that this member's phone may do. `floor`: while the text of the resolution is open to all.
    pub(crate) fn draw(
        &mut self,
        cast: &Cast,
        fixtures: &Fixtures,
        names: &Names,
        phone: usize,
        at: i64,
        floor: bool,
    ) -> Act {
        let pool = &fixtures.pool;
        let id = |name: &str| names.get(name).cloned().unwrap_or_default();
        match self.below(if floor { 8 } else { 5 }) {
            0 if names.contains_key("secret") && cast.people[phone].is_committee() => {
                let doc = Doc::Mailbox(crate::act::Room::ToCommittee(id("asker")));
                let text = self.words(cast, phone, &pool["comments"]);
                Act::Say { new: self.new_thing(at), doc, thread: id("secret"), text }
            }
            0..=2 => {
                let thread = ["thread-1", "thread-2", "thread-4"][self.index(3)];
                let text = self.words(cast, phone, &pool["comments"]);
                Act::Say { new: self.new_thing(at), doc: Doc::Feedback, thread: id(thread), text }
            }
            3 | 4 => {
                let (block, find) = PHRASES[self.index(PHRASES.len())];
                let with = format!("{find} ({})", self.words(cast, phone, &pool["proposals"]));
                Act::Suggest { new: self.new_thing(at), block: id(block), find: find.into(), with }
            }
            _ => {
                let block = CLAUSE_BLOCKS[self.index(CLAUSE_BLOCKS.len())];
                let text = format!(" [{}]", self.words(cast, phone, &pool["clauses"]));
                Act::Clause { doc: Doc::Resolution, block: id(block), text }
            }
        }
    }

    /// What a member says of the minutes when they are read back.
    pub(crate) fn remark(
        &mut self,
        cast: &Cast,
        fixtures: &Fixtures,
        names: &Names,
        phone: usize,
        at: i64,
    ) -> Act {
        let text = self.words(cast, phone, &fixtures.pool["remarks"]);
        let thread = names.get("thread-minutes").cloned().unwrap_or_default();
        Act::Say { new: self.new_thing(at), doc: Doc::Feedback, thread, text }
    }

    /// Words that nobody else says.
    fn words(&mut self, cast: &Cast, phone: usize, pool: &Value) -> String {
        let words = text(&pool[self.index(pool.as_array().map_or(0, Vec::len))]).to_owned();
        let number = self.drawn.entry(phone).or_default();
        *number += 1;
        format!("Ý kiến {}.{number}, đ/c {}: {words}", phone + 1, cast.short_name(phone))
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }
}
