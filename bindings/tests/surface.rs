//! The foreign surface as apps use it, where the languages' own story does not go: what cannot be saved, locks, dropped calls.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use dinh_ffi::branch::{Writers, new_root_words};
use dinh_ffi::client::{Client, ClientOptions};
use dinh_ffi::document::DocumentEvent;
use dinh_ffi::error::DinhError;
use dinh_ffi::model::command::Command;
use dinh_ffi::model::flow::Accepted;
use dinh_ffi::model::words::Place;
use dinh_ffi::secrets::{Secrets, generate_secrets};
use dinh_ffi::status::Lifecycle;
use dinh_ffi::text::{TextField, TextNews};
use dinh_ffi::value::{Step, TextSplice, Value, Write};

const PATIENCE: Duration = Duration::from_secs(30);

async fn open(folder: &Path, secrets: &Secrets) -> Arc<Client> {
    let at = |name: &str| folder.join(name).display().to_string();
    let options = ClientOptions {
        store_path: at("store"),
        marker_path: at("marker"),
        relay: None,
        tls_roots: Vec::new(),
        verify_store: true,
        open_documents_bytes_max: 16 << 20,
    };
    Client::open(options, secrets.clone()).await.unwrap()
}

fn path(steps: &[&str]) -> Vec<Step> {
    steps.iter().map(|key| Step::Key { key: (*key).to_owned() }).collect()
}

/// A document with texts under these keys.
async fn document(client: &Client, texts: &[&str]) -> (String, String) {
    let founded = client.found_branch("11".repeat(16), "máy".to_owned(), None).await.unwrap();
    let space = client.create_space(founded.branch, None, true, false).await.unwrap();
    let doc = client.create_document(space.clone(), Writers::All).await.unwrap();
    let of = |key: &&str| Write::Put { path: path(&[key]), value: Value::Text { value: String::new() } };
    client.write(doc.clone(), texts.iter().map(of).collect(), None).await.unwrap();
    (space, doc)
}

async fn text(client: &Client, doc: &str, key: &str) -> Option<String> {
    match client.value(doc.to_owned(), path(&[key])).await.unwrap() {
        Some(Value::Text { value }) => Some(value),
        _ => None,
    }
}

async fn news(field: &TextField) -> TextNews {
    tokio::time::timeout(PATIENCE, field.next()).await.expect("in time").unwrap().expect("not over")
}

#[tokio::test]
async fn what_a_field_cannot_save_does_not_keep_the_client_from_locking() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = generate_secrets().unwrap();
    let client = open(folder.path(), &secrets).await;
    let (_, doc) = document(&client, &["gone", "stays"]).await;
    let gone = client.text_field(doc.clone(), path(&["gone"])).await.unwrap();
    let stays = client.text_field(doc.clone(), path(&["stays"])).await.unwrap();
    client.write(doc.clone(), vec![Write::Delete { path: path(&["gone"]) }], None).await.unwrap();
    gone.set("không còn chỗ".to_owned(), false).unwrap();
    stays.set("còn chỗ".to_owned(), true).unwrap();

    let told = client.clone().lock().await.unwrap_err();
    assert!(matches!(told, DinhError::NotFound { .. }), "{told:?}");
    assert_eq!(client.status().lifecycle, Lifecycle::Locked);
    assert_eq!(gone.text(), "không còn chỗ");
    client.clone().unlock(secrets).await.unwrap();
    assert_eq!(text(&client, &doc, "stays").await.as_deref(), Some("còn chỗ"));
    client.shutdown().await.unwrap_err();
}

