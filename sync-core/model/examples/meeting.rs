//! The shortest meeting: a branch with its spaces, minutes with a speech, a search, what is refused, and the form that is printed.
//!
//! ```sh
//! cargo run -p dinh-model --example meeting
//! ```

use dinh_core::client::{Client, ClientConfig, ClientError, StoreKey, block_on};
use dinh_core::proto::charter::record::{JoinRequest, Role, Writers};
use dinh_core::proto::ids::{DocId, MemberId, SpaceId};
use dinh_core::proto::keys::{DeviceKey, SignKey};
use dinh_model::branch::{self, Place};
use dinh_model::client::Documents;
use dinh_model::index::Entry;
use dinh_model::interchange::form::{Form, Locale, Markup, render};
use dinh_model::minutes::{self, Kind, Minutes, NewMinutes};
use dinh_model::outline::{self, Put};

const SECRETARY: MemberId = MemberId(*b"m01             ");
const RECORDER: MemberId = MemberId(*b"m04             ");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    block_on(run())
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::temp_dir().join(format!("dinh-meeting-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    // An app keeps both secrets in the platform's keystore.
    let (key, store_key) = (DeviceKey::from_seed(&random()?), StoreKey::new(random()?));
    let (store, marker) = (directory.join("phone.dinh"), directory.join("no-backup.marker"));

    let mut config = ClientConfig::new(store, marker, key, store_key);
    config.replica.schemas = dinh_model::SCHEMAS; // who may write what in each kind of document
    let documents = Documents::new(Client::open(config).await?);
    let root = SignKey::from_seed(&random()?); // for the paper in the safe
    let branch = documents.client().found_branch(root, SECRETARY, "secretary's phone").await?;
    let set_up = documents.run(move |r, now| branch::set_up(r, now, branch, "Chi bộ thôn Nà Mận"));
    let minutes = open_minutes(&documents, set_up.await?.members).await?;

    let speech = documents.act(minutes, |edit, me| {
        let section = outline::add_section(edit, me, "II. Thảo luận", Put::Last)?;
        let text = "Đề nghị khởi công trong quý I.";
        outline::add_block(edit, me, &section, "speech", text, Some(&RECORDER), Put::Last)
    });
    speech.await?; // one change, on disk now

    // An immutable value: what people wrote without knowing of each other stands side by side, with who wrote it.
    let found = documents.read(minutes, Minutes::read).await?;
    println!("{:?}: {}", found.life.status, found.outline.plain());
    for found in documents.search("khoi cong", 10).await? {
        println!("found: {}", found.text);
    }
    // What would not count, or is not this member's to do, is refused with the reason.
    let early = documents.act(minutes, |edit, me| minutes::step(edit, me, "signed", [])).await;
    println!("refused: {}\n", early.expect_err("it is not adopted"));

    println!("{}", printed(&documents, minutes).await?);
    admit(documents.client(), branch).await?;
    documents.client().shutdown().await?;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

async fn open_minutes(documents: &Documents, members: Place) -> Result<DocId, ClientError> {
    let create = move |r: &mut _, now| {
        let entry = Entry { schema: minutes::SCHEMA.name, period: Some("2026-12"), ..Entry::default() };
        let header = [("issuing_org", "CHI BỘ THÔN NÀ MẬN"), ("type_name", "BIÊN BẢN")];
        let new = NewMinutes { meeting: "m12", period: "2026-12", kind: Kind::Regular, header: &header };
        branch::create(r, now, &members, Writers::All, &entry, |edit, _| minutes::create(edit, &new))
    };
    documents.run(create).await
}

/// As the real form is laid out; an app may pass templates of its own.
async fn printed(documents: &Documents, doc: DocId) -> Result<String, Box<dyn std::error::Error>> {
    let form = documents.read(doc, |fields| {
        let name = |member: &MemberId| {
            let name = if *member == RECORDER { "Lương Thị Mai" } else { "Hoàng Văn Thiết" };
            name.to_owned()
        };
        Form::read(fields, &Locale { name: &name, utc_offset_minutes: 420 })
    });
    Ok(render(Markup::Markdown, &form.await?)?)
}

/// Whoever is admitted gets a mailbox, whether it is used or not: so nobody sees who has something to say in confidence.
async fn admit(client: &Client, branch: SpaceId) -> Result<(), Box<dyn std::error::Error>> {
    let request = JoinRequest::new(&DeviceKey::from_seed(&random()?)); // scanned from the new phone
    client.admit_device(branch, RECORDER, Role::Member, request, "recorder's phone").await?;
    client.run(move |r, now| branch::open_mailbox(r, now, branch, RECORDER)).await?;
    Ok(())
}

fn random() -> Result<[u8; 32], getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
