//! A roster from a CSV file, as spreadsheets write it: commas, semicolons (Excel where the comma is the decimal sign) or tabs; UTF-8
//! with or without a mark, or UTF-16 with one ("Unicode text"). What is wrong is said row by row, and nothing is taken from a row that
//! is wrong. Columns by which people could be reached or identified are never taken.

use std::collections::BTreeMap;
use std::fmt;

use dinh_proto::ids::MemberId;
use dinh_text::fold::fold;
use dinh_text::legacy;
use dinh_text::normal::{clean, nfc};
use dinh_text::sensitive;
use unicode_normalization::UnicodeNormalization;

use crate::field::member;
use crate::roster::{Person, Standing};

/// Rows in one file, at most: a branch has tens of members.
pub const ROWS_MAX: usize = 5_000;
/// Bytes of one file, at most.
pub const FILE_BYTES_MAX: usize = 4 << 20;

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// The people of the rows that are right.
    pub people: BTreeMap<MemberId, Person>,
    /// What is wrong, in the order of rows.
    pub errors: Vec<RowError>,
    /// Columns that were not taken, by their names in the file.
    pub ignored: Vec<String>,
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// Its line in the file, from 1, as a spreadsheet counts.
    pub line: u64,
    /// The column, by its name in the file; empty if it is the whole row.
    pub column: String,
    /// What.
    pub what: RowProblem,
}

/// See [`RowError`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowProblem {
    /// There is no name.
    NoName,
    /// It is none of the words that the column knows.
    Unknown(String),
    /// Neither empty nor a member's id: 32 hexadecimal digits.
    BadId(String),
    /// The same id as in another line.
    Twice {
        /// The first line with it.
        line: u64,
    },
    /// The same name as in another line, and no id that tells them apart.
    SameName {
        /// The first line with it.
        line: u64,
    },
    /// Several members have this name, and no id says which one it is.
    Ambiguous,
    /// The text is in an old font's encoding; this is what it seems to say.
    OldFont(String),
    /// A phone, identity, card or account number stands in it.
    Sensitive,
    /// The row has another number of columns than the heading.
    Columns {
        /// How many.
        found: usize,
        /// How many the heading has.
        expected: usize,
    },
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if !self.column.is_empty() {
            write!(f, ", column {:?}", self.column)?;
        }
        match &self.what {
            RowProblem::NoName => write!(f, ": there is no name"),
            RowProblem::Unknown(text) => write!(f, ": {text:?} is not a word that this column knows"),
            RowProblem::BadId(text) => {
                write!(f, ": {text:?} is not a member's id; leave it empty for a new member")
            }
            RowProblem::Twice { line } => write!(f, ": the same id as in line {line}"),
            RowProblem::SameName { line } => {
                write!(f, ": the same name as in line {line}; give both their ids to tell them apart")
            }
            RowProblem::Ambiguous => write!(f, ": several members have this name; give the id of this one"),
            RowProblem::OldFont(meant) => {
                write!(f, ": written for an old font, perhaps {meant:?}; convert the file to Unicode first")
            }
            RowProblem::Sensitive => write!(f, ": a personal number stands in it; take it out of the file"),
            RowProblem::Columns { found, expected } => {
                write!(f, ": {found} columns where the heading has {expected}")
            }
        }
    }
}

/// Why a file cannot be read at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadFile {
    /// It is longer than [`FILE_BYTES_MAX`].
    TooLong,
    /// Neither UTF-8 nor UTF-16 with a mark.
    Encoding,
    /// No heading names a column of names.
    NoNames {
        /// The heading, as it was read.
        heading: Vec<String>,
    },
    /// More rows than [`ROWS_MAX`].
    TooManyRows,
    /// A quote that does not end, or the like.
    Malformed(String),
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => {
                write!(f, "the file has more than {} MiB: a roster is not so large", FILE_BYTES_MAX >> 20)
            }
            Self::Encoding => {
                write!(
                    f,
                    "the file is neither UTF-8 nor UTF-16: in the spreadsheet, save it as \"CSV UTF-8\""
                )
            }
            Self::NoNames { heading } => write!(
                f,
                "the first line names no column \"Họ và tên\" (or \"name\"); it names {}",
                heading.join(", ")
            ),
            Self::TooManyRows => write!(f, "the file has more than {ROWS_MAX} rows"),
            Self::Malformed(why) => write!(f, "the file is no CSV: {why}"),
        }
    }
}

impl std::error::Error for BadFile {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Id,
    Name,
    Post,
    Standing,
    Exempt,
    Away,
    Language,
    Phone,
}

