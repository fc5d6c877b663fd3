//! What a phone's library takes while it does nothing: the resident memory of a process that has a branch's year open.
//!
//! ```sh
//! cargo run --profile mobile -p dinh-ffi --example year
//! ```
//!
//! It makes the year (28 meetings with minutes, roll and votes, 16 consultations, 70 threads: about what a rural branch writes),
//! then opens it in a process of its own, as an app does.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::process::Command as Process;
use std::time::Duration;

use dinh_ffi::branch::Founded;
use dinh_ffi::client::{Client, ClientOptions};
use dinh_ffi::model::command::Command;
use dinh_ffi::model::flow::{MeetingKind, NewCount, NewMeeting, VoteTally};
use dinh_ffi::model::snapshot::SnapshotKind;
use dinh_ffi::model::words::{AttendanceMark, FeedbackKind, Place, VoteMethod, VoteThreshold};
use dinh_ffi::secrets::Secrets;
use dinh_ffi::value::{Step, Write};

type Done<T = ()> = Result<T, Box<dyn Error>>;

const MEMBERS: usize = 25;
const SENTENCE: &str =
    "Chi bộ thống nhất vận động các hộ trong thôn góp ngày công làm đường, hoàn thành trước Tết. ";

fn secrets() -> Done<Secrets> {
    use dinh_core::proto::keys::DeviceKey;
    let wrap_public = DeviceKey::from_secrets(&[1; 32], &[2; 32]).public().wrap().to_vec();
    Ok(Secrets { device: vec![1; 32], wrap: Some(vec![2; 32]), wrap_public, store: vec![3; 32] })
}

async fn open(folder: &Path) -> Done<std::sync::Arc<Client>> {
    let at = |name: &str| folder.join(name).display().to_string();
    let options = ClientOptions {
        store_path: at("year.redb"),
        marker_path: at("year.marker"),
        relay: None,
        tls_roots: Vec::new(),
        verify_store: true,
        open_documents_bytes_max: 16 << 20,
    };
    Ok(Client::open(options, secrets()?).await?)
}

/// A block that was typed with pauses: a change for each sentence.
async fn block(client: &Client, doc: &str, section: &str, sentences: usize) -> Done {
    let new = Command::AddBlock {
        section: section.to_owned(),
        kind: "speech".to_owned(),
        text: String::new(),
        speaker: None,
        place: Place::Last,
    };
    let id = client.act(doc.to_owned(), new).await?.ok_or("a block has an id")?;
    for n in 1..=sentences {
        let path = ["blocks", &id, "text"].map(|key| Step::Key { key: key.to_owned() }).to_vec();
        client.write(doc.to_owned(), vec![Write::SetText { path, value: SENTENCE.repeat(n) }], None).await?;
    }
    Ok(())
}

async fn sections(client: &Client, doc: &str, sections: usize, blocks: usize) -> Done {
    for n in 0..sections {
        let new = Command::AddSection { heading: format!("Phần {n}"), place: Place::Last };
        let section = client.act(doc.to_owned(), new).await?.ok_or("a section has an id")?;
        for _ in 0..blocks {
            block(client, doc, &section, 4).await?;
        }
    }
    Ok(())
}

