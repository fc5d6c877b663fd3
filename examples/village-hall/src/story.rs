//! The script of the meeting: what happens when, as data. Pure and seeded: the same options give the same script.

mod after;
mod before;
mod clock;
mod departures;
mod evening;
#[cfg(test)]
mod tests;
mod votes;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::clock::Moment;
use crate::act::{Act, Doc, New, Room};
use crate::cast::{Cast, Fixtures};
use crate::extras::{Extras, Names};
use crate::link::Conditions;
use crate::protocol::Departure;

pub use self::clock::DAY;

/// Minutes between the loss of the Wi-Fi and its return in the fixtures: 19:50 to 20:40.
pub const CUT_MINUTES: u32 = 50;

/// What shapes the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Number of members' phones, see [`crate::cast::PHONES_MIN`] and [`crate::cast::PHONES_MAX`].
    pub phones: usize,
    /// Draws the extra acts, the kills and the moments at which phones come back.
    pub seed: u64,
    /// Story minutes without Wi-Fi. A longer cut holds more acts.
    pub cut_minutes: u32,
    /// Real milliseconds in one story minute.
    pub minute_ms: u64,
    /// Kill the relay with signal 9 once while people write and once while they come back.
    pub kill_relay: bool,
    /// Kill some phones with signal 9 while they are offline, and one while it comes back.
    pub kill_phones: bool,
}

/// One moment of the script.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Position in the script; names the act in the line protocol.
    pub id: u32,
    /// Real milliseconds after the start, not counting waits at [`What::Converge`] and [`What::Admit`].
    pub at_ms: u64,
    /// What happens.
    pub what: What,
}

/// What happens in a [`Step`].
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Somebody does something on their phone.
    Act {
        /// Whose phone.
        phone: usize,
        /// What the phone's clock shows: milliseconds since 1970.
        at: i64,
        /// What.
        act: Box<Act>,
        /// Whether the phone must refuse, because its member may not.
        denied: bool,
    },
    /// Something happens to the links of these phones.
    Link {
        /// Whose links.
        phones: Vec<usize>,
        /// What happens to them.
        event: LinkEvent,
    },
    /// The narrator speaks.
    Say {
        /// Vietnamese.
        vi: String,
        /// English gloss.
        en: String,
    },
    /// Everybody except these waits until all copies are equal and nothing is pending.
    Converge {
        /// The phones that are away.
        except: Vec<usize>,
    },
    /// Something that a phone shows is read out.
    Show(Show),
    /// The secretary removes a phone, or its owner, from the branch.
    Remove {
        /// The phone. It runs on.
        phone: usize,
        /// Why.
        departure: Departure,
    },
    /// The secretary admits a new phone, which gets the next index.
    Admit {
        /// A phone of the person who is to have it.
        owner: usize,
    },
    /// Kill the relay with signal 9.
    KillRelay,
    /// Start the relay again on what its disk holds.
    RestartRelay,
    /// Kill a phone with signal 9.
    KillPhone(usize),
    /// Start a phone again on what its disk holds.
    RestartPhone(usize),
}

/// What is read out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Show {
    /// The roll and the base of votes, on the recorder's phone.
    Roll,
    /// The days that stand for a task, on the secretary's phone: there must be this many.
    Due {
        /// The task, by its id in the resolution.
        task: String,
        /// How many.
        count: usize,
    },
    /// Blocks that several wrote in apart, on the recorder's phone.
    Overlaps,
    /// The votes, on the recorder's phone.
    Votes,
    /// The month as the reviewer sees it.
    Digest,
    /// The seals, on the secretary's phone.
    Seals,
    /// What came too late, on the secretary's phone.
    Late,
}

/// What can happen to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkEvent {
    /// Connections are closed and new ones refused.
    Cut,
    /// Bytes vanish; nobody is told.
    HalfOpen,
    /// Delay and bandwidth limit.
    Slow(Conditions),
    /// Good again.
    Heal,
}