#[tokio::test]
async fn a_field_is_told_when_what_was_typed_is_refused_and_when_it_is_not_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let client = open(folder.path(), &generate_secrets().unwrap()).await;
    let (_, doc) = document(&client, &["text", "other"]).await;
    let field = client.text_field(doc.clone(), path(&["text"])).await.unwrap();
    // More than an item holds. It is gathered first, and refused when it is committed.
    field.set("ờ".repeat(300_000), false).unwrap();
    assert!(matches!(news(&field).await, TextNews::NotSaved { .. }));
    // It keeps nobody else from writing.
    let other = Write::SetText { path: path(&["other"]), value: "được".to_owned() };
    client.write(doc.clone(), vec![other], None).await.unwrap();
    assert!(field.flush().await.is_err());
    // A new listener hears of it, too.
    field.listen();
    assert!(matches!(news(&field).await, TextNews::NotSaved { .. }));

    field.set("vừa".to_owned(), false).unwrap();
    field.flush().await.unwrap();
    assert_eq!(text(&client, &doc, "text").await.as_deref(), Some("vừa"));
    field.listen();
    assert!(tokio::time::timeout(Duration::from_millis(200), field.next()).await.is_err(), "nothing to tell");
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn two_fields_of_one_text_lose_nothing_of_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let client = open(folder.path(), &generate_secrets().unwrap()).await;
    let (_, doc) = document(&client, &["text"]).await;
    let start = Write::SetText { path: path(&["text"]), value: "giữa".to_owned() };
    client.write(doc.clone(), vec![start], None).await.unwrap();
    let first = client.text_field(doc.clone(), path(&["text"])).await.unwrap();
    let second = client.text_field(doc.clone(), path(&["text"])).await.unwrap();
    first.set("đầu giữa".to_owned(), false).unwrap();
    second.set("giữa cuối".to_owned(), false).unwrap();
    second.flush().await.unwrap();
    first.flush().await.unwrap();
    assert_eq!(text(&client, &doc, "text").await.as_deref(), Some("đầu giữa cuối"));
    assert_eq!(news(&first).await, TextNews::Others);
    first.absorb();
    assert_eq!(first.text(), "đầu giữa cuối");
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_text_in_a_list_is_not_bound() {
    let folder = tempfile::tempdir().unwrap();
    let client = open(folder.path(), &generate_secrets().unwrap()).await;
    let (_, doc) = document(&client, &[]).await;
    let list = Value::ListValue { values: vec![Value::Text { value: "một".to_owned() }] };
    client.write(doc.clone(), vec![Write::Put { path: path(&["list"]), value: list }], None).await.unwrap();
    let at = vec![Step::Key { key: "list".to_owned() }, Step::Index { index: 0 }];
    let refused = client.text_field(doc, at).await.unwrap_err();
    assert!(refused.to_string().contains("under keys"), "{refused}");
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn who_observes_hears_when_a_document_cannot_be_read_and_when_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = generate_secrets().unwrap();
    let client = open(folder.path(), &secrets).await;
    let (_, doc) = document(&client, &["text"]).await;
    let stream = client.document_stream(doc.clone()).unwrap();
    let next =
        async || tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time").unwrap().unwrap();
    assert!(matches!(next().await, DocumentEvent::Snapshot { resync: false, .. }));
    client.clone().lock().await.unwrap();
    assert!(matches!(next().await, DocumentEvent::Unavailable { .. }));
    client.clone().unlock(secrets).await.unwrap();
    assert!(matches!(next().await, DocumentEvent::Snapshot { resync: true, .. }));
    // Who begins to observe meanwhile hears the same.
    client.clone().pause().await.unwrap();
    let late = client.document_stream(doc.clone()).unwrap();
    assert!(matches!(late.next().await.unwrap(), Some(DocumentEvent::Unavailable { .. })));
    client.clone().resume().await.unwrap();
    assert!(matches!(late.next().await.unwrap(), Some(DocumentEvent::Snapshot { .. })));
    client.shutdown().await.unwrap();
    while stream.next().await.unwrap().is_some() {}
}

