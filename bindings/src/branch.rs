//! Who is in a branch, which spaces and documents it has, and who reads and writes them.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use dinh_core::client::{ClientError, ClientStore, EventStream, Lifecycle, RelayUrl};
use dinh_core::proto::charter::record::{self, Audience};
use dinh_core::proto::charter::{self, Charter};
use dinh_core::proto::ids::SpaceId;
use dinh_core::proto::join::{Code, RootKey};
use dinh_core::qr;
use dinh_core::replica::{Event, Joining, Replica, ReplicaError, SpaceOptions};
use tokio::sync::Mutex;

use crate::client::Client;
use crate::error::{DinhError, Result};
use crate::runtime::to_the_end;
use crate::stream::Cancel;
use crate::{ids, secrets};

/// What a device may do in a branch. All devices of a member normally have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Role {
    /// Admits and removes everybody below, creates spaces, writes everything.
    Secretary,
    /// Admits and removes ordinary members, writes everything.
    Deputy,
    /// On the committee.
    Committee,
    /// An official member.
    Member,
    /// A member on probation.
    Probationary,
    /// From an upper body: reads what names it, comments.
    Reviewer,
    /// Helps members with their phones: reads as they do, comments.
    Helper,
    /// Reads only.
    Reader,
}

const ROLES: [(Role, record::Role); 8] = [
    (Role::Secretary, record::Role::Secretary),
    (Role::Deputy, record::Role::Deputy),
    (Role::Committee, record::Role::Committee),
    (Role::Member, record::Role::Member),
    (Role::Probationary, record::Role::Probationary),
    (Role::Reviewer, record::Role::Reviewer),
    (Role::Helper, record::Role::Helper),
    (Role::Reader, record::Role::Reader),
];

impl From<Role> for record::Role {
    fn from(role: Role) -> Self {
        ROLES.into_iter().find(|(here, _)| *here == role).map_or(Self::Reader, |(_, there)| there)
    }
}

impl From<record::Role> for Role {
    fn from(role: record::Role) -> Self {
        ROLES.into_iter().find(|(_, there)| *there == role).map_or(Self::Reader, |(here, _)| here)
    }
}

/// Why a device is removed: for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Reason {
    /// Its owner left.
    Left,
    /// The phone is lost or stolen.
    Lost,
    /// Its owner was expelled.
    Expelled,
    /// Its owner has another phone now.
    Replaced,
}

impl From<Reason> for record::Reason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Left => Self::Left,
            Reason::Lost => Self::Lost,
            Reason::Expelled => Self::Expelled,
            Reason::Replaced => Self::Replaced,
        }
    }
}

impl From<record::Reason> for Reason {
    fn from(reason: record::Reason) -> Self {
        match reason {
            record::Reason::Left => Self::Left,
            record::Reason::Lost => Self::Lost,
            record::Reason::Expelled => Self::Expelled,
            record::Reason::Replaced => Self::Replaced,
        }
    }
}

/// Who writes a document, among those who read its space and whose role writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Writers {
    /// All of them: comments.
    All,
    /// Members, on probation or not, the committee and the officers.
    Members,
    /// The committee and the officers.
    Committee,
    /// The officers, and who was named a recorder of the document.
    Officers,
}

impl From<Writers> for record::Writers {
    fn from(writers: Writers) -> Self {
        match writers {
            Writers::All => Self::All,
            Writers::Members => Self::Members,
            Writers::Committee => Self::Committee,
            Writers::Officers => Self::Officers,
        }
    }
}

/// A device of a branch.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Device {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub member: String,
    /// What it may do.
    pub role: Role,
    /// What people call it, if this device may know.
    pub name: Option<String>,
}

/// A space of a branch that this device reads.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Space {
    /// Its id.
    pub id: String,
    /// The member who created it.
    pub creator: String,
    /// Who reads it; none: every device of the branch but reviewers'.
    pub readers: Option<Vec<String>>,
    /// Whether newcomers read what was written before they came.
    pub history: bool,
    /// Whether it is protected on this device.
    pub is_protected: bool,
}