/// By the folded names of columns, Vietnamese and English.
const COLUMNS: [(&str, Column); 24] = [
    ("ma", Column::Id),
    ("id", Column::Id),
    ("ma dang vien", Column::Id),
    ("ho va ten", Column::Name),
    ("ho ten", Column::Name),
    ("ten", Column::Name),
    ("name", Column::Name),
    ("chuc vu", Column::Post),
    ("post", Column::Post),
    ("loai", Column::Standing),
    ("loai dang vien", Column::Standing),
    ("standing", Column::Standing),
    ("mien", Column::Exempt),
    ("mien sinh hoat", Column::Exempt),
    ("exempt", Column::Exempt),
    ("tam vang", Column::Away),
    ("chuyen tam thoi", Column::Away),
    ("away", Column::Away),
    ("ngon ngu", Column::Language),
    ("tieng", Column::Language),
    ("language", Column::Language),
    ("dung ung dung", Column::Phone),
    ("co dien thoai thong minh", Column::Phone),
    ("has phone", Column::Phone),
];

/// Reads a file. Who has an id keeps it; who has none gets the id that `known` has for that name, or a new one from `new_id`.
///
/// # Errors
/// If nothing of it can be read. What is wrong with single rows is in the result.
pub fn read(
    file: &[u8],
    known: &BTreeMap<MemberId, Person>,
    mut new_id: impl FnMut() -> MemberId,
) -> Result<Imported, BadFile> {
    let text = decode(file)?;
    let delimiter = delimiter(text.lines().next().unwrap_or_default());
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut rows = reader.records();
    let malformed = |error: csv::Error| BadFile::Malformed(error.to_string());
    let heading: Vec<String> = match rows.next() {
        Some(row) => row.map_err(malformed)?.iter().map(|cell| nfc(cell).into_owned()).collect(),
        None => Vec::new(),
    };
    let mut columns: Vec<Option<Column>> = heading.iter().map(|name| column(name)).collect();
    for at in 1..columns.len() {
        // Of two columns for one thing the first counts.
        if columns[..at].contains(&columns[at]) {
            columns[at] = None;
        }
    }
    if !columns.contains(&Some(Column::Name)) {
        return Err(BadFile::NoNames { heading });
    }
    let mut imported = Imported {
        ignored: heading.iter().zip(&columns).filter(|(_, c)| c.is_none()).map(|(n, _)| n.clone()).collect(),
        ..Imported::default()
    };
    let mut by_name: BTreeMap<String, Vec<MemberId>> = BTreeMap::new();
    for (id, person) in known {
        by_name.entry(called(&person.name)).or_default().push(*id);
    }
    let (mut ids, mut names) = (BTreeMap::new(), BTreeMap::new());
    let mut lines = Lines { text: &text, line: 1, from: 0 };
    for (count, row) in rows.enumerate() {
        if count >= ROWS_MAX {
            return Err(BadFile::TooManyRows);
        }
        let row = row.map_err(malformed)?;
        let line = lines.at(row.position().map_or(0, csv::Position::byte));
        if row.iter().all(str::is_empty) {
            continue;
        }
        let cells = Row { line, heading: &heading, columns: &columns, row: &row };
        let (id, person) = match cells.person() {
            Ok(found) => found,
            Err(errors) => {
                imported.errors.extend(errors);
                continue;
            }
        };
        let name = called(&person.name);
        let of_name = by_name.get(&name).map_or(&[][..], Vec::as_slice);
        let id = match (id, names.get(&name), of_name) {
            (Some(id), ..) => Ok(id),
            (None, Some(line), _) => Err(RowProblem::SameName { line: *line }),
            (None, None, []) => Ok(new_id()),
            (None, None, [id]) => Ok(*id),
            (None, None, _) => Err(RowProblem::Ambiguous),
        };
        // The id may be another row's, who has another name now.
        let id = id.and_then(|id| match ids.get(&id) {
            Some(line) => Err(RowProblem::Twice { line: *line }),
            None => Ok(id),
        });
        match id {
            Err(what) => imported.errors.push(cells.error("", what)),
            Ok(id) => {
                ids.insert(id, line);
                names.entry(name).or_insert(line);
                imported.people.insert(id, person);
            }
        }
    }
    Ok(imported)
}

/// Counts lines as spreadsheets do: a row's line is where its first cell begins, behind empty lines.
struct Lines<'a> {
    text: &'a str,
    line: u64,
    from: usize,
}

impl Lines<'_> {
    /// The line of the row that begins at this byte or at the first one behind that ends no line. Rows come in order.
    fn at(&mut self, byte: u64) -> u64 {
        let all = self.text.as_bytes();
        let start = usize::try_from(byte).unwrap_or(usize::MAX).min(all.len());
        let skipped = all[start..].iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let to = (start + skipped).max(self.from);
        let ends = (self.from..to).filter(|at| match all[*at] {
            b'\n' => true,
            b'\r' => all.get(at + 1) != Some(&b'\n'),
            _ => false,
        });
        self.line += ends.count() as u64;
        self.from = to;
        self.line
    }
}

/// A name as it tells people apart: without case, wherever the tone marks are put (`Hoà`, `Hòa`). `Hà` and `Hạ` are two people.
fn called(name: &str) -> String {
    let syllable = |word: &str| {
        let (tones, letters): (String, String) = word.to_lowercase().nfd().partition(|c| TONES.contains(c));
        letters + &tones
    };
    name.split_whitespace().map(syllable).collect::<Vec<_>>().join(" ")
}

