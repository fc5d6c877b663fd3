//! Phones that edit all the time: the production client on real files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dinh_core::client::{Client, ClientConfig, RelayUrl, StoreKey, Timeouts, block_on};
use dinh_core::document::Value;
use dinh_core::path;
use dinh_proto::charter::record::{Audience, Role, Writers};
use dinh_proto::ids::{DocId, MemberId, SpaceId};
use dinh_proto::keys::{DeviceKey, SignKey};

/// Between two edits of a phone.
const PAUSE: Duration = Duration::from_millis(25);

struct Phone {
    client: Client,
    /// Edits of this phone that are on its disk; each is the key `pPHONE.NUMBER` with numbers from 1.
    saved: Arc<AtomicU64>,
    quiet: Arc<AtomicBool>,
    hand: Option<JoinHandle<()>>,
}

/// The phones of one branch.
pub(crate) struct Phones {
    branch: SpaceId,
    doc: DocId,
    phones: Vec<Phone>,
    /// Devices that were admitted to look, so far.
    auditors: u8,
}

fn open(folder: &Path, n: u8, relay: Option<&str>) -> Client {
    std::fs::create_dir_all(folder).unwrap();
    let file = |end: &str| -> PathBuf { folder.join(format!("{n}.{end}")) };
    let key = DeviceKey::from_seed(&[n; 32]);
    let config = ClientConfig::new(file("redb"), file("marker"), key, StoreKey::new([n; 32]));
    let timeouts = Timeouts { probe: Duration::from_millis(500), ..Timeouts::default() };
    let relay = relay.map(|r| RelayUrl::parse(r).unwrap());
    Client::open_blocking(ClientConfig { relay, timeouts, ..config }).unwrap()
}

impl Phone {
    fn edits(&mut self, index: usize, doc: DocId) {
        self.quiet.store(false, Ordering::SeqCst);
        let (client, saved, quiet) = (self.client.clone(), self.saved.clone(), self.quiet.clone());
        self.hand = Some(std::thread::spawn(move || {
            while !quiet.load(Ordering::SeqCst) {
                let n = saved.load(Ordering::SeqCst) + 1;
                let key = path![format!("p{index}.{n}")];
                block_on(client.edit(doc, None, move |e| e.put(&key, Value::Uint(n)))).unwrap();
                saved.store(n, Ordering::SeqCst);
                std::thread::sleep(PAUSE);
            }
        }));
    }

    fn rests(&mut self) {
        self.quiet.store(true, Ordering::SeqCst);
        if let Some(hand) = self.hand.take() {
            hand.join().unwrap();
        }
    }
}

impl Phones {
    /// A branch of so many phones on this relay, all of which edit.
    pub(crate) fn found(folder: &Path, count: usize, relay: &str) -> Self {
        let clients: Vec<Client> =
            (1..=count).map(|n| open(folder, u8::try_from(n).unwrap(), Some(relay))).collect();
        let first = &clients[0];
        let (branch, doc) = block_on(async {
            let root = SignKey::from_seed(&[99; 32]);
            let branch = first.found_branch(root, MemberId([1; 16]), "máy bí thư").await.unwrap();
            for (n, client) in (2..).zip(&clients[1..]) {
                let request = client.join_request();
                first.admit_device(branch, MemberId([n; 16]), Role::Member, request, "máy").await.unwrap();
            }
            let space = first.create_space(branch, Audience::Everyone).await.unwrap();
            let doc = first.create_document(space, Writers::All).await.unwrap();
            let invitation = first.invitation(branch).await.unwrap();
            for client in &clients[1..] {
                client.join(invitation.clone()).await.unwrap();
            }
            (branch, doc)
        });
        let phone = |client| Phone { client, saved: Arc::default(), quiet: Arc::default(), hand: None };
        let mut phones = Self { branch, doc, phones: clients.into_iter().map(phone).collect(), auditors: 0 };
        phones.start_again();
        phones
    }

    pub(crate) fn start_again(&mut self) {
        for (index, phone) in self.phones.iter_mut().enumerate() {
            phone.edits(index, self.doc);
        }
    }

    /// Edits of all phones that are saved.
    pub(crate) fn saved(&self) -> u64 {
        self.phones.iter().map(|p| p.saved.load(Ordering::SeqCst)).sum()
    }

    /// The fewest edits of one phone.
    pub(crate) fn least(&self) -> u64 {
        self.phones.iter().map(|p| p.saved.load(Ordering::SeqCst)).min().unwrap()
    }

    /// Goes on until each phone has saved so many.
    pub(crate) fn edit_until(&self, each: u64, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.least() < each {
            assert!(Instant::now() < deadline, "phones do not edit: {} of {each}", self.least());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the editing and waits until all have everything, and the relay too.
    pub(crate) fn converge(&mut self, patience: Duration) {
        self.phones.iter_mut().for_each(Phone::rests);
        let deadline = Instant::now() + patience;
        let expected = self.expected();
        loop {
            self.phones.iter().for_each(|p| p.client.network_changed());
            let synced =
                |p: &Phone| p.client.status().borrow().is_synced() && held(&p.client, self.doc) == expected;
            if self.phones.iter().all(synced) {
                return;
            }
            let states: Vec<_> = self
                .phones
                .iter()
                .map(|p| {
                    let status = p.client.status().borrow().clone();
                    (status.link, status.pending, status.trouble, held(&p.client, self.doc).len())
                })
                .collect();
            assert!(Instant::now() < deadline, "{} edits, but {states:?}", expected.len());
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    fn expected(&self) -> BTreeSet<String> {
        let of = |(i, p): (usize, &Phone)| {
            (1..=p.saved.load(Ordering::SeqCst)).map(move |n| format!("p{i}.{n}")).collect::<Vec<_>>()
        };
        self.phones.iter().enumerate().flat_map(of).collect()
    }

    /// A device with an empty store gets everything from the relay, and from nobody else. Returns how many edits that is.
    pub(crate) fn check_with_a_new_device(&mut self, folder: &Path, relay: &str) -> usize {
        self.auditors += 1;
        let n = 200 + self.auditors;
        let auditor = open(folder, n, None);
        let first = &self.phones[0].client;
        let invitation = block_on(async {
            let request = auditor.join_request();
            first
                .admit_device(self.branch, MemberId([n; 16]), Role::Member, request, "máy mới")
                .await
                .unwrap();
            first.invitation(self.branch).await.unwrap()
        });
        self.converge(Duration::from_secs(60));
        block_on(auditor.join(invitation)).unwrap();
        auditor.set_relay(Some(RelayUrl::parse(relay).unwrap()));
        let (deadline, expected) = (Instant::now() + Duration::from_secs(60), self.expected());
        while held(&auditor, self.doc) != expected {
            let (has, status) = (held(&auditor, self.doc), auditor.status().borrow().clone());
            let missing: Vec<_> = expected.difference(&has).take(10).collect();
            assert!(Instant::now() < deadline, "the relay lacks {missing:?}; {status:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
        auditor.shutdown_blocking().unwrap();
        expected.len()
    }

    pub(crate) fn stop(self) {
        for mut phone in self.phones {
            phone.rests();
            phone.client.shutdown_blocking().unwrap();
        }
    }
}

/// Empty as long as the document is not there.
fn held(client: &Client, doc: DocId) -> BTreeSet<String> {
    let keys = block_on(client.read(doc, |view| view.keys(&path![])));
    keys.map(|keys| keys.into_iter().map(|k| k.to_string()).collect()).unwrap_or_default()
}
