//! Branches: who is in them, who reads and writes what, and how devices come in and go out.

use std::collections::BTreeMap;

use dinh_proto::charter::Charter;
use dinh_proto::charter::record::{Audience, JoinRequest, Reason, Role, Writers};
use dinh_proto::error::InvalidMessage;
use dinh_proto::ids::{ChainId, DeviceId, DocId, MemberId, SpaceId};
use dinh_proto::join::Welcome;
use dinh_proto::keys::SignKey;

use super::{Client, ClientError, RelayUrl};
use crate::replica::{ReplicaError, SpaceOptions, Taken};

impl Client {
    /// Founds a branch; see [`Replica::found_branch`](crate::replica::Replica::found_branch). `root` is then put on paper and forgotten.
    pub async fn found_branch(
        &self,
        root: SignKey,
        member: MemberId,
        name: &str,
    ) -> Result<SpaceId, ClientError> {
        let name = name.to_owned();
        self.run(move |replica, _| replica.found_branch(&root, member, &name)).await
    }

    /// Admits a device whose request was scanned from its screen.
    pub async fn admit_device(
        &self,
        branch: SpaceId,
        member: MemberId,
        role: Role,
        request: JoinRequest,
        name: &str,
    ) -> Result<(), ClientError> {
        let name = name.to_owned();
        self.run(move |replica, _| replica.admit_device(branch, member, role, request, &name)).await
    }

    /// What a new device needs to know of a branch; see [`Replica::invitation`](crate::replica::Replica::invitation).
    pub async fn invitation(&self, branch: SpaceId) -> Result<Vec<u8>, ClientError> {
        self.look(move |replica| replica.invitation(branch)).await
    }

    /// Joins a branch by an invitation; see [`Replica::join`](crate::replica::Replica::join).
    pub async fn join(&self, invitation: Vec<u8>) -> Result<SpaceId, ClientError> {
        self.run(move |replica, _| replica.join(&invitation)).await
    }

    /// Admits a further device of this device's own member.
    pub async fn admit_own_device(
        &self,
        branch: SpaceId,
        request: JoinRequest,
        name: &str,
    ) -> Result<(), ClientError> {
        let name = name.to_owned();
        self.run(move |replica, _| replica.admit_own_device(branch, request, &name)).await
    }

    /// The welcome for an admitted device, to be shown as a QR code or sent as a link; see [`Replica::welcome`](crate::replica::Replica::welcome).
    pub async fn welcome(
        &self,
        branch: SpaceId,
        device: DeviceId,
        relay: &RelayUrl,
    ) -> Result<Welcome, ClientError> {
        let (key, url) = (*relay.key(), relay.address());
        self.look(move |replica| replica.welcome(branch, device, key, &url)).await
    }

    /// Follows the branch of a welcome and connects to the relay that it names. [`Event::Joined`](crate::replica::Event::Joined) tells when the branch's
    /// records are here and confirm it, [`Event::JoinFailed`](crate::replica::Event::JoinFailed) that they do not.
    pub async fn join_by_welcome(&self, welcome: Welcome) -> Result<(), ClientError> {
        let relay = RelayUrl::parse(&welcome.address()).map_err(|_| {
            ClientError::from(ReplicaError::Invalid(InvalidMessage::NotAllowed("relay address")))
        })?;
        self.run(move |replica, _| replica.join_by_welcome(&welcome)).await?;
        self.set_relay(Some(relay));
        Ok(())
    }

    /// Removes a device; see [`Replica::remove_device`](crate::replica::Replica::remove_device). For a phone that is lost this is all there is to do.
    pub async fn remove_device(
        &self,
        branch: SpaceId,
        device: DeviceId,
        reason: Reason,
    ) -> Result<(), ClientError> {
        self.run(move |replica, _| replica.remove_device(branch, device, reason)).await
    }

    /// Removes a member with all its devices.
    pub async fn remove_member(
        &self,
        branch: SpaceId,
        member: MemberId,
        reason: Reason,
    ) -> Result<(), ClientError> {
        self.run(move |replica, _| replica.remove_member(branch, member, reason)).await
    }

    /// Gives a member another role; see [`Replica::change_role`](crate::replica::Replica::change_role).
    pub async fn change_role(
        &self,
        branch: SpaceId,
        member: MemberId,
        role: Role,
    ) -> Result<(), ClientError> {
        self.run(move |replica, _| replica.change_role(branch, member, role)).await
    }

    /// Makes this device the secretary's with the root key from paper; see [`Replica::recover_branch`](crate::replica::Replica::recover_branch).
    pub async fn recover_branch(
        &self,
        branch: SpaceId,
        root: SignKey,
        member: MemberId,
        name: &str,
        taken: Vec<Taken>,
    ) -> Result<(), ClientError> {
        let name = name.to_owned();
        self.run(move |replica, _| replica.recover_branch(branch, &root, member, &name, &taken)).await
    }

    /// What people call a device, if this device may know.
    pub async fn device_name(
        &self,
        branch: SpaceId,
        device: DeviceId,
    ) -> Result<Option<String>, ClientError> {
        self.look(move |replica| Ok(replica.device_name(&branch, &device))).await
    }

    /// Creates a space whose history newcomers may read.
    pub async fn create_space(&self, branch: SpaceId, audience: Audience) -> Result<SpaceId, ClientError> {
        self.create_space_with(branch, audience, SpaceOptions::default()).await
    }

    /// Creates a space.
    pub async fn create_space_with(
        &self,
        branch: SpaceId,
        audience: Audience,
        options: SpaceOptions,
    ) -> Result<SpaceId, ClientError> {
        self.run(move |replica, _| replica.create_space_with(branch, audience, options)).await
    }

    /// Lets a member read a space that this device's member created.
    pub async fn grant(&self, space: SpaceId, member: MemberId) -> Result<(), ClientError> {
        self.run(move |replica, _| replica.grant(space, member)).await
    }

    /// Takes a member off the readers of a space; see [`Replica::revoke`](crate::replica::Replica::revoke).
    pub async fn revoke(&self, space: SpaceId, member: MemberId) -> Result<(), ClientError> {
        self.run(move |replica, _| replica.revoke(space, member)).await
    }

    /// Draws a new key for a space: what is written from now on cannot be read with the old ones.
    pub async fn rotate_key(&self, space: SpaceId) -> Result<(), ClientError> {
        self.run(move |replica, _| replica.rotate_key(space)).await
    }

    /// Names a member as a recorder of one document: it may write there whatever its role.
    pub async fn name_recorder(&self, doc: DocId, member: MemberId) -> Result<(), ClientError> {
        self.run(move |replica, _| replica.name_recorder(doc, member)).await
    }

    /// Cuts a chain; see [`Replica::cut`](crate::replica::Replica::cut).
    pub async fn cut(&self, chain: ChainId, keep: u32) -> Result<(), ClientError> {
        self.run(move |replica, _| replica.cut(chain, keep)).await
    }

    /// Says which branch is this one's upper body, or that there is none.
    pub async fn set_upper_body(&self, branch: SpaceId, upper: Option<SpaceId>) -> Result<(), ClientError> {
        self.run(move |replica, _| replica.set_upper_body(branch, upper)).await
    }

    /// Creates an empty document.
    pub async fn create_document(&self, space: SpaceId, writers: Writers) -> Result<DocId, ClientError> {
        self.run(move |replica, _| replica.create_document(space, writers)).await
    }

    /// The charters of the branches that this device takes part in, as they are now.
    pub async fn charters(&self) -> Result<BTreeMap<SpaceId, Charter>, ClientError> {
        self.look(|replica| Ok(replica.charters().clone())).await
    }
}
