//! A roster from a CSV file, as spreadsheets write it: commas, semicolons (Excel where the comma is the decimal sign) or tabs; UTF-8
//! with or without a mark, or UTF-16 with one ("Unicode text"). What is wrong is said row by row, and nothing is taken from a row that
//! is wrong. Columns by which people could be reached or identified are never taken.

use std::collections::BTreeMap;
use std::fmt;

use dinh_proto::ids::MemberId;
use dinh_text::fold::fold;
use dinh_text::legacy;
use dinh_text::normal::nfc;
use dinh_text::sensitive;

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
    let columns: Vec<Option<Column>> = heading.iter().map(|name| column(name)).collect();
    if !columns.contains(&Some(Column::Name)) {
        return Err(BadFile::NoNames { heading });
    }
    let mut imported = Imported {
        ignored: heading.iter().zip(&columns).filter(|(_, c)| c.is_none()).map(|(n, _)| n.clone()).collect(),
        ..Imported::default()
    };
    let by_name: BTreeMap<String, MemberId> = known.iter().map(|(id, p)| (fold(&p.name), *id)).collect();
    let (mut ids, mut names) = (BTreeMap::new(), BTreeMap::new());
    for (count, row) in rows.enumerate() {
        if count >= ROWS_MAX {
            return Err(BadFile::TooManyRows);
        }
        let row = row.map_err(malformed)?;
        let line = row.position().map_or(0, csv::Position::line);
        if row.iter().all(str::is_empty) {
            continue;
        }
        let cells = Row { line, heading: &heading, columns: &columns, row: &row };
        match cells.person() {
            Err(errors) => imported.errors.extend(errors),
            Ok((id, person)) => {
                let name = fold(&person.name);
                let problem = |column: &str, what| RowError { line, column: column.to_owned(), what };
                let first = names.get(&name).copied();
                match (id, first) {
                    (None, Some(line)) => {
                        imported.errors.push(problem("", RowProblem::SameName { line }));
                        continue;
                    }
                    (Some(id), _) if ids.contains_key(&id) => {
                        let line = ids.get(&id).copied().unwrap_or_default();
                        imported.errors.push(problem("", RowProblem::Twice { line }));
                        continue;
                    }
                    _ => {}
                }
                let id = id.or_else(|| by_name.get(&name).copied()).unwrap_or_else(&mut new_id);
                ids.insert(id, line);
                names.entry(name).or_insert(line);
                imported.people.insert(id, person);
            }
        }
    }
    Ok(imported)
}

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
        Some((&self.heading[at], nfc(self.row.get(at)?).into_owned()))
    }

    fn error(&self, column: &str, what: RowProblem) -> RowError {
        RowError { line: self.line, column: column.to_owned(), what }
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
        let mut word = |column: Column, known: &[(&str, bool)], empty: bool| match self.cell(column) {
            None => empty,
            Some((_, cell)) if cell.is_empty() => empty,
            Some((name, cell)) => {
                let folded = fold(&cell);
                known.iter().find(|(word, _)| *word == folded).map(|(_, value)| *value).unwrap_or_else(|| {
                    errors.push(self.error(name, RowProblem::Unknown(cell)));
                    empty
                })
            }
        };
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
        const OFFICIAL: [(&str, bool); 6] = [
            ("chinh thuc", true),
            ("official", true),
            ("ct", true),
            ("du bi", false),
            ("probationary", false),
            ("db", false),
        ];
        let is_official = word(Column::Standing, &OFFICIAL, true);
        let (is_exempt, is_away) = (word(Column::Exempt, &YES, false), word(Column::Away, &YES, false));
        let has_phone = word(Column::Phone, &YES, false);
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
        let standing = if is_official { Standing::Official } else { Standing::Probationary };
        Ok((id, Person { name, post, standing, is_exempt, is_away, language, has_phone }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> impl FnMut() -> MemberId {
        let mut n = 100;
        move || {
            n += 1;
            MemberId([n; 16])
        }
    }

    const GOOD: &str = "Họ và tên;Chức vụ;Loại;Miễn sinh hoạt;Số điện thoại\n\
        Hoàng Văn Thiết;Bí thư;chính thức;;0912345678\n\
        Vi Thị Thơm;;Dự bị;;\n\
        \"Bàn Văn Sinh\";;Chính thức;x;\n";

    #[test]
    fn a_spreadsheet_reads_in_every_form_that_it_is_saved_in() {
        let expected = read(GOOD.as_bytes(), &BTreeMap::new(), ids()).unwrap();
        assert_eq!((expected.people.len(), &expected.errors[..]), (3, &[][..]));
        assert_eq!(expected.ignored, ["Số điện thoại"], "never taken");
        let thom = expected.people.values().find(|p| p.name == "Vi Thị Thơm").unwrap();
        assert_eq!(thom.standing, Standing::Probationary);
        assert!(expected.people.values().any(|p| p.is_exempt && p.name == "Bàn Văn Sinh"));
        let utf16 = |be: bool| {
            let units = std::iter::once(0xfeff).chain(GOOD.encode_utf16());
            units.flat_map(|u| if be { u.to_be_bytes() } else { u.to_le_bytes() }).collect::<Vec<u8>>()
        };
        let nfd: String = {
            use unicode_normalization::UnicodeNormalization;
            GOOD.nfd().collect()
        };
        let forms = [
            [&[0xef, 0xbb, 0xbf][..], GOOD.as_bytes()].concat(),
            utf16(false),
            utf16(true),
            GOOD.replace(';', ",").into_bytes(),
            GOOD.replace(';', "\t").into_bytes(),
            GOOD.replace('\n', "\r\n").into_bytes(),
            nfd.into_bytes(),
        ];
        for (n, form) in forms.iter().enumerate() {
            assert_eq!(read(form, &BTreeMap::new(), ids()).unwrap(), expected, "form {n}");
        }
        // Who is known keeps the id, however the name is written.
        let known = BTreeMap::from([(MemberId([7; 16]), thom.clone())]);
        let again = read(GOOD.replace("Vi Thị Thơm", "VI THỊ THƠM").as_bytes(), &known, ids()).unwrap();
        assert!(again.people.contains_key(&MemberId([7; 16])));
    }

    #[test]
    fn what_is_wrong_is_said_row_by_row_and_the_others_are_taken() {
        let file = "name,standing,exempt,id\n\
            Lý Thị Dung,official,,\n\
            ,official,,\n\
            Ma Văn Đoàn,nửa chừng,,\n\
            Hà Văn Sơn,official,có lẽ,\n\
            Nông Văn Khải,official,,123\n\
            Lý Thị Dung,official,,\n\
            Trần Quốc Hưng,official,,07070707070707070707070707070707\n\
            Lục Văn Bình,official,,07070707070707070707070707070707\n\
            Đặng Hữu Toàn 0912 345 678,official,,\n\
            Vi Thị Thơm,official\n";
        let found = read(file.as_bytes(), &BTreeMap::new(), ids()).unwrap();
        let lines: Vec<u64> = found.errors.iter().map(|e| e.line).collect();
        assert_eq!(lines, [3, 4, 5, 6, 7, 9, 10, 11]);
        assert_eq!(found.people.len(), 2);
        assert!(found.errors.iter().all(|e| e.to_string().starts_with("line ")));
        assert_eq!(found.errors[4].what, RowProblem::SameName { line: 2 });
        assert_eq!(found.errors[5].what, RowProblem::Twice { line: 8 });
        assert_eq!(found.errors[6].what, RowProblem::Sensitive);
        println!("{} rows wrong in as many ways, {} taken", found.errors.len(), found.people.len());
    }

    #[test]
    fn what_is_no_roster_says_why() {
        let none = BTreeMap::new();
        assert!(matches!(read(b"a,b\n1,2\n", &none, ids()), Err(BadFile::NoNames { .. })));
        assert!(matches!(read(b"", &none, ids()), Err(BadFile::NoNames { .. })));
        assert_eq!(read(&[0xe7, 0x00, 0xff], &none, ids()), Err(BadFile::Encoding));
        assert_eq!(read(&vec![b'a'; FILE_BYTES_MAX + 1], &none, ids()), Err(BadFile::TooLong));
        let many = "name\n".to_owned() + &"Lý Thị Dung\n".repeat(ROWS_MAX + 1);
        assert_eq!(read(many.as_bytes(), &none, ids()), Err(BadFile::TooManyRows));
    }
}
