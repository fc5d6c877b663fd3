//! Blocks that two people wrote in without knowing of each other: their letters merge, but whether the sentence still says
//! something is for somebody to look at.
//!
//! Nothing of this is guessed from the text: it is in the document's history. Two changes of one block's text are an *overlap*
//! if two members made them and neither knew of the other. It is shown until somebody says that it was reread
//! ([`reread`]), knowing of both. That the block was written in once more does not settle it: who types is not
//! who rereads.

use std::collections::{BTreeMap, BTreeSet};

use dinh_core::document::{ChangeHash, ChangeInfo, Document, DocumentError, Edit, EditError, Prop, Value};
use dinh_core::path;
use dinh_proto::ids::MemberId;
use serde::Serialize;

use crate::field::Writers;
use crate::outline::BLOCKS;

/// The map of what was reread, by block: the heads that the reader had, in hex. Made with the document.
pub const REREAD: &str = "reread";

/// A block that several wrote in without knowing of each other, since it was reread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overlap {
    /// The block.
    pub block: String,
    /// Who wrote in it.
    pub members: BTreeSet<MemberId>,
}

/// Says that a block was reread as it stands at `heads`: the document's, now.
///
/// # Errors
/// If this device may not, or there is no such block.
pub fn reread(edit: &mut Edit<'_>, block: &str, heads: &[ChangeHash]) -> Result<(), EditError> {
    edit.view().hydrate(&path![BLOCKS, block, "order"])?;
    let heads = heads.iter().map(|head| Value::from(head.to_string())).collect();
    edit.put(&path![REREAD, block], Value::List(heads))
}

/// For each change, how many changes of each actor are in it and its past.
struct Clocks {
    changes: Vec<ChangeInfo>,
    actor_of: Vec<usize>,
    of: Vec<Vec<u64>>,
    /// Each actor's changes, in its order.
    chains: Vec<Vec<usize>>,
}

impl Clocks {
    fn new(document: &Document) -> Self {
        let changes = document.history();
        let names: BTreeSet<[u8; 16]> = changes.iter().map(|c| c.actor).collect();
        let number: BTreeMap<[u8; 16], usize> = names.into_iter().zip(0..).collect();
        let at: BTreeMap<ChangeHash, usize> = changes.iter().map(|c| c.hash).zip(0..).collect();
        let actor_of: Vec<usize> = changes.iter().map(|c| number[&c.actor]).collect();
        let mut of: Vec<Vec<u64>> = Vec::with_capacity(changes.len());
        let mut chains = vec![Vec::new(); number.len()];
        for (i, change) in changes.iter().enumerate() {
            let mut clock = vec![0; number.len()];
            for dep in change.deps.iter().filter_map(|dep| of.get(*at.get(dep)?)) {
                clock.iter_mut().zip(dep).for_each(|(n, other)| *n = (*n).max(*other));
            }
            clock[actor_of[i]] = change.seq;
            of.push(clock);
            chains[actor_of[i]].push(i);
        }
        Self { changes, actor_of, of, chains }
    }

    /// Whether the second change is the first or knows of it.
    fn knows(&self, first: usize, second: usize) -> bool {
        self.of[second][self.actor_of[first]] >= self.changes[first].seq
    }

    fn apart(&self, first: usize, second: usize) -> bool {
        !self.knows(first, second) && !self.knows(second, first)
    }

    /// Whether somebody else wrote anything without knowing of this change, and unknown to it.
    fn is_alone(&self, change: usize) -> bool {
        self.chains.iter().all(|chain| {
            let unknown = chain.get(chain.partition_point(|other| self.knows(*other, change)));
            unknown.is_none_or(|other| self.knows(change, *other))
        })
    }
}

/// Blocks that several members wrote in without knowing of each other and nobody reread, by key. One member's devices are one. To be asked
/// when something was merged, not at each key: it looks at what each of the changes did that are beside another one.
///
/// # Errors
/// If the document engine fails.
pub fn overlaps(document: &Document, writers: &Writers) -> Result<Vec<Overlap>, DocumentError> {
    let clocks = Clocks::new(document);
    let mut touched: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (i, change) in clocks.changes.iter().enumerate().filter(|(i, _)| !clocks.is_alone(*i)) {
        let mut blocks = BTreeSet::new();
        for patch in document.diff(&change.deps, &[change.hash])? {
            if let [Prop::Key(map), Prop::Key(block), Prop::Key(field)] = patch.path.steps()
                && map == BLOCKS
                && field == "text"
            {
                blocks.insert(block.clone());
            }
        }
        blocks.into_iter().for_each(|block| touched.entry(block).or_default().push(i));
    }
    let member = |i: usize| writers.of(&clocks.changes[i].actor).map(|writer| writer.member);
    let mut found = Vec::new();
    for (block, changes) in touched {
        let reread = rereadings(document, &clocks, &block);
        let mut members = BTreeSet::new();
        for (n, one) in changes.iter().enumerate() {
            for other in &changes[n + 1..] {
                let settled = || reread.iter().any(|r| r.knew(&clocks, *one) && r.knew(&clocks, *other));
                if let Some((a, b)) = member(*one).zip(member(*other))
                    && a != b
                    && clocks.apart(*one, *other)
                    && !settled()
                {
                    members.extend([a, b]);
                }
            }
        }
        if !members.is_empty() {
            found.push(Overlap { block, members });
        }
    }
    Ok(found)
}

/// What somebody knew who reread a block.
struct Reread(Vec<usize>);

impl Reread {
    fn knew(&self, clocks: &Clocks, change: usize) -> bool {
        self.0.iter().any(|head| clocks.knows(change, *head))
    }
}

fn rereadings(document: &Document, clocks: &Clocks, block: &str) -> Vec<Reread> {
    let at = |hex: &str| clocks.changes.iter().position(|c| c.hash.to_string() == hex);
    let standing = document.view().conflicts(&path![REREAD, block]).into_iter();
    let heads = |value: Value| match value {
        Value::List(all) => Some(Reread(all.iter().filter_map(|v| at(v.as_str()?)).collect())),
        _ => None,
    };
    standing.filter_map(|c| heads(c.value)).collect()
}