/// Grave, acute, hook, tilde, dot below.
const TONES: [char; 5] = ['\u{300}', '\u{301}', '\u{309}', '\u{303}', '\u{323}'];

fn decode(file: &[u8]) -> Result<String, BadFile> {
    if file.len() > FILE_BYTES_MAX {
        return Err(BadFile::TooLong);
    }
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
        if rest.is_empty() { String::from_utf16(&units).ok() } else { None }
    };
    let text = match file {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => std::str::from_utf8(rest).ok().map(str::to_owned),
        all => std::str::from_utf8(all).ok().map(str::to_owned),
    };
    text.ok_or(BadFile::Encoding)
}

/// Which of the signs between columns the heading has most of.
fn delimiter(heading: &str) -> u8 {
    let count = |sign: u8| heading.bytes().filter(|b| *b == sign).count();
    [b',', b';', b'\t'].into_iter().rev().max_by_key(|sign| count(*sign)).unwrap_or(b',')
}

fn column(name: &str) -> Option<Column> {
    let name = fold(name);
    COLUMNS.iter().find(|(known, _)| *known == name.trim()).map(|(_, column)| *column)
}

struct Row<'a> {
    line: u64,
    heading: &'a [String],
    columns: &'a [Option<Column>],
    row: &'a csv::StringRecord,
}

impl Row<'_> {
    fn cell(&self, column: Column) -> Option<(&str, String)> {
        let at = self.columns.iter().position(|c| *c == Some(column))?;
        let words = clean(self.row.get(at)?);
        Some((&self.heading[at], words.split_whitespace().collect::<Vec<_>>().join(" ")))
    }

    fn error(&self, column: &str, what: RowProblem) -> RowError {
        RowError { line: self.line, column: column.to_owned(), what }
    }

    /// One of the words that a column knows.
    fn word<T: Copy>(&self, column: Column, known: &[(&str, T)], empty: T, errors: &mut Vec<RowError>) -> T {
        let Some((name, cell)) = self.cell(column).filter(|(_, cell)| !cell.is_empty()) else { return empty };
        let folded = fold(&cell);
        let found = known.iter().find(|(word, _)| *word == folded);
        if found.is_none() {
            errors.push(self.error(name, RowProblem::Unknown(cell)));
        }
        found.map_or(empty, |(_, value)| *value)
    }

    fn person(&self) -> Result<(Option<MemberId>, Person), Vec<RowError>> {
        let mut errors = Vec::new();
        if self.row.len() != self.heading.len() {
            let (found, expected) = (self.row.len(), self.heading.len());
            return Err(vec![self.error("", RowProblem::Columns { found, expected })]);
        }
        let text = |column: Column, errors: &mut Vec<RowError>| {
            let Some((name, cell)) = self.cell(column) else { return String::new() };
            if let Some(old) = legacy::detect(&cell) {
                errors.push(self.error(name, RowProblem::OldFont(legacy::convert(&cell, old))));
            } else if !sensitive::find(&cell).is_empty() {
                errors.push(self.error(name, RowProblem::Sensitive));
            }
            cell
        };
        let name = text(Column::Name, &mut errors);
        let post = text(Column::Post, &mut errors);
        let language = text(Column::Language, &mut errors);
        if name.is_empty() {
            errors.push(self.error("", RowProblem::NoName));
        }
        const YES: [(&str, bool); 10] = [
            ("x", true),
            ("co", true),
            ("yes", true),
            ("1", true),
            ("true", true),
            ("khong", false),
            ("no", false),
            ("0", false),
            ("false", false),
            ("-", false),
        ];
        const STANDINGS: [(&str, Standing); 10] = [
            ("chinh thuc", Standing::Official),
            ("official", Standing::Official),
            ("ct", Standing::Official),
            ("du bi", Standing::Probationary),
            ("probationary", Standing::Probationary),
            ("db", Standing::Probationary),
            ("dinh chi", Standing::Suspended),
            ("suspended", Standing::Suspended),
            ("tam giam", Standing::Detained),
            ("detained", Standing::Detained),
        ];
        let standing = self.word(Column::Standing, &STANDINGS, Standing::Official, &mut errors);
        let is_exempt = self.word(Column::Exempt, &YES, false, &mut errors);
        let is_away = self.word(Column::Away, &YES, false, &mut errors);
        let has_phone = self.word(Column::Phone, &YES, false, &mut errors);
        let id = match self.cell(Column::Id) {
            Some((name, cell)) if !cell.is_empty() => {
                let id = member(&cell.to_lowercase());
                if id.is_none() {
                    errors.push(self.error(name, RowProblem::BadId(cell)));
                }
                id
            }
            _ => None,
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok((id, Person { name, post, standing, is_exempt, is_away, language, has_phone }))
    }
}
