//! Making one resolution say what another one says, without losing what hangs on its blocks.
//!
//! Blocks are known again across documents by where they came from: `of` names the block that one was copied from, in whichever
//! document that was. A block that is new in a copy gets a new key, so that two officers who copy at the same time make it
//! twice rather than hide one with what is written into it.

use std::collections::BTreeMap;

use dinh_core::document::{Edit, EditError, Path, ReadDoc, Value, View};
use dinh_core::path;

use crate::field::{Fields, Register, put_register};
use crate::me::Me;
use crate::outline::{self, BLOCKS, Block, SECTIONS};
use crate::resolution::{Assignment, Resolution};

/// Which keys the copies of blocks get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ids {
    /// The same: the document is new, nobody else can write there yet.
    Kept,
    /// New ones.
    New,
}

/// A resolution to copy, with where its parts came from.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub resolution: Resolution,
    /// By key: where sections, blocks and assignments came from.
    origins: BTreeMap<String, String>,
}

const ASSIGNMENTS: &str = "assignments";
/// Between the key of a legal basis and what makes the key of its copy its own.
const COPY_OF: char = '~';

fn origin<D: ReadDoc>(view: &View<'_, D>, map: &str, key: &str) -> String {
    let of = view.get(&path![map, key, "of"]);
    of.as_ref().and_then(Value::as_str).unwrap_or(key).to_owned()
}

/// The keys of a map's entries by where they came from.
fn by_origin(edit: &Edit<'_>, map: &str) -> BTreeMap<String, String> {
    let view = edit.view();
    view.keys(&path![map]).into_iter().map(|key| (origin(&view, map, &key), key)).collect()
}

fn put_text(edit: &mut Edit<'_>, at: &Path, register: &Register<String>) -> Result<(), EditError> {
    register.get().map_or(Ok(()), |text| put_register(edit, at, text.as_str()))
}