async fn make(folder: &Path) -> Done {
    let client = open(folder).await?;
    let me = "00".repeat(16);
    let Founded { branch, .. } = client.found_branch(me.clone(), "máy bí thư".to_owned(), None).await?;
    let standing = client.set_up_branch(branch.clone(), "Chi bộ thôn Đình".to_owned()).await?;
    let mut csv = "id,name\n".to_owned();
    for n in 0..MEMBERS {
        csv += &format!("{n:032x},Nguyễn Văn {n}\n");
    }
    client.import_roster(standing.roster.clone(), "Đảng ủy xã".to_owned(), csv.into_bytes()).await?;

    for meeting in 0..28 {
        let period = format!("2026-{:02}", meeting % 12 + 1);
        let new = NewMeeting {
            meeting: format!("{period}/{meeting}"),
            period,
            kind: MeetingKind::Regular,
            header: HashMap::from([("type_name".to_owned(), "BIÊN BẢN".to_owned())]),
            chair: Some(me.clone()),
            recorder: Some(me.clone()),
        };
        let papers = client.begin_meeting(branch.clone(), new).await?;
        for n in 0..MEMBERS {
            let mark = Command::MarkAttendance {
                member: format!("{n:032x}"),
                mark: Some(AttendanceMark::Present),
                reason: None,
            };
            client.act(papers.attendance.clone(), mark).await?;
        }
        sections(&client, &papers.minutes, 6, 2).await?;
        let put = Command::MoveMotion {
            title: "Thông qua biên bản".to_owned(),
            threshold: VoteThreshold::MoreThanHalf,
        };
        let motion = client.act(papers.minutes.clone(), put).await?.ok_or("a motion has an id")?;
        let count = NewCount {
            motion,
            method: VoteMethod::ShowOfHands,
            threshold: VoteThreshold::MoreThanHalf,
            tally: VoteTally { yes: 25, no: 0, abstain: 0 },
            slips: None,
        };
        client.record_count(papers.minutes, standing.roster.clone(), papers.attendance, count).await?;
        println!("meeting {} of 28", meeting + 1);
    }
    for draft in 0..16 {
        let header = HashMap::from([("title".to_owned(), format!("Nghị quyết {draft}"))]);
        let doc = client.begin_draft(branch.clone(), "2026-12".to_owned(), header).await?;
        sections(&client, &doc, 4, 2).await?;
        let review = Command::Step { kind: "committee_review".to_owned(), data: HashMap::new() };
        client.act(doc.clone(), review).await?;
        client.open_round(branch.clone(), doc).await?;
    }
    for thread in 0..70 {
        let begin = Command::BeginThread {
            kind: FeedbackKind::Question,
            title: format!("Hỏi {thread}"),
            text: SENTENCE.to_owned(),
            language: "vi".to_owned(),
            subject: None,
            on_behalf_of: None,
        };
        client.act(standing.feedback.clone(), begin).await?;
    }
    client.shutdown().await?;
    Ok(())
}

/// `VmRSS` of this process, KiB.
fn resident() -> Done<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

async fn idle(folder: &Path) -> Done {
    let before = resident()?;
    let client = open(folder).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("resident: {before} KiB before, {} KiB with the year open and idle", resident()?);
    let branch = client.branches().await?.remove(0);
    let standing = client.standing(branch.id).await?.ok_or("the branch is set up")?;
    let all = client.documents(standing.members).await?;
    let minutes =
        all.into_iter().find(|d| d.schema.as_deref() == Some("dinh.minutes/1")).ok_or("there are minutes")?;
    let json = client.snapshot(minutes.id, SnapshotKind::Minutes).await?;
    println!("resident: {} KiB after minutes of {} KB were shown", resident()?, json.len() / 1_000);
    let found = client.search("hoan thanh".to_owned(), 10).await?.len();
    println!("resident: {} KiB after a search through everything ({found} hits)", resident()?);
    client.shutdown().await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done {
    let mut arguments = std::env::args_os().skip(1);
    if let (Some(what), Some(folder)) = (arguments.next(), arguments.next())
        && what == "idle"
    {
        return idle(folder.as_ref()).await;
    }
    let folder = std::env::temp_dir().join(format!("dinh-year-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let made = make(&folder).await;
    let size = std::fs::metadata(folder.join("year.redb")).map_or(0, |file| file.len());
    println!("the store: {} KB", size / 1_000);
    let status =
        made.and_then(|()| Ok(Process::new(std::env::current_exe()?).arg("idle").arg(&folder).status()?));
    std::fs::remove_dir_all(&folder)?;
    if !status?.success() {
        return Err("the process that opens the year failed".into());
    }
    Ok(())
}