/// A script, and what must be true in the end besides that nothing is lost.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// In order.
    pub steps: Vec<Step>,
    /// Whose phone came three days late, by the roster's id.
    pub late: String,
    /// Who asked the committee in confidence, by the roster's id.
    pub asker: String,
    /// Words that only the committee and who asked may have.
    pub secret: String,
}

/// Writes the script for a cast.
#[must_use]
pub fn script(fixtures: &Fixtures, cast: &Cast, options: &Options) -> Script {
    let holders = cast.people.iter().enumerate().map(|(phone, p)| (p.member.clone(), phone)).collect();
    let mut writer = Writer {
        fixtures,
        cast: cast.clone(),
        options,
        steps: Vec::new(),
        extras: Extras::new(options.seed),
        gone: BTreeSet::new(),
        holders,
        names: Names::new(),
    };
    // Before anybody leaves.
    let asker = writer.asker();
    writer.before();
    writer.opening();
    writer.offline();
    writer.back();
    writer.lose_a_phone();
    writer.closing();
    writer.after();
    let mut steps = writer.steps;
    steps.sort_by_key(|(at_ms, order, _)| (*at_ms, *order));
    let steps = (0..).zip(steps).map(|(id, (at_ms, _, what))| Step { id, at_ms, what }).collect();
    let secret = text(&fixtures.feedback[2]["messages"][0]["text"]).to_owned();
    Script { steps, late: LATE.into(), asker, secret }
}

/// Whose phone comes back last.
const LATE: &str = "m14";
/// Who does what somebody without a phone would do, in small meetings.
const STAND_IN: &str = "m07";

struct Writer<'a> {
    fixtures: &'a Fixtures,
    /// Grows by the phones that are admitted in the course of the story.
    cast: Cast,
    options: &'a Options,
    /// Phones that were removed.
    gone: BTreeSet<usize>,
    /// The phone with which each member takes part now.
    holders: BTreeMap<String, usize>,
    /// Ids in documents by what the story calls the things.
    names: Names,
    /// Time, order of writing (ties keep it), event.
    steps: Vec<(u64, usize, What)>,
    extras: Extras,
}

