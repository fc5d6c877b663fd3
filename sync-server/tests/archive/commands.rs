//! The commands as an operator meets them.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::make::*;

const COMMANDS: [&str; 6] = ["backup", "restore", "verify", "compact", "export-space", "import-space"];

#[test]
fn every_command_explains_itself_with_an_example() {
    for command in COMMANDS {
        let output = run(&[command, "--help"]);
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(help.contains("Example") && help.contains(&format!("dinh-relay {command} --")), "{help}");
        assert!(help.contains("--json"), "{help}");
        assert_eq!(run(&[command]).status.code(), Some(2));
    }
}

/// The arguments of each command that needs the log for itself.
fn needs_stopped<'a>(data: &'a str, output: &'a str) -> Vec<Vec<&'a str>> {
    vec![
        vec!["verify", "--data", data],
        vec!["compact", "--data", data],
        vec![
            "export-space",
            "--data",
            data,
            "--space",
            "00112233445566778899aabbccddeeff",
            "--output",
            output,
        ],
    ]
}

#[test]
fn commands_that_need_the_log_for_themselves_say_who_has_it() {
    let data = data_with(&history(10));
    let dir = tempfile::tempdir().unwrap();
    let branch = space_text(history(1)[0].header().space);
    let file = dir.path().join("branch");
    json(&["export-space", "--data", text(data.path()), "--space", &branch, "--output", text(&file)]);
    let log = dinh_server::log::RedbLog::open(&log_path(data.path()), epoch(2)).unwrap();
    let output = dir.path().join("output");
    let import = vec!["import-space", "--data", text(data.path()), "--from", text(&file)];
    for args in needs_stopped(text(data.path()), text(&output)).into_iter().chain([import]) {
        let output = run(&args);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("stop it first (systemctl stop dinh-relay)"), "{}", stderr(&output));
    }
    // A relay without an admin listener cannot be asked for a backup.
    let told = run(&["backup", "--data", text(data.path()), "--output", text(&output)]);
    assert!(stderr(&told).contains("admin.listen"), "{}", stderr(&told));
    assert!(!output.exists());
    drop(log);
    // Where there is no log.
    let empty = tempfile::tempdir().unwrap();
    for args in needs_stopped(text(empty.path()), text(&output)) {
        let output = run(&args);
        assert!(stderr(&output).contains("there is no log in"), "{}", stderr(&output));
    }
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
}