/// A document that this device reads.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct DocumentInfo {
    /// Its id.
    pub id: String,
    /// Its space.
    pub space: String,
    /// The member who created it.
    pub creator: String,
    /// The name of its kind, if it has one that this library knows and can read.
    pub schema: Option<String>,
    /// Whether this device may write it now.
    pub may_write: bool,
}

/// A branch as this device knows it.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Branch {
    /// Its id.
    pub id: String,
    /// This device's member and role; none if it is not admitted, or removed.
    pub own: Option<Device>,
    /// The devices that are admitted now.
    pub devices: Vec<Device>,
    /// The spaces that this device reads.
    pub spaces: Vec<Space>,
    /// The upper body's branch, if one is named.
    pub upper: Option<String>,
}

/// A device that the root key on paper puts out.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Taken {
    /// Which.
    pub device: String,
    /// Why.
    pub reason: Reason,
}

/// A branch that was founded, and the key that recovers it: 24 words for the paper in the safe. They are nowhere else.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
pub struct Founded {
    /// The branch.
    pub branch: String,
    /// The words.
    pub root_words: String,
}

impl std::fmt::Debug for Founded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Founded").field("branch", &self.branch).finish_non_exhaustive()
    }
}

/// Draws the key that recovers a branch, as 24 words for the paper in the safe: to be shown before the branch is founded with them.
#[uniffi::export]
pub fn new_root_words() -> Result<String> {
    Ok(RootKey::new(&*secrets::draw()?, SpaceId::default()).words().to_string())
}

fn device_of(
    replica: &Replica<ClientStore>,
    branch: &SpaceId,
    (id, device): (&dinh_core::proto::ids::DeviceId, &charter::Device),
) -> Device {
    Device {
        id: ids::text(id),
        member: ids::text(&device.member),
        role: device.role.into(),
        name: replica.device_name(branch, id),
    }
}

fn branch_of(replica: &Replica<ClientStore>, id: &SpaceId, charter: &Charter) -> Branch {
    let own = replica.device();
    let space = |(space, found): (&SpaceId, &charter::Space)| Space {
        id: ids::text(space),
        creator: ids::text(&found.creator),
        readers: (!found.everyone).then(|| found.members.iter().map(ids::text).collect()),
        history: found.history,
        is_protected: replica.protected_spaces().contains(space),
    };
    let readable = charter.readable(&own);
    Branch {
        id: ids::text(id),
        own: charter.device(&own).map(|device| device_of(replica, id, (&own, device))),
        devices: charter.devices().iter().map(|device| device_of(replica, id, device)).collect(),
        spaces: charter.spaces().iter().filter(|(space, _)| readable.contains(space)).map(space).collect(),
        upper: charter.upper().as_ref().map(ids::text),
    }
}

fn documents_of(replica: &Replica<ClientStore>, space: &SpaceId) -> Result<Vec<DocumentInfo>, ReplicaError> {
    let charters = replica.charters().values();
    let charter = charters.into_iter().find(|charter| charter.spaces().contains_key(space));
    let charter = charter.ok_or(ReplicaError::UnknownSpace(*space))?;
    let listed = charter.documents().iter().filter(|(_, entry)| entry.space == *space && entry.counts);
    let of = |(doc, entry): (&dinh_core::proto::ids::DocId, &charter::DocumentEntry)| DocumentInfo {
        id: ids::text(doc),
        space: ids::text(space),
        creator: ids::text(&entry.creator),
        schema: replica.schema_of(doc).map(str::to_owned),
        may_write: replica.may_write(doc).is_ok(),
    };
    Ok(listed.map(of).collect())
}