#[tokio::test]
async fn a_suggestion_finds_its_place_though_its_text_is_being_typed_in() {
    let folder = tempfile::tempdir().unwrap();
    let client = open(folder.path(), &generate_secrets().unwrap()).await;
    let branch = client.found_branch("11".repeat(16), "máy".to_owned(), None).await.unwrap().branch;
    client.set_up_branch(branch.clone(), "Chi bộ thôn Đình".to_owned()).await.unwrap();
    let draft = client.begin_draft(branch.clone(), "2026-12".to_owned(), HashMap::new()).await.unwrap();
    let act =
        async |doc: &str, command| client.act(doc.to_owned(), command).await.unwrap().unwrap_or_default();
    let section = Command::AddSection { heading: "Điều 1".to_owned(), place: Place::Last };
    let section = act(&draft, section).await;
    let (kind, text_of_block) = ("clause".to_owned(), "Làm đường 200 m.".to_owned());
    let block = Command::AddBlock { section, kind, text: text_of_block, speaker: None, place: Place::Last };
    let block = act(&draft, block).await;
    act(&draft, Command::Step { kind: "committee_review".to_owned(), data: HashMap::new() }).await;
    let resolution = client.open_round(branch, draft).await.unwrap().resolution;
    let proposed = "250".to_owned();
    let suggestion =
        act(&resolution, Command::Suggest { block: block.clone(), start: 10, end: 13, proposed }).await;

    let at = path(&["blocks", &block, "text"]);
    let field = client.text_field(resolution.clone(), at.clone()).await.unwrap();
    field.replace(TextSplice { index: 0, delete: 0, insert: "Thôn: ".to_owned() }, true).unwrap();
    let accepted = client.accept_suggestion(resolution.clone(), suggestion).await.unwrap();
    assert_eq!(accepted, Accepted::Done);
    let found = client.value(resolution, at).await.unwrap();
    assert_eq!(found, Some(Value::Text { value: "Thôn: Làm đường 250 m.".to_owned() }));
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn who_waits_for_a_branch_that_it_is_in_is_not_held_up_by_a_pause() {
    let folder = tempfile::tempdir().unwrap();
    let client = open(folder.path(), &generate_secrets().unwrap()).await;
    let words = new_root_words().unwrap();
    let founded = client.found_branch("11".repeat(16), "máy".to_owned(), Some(words.clone())).await.unwrap();
    assert_eq!(founded.root_words, words);
    assert!(!format!("{founded:?}").contains(&words));
    client.clone().pause().await.unwrap();
    let wait = client.clone().joining(founded.branch).unwrap();
    let joined = tokio::spawn(async move { wait.run().await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!joined.is_finished());
    client.clone().resume().await.unwrap();
    let joined = tokio::time::timeout(PATIENCE, joined).await.expect("in time").unwrap();
    assert!(joined.unwrap());
    let nowhere = client.clone().joining("22".repeat(16)).unwrap();
    let out = tokio::time::timeout(PATIENCE, nowhere.run()).await.expect("in time");
    assert!(matches!(out, Err(DinhError::NotFound { .. })), "{out:?}");
    // Heads that another device noted may be here before what they name.
    let space =
        client.create_space(client.branches().await.unwrap().remove(0).id, None, true, false).await.unwrap();
    let doc = client.create_document(space, Writers::All).await.unwrap();
    let early = client.value_at(doc, vec!["33".repeat(32)], vec![]).await;
    assert!(matches!(early, Err(DinhError::NotReady { .. })), "{early:?}");
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_listener_that_comes_while_another_was_being_told_hears_what_others_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let client = open(folder.path(), &generate_secrets().unwrap()).await;
    let (_, doc) = document(&client, &["text"]).await;
    let field = client.text_field(doc.clone(), path(&["text"])).await.unwrap();
    field.listen();
    assert!(tokio::time::timeout(Duration::from_millis(200), field.next()).await.is_err(), "nothing to tell");
    for round in 0..50 {
        let others = Write::SetText { path: path(&["text"]), value: format!("lần {round}") };
        client.write(doc.clone(), vec![others], None).await.unwrap();
        // The listener takes the event, and gives up before the field knows.
        {
            let mut next = pin!(field.next());
            let mut polls = 0;
            let _ = std::future::poll_fn(|context| {
                polls += 1;
                let polled = next.as_mut().poll(context).map(drop);
                if polls == 2 { Poll::Ready(()) } else { polled }
            })
            .await;
        }
        field.listen();
        assert_eq!(news(&field).await, TextNews::Others, "round {round}");
        field.absorb();
        assert_eq!(field.text(), format!("lần {round}"));
    }
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn protected_spaces_stay_locked_over_a_pause() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = generate_secrets().unwrap();
    let client = open(folder.path(), &secrets).await;
    let (space, doc) = document(&client, &["text"]).await;
    client.protect_space(space, true).await.unwrap();
    client.clone().lock_protected().await.unwrap();
    client.clone().pause().await.unwrap();
    client.clone().resume().await.unwrap();
    assert!(client.status().protected_locked);
    let locked = client.value(doc.clone(), path(&["text"])).await.unwrap_err();
    assert!(matches!(locked, DinhError::Locked { .. }), "{locked:?}");
    // Locked while it is paused, it opens without them.
    client.clone().unlock_protected(secrets.wrap.clone().unwrap()).await.unwrap();
    client.clone().pause().await.unwrap();
    client.clone().lock_protected().await.unwrap();
    client.clone().resume().await.unwrap();
    assert!(client.status().protected_locked);
    client.clone().unlock_protected(secrets.wrap.unwrap()).await.unwrap();
    client.clone().pause().await.unwrap();
    client.clone().resume().await.unwrap();
    assert_eq!(text(&client, &doc, "text").await.as_deref(), Some(""));
    client.shutdown().await.unwrap();
}

/// Begins a call, and drops it.
fn drop_begun(call: impl Future) {
    let polled = pin!(call).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Pending), "it takes longer than that");
}

#[tokio::test]
async fn a_call_that_was_begun_is_done_though_its_caller_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = generate_secrets().unwrap();
    let client = open(folder.path(), &secrets).await;
    let (_, doc) = document(&client, &["text"]).await;
    client.clone().lock().await.unwrap();
    drop_begun(client.clone().unlock(secrets.clone()));
    // The next step of its life comes after that one, and finds the keys.
    client.clone().pause().await.unwrap();
    client.clone().resume().await.unwrap();
    assert_eq!(text(&client, &doc, "text").await.as_deref(), Some(""));
    let new = vec![7; 32];
    drop_begun(client.clone().change_store_key(new.clone()));
    client.clone().pause().await.unwrap();
    client.clone().resume().await.unwrap();
    client.shutdown().await.unwrap();
    let client = open(folder.path(), &Secrets { store: new, ..secrets }).await;
    assert_eq!(text(&client, &doc, "text").await.as_deref(), Some(""));
    client.shutdown().await.unwrap();
}
