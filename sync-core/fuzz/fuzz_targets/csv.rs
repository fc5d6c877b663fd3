//! A roster's file of any making, and files whose heading is right. What is taken is taken the same from a file that says it plainly.
#![no_main]

use std::collections::BTreeMap;

use dinh_fuzz::{Feed, seed, within};
use dinh_model::interchange::roster_csv::{FILE_BYTES_MAX, Imported, ROWS_MAX, read};
use dinh_model::roster::{Person, Standing};
use dinh_proto::ids::MemberId;
use libfuzzer_sys::fuzz_target;

/// What reading one file (4 MiB at most) may take, bytes.
const MEMORY_MAX: usize = 128 << 20;
const HEADING: &str = "id,Họ và tên,Chức vụ,Loại,Miễn,Tạm vắng,Ngôn ngữ,Dùng ứng dụng\n";

fn known() -> BTreeMap<MemberId, Person> {
    let person = |name: &str| Person {
        name: name.to_owned(),
        post: String::new(),
        standing: Standing::Official,
        is_exempt: false,
        is_away: false,
        language: String::new(),
        has_phone: false,
    };
    [(1, "Nông Văn Sinh"), (2, "Lò Thị Hạnh"), (3, "Lò Thị Hạnh")]
        .map(|(n, name)| (MemberId([n; 16]), person(name)))
        .into()
}

fn take(file: &[u8]) -> Option<Imported> {
    let mut next = 0u8;
    let mut new_id = || {
        next = next.wrapping_add(1);
        let mut id = [0xee; 16];
        id[0] = next;
        MemberId(id)
    };
    let known = known();
    let imported = within(MEMORY_MAX, || read(file, &known, &mut new_id)).ok()?;
    assert!(file.len() <= FILE_BYTES_MAX && imported.people.len() <= ROWS_MAX);
    let lines = 1 + file.iter().filter(|b| matches!(b, b'\r' | b'\n')).count() as u64;
    for error in &imported.errors {
        assert!((1..=lines).contains(&error.line), "line {} of {lines}", error.line);
        let _ = error.to_string();
    }
    for person in imported.people.values() {
        assert!(!person.name.is_empty() && !person.name.contains(['\n', '\t', '\r']));
    }
    Some(imported)
}

/// The same people in a file of commas.
fn plain(people: &BTreeMap<MemberId, Person>) -> Vec<u8> {
    let mut out = csv::Writer::from_writer(HEADING.as_bytes().to_vec());
    for (id, person) in people {
        let standing = match person.standing {
            Standing::Official => "official",
            Standing::Probationary => "du bi",
            Standing::Suspended => "suspended",
            Standing::Detained => "detained",
        };
        let flag = |is: bool| if is { "x" } else { "" };
        let id = id.to_string();
        let cells = [
            &id,
            &person.name,
            &person.post,
            standing,
            flag(person.is_exempt),
            flag(person.is_away),
            &person.language,
            flag(person.has_phone),
        ];
        out.write_record(cells).expect("a vector takes all");
    }
    out.into_inner().expect("a vector takes all")
}

fn check(file: &[u8]) {
    let Some(imported) = take(file) else { return };
    // More new people than a byte counts would share ids here.
    if imported.people.is_empty() || imported.people.len() > 200 {
        return;
    }
    let again = take(&plain(&imported.people)).expect("a plain file");
    assert_eq!(again.errors, [], "what was taken is right");
    assert_eq!(again.people, imported.people, "and stays what it is");
    // UTF-16, as spreadsheets call "Unicode text".
    let text = String::from_utf8(plain(&imported.people)).expect("written as UTF-8");
    let wide: Vec<u8> = [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    assert_eq!(take(&wide).expect("a plain file"), again);
}

fuzz_target!(init: {
    seed("plain", &[&[0], HEADING.as_bytes(), "01010101010101010101010101010101,Nông Văn Sinh,Bí thư,chính thức,,x,Tày,có\n,Lò Thị Mai,,dự bị,x,,,\n".as_bytes()].concat());
    seed("semicolons", "\0Họ tên;SĐT;Chức vụ\r\n\"Nông; Văn\";0912345678;\r\nLò Thị Hạnh;;Phó\r\n".as_bytes());
    seed("tabs", "\0name\tpost\tstanding\nA B\tsecretary\tct\n".as_bytes());
    seed("old font", "\0name\tpost\n§¶ng bé x· Hµ Néi\t\n".as_bytes());
}, |data: &[u8]| {
    let mut feed = Feed(data);
    match feed.below(8) {
        0..3 => check(feed.0),
        3 | 4 => check(&[HEADING.as_bytes(), feed.0].concat()),
        // Long cells, many columns, many rows, of a short piece.
        5 => {
            let mut file = if feed.flag() { HEADING.as_bytes().to_vec() } else { b"name".to_vec() };
            for _ in 0..4 {
                file.extend(feed.repeated(1 << 20));
                file.extend_from_slice(feed.bytes());
            }
            check(&file);
        }
        6 => {
            let text = String::from_utf8_lossy(feed.0);
            let wide = text.encode_utf16().flat_map(u16::to_be_bytes);
            check(&[0xfe, 0xff].into_iter().chain(wide).collect::<Vec<u8>>());
        }
        _ => check(&[&[0xff, 0xfe], feed.0].concat()),
    }
});
