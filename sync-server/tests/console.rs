//! What the operator of a relay sees: the console's pages, the same as JSON, metrics, health and log, of real relays with real devices.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "tests measure time")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dinh_core::client::{Client, ClientConfig, RelayUrl, StoreKey};
use dinh_core::document::Value;
use dinh_core::path;
use dinh_proto::charter::record::{Audience, Role, Writers};
use dinh_proto::ids::{DocId, MemberId, SpaceId};
use dinh_proto::keys::{DeviceKey, SignKey};
use dinh_server::{AdminConfig, Running, Server, ServerConfig};
use serde_json::Value as Json;

const PATIENCE: Duration = Duration::from_secs(30);
/// In every text that devices write, and in every name.
const CANARY: &str = "CANARY7391";

/// Status, head and body of an answer.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    /// The value of a header.
    fn header(&self, name: &str) -> Option<&str> {
        let line = self
            .head
            .lines()
            .find(|line| line.split_once(':').is_some_and(|(given, _)| given.eq_ignore_ascii_case(name)))?;
        line.split_once(':').map(|(_, value)| value.trim())
    }

    fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

/// One request; `headers` end with line breaks.
fn ask(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let host = if headers.to_ascii_lowercase().contains("host:") {
        String::new()
    } else {
        format!("Host: {address}\r\n")
    };
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    // Answers of unknown length come in pieces.
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        joined(body)
    } else {
        body.to_owned()
    };
    Answer { status, head: head.to_owned(), body }
}

fn joined(mut pieces: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = pieces.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        out += &rest[..size];
        pieces = rest[size..].trim_start_matches("\r\n");
    }
    out
}

/// A relay in this process with an operator's listener.
struct Relay {
    running: Running,
    address: SocketAddr,
    token: String,
    data: tempfile::TempDir,
}

impl Relay {
    async fn start(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut config = ServerConfig::new(data.path(), "127.0.0.1:0".parse().unwrap());
        let mut admin = AdminConfig::new("127.0.0.1:0".parse().unwrap());
        admin.configuration = "answer = \"<b>42</b>\"".to_owned();
        admin.sample_every = Duration::from_millis(50);
        config.admin = Some(admin);
        change(&mut config);
        let running = Server::start(config).await.unwrap();
        let address = running.admin_addr().unwrap();
        let access: Json =
            serde_json::from_slice(&std::fs::read(data.path().join("admin.json")).unwrap()).unwrap();
        let token = access["token"].as_str().unwrap().to_owned();
        Self { running, address, token, data }
    }

    fn url(&self) -> RelayUrl {
        RelayUrl::parse(&self.running.address()).unwrap()
    }

    /// With the token.
    fn get(&self, path: &str) -> Answer {
        ask(self.address, "GET", path, &format!("Authorization: Bearer {}\r\n", self.token), "")
    }

    /// Signs in at the form: the cookie, and the token of the forms.
    fn sign_in(&self) -> (String, String) {
        let answer = post(self.address, "/login", "", &format!("token={}", self.token));
        assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
        let set = answer.header("set-cookie").unwrap();
        assert!(
            set.contains("HttpOnly") && set.contains("SameSite=Strict") && set.contains("Path=/"),
            "{set}"
        );
        let cookie = format!("Cookie: {}\r\n", set.split(';').next().unwrap());
        let page = ask(self.address, "GET", "/", &cookie, "");
        let (_, rest) =
            page.body.split_once("name=\"form_token\" value=\"").expect("a signed-in page has a form");
        (cookie, rest.split('"').next().unwrap().to_owned())
    }
}

fn post(address: SocketAddr, path: &str, headers: &str, body: &str) -> Answer {
    let headers = format!("Content-Type: application/x-www-form-urlencoded\r\n{headers}");
    ask(address, "POST", path, &headers, body)
}