#[uniffi::export]
impl Client {
    /// Founds a branch with this device as its secretary's. The words go on paper, and nowhere else: they are drawn before
    /// (`new_root_words`), or here, and are lost then if the app is gone before it has the answer.
    #[uniffi::method(default(root_words = None))]
    pub async fn found_branch(
        &self,
        member: String,
        device_name: String,
        root_words: Option<String>,
    ) -> Result<Founded> {
        let words = root_words.map_or_else(new_root_words, Ok)?;
        // The words are the secret alone, so of which branch it is does not matter.
        let root = RootKey::from_words(&words, SpaceId::default())?.sign_key();
        let branch = self.core().found_branch(root, ids::member(&member)?, &device_name).await?;
        Ok(Founded { branch: ids::text(&branch), root_words: words })
    }

    /// Makes this device the secretary's with the words from paper, and puts out the devices named.
    pub async fn recover_branch(
        &self,
        branch: String,
        root_words: String,
        member: String,
        device_name: String,
        taken: Vec<Taken>,
    ) -> Result<()> {
        let branch = ids::space(&branch)?;
        let root = RootKey::from_words(&root_words, branch)?.sign_key();
        let of = |taken: Taken| {
            let (device, reason) = (ids::device(&taken.device)?, taken.reason.into());
            Ok(dinh_core::replica::Taken { device, reason, from_record: None })
        };
        let taken = taken.into_iter().map(of).collect::<Result<Vec<_>>>()?;
        let member = ids::member(&member)?;
        Ok(self.core().recover_branch(branch, root, member, &device_name, taken).await?)
    }

    /// The branches that this device takes part in.
    pub async fn branches(&self) -> Result<Vec<Branch>> {
        let read = |replica: &mut Replica<ClientStore>| {
            let all = replica.charters().iter();
            Ok(all.map(|(id, charter)| branch_of(replica, id, charter)).collect())
        };
        Ok(self.core().look(read).await?)
    }

    /// The documents of a space.
    pub async fn documents(&self, space: String) -> Result<Vec<DocumentInfo>> {
        let space = ids::space(&space)?;
        Ok(self.core().look(move |replica| documents_of(replica, &space)).await?)
    }

    /// Admits the device whose join code was scanned from its screen; gives the welcome code to show it, as a link. `relay` is
    /// the address that the new device shall connect to.
    pub async fn admit(
        &self,
        branch: String,
        member: String,
        role: Role,
        join_code: String,
        device_name: String,
        relay: String,
    ) -> Result<String> {
        let (branch, relay) = (ids::space(&branch)?, RelayUrl::parse(&relay)?);
        let request = Code::from_link(&join_code)?.into_join()?;
        let device = request.public.id();
        self.core().admit_device(branch, ids::member(&member)?, role.into(), request, &device_name).await?;
        Ok(Code::from(self.core().welcome(branch, device, &relay).await?).link().to_string())
    }

    /// Admits a further device of this device's own member; else as `admit`.
    pub async fn admit_own(
        &self,
        branch: String,
        join_code: String,
        device_name: String,
        relay: String,
    ) -> Result<String> {
        let (branch, relay) = (ids::space(&branch)?, RelayUrl::parse(&relay)?);
        let request = Code::from_link(&join_code)?.into_join()?;
        let device = request.public.id();
        self.core().admit_own_device(branch, request, &device_name).await?;
        Ok(Code::from(self.core().welcome(branch, device, &relay).await?).link().to_string())
    }

    /// The welcome code of a device that was admitted before, as a link.
    pub async fn welcome_code(&self, branch: String, device: String, relay: String) -> Result<String> {
        let (branch, device, relay) = (ids::space(&branch)?, ids::device(&device)?, RelayUrl::parse(&relay)?);
        Ok(Code::from(self.core().welcome(branch, device, &relay).await?).link().to_string())
    }

