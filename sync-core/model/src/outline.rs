//! Sections and blocks: the prose of minutes and resolutions.
//!
//! ```text
//! sections  id → { heading, order }
//! blocks    id → { section, order, kind, text, … }
//! ```
//! Order is a fractional index in a register, because lists know no moves: a block that two people move is one block
//! in one place afterwards. A block is never deleted, only hidden: what somebody else writes into it meanwhile is not lost.

use std::collections::BTreeMap;
use std::ops::Range;

use dinh_core::document::{Edit, EditError, Path, ReadDoc, Value, View};
use dinh_core::path;
use dinh_proto::ids::MemberId;
use fractional_index::FractionalIndex;
use serde::Serialize;

use crate::check::refuse_classified;
use crate::field::{Fields, Register, put_register};
use crate::me::Me;

/// The map of sections.
pub const SECTIONS: &str = "sections";
/// The map of blocks.
pub const BLOCKS: &str = "blocks";

/// A stretch of prose with who said it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Block {
    /// Its key.
    pub id: String,
    /// What it is: `narration`, `report`, `speech`, `conclusion`, `paragraph`, `item`.
    pub kind: Register<String>,
    /// What it says.
    pub text: String,
    /// Whose words these are.
    pub speaker: Register<MemberId>,
    /// The language in which it was said, ISO 639; none if Vietnamese.
    pub language: Register<String>,
    /// Who interpreted it.
    pub interpreter: Register<MemberId>,
    /// Whether it is left out.
    pub hidden: Register<bool>,
    /// Where it stands.
    pub order: Register<String>,
    /// In which section.
    pub section: Register<String>,
}

/// A section with the blocks that are shown in it, in order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Section {
    /// Its key.
    pub id: String,
    /// Its heading.
    pub heading: String,
    /// Where it stands.
    pub order: Register<String>,
    /// What is in it.
    pub blocks: Vec<Block>,
}

/// Prose, as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Outline {
    /// In order.
    pub sections: Vec<Section>,
    /// Blocks that are left out, or whose section is gone.
    pub hidden: Vec<Block>,
}

impl Outline {
    /// Reads it.
    #[must_use]
    pub fn read(fields: &Fields<'_, '_>) -> Self {
        let mut blocks: Vec<Block> =
            fields.view().keys(&path![BLOCKS]).into_iter().map(|id| read_block(fields, id)).collect();
        blocks.sort_by(|a, b| (place(&a.order), &a.id).cmp(&(place(&b.order), &b.id)));
        let mut by_section: BTreeMap<String, Vec<Block>> = BTreeMap::new();
        let mut hidden = Vec::new();
        for block in blocks {
            match block.section.get().cloned() {
                Some(section) if block.hidden.get() != Some(&true) => {
                    by_section.entry(section).or_default().push(block)
                }
                _ => hidden.push(block),
            }
        }
        let section = |id: String| {
            let at = path![SECTIONS, id.as_str()];
            let blocks = by_section.remove(&id).unwrap_or_default();
            let (heading, order) = (fields.prose(&at.join("heading")), fields.string(&at.join("order")));
            Section { id, heading, order, blocks }
        };
        let mut sections: Vec<Section> =
            fields.view().keys(&path![SECTIONS]).into_iter().map(section).collect();
        sections.sort_by(|a, b| (place(&a.order), &a.id).cmp(&(place(&b.order), &b.id)));
        hidden.extend(by_section.into_values().flatten());
        Self { sections, hidden }
    }

    /// A block that is shown or left out.
    #[must_use]
    pub fn block(&self, id: &str) -> Option<&Block> {
        let shown = self.sections.iter().flat_map(|s| &s.blocks);
        shown.chain(&self.hidden).find(|block| block.id == id)
    }

    /// Syllables with two tone marks in what is shown, as two people make them who correct one at the same time: block and
    /// where in its text, in UTF-16 code units. Somebody has to look.
    #[must_use]
    pub fn two_tones(&self) -> Vec<(&str, Range<usize>)> {
        let shown = self.sections.iter().flat_map(|s| &s.blocks);
        let found = |block: &'_ Block| dinh_text::syllable::two_tones(&block.text).into_iter();
        shown.flat_map(|block| found(block).map(|range| (block.id.as_str(), range))).collect()
    }

    /// All that is shown, as plain text.
    #[must_use]
    pub fn plain(&self) -> String {
        let mut out = String::new();
        for section in &self.sections {
            let lines = std::iter::once(&section.heading).chain(section.blocks.iter().map(|b| &b.text));
            lines.filter(|line| !line.is_empty()).for_each(|line| {
                out.push_str(line);
                out.push('\n');
            });
        }
        out
    }
}

fn read_block(fields: &Fields<'_, '_>, id: String) -> Block {
    let at = path![BLOCKS, id.as_str()];
    Block {
        kind: fields.string(&at.join("kind")),
        text: fields.prose(&at.join("text")),
        speaker: fields.member(&at.join("speaker")),
        language: fields.string(&at.join("language")),
        interpreter: fields.member(&at.join("interpreter")),
        hidden: fields.flag(&at.join("hidden")),
        order: fields.string(&at.join("order")),
        section: fields.string(&at.join("section")),
        id,
    }
}

/// What does not read as an order (it is forged, or a newer app's) comes last.
pub(crate) fn place(order: &Register<String>) -> (bool, String) {
    let order = order.get().and_then(|text| FractionalIndex::from_string(text).ok());
    (order.is_none(), order.map(|o| o.to_string()).unwrap_or_default())
}