impl Draft {
    pub(super) fn read(fields: &Fields<'_, '_>) -> Self {
        let view = fields.view();
        let of_map = |map: &'static str| {
            view.keys(&path![map]).into_iter().map(move |key| (origin(view, map, &key), key))
        };
        let all = of_map(SECTIONS).chain(of_map(BLOCKS)).chain(of_map(ASSIGNMENTS));
        Self { resolution: Resolution::read(fields), origins: all.map(|(of, key)| (key, of)).collect() }
    }

    fn origin(&self, key: &str) -> String {
        self.origins.get(key).cloned().unwrap_or_else(|| key.to_owned())
    }

    /// The key of the copy of something, and whether it is there.
    fn target(&self, there: &BTreeMap<String, String>, key: &str, me: &mut Me, ids: Ids) -> (String, bool) {
        match there.get(&self.origin(key)) {
            Some(found) => (found.clone(), true),
            None if ids == Ids::Kept => (key.to_owned(), false),
            None => (me.new_id(), false),
        }
    }

    /// Makes the document that is edited say the same.
    pub(super) fn write(&self, edit: &mut Edit<'_>, me: &mut Me, ids: Ids) -> Result<(), EditError> {
        for (key, register) in &self.resolution.header {
            put_text(edit, &path!["header", key.as_str()], register)?;
        }
        put_text(edit, &path!["enacting_clause"], &self.resolution.enacting_clause)?;
        for (key, register) in &self.resolution.recipients {
            put_text(edit, &path!["recipients", key.as_str()], register)?;
        }
        let signature = &self.resolution.signature;
        put_text(edit, &path!["signature", "authority"], &signature.authority)?;
        put_text(edit, &path!["signature", "title"], &signature.title)?;
        if let Some(signer) = signature.signer.get() {
            put_register(edit, &path!["signature", "signer"], signer.to_string())?;
        }
        self.write_bases(edit, me, ids)?;
        self.write_outline(edit, me, ids)?;
        let there = by_origin(edit, ASSIGNMENTS);
        self.resolution.assignments.iter().try_for_each(|a| {
            let (id, is_there) = self.target(&there, &a.id, me, ids);
            self.write_assignment(edit, a, &id, is_there)
        })
    }

    fn write_bases(&self, edit: &mut Edit<'_>, me: &mut Me, ids: Ids) -> Result<(), EditError> {
        let first = |key: &str| key.split(COPY_OF).next().unwrap_or(key).to_owned();
        let keys = edit.view().keys(&path!["legal_bases"]);
        let there: BTreeMap<String, String> = keys.into_iter().map(|key| (first(&key), key)).collect();
        for (key, text) in &self.resolution.legal_bases {
            match there.get(&first(key)) {
                Some(found) => edit.set_text(&path!["legal_bases", found.as_str()], text)?,
                None => {
                    let new = match ids {
                        Ids::Kept => key.clone(),
                        Ids::New => format!("{}{COPY_OF}{}", first(key), me.new_id()),
                    };
                    edit.put(&path!["legal_bases", new], Value::text(text))?;
                }
            }
        }
        Ok(())
    }

    fn write_outline(&self, edit: &mut Edit<'_>, me: &mut Me, ids: Ids) -> Result<(), EditError> {
        let mut sections: BTreeMap<String, String> = BTreeMap::new();
        let there = by_origin(edit, SECTIONS);
        for section in &self.resolution.outline.sections {
            let (id, is_there) = self.target(&there, &section.id, me, ids);
            let at = path![SECTIONS, id.as_str()];
            if is_there {
                edit.set_text(&at.join("heading"), &section.heading)?;
                put_text(edit, &at.join("order"), &section.order)?;
            } else {
                let order = section.order.get().cloned().unwrap_or_default();
                let fields = [
                    ("heading".to_owned(), Value::text(&section.heading)),
                    ("order".to_owned(), order.into()),
                    ("of".to_owned(), self.origin(&section.id).into()),
                ];
                edit.put(&at, Value::Map(fields.into()))?;
            }
            sections.insert(section.id.clone(), id);
        }
        let mut there = by_origin(edit, BLOCKS);
        let outline = &self.resolution.outline;
        let shown = outline.sections.iter().flat_map(|s| &s.blocks).map(|block| (block, false));
        for (block, hidden) in shown.chain(outline.hidden.iter().map(|block| (block, true))) {
            let (id, is_there) = self.target(&there, &block.id, me, ids);
            there.remove(&self.origin(&block.id));
            let section = block.section.get().and_then(|s| sections.get(s)).cloned().unwrap_or_default();
            if is_there || !hidden {
                self.write_block(edit, block, &id, &section, is_there)?;
            }
            if is_there {
                put_register(edit, &path![BLOCKS, id.as_str(), "hidden"], hidden)?;
            }
        }
        // What the other one does not have at all.
        there.into_values().try_for_each(|id| outline::hide_block(edit, &id, true))
    }

    fn write_block(
        &self,
        edit: &mut Edit<'_>,
        block: &Block,
        id: &str,
        section: &str,
        is_there: bool,
    ) -> Result<(), EditError> {
        let at = path![BLOCKS, id];
        if is_there {
            edit.set_text(&at.join("text"), &block.text)?;
            put_text(edit, &at.join("order"), &block.order)?;
            return if section.is_empty() {
                Ok(())
            } else {
                put_register(edit, &at.join("section"), section)
            };
        }
        let text = |register: &Register<String>| Value::from(register.get().cloned().unwrap_or_default());
        let fields = [
            ("section".to_owned(), Value::from(section)),
            ("order".to_owned(), text(&block.order)),
            ("kind".to_owned(), text(&block.kind)),
            ("of".to_owned(), self.origin(&block.id).into()),
            ("text".to_owned(), Value::text(&block.text)),
        ];
        edit.put(&at, Value::Map(fields.into()))
    }

    fn write_assignment(
        &self,
        edit: &mut Edit<'_>,
        assignment: &Assignment,
        id: &str,
        is_there: bool,
    ) -> Result<(), EditError> {
        let owners = assignment.owners.get().cloned().unwrap_or_default();
        let owners = Value::List(owners.into_iter().map(Value::from).collect());
        let text = |register: &Register<String>| Value::from(register.get().cloned().unwrap_or_default());
        let fields = [
            ("task", text(&assignment.task)),
            ("owners", owners),
            ("quantity", text(&assignment.quantity)),
            ("due", text(&assignment.due)),
        ];
        let at = path![ASSIGNMENTS, id];
        if is_there {
            return fields.into_iter().try_for_each(|(key, value)| put_register(edit, &at.join(key), value));
        }
        let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), value));
        let of = ("of".to_owned(), self.origin(&assignment.id).into());
        edit.put(&at, Value::Map(fields.chain([of]).collect()))
    }

    /// The content of a frozen round.
    pub(super) fn frozen(&self, subject: &str, round: u32, heads: &str) -> Value {
        let list = |texts: Vec<String>| Value::List(texts.into_iter().map(Value::from).collect());
        let shown = |register: &Register<String>| register.get().cloned().unwrap_or_default();
        let of = &self.resolution;
        let header = of.header.iter().map(|(key, text)| format!("{key}: {}", shown(text)));
        let clause = of.enacting_clause.get().cloned();
        let preamble = header.chain(of.legal_bases.values().cloned()).chain(clause).collect();
        let section = |s: &outline::Section| {
            let blocks = s.blocks.iter().map(|b| list(vec![b.id.clone(), b.text.clone()])).collect();
            let fields = [
                ("heading".to_owned(), Value::from(s.heading.as_str())),
                ("blocks".to_owned(), Value::List(blocks)),
            ];
            Value::Map(fields.into())
        };
        let assignment = |a: &Assignment| {
            let owners = a.owners.get().cloned().unwrap_or_default().join(",");
            list(vec![shown(&a.task), owners, shown(&a.quantity), shown(&a.due)])
        };
        let fields = [
            ("subject".to_owned(), Value::from(subject)),
            ("number".to_owned(), Value::Uint(u64::from(round))),
            ("heads".to_owned(), list(heads.split(' ').map(str::to_owned).collect())),
            ("preamble".to_owned(), list(preamble)),
            ("sections".to_owned(), Value::List(of.outline.sections.iter().map(section).collect())),
            ("assignments".to_owned(), Value::List(of.assignments.iter().map(assignment).collect())),
        ];
        Value::Map(fields.into())
    }
}