    /// Follows the branch of a welcome code and connects to the relay that it names (see `relay`). An event, or `joining`, tells
    /// when it is joined.
    pub async fn join(&self, welcome_code: String) -> Result<String> {
        let welcome = Code::from_link(&welcome_code)?.into_welcome()?;
        let (branch, core) = (ids::text(&welcome.branch()), self.core().clone());
        to_the_end(async move { Ok(core.join_by_welcome(welcome).await?) }).await?;
        Ok(branch)
    }

    /// Waits until this device is admitted to a branch whose welcome code it took, and has its records.
    pub fn joining(self: Arc<Self>, branch: String) -> Result<Arc<JoinWait>> {
        let (branch, events) = (ids::space(&branch)?, self.core().subscribe());
        // Not the client itself: who waits does not keep it open.
        let client = Arc::downgrade(&self);
        Ok(Arc::new(JoinWait { client, branch, events: Mutex::new(events), cancel: Cancel::new() }))
    }

    /// Removes a device: nothing that it writes from now on counts, and new keys shut it out. For a phone that is lost this is
    /// all there is to do. Works offline.
    pub async fn remove_device(&self, branch: String, device: String, reason: Reason) -> Result<()> {
        let (branch, device) = (ids::space(&branch)?, ids::device(&device)?);
        Ok(self.core().remove_device(branch, device, reason.into()).await?)
    }

    /// Removes a member with all its devices.
    pub async fn remove_member(&self, branch: String, member: String, reason: Reason) -> Result<()> {
        let (branch, member) = (ids::space(&branch)?, ids::member(&member)?);
        Ok(self.core().remove_member(branch, member, reason.into()).await?)
    }

    /// Gives a member another role.
    pub async fn change_role(&self, branch: String, member: String, role: Role) -> Result<()> {
        let (branch, member) = (ids::space(&branch)?, ids::member(&member)?);
        Ok(self.core().change_role(branch, member, role.into()).await?)
    }

    /// Says which branch is this one's upper body, or that there is none.
    pub async fn set_upper_body(&self, branch: String, upper: Option<String>) -> Result<()> {
        let upper = upper.as_deref().map(ids::space).transpose()?;
        Ok(self.core().set_upper_body(ids::space(&branch)?, upper).await?)
    }

    /// Creates a space, for these members or, if none are given, for every device of the branch but reviewers'.
    pub async fn create_space(
        &self,
        branch: String,
        members: Option<Vec<String>>,
        history: bool,
        padded: bool,
    ) -> Result<String> {
        let audience = match members {
            None => Audience::Everyone,
            Some(members) => {
                Audience::Members(members.iter().map(|member| ids::member(member)).collect::<Result<_>>()?)
            }
        };
        let options = SpaceOptions { history, padded };
        let space = self.core().create_space_with(ids::space(&branch)?, audience, options).await?;
        Ok(ids::text(&space))
    }

    /// Lets a member read a space.
    pub async fn grant(&self, space: String, member: String) -> Result<()> {
        Ok(self.core().grant(ids::space(&space)?, ids::member(&member)?).await?)
    }

    /// Takes a member off the readers of a space.
    pub async fn revoke(&self, space: String, member: String) -> Result<()> {
        Ok(self.core().revoke(ids::space(&space)?, ids::member(&member)?).await?)
    }

    /// Draws a new key for a space: what is written from now on cannot be read with the old ones.
    pub async fn rotate_key(&self, space: String) -> Result<()> {
        Ok(self.core().rotate_key(ids::space(&space)?).await?)
    }

    /// Creates an empty document without a kind.
    pub async fn create_document(&self, space: String, writers: Writers) -> Result<String> {
        Ok(ids::text(&self.core().create_document(ids::space(&space)?, writers.into()).await?))
    }

    /// Names a member as a recorder of one document: it may write there whatever its role.
    pub async fn name_recorder(&self, doc: String, member: String) -> Result<()> {
        Ok(self.core().name_recorder(ids::doc(&doc)?, ids::member(&member)?).await?)
    }