/// Where something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put<'a> {
    /// Before everything else.
    First,
    /// Right behind this one.
    After(&'a str),
    /// Behind everything else.
    Last,
}

/// An order for something new among those that stand in a map, of a section if one is named.
pub(crate) fn order_at<D: ReadDoc>(
    view: &View<'_, D>,
    map: &str,
    section: Option<&str>,
    put: Put<'_>,
) -> String {
    let text = |path: Path| view.get(&path).and_then(|v| v.as_str().map(str::to_owned));
    let mut standing: Vec<(FractionalIndex, String)> = view
        .keys(&path![map])
        .into_iter()
        .filter(|id| section.is_none() || text(path![map, id.as_str(), "section"]).as_deref() == section)
        .filter_map(|id| {
            let order = text(path![map, id.as_str(), "order"])?;
            Some((FractionalIndex::from_string(&order).ok()?, id))
        })
        .collect();
    standing.sort_by(|a, b| (a.0.to_string(), &a.1).cmp(&(b.0.to_string(), &b.1)));
    let at = match put {
        Put::First => 0,
        Put::Last => standing.len(),
        Put::After(other) => {
            standing.iter().position(|(_, id)| id == other).map_or(standing.len(), |at| at + 1)
        }
    };
    let before = at.checked_sub(1).map(|i| &standing[i].0);
    let after = standing.get(at).map(|(order, _)| order);
    let order = match (before, after) {
        (None, None) => FractionalIndex::default(),
        (Some(before), None) => FractionalIndex::new_after(before),
        (None, Some(after)) => FractionalIndex::new_before(after),
        // Two that were put in one place at the same time have one order: then behind both.
        (Some(before), Some(after)) => {
            FractionalIndex::new_between(before, after).unwrap_or_else(|| FractionalIndex::new_after(before))
        }
    };
    order.to_string()
}

/// Adds a section. Returns its key.
///
/// # Errors
/// If this device may not.
pub fn add_section(
    edit: &mut Edit<'_>,
    me: &mut Me,
    heading: &str,
    put: Put<'_>,
) -> Result<String, EditError> {
    refuse_classified(heading)?;
    let order = order_at(&edit.view(), SECTIONS, None, put);
    let id = me.new_id();
    let fields = [("heading".to_owned(), Value::text(heading)), ("order".to_owned(), order.into())];
    edit.put(&path![SECTIONS, id.as_str()], Value::Map(fields.into()))?;
    Ok(id)
}

/// Adds a block. Returns its key.
///
/// # Errors
/// If this device may not, or there is no such section.
pub fn add_block(
    edit: &mut Edit<'_>,
    me: &mut Me,
    section: &str,
    kind: &str,
    text: &str,
    speaker: Option<&MemberId>,
    put: Put<'_>,
) -> Result<String, EditError> {
    refuse_classified(text)?;
    edit.view().hydrate(&path![SECTIONS, section, "order"])?;
    let order = order_at(&edit.view(), BLOCKS, Some(section), put);
    let id = me.new_id();
    let mut fields = BTreeMap::from([
        ("section".to_owned(), Value::from(section)),
        ("order".to_owned(), order.into()),
        ("kind".to_owned(), kind.into()),
        ("text".to_owned(), Value::text(text)),
    ]);
    if let Some(speaker) = speaker {
        fields.insert("speaker".to_owned(), speaker.to_string().into());
    }
    edit.put(&path![BLOCKS, id.as_str()], Value::Map(fields))?;
    Ok(id)
}

/// Moves a block, to another section or place.
///
/// # Errors
/// If this device may not, or there is no such block or section.
pub fn move_block(edit: &mut Edit<'_>, id: &str, section: &str, put: Put<'_>) -> Result<(), EditError> {
    edit.view().hydrate(&path![SECTIONS, section, "order"])?;
    edit.view().hydrate(&path![BLOCKS, id, "order"])?;
    let order = order_at(&edit.view(), BLOCKS, Some(section), put);
    put_register(edit, &path![BLOCKS, id, "section"], section)?;
    put_register(edit, &path![BLOCKS, id, "order"], order)
}

/// Leaves a block out, or takes it in again.
///
/// # Errors
/// If this device may not, or there is no such block.
pub fn hide_block(edit: &mut Edit<'_>, id: &str, hidden: bool) -> Result<(), EditError> {
    edit.view().hydrate(&path![BLOCKS, id, "order"])?;
    put_register(edit, &path![BLOCKS, id, "hidden"], hidden)
}

/// Says whose words a block holds, in which language, through whom.
///
/// # Errors
/// If this device may not, or there is no such block.
pub fn set_speaker(
    edit: &mut Edit<'_>,
    id: &str,
    speaker: &MemberId,
    language: Option<&str>,
    interpreter: Option<&MemberId>,
) -> Result<(), EditError> {
    edit.view().hydrate(&path![BLOCKS, id, "order"])?;
    put_register(edit, &path![BLOCKS, id, "speaker"], speaker.to_string())?;
    if let Some(language) = language {
        put_register(edit, &path![BLOCKS, id, "language"], language)?;
    }
    if let Some(interpreter) = interpreter {
        put_register(edit, &path![BLOCKS, id, "interpreter"], interpreter.to_string())?;
    }
    Ok(())
}

/// The path of a block's text, for typing.
#[must_use]
pub fn text_of(id: &str) -> Path {
    path![BLOCKS, id, "text"]
}
