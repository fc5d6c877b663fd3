//! Rosters as spreadsheets save them.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use dinh_model::interchange::roster_csv::{BadFile, FILE_BYTES_MAX, Imported, ROWS_MAX, RowProblem, read};
use dinh_model::roster::{Person, Standing};
use dinh_proto::ids::MemberId;
use unicode_normalization::UnicodeNormalization;

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
    let nfd: String = GOOD.nfd().collect();
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

/// The file of an invented branch, as a spreadsheet saves it in Vietnam: a mark, semicolons, and much that is nobody's business here.
const FILE: &[u8] = include_bytes!("../testdata/roster.csv");

fn new(file: &str) -> Imported {
    read(file.as_bytes(), &BTreeMap::new(), ids()).unwrap()
}

#[test]
fn the_roster_of_a_branch_comes_in_without_anything_that_identifies_people_outside() {
    let found = read(FILE, &BTreeMap::new(), ids()).unwrap();
    assert_eq!((found.people.len(), &found.errors[..]), (19, &[][..]));
    assert_eq!(found.ignored, ["TT", "Ngày sinh", "Số điện thoại", "Số CCCD", "Số thẻ đảng viên", "Ghi chú"]);
    let count = |f: fn(&Person) -> bool| found.people.values().filter(|p| f(p)).count();
    assert_eq!(count(|p| p.standing.is_official()), 18);
    assert_eq!((count(|p| p.is_exempt), count(|p| p.is_away), count(|p| p.has_phone)), (2, 1, 15));
    let secretary = found.people.values().find(|p| p.post == "Bí thư").unwrap();
    assert_eq!((secretary.name.as_str(), secretary.language.as_str()), ("Hoàng Văn Thiết", "vi"));
    assert!(secretary.name.nfc().eq(secretary.name.chars()));
    let said = format!("{:?}", found.people);
    for private in ["0900", "0000", "1970", "00.0"] {
        assert!(!said.contains(private), "{private}");
    }
    // Once more, over what is known now: the same people.
    let again = read(FILE, &found.people, || panic!("nobody is new")).unwrap();
    assert_eq!(again, found);
}

#[test]
fn lines_are_those_that_a_spreadsheet_counts() {
    let rows = [
        "name,standing",
        "\"Lý Thị\nDung\",official",
        "",
        "Hà Văn Sơn,x",
        "\"Ma, \"\"Văn\"\" Đoàn\",y",
        "Vi Thị Thơm",
    ];
    for end in ["\n", "\r\n"] {
        let found = new(&(rows.join(end) + end));
        let lines: Vec<u64> = found.errors.iter().map(|e| e.line).collect();
        assert_eq!(lines, [5, 6, 7], "{end:?}: {:?}", found.errors);
        assert_eq!(found.people.values().next().unwrap().name, "Lý Thị Dung", "{end:?}");
    }
}

#[test]
fn marks_tell_people_apart_and_their_place_does_not() {
    let found = new("name\nHà Văn Sơn\nHạ Văn Sơn\nHả Vân Sơn\n");
    assert_eq!((found.people.len(), found.errors.len()), (3, 0), "{:?}", found.errors);
    let person = |name: &str| found.people.values().find(|p| p.name == name).unwrap().clone();
    let known = BTreeMap::from([
        (MemberId([1; 16]), person("Hà Văn Sơn")),
        (MemberId([2; 16]), person("Hạ Văn Sơn")),
    ]);
    let again =
        read("name\nhạ văn  sơn\nHÀ VĂN SƠN\n".as_bytes(), &known, || panic!("nobody is new")).unwrap();
    assert_eq!(again.people[&MemberId([1; 16])].name, "HÀ VĂN SƠN");
    assert_eq!(again.people[&MemberId([2; 16])].name, "hạ văn sơn");
    let one =
        BTreeMap::from([(MemberId([3; 16]), Person { name: "Hoà".to_owned(), ..person("Hà Văn Sơn") })]);
    assert!(read("name\nHòa\n".as_bytes(), &one, || panic!("nobody is new")).is_ok());
    // Two of one name: which one, only the id says.
    let two = BTreeMap::from([
        (MemberId([1; 16]), person("Hà Văn Sơn")),
        (MemberId([2; 16]), person("Hà Văn Sơn")),
    ]);
    let found = read("name,id\nHà Văn Sơn,\n".as_bytes(), &two, ids()).unwrap();
    assert_eq!((found.people.len(), &found.errors[0].what), (0, &RowProblem::Ambiguous));
    let both = format!("name,id\nHà Văn Sơn,{}\nHà Văn Sơn,{}\n", MemberId([1; 16]), MemberId([2; 16]));
    assert_eq!(read(both.as_bytes(), &two, ids()).unwrap().people.len(), 2);
    // A member took another name, and that name's member has no id in the file: neither row takes the other's place.
    let swapped = format!("name,id\nLý Thị Dung,{}\nHà Văn Sơn,\n", MemberId([1; 16]));
    let known = BTreeMap::from([(MemberId([1; 16]), person("Hà Văn Sơn"))]);
    let found = read(swapped.as_bytes(), &known, ids()).unwrap();
    assert_eq!((found.people.len(), &found.errors[0].what), (1, &RowProblem::Twice { line: 2 }));
    assert_eq!(found.people[&MemberId([1; 16])].name, "Lý Thị Dung");
}