async fn phone(directory: &Path, n: u8, relay: RelayUrl) -> Client {
    let file = |end: &str| directory.join(format!("{n}.{end}"));
    let config = ClientConfig::new(
        file("redb"),
        file("marker"),
        DeviceKey::from_seed(&[n; 32]),
        StoreKey::new([n; 32]),
    );
    Client::open(ClientConfig { relay: Some(relay), ..config }).await.unwrap()
}

fn device(n: u8) -> String {
    DeviceKey::from_seed(&[n; 32]).public().id().to_string()
}

/// Founds a branch on the first phone, lets the others in, and has something written.
async fn found(phones: &[&Client]) -> (SpaceId, SpaceId, DocId) {
    let first = phones[0];
    let branch = first.found_branch(SignKey::from_seed(&[99; 32]), MemberId([0; 16]), CANARY).await.unwrap();
    for (n, phone) in phones.iter().enumerate().skip(1) {
        let member = MemberId([u8::try_from(n).unwrap(); 16]);
        first.admit_device(branch, member, Role::Member, phone.join_request(), CANARY).await.unwrap();
    }
    let space = first.create_space(branch, Audience::Everyone).await.unwrap();
    let doc = first.create_document(space, Writers::All).await.unwrap();
    first.edit(doc, None, |e| e.put(&path!["text"], Value::text(CANARY))).await.unwrap();
    let invitation = first.invitation(branch).await.unwrap();
    for phone in &phones[1..] {
        phone.join(invitation.clone()).await.unwrap();
    }
    for phone in phones {
        synced(phone).await;
    }
    (branch, space, doc)
}

async fn synced(phone: &Client) {
    let mut status = phone.status();
    let waited = tokio::time::timeout(PATIENCE, status.wait_for(|s| s.is_synced())).await;
    assert!(waited.is_ok(), "{:?}", phone.status().borrow());
}

/// Writes on the first phone until the second has read it.
async fn write_and_read(one: &Client, other: &Client, doc: DocId, text: &'static str) {
    one.edit(doc, None, move |e| e.put(&path!["said"], Value::text(text))).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let read = other.read(doc, |v| v.get(&path!["said"])).await;
        if read.is_ok_and(|value| format!("{value:?}").contains(text)) {
            return;
        }
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether an attribute such as `onclick` is in it.
fn handles_events(page: &str) -> bool {
    page.split(" on")
        .skip(1)
        .any(|rest| rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).starts_with('='))
}