impl Writer<'_> {
    /// The phone of a member, if there is one.
    fn phone(&self, member: &str) -> Option<usize> {
        self.holders.get(member).copied()
    }

    fn chair(&self) -> usize {
        self.holders["m01"]
    }

    fn recorder(&self) -> usize {
        self.holders["m04"]
    }

    fn late(&self) -> usize {
        self.holders[LATE]
    }

    /// A member who has a phone: this one, or who stands in.
    fn or_stand_in(&self, member: &str) -> String {
        if self.phone(member).is_some() { member.to_owned() } else { STAND_IN.to_owned() }
    }

    /// Who asks the committee in confidence.
    fn asker(&self) -> String {
        self.or_stand_in("m13")
    }

    /// Phones of members who are in the branch.
    fn members(&self) -> Vec<usize> {
        let is_member = |phone: &usize| !self.gone.contains(phone) && !self.cast.people[*phone].is_reviewer();
        (0..self.cast.people.len()).filter(is_member).collect()
    }

    fn member_of(&self, phone: usize) -> String {
        self.cast.people[phone].member.clone()
    }

    /// How many votes are counted against: official members without those who are exempt or away.
    fn base(&self) -> u32 {
        let people = self.fixtures.people(&self.cast);
        let counts = people.values().filter(|p| p.standing.is_official() && !p.is_exempt && !p.is_away);
        u32::try_from(counts.count()).unwrap_or(u32::MAX)
    }

    /// Something that is made at a time, and what the story calls it.
    fn make(&mut self, name: &str, time: &str) -> New {
        let new = self.extras.new_thing(self.moment(time).wall);
        if !name.is_empty() {
            self.names.insert(name.to_owned(), new.id());
        }
        new
    }

    /// The id of what the story calls so.
    fn id(&self, name: &str) -> String {
        self.names.get(name).cloned().unwrap_or_else(|| panic!("the story made no {name}"))
    }

    fn step(
        &mut self,
        time: &str,
        phone: usize,
        doc: Doc,
        kind: &str,
        data: &[(&str, &str)],
        with_heads: bool,
    ) {
        let new = self.make("", time);
        let data = data.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        self.act(time, phone, Act::Step { new, doc, kind: kind.to_owned(), data, with_heads });
    }

    fn replace(&mut self, time: &str, phone: usize, doc: Doc, block: &str, find: &str, with: &str) {
        let act = Act::Replace { doc, block: self.id(block), find: find.into(), with: with.into() };
        self.act(time, phone, act);
    }

    fn suggest(&mut self, time: &str, phone: usize, name: &str, block: &str, find: &str, with: &str) {
        let new = self.make(name, time);
        let act = Act::Suggest { new, block: self.id(block), find: find.into(), with: with.into() };
        self.act(time, phone, act);
    }

    fn accept(&mut self, time: &str, name: &str, block: &str, with: &str) {
        let act = Act::Accept { suggestion: self.id(name), block: self.id(block), with: with.into() };
        self.act(time, self.chair(), act);
    }

    fn say_in(&mut self, time: &str, phone: usize, doc: Doc, thread: &str, words: &str) {
        let new = self.make("", time);
        self.act(time, phone, Act::Say { new, doc, thread: self.id(thread), text: words.into() });
    }

    fn thread_step(
        &mut self,
        time: &str,
        phone: usize,
        doc: Doc,
        thread: &str,
        kind: &str,
        data: &[(&str, &str)],
    ) {
        let new = self.make("", time);
        let data = data.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        self.act(time, phone, Act::ThreadStep { new, doc, thread: self.id(thread), kind: kind.into(), data });
    }

    /// Something drawn, that this phone's member may do.
    fn extra(&mut self, moment: Moment, phone: usize, floor: bool) {
        let act = self.extras.draw(&self.cast, self.fixtures, &self.names, phone, moment.wall, floor);
        self.push_act(moment, phone, act, false);
    }

    fn act(&mut self, time: &str, phone: usize, act: Act) {
        self.push_act(self.moment(time), phone, act, false);
    }

    /// What somebody tries who may not.
    fn attempt(&mut self, time: &str, phone: usize, act: Act) {
        self.push_act(self.moment(time), phone, act, true);
    }

    fn push_act(&mut self, moment: Moment, phone: usize, act: Act, denied: bool) {
        self.push(moment.ms, What::Act { phone, at: moment.wall, act: Box::new(act), denied });
    }

    fn say(&mut self, time: &str, vi: &str, en: &str) {
        self.at(time, What::Say { vi: format!("{} — {vi}", clock::told(time)), en: en.into() });
    }

    fn converge(&mut self, time: &str, without_late: bool) {
        let except = if without_late { vec![self.late()] } else { Vec::new() };
        self.at(time, What::Converge { except });
    }

    fn show(&mut self, time: &str, show: Show) {
        self.at(time, What::Show(show));
    }

    fn at(&mut self, time: &str, what: What) {
        self.push(self.moment(time).ms, what);
    }

    fn push(&mut self, at_ms: u64, what: What) {
        self.steps.push((at_ms, self.steps.len(), what));
    }

    fn moment(&self, time: &str) -> Moment {
        clock::moment(time, self.options)
    }

    fn between(&mut self, from: &str, until: &str) -> Moment {
        let extras = &mut self.extras;
        clock::between(from, until, self.options, |bound| extras.below(bound))
    }
}

/// The mailbox of a member with the committee.
fn to_committee(member: &str) -> Doc {
    Doc::Mailbox(Room::ToCommittee(member.to_owned()))
}

/// The mailbox of a member with the reviewer.
fn to_upper(member: &str) -> Doc {
    Doc::Mailbox(Room::ToUpper(member.to_owned()))
}

/// A string of a fixture; empty when it is something else.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A list of a fixture.
fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