    /// Says whether a space is protected on this device from now on: it needs the wrap secret.
    pub async fn protect_space(&self, space: String, protect: bool) -> Result<()> {
        Ok(self.core().protect_space(ids::space(&space)?, protect).await?)
    }

    /// Shows other devices of a space what this one is doing: bytes of the app's. Not stored; lost if not connected.
    pub fn send_presence(&self, space: String, payload: Vec<u8>) -> Result<()> {
        self.core().send_presence(ids::space(&space)?, Bytes::from(payload));
        Ok(())
    }
}

/// A wait for a branch that was joined: see `Client.joining`.
#[derive(Debug, uniffi::Object)]
pub struct JoinWait {
    client: Weak<Client>,
    branch: SpaceId,
    events: Mutex<EventStream>,
    cancel: Cancel,
}

#[uniffi::export]
impl JoinWait {
    /// Waits: true when this device is in the branch, false if the client was closed or the wait cancelled. Fails with `BadCode` if
    /// the branch's records do not confirm the welcome, with `NotFound` if this device neither is in the branch nor took a welcome to
    /// it. It may take as long as there is no connection, or the client is paused.
    pub async fn run(&self) -> Result<bool> {
        Ok(self.cancel.unless(self.wait()).await?.is_some())
    }

    /// Ends the wait.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }
}

impl JoinWait {
    async fn wait(&self) -> Result<Option<()>> {
        let mut events = self.events.lock().await;
        let branch = self.branch;
        loop {
            let Some(core) = self.client.upgrade().map(|client| client.core().clone()) else {
                return Ok(None);
            };
            let mut status = core.status();
            let looked = core.look(move |replica| replica.joining(&branch)).await;
            drop(core);
            match looked {
                Ok(Joining::In) => return Ok(Some(())),
                Ok(Joining::Failed) => {
                    let detail = "the branch's records do not confirm the welcome code: it was made for another phone, or is \
                                  forged; scan it again, in person";
                    return Err(DinhError::BadCode { detail: detail.to_owned() });
                }
                Ok(Joining::Out) => {
                    let detail = "this device is not in the branch, and took no welcome code to it";
                    return Err(DinhError::NotFound { detail: detail.to_owned() });
                }
                Ok(Joining::Waiting) => {}
                // What happened before that is not told again.
                Err(ClientError::Locked) => {
                    let opened = status.wait_for(|now| !matches!(now.lifecycle, Lifecycle::Locked)).await;
                    if opened.is_err() {
                        return Ok(None);
                    }
                    continue;
                }
                Err(ClientError::Closed) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            loop {
                match events.next().await {
                    None => return Ok(None),
                    Some(
                        Event::Joined { branch: of }
                        | Event::JoinFailed { branch: of }
                        | Event::CharterChanged { branch: of },
                    ) if of == branch => break,
                    Some(_) => {}
                }
            }
        }
    }
}

/// What a scanned or pasted code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum CodeKind {
    /// A new device's, to be admitted.
    Join,
    /// The answer to it.
    Welcome,
    /// A root key: secret.
    Root,
}

/// What a scanned or pasted code is, before anything is done with it.
#[uniffi::export]
pub fn code_kind(code: String) -> Result<CodeKind> {
    Ok(match Code::from_link(&code)?.kind() {
        dinh_core::proto::join::CodeKind::Join => CodeKind::Join,
        dinh_core::proto::join::CodeKind::Welcome => CodeKind::Welcome,
        dinh_core::proto::join::CodeKind::Root => CodeKind::Root,
    })
}

/// A code as a QR image: PNG, `scale` pixels a module.
#[uniffi::export]
pub fn qr_png(code: String, scale: u8) -> Result<Vec<u8>> {
    Ok(qr::png(&code, scale)?)
}

/// A code as a QR image: SVG.
#[uniffi::export]
pub fn qr_svg(code: String) -> Result<String> {
    Ok(qr::svg(&code)?)
}