#[test]
fn verify_tells_scripts_by_its_code_and_people_by_words() {
    let items = history(50);
    let data = data_with(&items);
    let report = json(&["verify", "--data", text(data.path())]);
    assert_eq!((&report["ok"], &report["items"]), (&true.into(), &items.len().into()));
    let file = data.path().join("backup");
    json(&["backup", "--data", text(data.path()), "--output", text(&file)]);
    let of_file = json(&["verify", "--from", text(&file)]);
    assert_eq!(of_file["content"], report["content"]);
    // Nothing is written over.
    let again = run(&["backup", "--data", text(data.path()), "--output", text(&file)]);
    assert!(stderr(&again).contains("is there already"), "{}", stderr(&again));
    let mut bytes = fs::read(log_path(data.path())).unwrap();
    let text_at = items[40].bytes();
    let at = bytes.windows(text_at.len()).rposition(|w| w == &text_at[..]).unwrap();
    bytes[at + text_at.len() - 1] ^= 4;
    fs::write(log_path(data.path()), bytes).unwrap();
    let output = run(&["verify", "--data", text(data.path())]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("item 41: no item") && told.ends_with("NOT ok\n"), "{told}");
    assert!(told.contains("file: "), "the page does not fit its checksum: {told}");
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    let output = run(&["verify", "--data", text(data.path()), "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["ok"]), (Some(1), &false.into()));
    // What is damaged is not compacted into something that looks whole.
    let output = run(&["compact", "--data", text(data.path())]);
    assert!(stderr(&output).contains("damaged"), "{}", stderr(&output));
}

#[test]
fn a_killed_backup_leaves_a_folder_that_is_whole() {
    let items = large_history(16);
    let data = data_with(&items);
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("backups");
    let segments = |folder: &Path| {
        let names =
            fs::read_dir(folder).map(|all| all.filter_map(|e| e.ok()?.file_name().into_string().ok()));
        names.map(|all| all.filter(|n| n.ends_with(".backup")).count()).unwrap_or_default()
    };
    let (mut killed, mut cut) = (0, 0);
    for i in 0..8u64 {
        let mut child = program()
            .args(["backup", "--data", text(data.path()), "--to", text(&folder)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(20 + i * 25));
        child.kill().unwrap();
        killed += u32::from(child.wait().unwrap().code().is_none());
        cut += u32::from(fs::exists(folder.join("dinh-000001.backup.part")).unwrap());
        if segments(&folder) > 0 {
            break;
        }
    }
    assert!(killed > 0, "no kill came in time");
    let report = json(&["backup", "--data", text(data.path()), "--to", text(&folder)]);
    assert!(segments(&folder) == 1 && (report["file"].is_null() || report["items"] == items.len()));
    let found = verify_from(&folder);
    assert!(found.problems.is_empty(), "{}", problems(&found));
    assert_eq!(found.counts.items, items.len() as u64);
    println!("{killed} killed, {cut} of them while a segment was half there");
}

#[test]
fn a_log_that_is_compacted_or_killed_while_it_is_holds_what_it_held() {
    let items = large_history(14);
    let data = data_with(&items);
    // Room that nothing uses any more.
    change(data.path(), "rubbish", |table| {
        for i in 0..20 {
            table.insert(i, &vec![7; 900_000][..]).unwrap();
        }
    });
    let db = redb::Database::open(log_path(data.path())).unwrap();
    let txn = db.begin_write().unwrap();
    txn.delete_table(redb::TableDefinition::<u64, &[u8]>::new("rubbish")).unwrap();
    txn.commit().unwrap();
    drop(db);
    let before = verify_data(data.path());
    assert!(before.problems.is_empty());
    for i in 0..3u64 {
        let command = ["compact", "--data", text(data.path())];
        let mut child = program().args(command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(100 + i * 60));
        child.kill().unwrap();
        child.wait().unwrap();
        let after = verify_data(data.path());
        assert_eq!((after.counts, after.problems), (before.counts.clone(), before.problems.clone()), "{i}");
    }
    json(&["compact", "--data", text(data.path())]);
    // Killed after most was done, there may be nothing left to do.
    let len = fs::metadata(log_path(data.path())).unwrap().len();
    assert!(len < 25_000_000, "{len} bytes");
    assert_eq!(verify_data(data.path()), before);
    let report = json(&["compact", "--data", text(data.path())]);
    assert!(report["after"].as_u64() <= report["before"].as_u64(), "{report}");
}

#[test]
fn a_full_disk_leaves_nothing_half() {
    let items = large_history(8);
    let data = data_with(&items);
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("backups");
    let backup = dir.path().join("backup");
    json(&["backup", "--data", text(data.path()), "--output", text(&backup)]);
    // A limit on files says the same as a full disk: 3 MB.
    let limited = |args: &str| {
        let program = env!("CARGO_BIN_EXE_dinh-relay");
        let script = format!("trap '' XFSZ; ulimit -f 6000; exec {program} {args}");
        std::process::Command::new("sh").args(["-c", &script]).output().unwrap()
    };
    let left = |folder: &Path| -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|n| n != "dinh.lock").collect()
    };
    let told = limited(&format!("backup --data {} --to {}", text(data.path()), text(&folder)));
    assert_eq!(told.status.code(), Some(1));
    assert!(stderr(&told).contains("the disk is full") && stderr(&told).contains("nothing was left behind"));
    assert_eq!(left(&folder), Vec::<String>::new());
    let target = dir.path().join("restored");
    let told = limited(&format!("restore --from {} --data {}", text(&backup), text(&target)));
    assert!(stderr(&told).contains("nothing was left behind"), "{}", stderr(&told));
    assert_eq!(left(&target), Vec::<String>::new());
}
