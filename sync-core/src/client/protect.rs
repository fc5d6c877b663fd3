//! Spaces that are locked apart: their content needs the device's second secret.

use std::collections::BTreeSet;

use dinh_proto::ids::SpaceId;
use zeroize::Zeroizing;

use super::{Client, ClientError};

impl Client {
    /// Says whether a space is protected on this device from now on; see [`Replica::protect_space`]. It is kept in the
    /// store: the app says it once, as soon as it knows the space.
    ///
    /// [`Replica::protect_space`]: crate::replica::Replica::protect_space
    pub async fn protect_space(&self, space: SpaceId, protect: bool) -> Result<(), ClientError> {
        self.run(move |replica, _| replica.protect_space(space, protect)).await
    }

    /// The spaces that are protected on this device.
    pub async fn protected_spaces(&self) -> Result<BTreeSet<SpaceId>, ClientError> {
        self.look(|replica| Ok(replica.protected_spaces().clone())).await
    }

    /// Drops the device's second secret and everything that it opened, until
    /// [`unlock_protected`](Self::unlock_protected): protected spaces cannot be read or written on this phone, not even by
    /// somebody who has the process and the store's key, while other spaces go on. What is typed is saved first; what was
    /// not sent and is sealed goes out, the rest waits. Their new items are received and there after the unlocking.
    ///
    /// Reading or editing a protected document gives [`ReplicaError::Locked`]. The status says
    /// [`protected_locked`](super::Status::protected_locked). New keys, also of other spaces, cannot be learned: what was
    /// written under those appears after the unlocking, and what is written there waits. Waiting events of all documents
    /// shrink to "read this document again".
    ///
    /// Keys are erased from memory. Documents that were open are freed, not erased; nor can this erase what the app
    /// has read.
    ///
    /// # Errors
    /// If something typed could not be saved; it is locked all the same, unless the store failed. No error if it was
    /// locked already.
    ///
    /// [`ReplicaError::Locked`]: crate::replica::ReplicaError::Locked
    pub async fn lock_protected(&self) -> Result<(), ClientError> {
        let shared = self.inner.shared.clone();
        self.run(move |replica, now| {
            let result = replica.lock_protected(now);
            shared.observers.forget_content();
            result
        })
        .await
    }

    /// [`lock_protected`](Self::lock_protected), waiting on this thread.
    pub fn lock_protected_blocking(&self) -> Result<(), ClientError> {
        self.blocking(self.lock_protected())
    }

    /// Takes the device's second secret back: everything can be read again. No error if nothing was locked and the secret
    /// is the right one.
    ///
    /// # Errors
    /// [`ReplicaError::WrongWrapSecret`]: it is as before.
    ///
    /// [`ReplicaError::WrongWrapSecret`]: crate::replica::ReplicaError::WrongWrapSecret
    pub async fn unlock_protected(&self, wrap_secret: [u8; 32]) -> Result<(), ClientError> {
        let wrap_secret = Zeroizing::new(wrap_secret);
        self.run(move |replica, now| replica.unlock_protected(now, &wrap_secret)).await
    }

    /// [`unlock_protected`](Self::unlock_protected), waiting on this thread.
    pub fn unlock_protected_blocking(&self, wrap_secret: [u8; 32]) -> Result<(), ClientError> {
        self.blocking(self.unlock_protected(wrap_secret))
    }
}
