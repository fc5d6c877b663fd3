//! Who comes into the branch and who goes: founding, joining by codes, removal.

use std::collections::BTreeSet;
use std::io;

use super::{Hall, address};
use crate::cast::Person;
use crate::link::Link;
use crate::process::{Phone, Relay};
use crate::protocol::{Command, Departure, Reply, Start};

impl Hall<'_> {
    /// A further phone: its link, its process, its place in every list.
    pub(super) async fn add_phone(&mut self, person: &Person) -> io::Result<usize> {
        let phone = self.phones.len();
        let relay = self.relay.as_ref().ok_or_else(|| io::Error::other("the relay is not running"))?;
        let seed = self.config.options.seed.wrapping_mul(1_000).wrapping_add(phone as u64);
        let link = Link::start(address(relay)?, seed).await?;
        let directory = self.config.directory.join(format!("phone-{phone:02}"));
        std::fs::create_dir_all(&directory)?;
        let log = self.config.directory.join(format!("phone-{phone:02}.log"));
        self.phones.push(Phone::spawn(&self.config.programs, phone, log, self.tell.clone())?);
        self.starts.push(Start {
            phone,
            person: person.clone(),
            directory: directory.display().to_string(),
            relay: link.address().to_string(),
            relay_info: Relay::ready(relay).clone(),
            seed,
        });
        self.links.push(link);
        self.cards.push(String::new());
        Ok(phone)
    }

    /// Starts every phone, founds the branch with its spaces, joins everybody. `None` and a fault if that fails.
    pub(super) async fn found(&mut self) -> Option<()> {
        let starts: Vec<_> = self.starts.iter().cloned().map(Command::Start).enumerate().collect();
        for (phone, reply) in self.ask_all(starts).await {
            match reply {
                Reply::Ready { card } => self.cards[phone] = card,
                other => return self.fault(format!("a phone does not start: {other:?}")),
            }
        }
        if self.cards.iter().any(String::is_empty) {
            return self.fault("a phone does not start".into());
        }
        let found = Command::Found { person: self.cast.people[0].clone(), branch: self.branch.clone() };
        self.all_done(vec![(0, found)]).await?;
        let mut joins = Vec::new();
        for phone in 1..self.phones.len() {
            let is_member = !self.cast.people[phone].is_reviewer();
            joins.push((phone, self.admit(phone, is_member).await?));
        }
        self.all_done(joins).await
    }

    /// The secretary scans a phone's code and admits it; what that phone then scans is the answer.
    async fn admit(&mut self, phone: usize, first: bool) -> Option<Command> {
        let (card, person) = (self.cards[phone].clone(), self.cast.people[phone].clone());
        let relay = self.starts[phone].relay.clone();
        match self.ask(0, Command::Admit { card, person, relay }).await {
            Some(Reply::Admitted { welcome }) => Some(Command::Join { welcome, first }),
            other => self.fault(format!("phone {phone} is not admitted: {other:?}")),
        }
    }

    /// A new phone for the owner of another, in the middle of the meeting.
    pub(super) async fn replace(&mut self, owner: usize) -> io::Result<Option<()>> {
        let new = self.cast.add_phone_of(owner);
        let person = self.cast.people[new].clone();
        let index = self.add_phone(&person).await?;
        debug_assert_eq!(new, index, "the script and the hall count alike");
        self.report.admitted_phones += 1;
        let joined = self.start_and_join(new).await;
        // The dashboard shows it too.
        self.watch();
        Ok(joined)
    }

    async fn start_and_join(&mut self, new: usize) -> Option<()> {
        match self.ask(new, Command::Start(self.starts[new].clone())).await {
            Some(Reply::Ready { card }) => self.cards[new] = card,
            other => return self.fault(format!("the new phone does not start: {other:?}")),
        }
        let join = self.admit(new, false).await?;
        self.all_done(vec![(new, join)]).await
    }

    /// The secretary removes a phone. It runs on, but is no more among those that are waited for and compared.
    pub(super) async fn remove(&mut self, phone: usize, departure: Departure) {
        let (card, person) = (self.cards[phone].clone(), self.cast.people[phone].clone());
        if self.all_done(vec![(0, Command::Remove { card, person, departure })]).await.is_some() {
            self.gone.insert(phone);
            self.report.removed_phones += 1;
        }
    }

    /// The phones that are in the branch now.
    pub(super) fn members(&self) -> Vec<usize> {
        let gone: &BTreeSet<usize> = &self.gone;
        (0..self.phones.len()).filter(|phone| !gone.contains(phone)).collect()
    }
}
