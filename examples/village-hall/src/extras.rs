//! Edits beyond the fixture, drawn from the seed: comments, proposals, remarks and clauses, each with a mark of its own.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::{Map, Value, json};

use crate::action::Action;
use crate::cast::{Cast, Fixtures};
use crate::story::{resolution_block, text};

/// Threads that the whole branch reads.
const OPEN_THREADS: [&str; 3] = ["feedback-001", "feedback-002", "feedback-004"];
/// Blocks of the resolution at whose end clauses are put.
const CLAUSE_BLOCKS: [&str; 5] = ["r3b1", "r3b4", "r3b5", "r4b1", "r4b2"];

/// A seeded source of edits.
#[derive(Debug)]
pub(crate) struct Extras {
    rng: ChaCha8Rng,
    /// How many edits each phone has drawn: the number in its marks.
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

    /// An edit that this phone may make.
    pub(crate) fn draw(&mut self, cast: &Cast, fixtures: &Fixtures, phone: usize) -> Action {
        let pool = &fixtures.pool;
        match self.below(8) {
            0 if cast.readers("committee-notes").contains(&phone) => {
                let words = self.pick(&pool["comments"]);
                self.entry(cast, phone, "committee-notes", "entries", &words)
            }
            1 if cast.readers("feedback-003").contains(&phone) => {
                let words = self.pick(&pool["comments"]);
                self.entry(cast, phone, "feedback-003", "messages", &words)
            }
            0..=2 => {
                let words = self.pick(&pool["comments"]);
                let thread = OPEN_THREADS[self.index(OPEN_THREADS.len())];
                self.entry(cast, phone, thread, "messages", &words)
            }
            3 | 4 => {
                let words = self.pick(&pool["proposals"]);
                self.entry(cast, phone, "resolution", "suggestions", &words)
            }
            5 => self.remark(cast, fixtures, phone),
            _ => {
                let words = self.pick(&pool["clauses"]);
                let block = CLAUSE_BLOCKS[self.index(CLAUSE_BLOCKS.len())];
                let number = self.number(phone);
                let text =
                    format!(" [Ý kiến {}.{number}, đ/c {}: {words}]", phone + 1, cast.short_name(phone));
                Action::Insert { doc: "resolution".into(), path: resolution_block(block), text }
            }
        }
    }

    /// A member's remark on the minutes.
    pub(crate) fn remark(&mut self, cast: &Cast, fixtures: &Fixtures, phone: usize) -> Action {
        let words = self.pick(&fixtures.pool["remarks"]);
        self.entry(cast, phone, "minutes", "remarks", &words)
    }

    fn entry(&mut self, cast: &Cast, phone: usize, doc: &str, list: &str, words: &str) -> Action {
        let number = self.number(phone);
        let mut entry = Map::new();
        entry.insert("id".into(), json!(format!("p{phone}-{number}")));
        entry.insert("by".into(), json!(cast.people[phone].member));
        entry.insert("text".into(), json!(words));
        Action::Append { doc: doc.into(), list: list.parse().expect("one key"), entry }
    }

    fn number(&mut self, phone: usize) -> u32 {
        let number = self.drawn.entry(phone).or_default();
        *number += 1;
        *number
    }

    fn pick(&mut self, pool: &Value) -> String {
        let index = self.index(pool.as_array().map_or(0, Vec::len));
        text(&pool[index]).to_owned()
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }
}
