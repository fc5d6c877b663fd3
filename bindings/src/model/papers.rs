//! Documents on paper and in files: forms, Automerge files, rosters from spreadsheets.

use std::collections::{BTreeMap, HashMap};

use dinh_core::client::ClientStore;
use dinh_core::proto::ids::MemberId;
use dinh_core::replica::Replica;
use dinh_model::access::{act, read};
use dinh_model::interchange::form::{Form, Locale, Markup, render, render_from};
use dinh_model::interchange::import;
use dinh_model::interchange::{export, roster_csv};
use dinh_model::roster::{self, Roster, Source};

use crate::client::Client;
use crate::error::{DinhError, Result};
use crate::ids;
use crate::secrets;

/// How a form is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum FormMarkup {
    /// A web page.
    Html,
    /// Markdown.
    Markdown,
}

/// What a form needs besides the document.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct FormOptions {
    /// How it is written.
    pub markup: FormMarkup,
    /// What people are called, by their member ids.
    pub names: HashMap<String, String>,
    /// The clock on the wall, in minutes east of UTC: 420 in Vietnam.
    #[uniffi(default = 420)]
    pub utc_offset_minutes: i32,
    /// The organisation's own templates, by name; those that come with the library if empty.
    pub templates: HashMap<String, String>,
}

/// A row of a roster's file that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct RosterProblem {
    /// Its line in the file, from 1.
    pub line: u64,
    /// The column, by its name in the file; empty if it is the whole row.
    pub column: String,
    /// What is wrong, for people.
    pub detail: String,
}

/// What a roster's file says.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct RosterImport {
    /// How many people the file holds.
    pub people: u32,
    /// Whether they were written. Not if there are problems: who is not in the file is taken off the roster, so a mistake in one
    /// row would take its member off.
    pub is_written: bool,
    /// Which rows are wrong.
    pub problems: Vec<RosterProblem>,
    /// Columns that were not taken.
    pub ignored: Vec<String>,
}

/// What became of a file that another program wrote.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct FileImport {
    /// The change that was written; none if the file says nothing new.
    pub change: Option<String>,
    /// How many of the file's values were not taken: this device may not write them, no document holds them, or they were written
    /// here too since the file was exported.
    pub left: u32,
}

#[uniffi::export]
impl Client {
    /// A document as the form that is printed.
    pub async fn form(&self, doc: String, options: FormOptions) -> Result<String> {
        let doc = ids::doc(&doc)?;
        let names = options.names.iter().map(|(id, name)| Ok((ids::member(id)?, name.clone())));
        let names: BTreeMap<MemberId, String> = names.collect::<Result<_>>()?;
        let offset = options.utc_offset_minutes;
        let form = self.documents.read(doc, move |fields| {
            let name = |id: &MemberId| names.get(id).cloned().unwrap_or_else(|| ids::text(id));
            Form::read(fields, &Locale { name: &name, utc_offset_minutes: offset })
        });
        let (form, markup) = (
            form.await?,
            match options.markup {
                FormMarkup::Html => Markup::Html,
                FormMarkup::Markdown => Markup::Markdown,
            },
        );
        let own: Vec<(&str, &str)> =
            options.templates.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
        let rendered =
            if own.is_empty() { render(markup, &form) } else { render_from(&own, &form.kind, markup, &form) };
        rendered
            .map_err(|error| DinhError::Refused { detail: format!("the template cannot be used: {error:#}") })
    }

    /// A document as an Automerge file, with its history.
    pub async fn export_automerge(&self, doc: String) -> Result<Vec<u8>> {
        Ok(self.documents.document(ids::doc(&doc)?, export::automerge_file).await?)
    }

    /// A document's content as JSON, with nothing of its history.
    pub async fn export_json(&self, doc: String) -> Result<String> {
        let content = self.core().read(ids::doc(&doc)?, export::json).await?;
        super::snapshot::text(&content)
    }

    /// Takes in what another program made of an exported Automerge file: as one change of this device, with its rights.
    pub async fn import_automerge(&self, doc: String, file: Vec<u8>) -> Result<FileImport> {
        let doc = ids::doc(&doc)?;
        let taken =
            self.core().run(move |replica, now| Ok(import::take_in(replica, now, &doc, &file))).await??;
        let left = u32::try_from(taken.left.len()).unwrap_or(u32::MAX);
        Ok(FileImport { change: ids::change_text(taken.change), left })
    }

    /// Makes a roster what a spreadsheet saved as CSV says. `authority`: who says so. If a row is wrong, nothing is written.
    pub async fn import_roster(
        &self,
        roster: String,
        authority: String,
        file: Vec<u8>,
    ) -> Result<RosterImport> {
        let doc = ids::doc(&roster)?;
        let mut seed = secrets::draw()?;
        let new_id = move || {
            // Random, and another one each time.
            let mut id = [0; 16];
            if secrets::fill(&mut id).is_err() {
                id.copy_from_slice(&seed[..16]);
                seed.rotate_left(1);
            }
            MemberId(id)
        };
        let take = move |replica: &mut Replica<ClientStore>, now: dinh_core::replica::Now| {
            let known = read(replica, &doc, Roster::read)?.shown();
            let found = match roster_csv::read(&file, &known, new_id) {
                Ok(found) => found,
                Err(bad) => return Ok(Err(bad)),
            };
            let at = i64::try_from(now.wall.0).unwrap_or(i64::MAX);
            let source = Source { authority, at };
            let is_written = found.errors.is_empty() && !found.people.is_empty();
            if is_written {
                act(replica, now, &doc, None, |edit, _| roster::import(edit, &source, &found.people))?;
            }
            Ok(Ok((found, is_written)))
        };
        let (found, is_written) = self.core().run(take).await??;
        let problem = |error: roster_csv::RowError| RosterProblem {
            detail: error.to_string(),
            line: error.line,
            column: error.column,
        };
        Ok(RosterImport {
            people: u32::try_from(found.people.len()).unwrap_or(u32::MAX),
            is_written,
            problems: found.errors.into_iter().map(problem).collect(),
            ignored: found.ignored,
        })
    }
}