/// The value of one line of a page for Prometheus.
fn metric(page: &str, line: &str) -> f64 {
    let found = page.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("{line} is not in {page}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_anything_without_the_token() {
    let relay = Relay::start(|_| {}).await;
    let pages = [
        "/",
        "/connections",
        "/spaces",
        "/devices",
        "/rejects",
        "/backups",
        "/configuration",
        "/no-such-page",
    ];
    for path in pages {
        let answer = ask(relay.address, "GET", path, "", "");
        assert_eq!((answer.status, answer.header("location")), (303, Some("/login")), "{path}");
        let forged = ask(relay.address, "GET", path, "Cookie: dinh_console=00ff\r\n", "");
        assert_eq!(forged.status, 303);
    }
    for path in ["/api/v1/stats", "/api/v1/connections", "/api/v1/spaces", "/metrics"] {
        assert_eq!(ask(relay.address, "GET", path, "", "").status, 401, "{path}");
        assert_eq!(relay.get(path).status, 200, "{path}");
    }
    assert_eq!(ask(relay.address, "POST", "/api/v1/sign-in", "", "").status, 401);
    // Guessing takes time, and does not hold up who knows.
    let began = Instant::now();
    assert_eq!(ask(relay.address, "GET", "/", "Authorization: Bearer wrong\r\n", "").status, 401);
    let refused = post(relay.address, "/login", "", "token=wrong");
    assert_eq!(refused.status, 401);
    assert!(refused.body.contains("not the token") && refused.header("set-cookie").is_none());
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(relay.get("/").status, 200);
    // A page of another site that a name leads here gets nothing, whatever it knows.
    let rebound = format!("Host: evil.example\r\nAuthorization: Bearer {}\r\n", relay.token);
    assert_eq!(ask(relay.address, "GET", "/", &rebound, "").status, 421);
    relay.running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_another_page_does_nothing() {
    let relay = Relay::start(|_| {}).await;
    let (cookie, form) = relay.sign_in();
    let is_signed_in = || ask(relay.address, "GET", "/", &cookie, "").status == 200;
    for (path, headers, body) in [
        ("/logout", "", String::new()),
        ("/logout", "", "form_token=00".to_owned()),
        ("/logout", "Origin: http://evil.example\r\n", format!("form_token={form}")),
        ("/logout", "Sec-Fetch-Site: cross-site\r\n", format!("form_token={form}")),
        // What changes something over the JSON needs the token itself.
        ("/api/v1/sign-in", "", format!("form_token={form}")),
        ("/api/v1/last-backup", "", format!("form_token={form}")),
    ] {
        let refused = post(relay.address, path, &format!("{cookie}{headers}"), &body);
        assert_eq!(refused.status, 403, "{path} {headers} {body}");
        assert!(is_signed_in());
    }
    let origin = format!("{cookie}Origin: http://{}\r\nSec-Fetch-Site: same-origin\r\n", relay.address);
    assert_eq!(post(relay.address, "/logout", &origin, &format!("form_token={form}")).status, 303);
    assert!(!is_signed_in());
    // The command's link signs in once.
    let output = Command::new(env!("CARGO_BIN_EXE_dinh-relay"))
        .args(["console", "--json", "--data"])
        .arg(relay.data.path())
        .output();
    let told: Json = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    let link = told["link"].as_str().unwrap().strip_prefix(&format!("http://{}", relay.address)).unwrap();
    let first = ask(relay.address, "GET", link, "", "");
    assert_eq!((first.status, first.header("location")), (303, Some("/")));
    let cookie = format!("Cookie: {}\r\n", first.header("set-cookie").unwrap().split(';').next().unwrap());
    assert_eq!(ask(relay.address, "GET", "/spaces", &cookie, "").status, 200);
    assert_eq!(ask(relay.address, "GET", link, "", "").status, 401);
    relay.running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_say_what_devices_did() {
    let relay = Relay::start(|_| {}).await;
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (phone(dir.path(), 1, relay.url()).await, phone(dir.path(), 2, relay.url()).await);
    let (branch, space, doc) = found(&[&one, &two]).await;
    write_and_read(&one, &two, doc, "first").await;

    let connections = relay.get("/api/v1/connections").json();
    assert_eq!(connections["total"], 2);
    let rows = connections["rows"].as_array().unwrap();
    let devices: BTreeSet<&str> = rows.iter().map(|row| row["device"].as_str().unwrap()).collect();
    assert_eq!(devices, [device(1), device(2)].iter().map(String::as_str).collect());
    assert!(
        rows.iter().all(|r| r["address"] == "127.0.0.1" && r["sent_bytes"].as_u64() > Some(100)),
        "{rows:?}"
    );
    let spaces = relay.get("/api/v1/spaces?sort=activity").json();
    let ids: Vec<&str> =
        spaces["rows"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [space.to_string(), branch.to_string()], "the last one written to is first");
    let more = relay.get(&format!("/api/v1/spaces/{space}")).json();
    assert_eq!((&more["branch"], &more["subscribers"]), (&Json::from(branch.to_string()), &Json::from(2)));
    assert!(more["largest_documents"][0]["bytes"].as_u64() > Some(100), "{more}");
    assert_eq!(relay.get("/api/v1/spaces/00").status, 404);

    let page = relay.get("/connections").body;
    for row in rows {
        let (device, conn) = (row["device"].as_str().unwrap(), row["conn"].as_str().unwrap());
        assert!(page.contains(&device[..8]) && page.contains(&format!("conn={conn}")), "{page}");
    }
    assert!(relay.get("/spaces").body.contains(&format!("href=\"/spaces/{space}\"")));
    let page = relay.get(&format!("/spaces/{space}")).body;
    assert!(
        page.contains(&doc.to_string()) && page.contains(&device(1)) && page.contains(&branch.to_string())
    );
    assert!(relay.get("/devices").body.contains(&device(2)));
    let overview = relay.get("/");
    assert!(
        overview.body.contains("Ready") && overview.body.matches("<svg").count() == 6,
        "{}",
        overview.body
    );
    // Nothing is loaded from elsewhere, and there is no script.
    let policy = overview.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    for path in
        ["/", "/connections", "/spaces", "/devices", "/rejects", "/backups", "/configuration", "/login"]
    {
        let page = relay.get(path);
        assert_eq!(page.status, 200, "{path}");
        assert!(
            !page.body.contains("<script") && !page.body.contains(" style=") && !handles_events(&page.body),
            "{path}"
        );
        assert!(page.header("x-request-id").is_some_and(|id| id.len() == 8), "{path}");
        assert!(page.body.contains("</html>") && !page.body.contains(CANARY), "{path}");
        assert!(!page.body.contains(&relay.token), "{path}");
    }
    assert!(relay.get("/configuration").body.contains("answer = &quot;&lt;b&gt;42&lt;/b&gt;&quot;"));
    let vietnamese = ask(
        relay.address,
        "GET",
        "/backups",
        &format!("Authorization: Bearer {}\r\nAccept-Language: vi-VN,vi;q=0.9,en;q=0.5\r\n", relay.token),
        "",
    );
    assert!(vietnamese.body.contains("<html lang=\"vi\">") && vietnamese.body.contains("Sao lưu"));
    // A backup that something else made.
    let note = |place: u64| {
        let headers = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", relay.token);
        ask(
            relay.address,
            "POST",
            "/api/v1/last-backup",
            &headers,
            &format!("{{\"at_ms\":1700000000000,\"place\":{place}}}"),
        )
        .status
    };
    assert_eq!((note(3), note(1_000_000)), (200, 400));
    let page = relay.get("/backups").body;
    assert!(page.contains("2023-11-14 22:13 UTC") && page.contains("older than two days"), "{page}");
    relay.running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_suspended_and_resumed_by_a_form() {
    let relay = Relay::start(|_| {}).await;
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (phone(dir.path(), 1, relay.url()).await, phone(dir.path(), 2, relay.url()).await);
    found(&[&one, &two]).await;
    let (cookie, form) = relay.sign_in();
    let change = |what: &str, form: &str, reason: &str| {
        let path = format!("/devices/{}/{what}", device(2));
        post(relay.address, &path, &cookie, &format!("form_token={form}&reason={reason}")).status
    };
    let page = || ask(relay.address, "GET", "/devices", &cookie, "").body;
    // Those that are suspended can be resumed: one form for each device.
    let suspended = || page().matches("/resume\"").count();
    let connections = || relay.get("/api/v1/connections").json()["total"].as_u64().unwrap();
    assert_eq!((change("suspend", "00", "lost"), suspended()), (403, 0));
    assert_eq!((change("suspend", &form, ""), suspended()), (400, 0), "without a reason");
    assert_eq!((change("suspend", &form, "%3Cb%3Elost"), suspended()), (303, 1));
    assert!(!page().contains("<b>lost"));
    let deadline = Instant::now() + PATIENCE;
    while connections() != 1 {
        assert!(Instant::now() < deadline, "it is still connected");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((change("resume", &form, ""), suspended()), (303, 0));
    relay.running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_spaces_come_in_pages() {
    let relay = Relay::start(|_| {}).await;
    let dir = tempfile::tempdir().unwrap();
    let one = phone(dir.path(), 1, relay.url()).await;
    let (branch, ..) = found(&[&one]).await;
    for _ in 0..103 {
        one.create_space(branch, Audience::Everyone).await.unwrap();
    }
    synced(&one).await;
    let page = |n: usize| relay.get(&format!("/api/v1/spaces?sort=size&page={n}")).json();
    let ids = |n| -> BTreeSet<String> {
        page(n)["rows"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect()
    };
    let (first, second) = (ids(1), ids(2));
    assert_eq!(
        (first.len(), second.len(), page(1)["total"].as_u64(), page(1)["pages"].as_u64()),
        (100, 5, Some(105), Some(2))
    );
    assert!(first.is_disjoint(&second));
    assert_eq!(ids(77), second, "a page that is not there is the last one");
    let html = relay.get("/spaces?sort=size").body;
    assert!(html.contains("rel=\"next\"") && html.contains("page=2") && !html.contains("rel=\"prev\""));
    assert!(relay.get("/spaces?sort=size&page=2").body.contains("rel=\"prev\""));
    assert_eq!(relay.get("/spaces?sort=nonsense").status, 400);
    // The metrics name the largest, and no more than that.
    let metrics = relay.get("/metrics").body;
    assert_eq!(metrics.matches("dinh_relay_space_bytes{").count(), 50);
    // The command shows the same.
    let program = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_dinh-relay"))
            .args(args)
            .arg("--data")
            .arg(relay.data.path())
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let listed: Json = serde_json::from_str(&program(&["spaces", "list", "--json", "--page", "2"])).unwrap();
    assert_eq!(listed, page(2));
    assert!(program(&["spaces", "list", "--sort", "activity"]).contains("page 1 of 2, 105 spaces"));
    assert!(program(&["spaces", "show", &branch.to_string()]).contains(&format!("branch        {branch}")));
    let stats: Json = serde_json::from_str(&program(&["status", "--json"])).unwrap();
    assert_eq!(
        (&stats["spaces"], &stats["connections"], &stats["unready"]),
        (&Json::from(105), &Json::from(1), &Json::Null)
    );
    assert!(program(&["status"]).contains("ready"));
    relay.running.shutdown().await.unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_dinh-relay"))
        .args(["status", "--data"])
        .arg(relay.data.path())
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no relay runs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_devices_did_and_not_for_everybody() {
    let relay = Relay::start(|_| {}).await;
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (phone(dir.path(), 1, relay.url()).await, phone(dir.path(), 2, relay.url()).await);
    let (_, space, doc) = found(&[&one, &two]).await;
    let before = relay.get("/metrics").body;
    for _ in 0..20 {
        write_and_read(&one, &two, doc, "ping").await;
        write_and_read(&two, &one, doc, "pong").await;
    }
    synced(&one).await;
    synced(&two).await;
    let after = relay.get("/metrics").body;
    let grown = |name: &str| metric(&after, name) - metric(&before, name);
    // Nothing is refused here, so each item is stored once, acknowledged once, and delivered to the one other device.
    let stored = grown("dinh_relay_items_stored_total");
    assert!(stored >= 40.0, "{stored}");
    assert_eq!(grown("dinh_relay_ack_seconds_count"), stored);
    assert_eq!(grown("dinh_relay_items_delivered_total"), stored);
    assert!((1.0..=stored).contains(&grown("dinh_relay_fan_out_seconds_count")));
    assert!(grown("dinh_relay_ack_seconds_sum") > 0.0);
    assert!(metric(&after, "dinh_relay_log_file_bytes") > metric(&after, "dinh_relay_log_bytes"));
    assert!(after.contains(&format!("dinh_relay_space_bytes{{space=\"{space}\"")));
    assert!(metric(&after, "process_resident_memory_bytes") > 1e6);
    let total: f64 = after
        .lines()
        .filter(|l| l.starts_with("dinh_relay_space_bytes{"))
        .map(|l| l.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert_eq!(total, metric(&after, "dinh_relay_log_bytes"));

    // Beside the devices' entry: the same without spaces, for whom it is.
    let public = relay.running.local_addr();
    let shown = ask(public, "GET", "/metrics", "", "");
    assert_eq!(shown.status, 200);
    assert!(shown.body.contains("dinh_relay_ack_seconds_count") && !shown.body.contains(&space.to_string()));
    assert!(shown.header("x-request-id").is_some_and(|id| id.len() == 8));
    for passed_on in
        ["X-Forwarded-For: 203.0.113.7\r\n", "Forwarded: for=203.0.113.7\r\n", "Via: 1.1 proxy\r\n"]
    {
        assert_eq!(ask(public, "GET", "/metrics", passed_on, "").status, 403, "{passed_on}");
    }
    assert_eq!(ask(public, "GET", "/readyz", "", "").status, 200);
    relay.running.shutdown().await.unwrap();

    let relay = Relay::start(|config| config.scrapers = BTreeSet::new()).await;
    assert_eq!(ask(relay.running.local_addr(), "GET", "/metrics", "", "").status, 403);
    assert_eq!(relay.get("/metrics").status, 200);
    relay.running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_room_says_so_and_still_serves() {
    let relay = Relay::start(|config| config.reserve_bytes = u64::MAX).await;
    let public = relay.running.local_addr();
    let ready = ask(public, "GET", "/readyz", "", "");
    assert_eq!((ready.status, ready.body.starts_with("ready, read-only")), (200, true), "{}", ready.body);
    assert_eq!(metric(&relay.get("/metrics").body, "dinh_relay_read_only"), 1.0);
    let stats: Json = serde_json::from_str(&relay.get("/api/v1/stats").body).unwrap();
    assert_eq!(stats["read_only"], true);
    assert!(stats["storage_free_bytes"].as_u64().is_some_and(|free| free > 0));
    assert!(relay.get("/").body.contains("Read-only"));
    let mut config = ServerConfig::new(relay.data.path(), public);
    config.reserve_bytes = 0;
    relay.running.reconfigure(config);
    let began = Instant::now();
    while ask(public, "GET", "/readyz", "", "").body != "ready\n" {
        assert!(began.elapsed() < Duration::from_secs(30), "it is still read-only");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!relay.get("/").body.contains("Read-only"));
    relay.running.shutdown().await.unwrap();
}

/// Names of the families in a page for Prometheus, with their types.
fn families(page: &str) -> BTreeMap<String, String> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    lines
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

/// Names and types in the tables of docs/METRICS.md: those that this relay has always, and those that it has sometimes.
fn documented() -> (BTreeMap<String, String>, BTreeSet<String>) {
    let (mut always, mut sometimes) = (BTreeMap::new(), BTreeSet::new());
    for line in include_str!("../../docs/METRICS.md").lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["", name, kind, _labels, meaning, ""] = cells[..]
            && let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`'))
        {
            if meaning.starts_with("*Sometimes:*") {
                sometimes.insert(name.to_owned());
            } else {
                assert_eq!(always.insert(name.to_owned(), kind.to_owned()), None, "{name} twice");
            }
        }
    }
    (always, sometimes)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_dashboard_and_alerts_name_the_metrics_that_there_are() {
    let relay = Relay::start(|_| {}).await;
    let mut there = families(&relay.get("/metrics").body);
    relay.running.shutdown().await.unwrap();
    let (always, sometimes) = documented();
    there.retain(|name, _| !sometimes.contains(name));
    assert_eq!(there, always, "left: the page, right: docs/METRICS.md");
    for (file, text) in [
        ("grafana-dashboard.json", include_str!("../operations/grafana-dashboard.json")),
        ("prometheus-alerts.yml", include_str!("../operations/prometheus-alerts.yml")),
    ] {
        let mut named = 0;
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if !word.starts_with("dinh_relay_") && !word.starts_with("process_") {
                continue;
            }
            named += 1;
            let parts_of_histogram =
                ["_bucket", "_sum", "_count"].iter().filter_map(|end| word.strip_suffix(end));
            let is_known = |name: &str| there.contains_key(name) || sometimes.contains(name);
            let is_part = |name: &str| there.get(name).is_some_and(|kind| kind == "histogram");
            assert!(is_known(word) || parts_of_histogram.into_iter().any(is_part), "{file} names {word}");
        }
        assert!(named > 8, "{file} names {named}");
    }
    let dashboard: Json = serde_json::from_str(include_str!("../operations/grafana-dashboard.json")).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 8);
}

/// A relay in a process of its own, and its log.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn start(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dinh-relay"))
            .env_remove("RUST_LOG")
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--set",
                "log.level=\"debug,dinh_server=trace\"",
                "--set",
                "log.format=\"json\"",
            ])
            .arg("--data")
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(data.join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .find_map(|line| Some(line.unwrap().strip_prefix("dinh-relay address ")?.to_owned()));
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, address: address.expect("it starts") }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_connections_apart_and_nothing_of_what_they_carry() {
    let data = tempfile::tempdir().unwrap();
    let mut process = Process::start(data.path());
    let url = RelayUrl::parse(&process.address).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (phone(dir.path(), 1, url.clone()).await, phone(dir.path(), 2, url).await);
    let (_, _, doc) = found(&[&one, &two]).await;
    write_and_read(&one, &two, doc, CANARY).await;
    // The operator too: by token, by form, wrongly, and by a link.
    let access: Json =
        serde_json::from_slice(&std::fs::read(data.path().join("admin.json")).unwrap()).unwrap();
    let (token, address) =
        (access["token"].as_str().unwrap(), access["address"].as_str().unwrap().parse().unwrap());
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let connections = ask(address, "GET", "/api/v1/connections", &bearer, "").json();
    let signed_in = post(address, "/login", "", &format!("token={token}"));
    let cookie = signed_in.header("set-cookie").unwrap().split(['=', ';']).nth(1).unwrap().to_owned();
    post(address, "/login", "", "token=WRONGTOKEN");
    let link =
        ask(address, "POST", "/api/v1/sign-in", &bearer, "").json()["path"].as_str().unwrap().to_owned();
    let used = ask(address, "GET", &link, "", "");
    let request = used.header("x-request-id").unwrap().to_owned();
    one.shutdown().await.unwrap();
    two.shutdown().await.unwrap();
    Command::new("kill").args(["-s", "TERM", &process.child.id().to_string()]).status().unwrap();
    assert!(process.child.wait().unwrap().success());

    let log = std::fs::read_to_string(data.path().join("log")).unwrap();
    let code = link.split_once('=').unwrap().1;
    let key = std::fs::read_to_string(data.path().join("relay.key")).unwrap();
    for secret in [CANARY, token, &cookie, "WRONGTOKEN", code, key.trim()] {
        assert!(!secret.is_empty() && !log.contains(secret), "{secret} is in the log");
    }
    let lines: Vec<Json> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ours = |line: &&Json| line["target"].as_str().unwrap().starts_with("dinh_server");
    for row in connections["rows"].as_array().unwrap() {
        let of_conn: Vec<&Json> =
            lines.iter().filter(ours).filter(|line| line["span"]["conn"] == row["conn"]).collect();
        let said: Vec<&str> =
            of_conn.iter().map(|line| line["fields"]["message"].as_str().unwrap()).collect();
        assert!(["connected", "greeted", "disconnected"].iter().all(|what| said.contains(what)), "{said:?}");
        // From the greeting on its device stands there too.
        let known = of_conn.iter().skip_while(|line| line["fields"]["message"] != "greeted");
        assert!(
            known.clone().count() >= 2
                && known.into_iter().all(|line| line["span"]["device"] == row["device"]),
            "{of_conn:?}"
        );
    }
    let answered = lines
        .iter()
        .find(|line| line["span"]["request"] == request.as_str() && line["fields"]["message"] == "answered");
    assert_eq!(answered.expect("requests are logged")["fields"]["status"], 303);
}