#[test]
fn every_problem_names_its_column_and_nothing_of_its_row_is_taken() {
    let id = MemberId([7; 16]);
    let cases: [(&str, &str, RowProblem); 10] = [
        (",,,", "", RowProblem::NoName),
        ("Lý Thị Dung,nửa chừng,,", "Loại", RowProblem::Unknown("nửa chừng".to_owned())),
        ("Lý Thị Dung,,có lẽ,", "Miễn", RowProblem::Unknown("có lẽ".to_owned())),
        ("Lý Thị Dung,,,12", "Mã", RowProblem::BadId("12".to_owned())),
        ("Lý Thị Dung,,,079203001234", "Mã", RowProblem::BadId("079203001234".to_owned())),
        ("Lý Thị Dung 0912 345 678,,,", "Họ và tên", RowProblem::Sensitive),
        ("Lý Thị Dung,,", "", RowProblem::Columns { found: 3, expected: 4 }),
        ("Lý Thị Dung,,,,", "", RowProblem::Columns { found: 5, expected: 4 }),
        ("Trần Quốc Hưng,,,", "", RowProblem::SameName { line: 2 }),
        ("Lý Thị Dung,,,ID", "", RowProblem::Twice { line: 2 }),
    ];
    for (row, column, what) in cases {
        let row = row.replace("ID", &id.to_string());
        // A row that is empty is none: it has something in another column.
        let row = if what == RowProblem::NoName { ",Dự bị,,".to_owned() } else { row };
        let file = format!("Họ và tên,Loại,Miễn,Mã\nTrần Quốc Hưng,,,{id}\n{row}\nHà Văn Sơn,,,\n");
        let found = new(&file);
        let names: Vec<&str> = found.people.values().map(|p| p.name.as_str()).collect();
        assert_eq!(names.len(), 2, "{row}");
        assert!(names.contains(&"Hà Văn Sơn") && names.contains(&"Trần Quốc Hưng"), "{row}");
        assert_eq!(found.errors.len(), 1, "{row}: {:?}", found.errors);
        let error = &found.errors[0];
        assert_eq!((error.line, error.column.as_str(), &error.what), (3, column, &what), "{row}");
        println!("{error}");
    }
    let found = new("Họ và tên,Chức vụ\nLý Thị Dung,BÝ thư chi bé\nTrÇn Quèc H\u{ad}ng,\n");
    let fonts = found.errors.iter().filter(|e| matches!(e.what, RowProblem::OldFont(_))).count();
    println!("old fonts: {:?}", found.errors);
    assert!(fonts >= 1);
    // Of two columns for one thing the first counts, and the other is said to be ignored.
    let found = new("name,Họ tên,standing\nLý Thị Dung,khác,đình chỉ\n");
    assert_eq!(found.ignored, ["Họ tên"]);
    assert_eq!(found.people.values().next().unwrap().standing, Standing::Suspended);
}

#[test]
fn mutated_files_are_read_or_refused_and_people_are_whole() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    const SIGNS: &[u8] = b"\"\"\n\r,;\t \0\xff\xfe\xef\xbb\xbf";
    let (mut read_files, mut people, mut errors, mut bad) = (0, 0, 0, 0);
    for _ in 0..10_000 {
        let mut file = FILE.to_vec();
        for _ in 0..=random(6) {
            let at = random(file.len());
            match random(5) {
                0 => file[at] = random(256) as u8,
                1 => file[at] = SIGNS[random(SIGNS.len())],
                2 => drop(file.drain(at..file.len().min(at + random(40)))),
                3 => file.insert(at, SIGNS[random(SIGNS.len())]),
                _ => {
                    let part = file[at..file.len().min(at + 60)].to_vec();
                    let to = random(file.len());
                    file.splice(to..to, part);
                }
            }
            if file.is_empty() {
                file.push(b'n');
            }
        }
        match read(&file, &BTreeMap::new(), ids()) {
            Ok(found) => {
                read_files += 1;
                people += found.people.len();
                errors += found.errors.len();
                assert!(found.people.values().all(|p| !p.name.is_empty() && p.name.nfc().eq(p.name.chars())));
                assert!(found.errors.windows(2).all(|pair| pair[0].line <= pair[1].line));
            }
            Err(error) => {
                bad += 1;
                assert!(!error.to_string().is_empty());
            }
        }
    }
    println!(
        "10,000 mutated files: {read_files} read with {people} people and {errors} errors, {bad} refused"
    );
    assert!(bad > 100 && errors > 1_000);
}
