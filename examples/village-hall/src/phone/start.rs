//! Starting a phone, founding, joining by codes, removal.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dinh_core::client::{Client, ClientConfig, RelayUrl, StoreKey};
use dinh_core::replica::Event;
use dinh_model::branch;
use dinh_model::client::Documents;
use dinh_model::index::Purpose;
use dinh_proto::charter::record::{Reason, Role};
use dinh_proto::join::Code;
use dinh_proto::keys::{DeviceKey, SignKey};

use super::shelf::{Shelves, branch_of};
use super::{Fault, Phone, Result, failed};
use crate::act::member;
use crate::cast::Person;
use crate::protocol::{Departure, Start};

/// How long a phone waits for its branch after it read its welcome; shorter than the orchestrator waits for an answer.
const JOIN_TIMEOUT: Duration = Duration::from_secs(15);
/// Where a phone keeps the relay's address that it has from its welcome.
const RELAY_FILE: &str = "relay.txt";

impl Phone {
    /// Opens or makes the store and, if it is in a branch, begins to connect. Answers with the code that holds this device's
    /// public keys.
    pub(super) async fn start(&mut self, start: &Start) -> Result<String> {
        self.index = start.phone;
        self.member.clone_from(&start.person.member);
        self.directory = PathBuf::from(&start.directory);
        // An app keeps both secrets in the platform's keystore.
        let secret = |name: &str| secret(&self.directory.join(name)).map_err(failed);
        let (key, store_key) =
            (DeviceKey::from_seed(&secret("device.key")?), StoreKey::new(secret("store.key")?));
        let (store, marker) = (self.directory.join("store.redb"), self.directory.join("no-backup.marker"));
        let mut config = ClientConfig::new(store, marker, key, store_key);
        config.replica.schemas = dinh_model::SCHEMAS;
        self.relay_key.clone_from(&start.relay_info.key);
        // The secretary had the relay's address from who runs it; everybody else has it from their welcome.
        let relay = match std::fs::read_to_string(self.directory.join(RELAY_FILE)) {
            Ok(relay) => Some(relay),
            Err(_) if start.phone == 0 => Some(address(&start.relay, &self.relay_key)),
            Err(_) => None,
        };
        config.relay = relay.map(|relay| RelayUrl::parse(&relay)).transpose().map_err(failed)?;
        let client = Client::open(config).await?;
        let card = Code::from(client.join_request()).link().to_string();
        self.shelves = Some(Shelves::new(client.subscribe()));
        self.documents = Some(Documents::new(client));
        Ok(card)
    }

    /// Founds the branch, of which this phone's owner is the secretary, with its spaces and standing documents.
    pub(super) async fn found(&mut self, person: &Person, name: &str) -> Result<()> {
        let documents = self.documents()?;
        // Would be put on paper, to replace a secretary who lost every device.
        let root = SignKey::from_seed(&random().map_err(failed)?);
        let own = member(&person.member);
        let branch = documents.client().found_branch(root, own, &person.name).await?;
        let name = name.to_owned();
        let set_up = documents.run(move |replica, now| {
            branch::set_up(replica, now, branch, &name)?;
            branch::open_mailbox(replica, now, branch, own)?;
            branch::open_own_mailbox(replica, now, branch)
        });
        set_up.await?;
        Ok(())
    }

    /// Admits the phone that shows `card`, with its owner's mailbox if it is the owner's first; answers with the code by which
    /// it joins.
    pub(super) async fn admit(&mut self, card: &str, person: &Person, relay: &str) -> Result<String> {
        let documents = self.documents()?;
        let client = documents.client();
        let request = Code::from_link(card).and_then(Code::into_join).map_err(failed)?;
        let device = request.public.id();
        let (own, role, name) = (member(&person.member), person.role(), person.name.clone());
        let branch = documents
            .run(move |replica, now| {
                let branch = branch_of(replica)?;
                let has_one =
                    branch::mailbox_of(replica, &branch, &own, Purpose::MailboxCommittee)?.is_some();
                replica.admit_device(branch, own, role, request, &name)?;
                if !has_one && role != Role::Reviewer {
                    branch::open_mailbox(replica, now, branch, own)?;
                }
                Ok(branch)
            })
            .await?;
        let relay = RelayUrl::parse(&address(relay, &self.relay_key)).map_err(failed)?;
        let welcome = client.welcome(branch, device, &relay).await?;
        Ok(Code::from(welcome).link().to_string())
    }

    /// Joins by the code of who admitted this phone; returns when the branch is here. Its owner's `first` phone makes the mailbox
    /// with the upper body.
    pub(super) async fn join(&mut self, welcome: &str, first: bool) -> Result<()> {
        let documents = self.documents()?;
        let client = documents.client();
        let welcome = Code::from_link(welcome).and_then(Code::into_welcome).map_err(failed)?;
        let relay = welcome.address();
        let mut events = client.subscribe();
        client.join_by_welcome(welcome).await?;
        let joined = async {
            loop {
                match events.next().await {
                    Some(Event::Joined { .. }) => return Ok(()),
                    Some(Event::JoinFailed { .. }) => {
                        return Err(failed("the branch is not what the code says"));
                    }
                    Some(_) => {}
                    None => return Err(failed("the client ended")),
                }
            }
        };
        tokio::time::timeout(JOIN_TIMEOUT, joined)
            .await
            .map_err(|_| failed("the relay does not bring the branch"))??;
        std::fs::write(self.directory.join(RELAY_FILE), relay).map_err(failed)?;
        if first {
            let open = |replica: &mut _, now| {
                let branch = branch_of(replica)?;
                branch::open_own_mailbox(replica, now, branch)
            };
            documents.run(open).await?;
        }
        if self.fault == Some(Fault::Deaf) && self.index == 2 {
            client.set_relay(None);
        }
        Ok(())
    }

    /// Removes a phone, or its owner with every device: nothing that it writes from now on may reach anybody.
    pub(super) async fn remove(&mut self, card: &str, person: &Person, departure: Departure) -> Result<()> {
        let documents = self.documents()?;
        let client = documents.client();
        let branch = documents.run(|replica, _| branch_of(replica)).await?;
        let device = Code::from_link(card).and_then(Code::into_join).map_err(failed)?.public.id();
        match departure {
            Departure::Lost => client.remove_device(branch, device, Reason::Lost).await?,
            Departure::Left => client.remove_member(branch, member(&person.member), Reason::Left).await?,
        }
        Ok(())
    }
}

fn address(host: &str, key: &str) -> String {
    format!("ws://{host}/dinh/v1#{key}")
}

/// A secret of this phone, made at the first start. A real app keeps it in the platform's keystore, not in a file.
fn secret(path: &Path) -> io::Result<[u8; 32]> {
    match std::fs::read(path) {
        Ok(bytes) => bytes.try_into().map_err(|_| io::Error::other("the secret's file is damaged")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let seed = random()?;
            let mut file = File::create(path)?;
            file.write_all(&seed)?;
            file.sync_all()?;
            Ok(seed)
        }
        Err(error) => Err(error),
    }
}

fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}
