//! Plays a script with real processes: starts them, drives the steps, breaks what the script breaks, and accounts.

mod account;
mod people;
mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use crate::act::{Act, Doc, Room};
use crate::cast::{Cast, Fixtures};
use crate::ledger::{Ledger, Wanted};
use crate::link::Link;
use crate::process::{Job, News, Order, Phone, Programs, Relay};
use crate::protocol::{Command, Connection, Reply, Start, Status};
use crate::report::Report;
use crate::screen::{PhoneStatus, Screen};
use crate::story::{self, LinkEvent, Options, Script, Step, What};

/// How often phones are asked for the dashboard.
const REFRESH: Duration = Duration::from_millis(250);
/// The same for a log, which keeps every line.
const REFRESH_LOG: Duration = Duration::from_secs(1);
/// How often copies are compared while everybody waits.
const COMPARE: Duration = Duration::from_millis(25);
/// How long one question may take. Phones answer in order, so this covers a paragraph being typed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// News that may wait for the orchestrator.
const NEWS_MAX: usize = 16_384;

/// How to run a meeting.
#[derive(Clone, Debug)]
pub struct Config {
    /// Shapes the script.
    pub options: Options,
    /// How to start phones and the relay.
    pub programs: Programs,
    /// Where everybody keeps their stores and logs; exists and is empty.
    pub directory: PathBuf,
    /// How long everybody may wait for equal copies before the meeting is given up.
    pub converge_timeout: Duration,
}

/// What a meeting leaves.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The account.
    pub report: Report,
    /// The minutes and the resolution as they were sealed, rendered.
    pub papers: String,
    /// The same as files: names and contents.
    pub files: BTreeMap<String, String>,
}

/// Plays a whole meeting.
///
/// # Errors
/// If processes or sockets cannot be made at all. What goes wrong later is a fault in the report.
pub async fn run<W: io::Write>(config: &Config, screen: &mut Screen<W>) -> io::Result<Outcome> {
    let fixtures = Fixtures::load();
    let cast = Cast::new(&fixtures, config.options.phones);
    let script = story::script(&fixtures, &cast, &config.options);
    let started = Instant::now();
    let mut hall = Hall::open(config, cast, &fixtures, &script).await?;
    screen.say(&format!(
        "{} phones and a relay run; stores in {}",
        hall.phones.len(),
        config.directory.display()
    ));
    if hall.found().await.is_some() {
        hall.watch();
        hall.play(&script.steps, screen).await?;
    }
    let outcome = hall.account(started).await;
    screen.show(&hall.dashboard());
    screen.finish();
    hall.close().await;
    Ok(outcome)
}

struct Hall<'a> {
    config: &'a Config,
    cast: Cast,
    relay: Option<Relay>,
    links: Vec<Link>,
    phones: Vec<Phone>,
    starts: Vec<Start>,
    /// The code that each phone showed when it was started.
    cards: Vec<String>,
    /// What the branch is called.
    branch: String,
    /// Whose phone is late, who asked in confidence, and what.
    script: &'a Script,
    dead: BTreeSet<usize>,
    /// Phones that were removed from the branch. They run on.
    gone: BTreeSet<usize>,
    tell: mpsc::Sender<(usize, News)>,
    news: mpsc::Receiver<(usize, News)>,
    /// Acts that were ordered and not answered, and whose they are.
    waiting: BTreeMap<u32, usize>,
    ledger: Ledger,
    report: Report,
    /// The last event of the return after the cut.
    healed: Option<Instant>,
    surveys: Arc<Mutex<Survey>>,
    watcher: Option<JoinHandle<()>>,
}

/// What phones said when they were last asked; a phone that did not answer is not in it.
type Survey = BTreeMap<usize, (Status, Vec<Held>)>;
/// A document that a phone has: what it is, its id, the hash of its heads.
type Held = (Doc, String, Option<String>);

impl<'a> Hall<'a> {
    async fn open(
        config: &'a Config,
        cast: Cast,
        fixtures: &Fixtures,
        script: &'a Script,
    ) -> io::Result<Self> {
        let data = config.directory.join("relay");
        std::fs::create_dir_all(&data)?;
        let relay = Relay::start(&config.programs, &data, &config.directory.join("relay.log")).await?;
        let (tell, news) = mpsc::channel(NEWS_MAX);
        let people = cast.people.clone();
        let mut hall = Self {
            config,
            report: Report { phones: cast.members, seed: config.options.seed, ..Report::default() },
            cast,
            relay: Some(relay),
            links: Vec::new(),
            phones: Vec::new(),
            starts: Vec::new(),
            cards: Vec::new(),
            branch: fixtures.roster["branch"]["name"].as_str().unwrap_or_default().to_owned(),
            script,
            dead: BTreeSet::new(),
            gone: BTreeSet::new(),
            tell,
            news,
            waiting: BTreeMap::new(),
            ledger: Ledger::default(),
            healed: None,
            surveys: Arc::default(),
            watcher: None,
        };
        for person in &people {
            hall.add_phone(person).await?;
        }
        Ok(hall)
    }

    async fn all_done(&mut self, commands: Vec<(usize, Command)>) -> Option<()> {
        let count = commands.len();
        let replies = self.ask_all(commands).await;
        match replies.iter().find(|(_, reply)| **reply != Reply::Done) {
            Some((phone, reply)) => self.fault(format!("phone {phone}: {reply:?}")),
            None if replies.len() < count => self.fault("a phone did not answer".into()),
            None => Some(()),
        }
    }

    async fn play<W: io::Write>(&mut self, steps: &[Step], screen: &mut Screen<W>) -> io::Result<()> {
        let mut origin = Instant::now();
        let mut refresh = interval(if screen.redraws() { REFRESH } else { REFRESH_LOG });
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for step in steps {
            let due = origin + Duration::from_millis(step.at_ms);
            loop {
                tokio::select! {
                    news = self.news.recv() => self.note(news),
                    () = sleep_until(due) => break,
                    _ = refresh.tick() => screen.show(&self.dashboard()),
                }
            }
            if self.relay.as_mut().is_some_and(Relay::has_ended) {
                self.fault::<()>("the relay ended by itself".into());
            }
            if !self.report.faults.is_empty() {
                break;
            }
            let began = Instant::now();
            self.perform(step, screen).await?;
            if matches!(step.what, What::Converge { .. } | What::Admit { .. }) {
                origin += began.elapsed();
            }
        }
        Ok(())
    }

    async fn perform<W: io::Write>(&mut self, step: &Step, screen: &mut Screen<W>) -> io::Result<()> {
        match &step.what {
            What::Say { vi, en } => screen.say(&format!("{vi}\n        {en}")),
            What::Act { phone, at, act, denied } => self.act(step.id, *phone, *at, act, *denied).await,
            What::Link { phones, event } => self.link(phones, *event).await,
            What::Converge { except } => self.converge(except, screen).await,
            What::Show(show) => {
                if let Some(lines) = self.show(show).await {
                    screen.say(&lines);
                }
            }
            What::Remove { phone, departure } => self.remove(*phone, *departure).await,
            What::Admit { owner } => drop(self.replace(*owner).await?),
            What::KillRelay => {
                if let Some(relay) = self.relay.take() {
                    relay.kill().await?;
                    self.report.relay_kills += 1;
                }
            }
            What::RestartRelay => self.restart_relay().await?,
            What::KillPhone(phone) => {
                self.dead.insert(*phone);
                self.report.phone_kills += 1;
                self.phones[*phone].order(Order::Kill).await;
                screen.say(&format!("        kill -9: {}", self.cast.people[*phone].name));
            }
            What::RestartPhone(phone) => {
                let start = self.starts[*phone].clone();
                self.phones[*phone].order(Order::Restart(Box::new(start))).await;
                self.dead.remove(phone);
                self.healed = self.healed.map(|_| Instant::now());
            }
        }
        Ok(())
    }

    async fn act(&mut self, step: u32, phone: usize, at: i64, act: &Act, denied: bool) {
        self.waiting.insert(step, phone);
        let wanted = match (self.gone.contains(&phone), denied) {
            (true, _) => Wanted::ShutOut,
            (false, true) => Wanted::Denied,
            (false, false) => Wanted::There,
        };
        self.ledger.sent(step, phone, &self.cast.people[phone].member, act, wanted);
        // Fast typists: a burst every fiftieth of a story minute.
        let typing_ms = (self.config.options.minute_ms / 50).max(1);
        let job = Job { step, at, act: act.clone(), typing_ms };
        self.phones[phone].order(Order::Do(Box::new(job))).await;
    }

    async fn link(&mut self, phones: &[usize], event: LinkEvent) {
        for link in phones.iter().filter_map(|phone| self.links.get(*phone)) {
            match event {
                LinkEvent::Cut => link.cut(),
                LinkEvent::HalfOpen => link.half_open(),
                LinkEvent::Slow(conditions) => link.slow(conditions),
                LinkEvent::Heal => link.heal(),
            }
        }
        if event == LinkEvent::Heal {
            self.healed = Some(Instant::now());
            for phone in phones {
                // The answer does not matter, and a dead phone hears nothing.
                let (unheard, _) = oneshot::channel();
                self.phones[*phone].order(Order::Ask(Box::new(Command::NetworkChanged), unheard)).await;
            }
        }
    }

    async fn restart_relay(&mut self) -> io::Result<()> {
        let directory = &self.config.directory;
        let relay =
            Relay::start(&self.config.programs, &directory.join("relay"), &directory.join("relay.log"))
                .await?;
        let upstream = address(&relay)?;
        for link in &self.links {
            link.set_upstream(upstream);
        }
        for start in &mut self.starts {
            start.relay_info = relay.ready().clone();
        }
        self.relay = Some(relay);
        self.healed = self.healed.map(|_| Instant::now());
        Ok(())
    }

    /// Waits until every phone that is not away has answered its edits, has nothing pending and holds equal copies.
    async fn converge<W: io::Write>(&mut self, except: &[usize], screen: &mut Screen<W>) {
        let deadline = Instant::now() + self.config.converge_timeout;
        let here: Vec<usize> = self.members().into_iter().filter(|phone| !except.contains(phone)).collect();
        let mut shown = Instant::now();
        loop {
            while let Ok(news) = self.news.try_recv() {
                self.note(Some(news));
            }
            if !self.report.faults.is_empty() {
                return;
            }
            let busy = self.waiting.values().any(|phone| here.contains(phone));
            let why = self.differences(&survey(&self.phones, &here, false).await, &here, except.is_empty());
            if !busy && why.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                let seconds = self.config.converge_timeout.as_secs();
                self.fault::<()>(format!(
                    "no equal copies after {seconds} s, unanswered acts: {busy}. {why}"
                ));
                return;
            }
            if shown.elapsed() > REFRESH {
                screen.show(&self.dashboard());
                shown = Instant::now();
            }
            sleep(COMPARE).await;
        }
        if let (Some(healed), None) = (self.healed, self.report.heal_ms) {
            let ms = u64::try_from(healed.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.report.heal_ms = Some(ms);
            screen.say(&format!("        Mọi máy giống nhau sau {ms} ms. · All copies are equal again."));
        }
    }

    /// Why these phones are not settled, for people; empty when they are. Mailboxes with the reviewer count if `all`: a new phone gets
    /// their keys when the reviewer's phone finds the time.
    fn differences(&self, survey: &Survey, phones: &[usize], all: bool) -> String {
        let counts = |doc: &Doc| all || !matches!(doc.room(), Room::ToUpper(_));
        let mut why = String::new();
        let mut hashes: BTreeMap<(&Doc, &str), &str> = BTreeMap::new();
        for phone in phones {
            let Some((status, held)) = survey.get(phone) else {
                let _ = write!(why, "phone {phone} does not answer; ");
                continue;
            };
            if status.pending > 0 {
                let _ = write!(why, "phone {phone} has {} pending; ", status.pending);
            }
            if status.connection != Connection::Live {
                let _ = write!(why, "phone {phone} is {:?}; ", status.connection);
            }
            for (doc, id, hash) in held.iter().filter(|(doc, ..)| counts(doc)) {
                match hash.as_deref() {
                    None => drop(write!(why, "phone {phone} lacks {doc}; ")),
                    Some(hash) if *hashes.entry((doc, id)).or_insert(hash) != hash => {
                        let _ = write!(why, "phone {phone} has another {doc}; ");
                    }
                    Some(_) => {}
                }
            }
        }
        let known: BTreeSet<(&Doc, &str)> = hashes.keys().copied().collect();
        for (phone, (_, held)) in phones.iter().filter_map(|phone| Some((phone, survey.get(phone)?))) {
            let has: BTreeSet<(&Doc, &str)> = held.iter().map(|(doc, id, _)| (doc, id.as_str())).collect();
            for (doc, _) in known.difference(&has).filter(|(doc, _)| self.reads(*phone, doc)) {
                let _ = write!(why, "phone {phone} does not know of {doc}; ");
            }
        }
        why
    }

    fn note(&mut self, news: Option<(usize, News)>) {
        let Some((phone, news)) = news else { return };
        match news {
            News::Answered { step, reply } => {
                self.waiting.remove(&step);
                match reply {
                    Reply::Acted { us_max, replaced, .. } => {
                        self.ledger.saved(step, replaced);
                        self.report.edit_ms_max = self.report.edit_ms_max.max(us_max as f64 / 1000.0);
                    }
                    Reply::Skipped { reason, .. } => {
                        tracing::info!(phone, step, reason, "skipped");
                        self.ledger.skipped(step);
                        self.report.skipped += 1;
                    }
                    Reply::Denied { why } if self.ledger.is_to_be_denied(step) => {
                        tracing::info!(phone, step, why, "denied");
                        self.report.denied += 1;
                    }
                    // A removed phone may find out that it is, and refuse; or lack what it never got.
                    other if self.gone.contains(&phone) => tracing::info!(phone, step, ?other, "not written"),
                    other => drop(self.fault::<()>(format!("phone {phone}, step {step}: {other:?}"))),
                }
            }
            News::Broken(why) => drop(self.fault::<()>(why)),
            News::Running | News::Killed => {}
        }
    }

    fn fault<T>(&mut self, what: String) -> Option<T> {
        self.report.faults.push(what);
        None
    }

    /// Whether a phone must have a document.
    fn reads(&self, phone: usize, doc: &Doc) -> bool {
        self.cast.reads(phone, &doc.room())
    }

    async fn ask(&self, phone: usize, command: Command) -> Option<Reply> {
        self.ask_all(vec![(phone, command)]).await.remove(&phone)
    }

    async fn ask_all(&self, commands: Vec<(usize, Command)>) -> BTreeMap<usize, Reply> {
        ask_all(&self.phones, commands).await
    }

    /// Keeps the dashboard's numbers fresh beside the script.
    fn watch(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.abort();
        }
        let (phones, surveys) = (self.phones.clone(), Arc::clone(&self.surveys));
        let all: Vec<usize> = (0..phones.len()).collect();
        self.watcher = Some(tokio::spawn(async move {
            loop {
                let fresh = survey(&phones, &all, false).await;
                *surveys.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
                sleep(REFRESH).await;
            }
        }));
    }

    fn dashboard(&self) -> Vec<PhoneStatus> {
        let survey = self.surveys.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut members = survey.clone();
        members.retain(|phone, _| !self.gone.contains(phone));
        let usual = usual_hashes(&members);
        let row = |(phone, person): (usize, &crate::cast::Person)| {
            let mut row = PhoneStatus {
                name: person.name.clone(),
                role: person.role.replace('_', " "),
                dead: self.dead.contains(&phone),
                removed: self.gone.contains(&phone),
                ..PhoneStatus::default()
            };
            if let Some((status, hashes)) = survey.get(&phone) {
                (row.connection, row.pending, row.items) = (status.connection, status.pending, status.items);
                row.documents = hashes.len();
                let is_usual = |held: &&Held| held.2.is_some() && usual.get(&held.1) == Some(&&held.2);
                row.equal = hashes.iter().filter(is_usual).count();
            }
            row
        };
        self.cast.people.iter().enumerate().map(row).collect()
    }

    async fn close(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.abort();
        }
        let quits = (0..self.phones.len()).map(|phone| (phone, Command::Quit)).collect();
        // A phone that hangs is killed when its task is dropped.
        let _ = timeout(Duration::from_secs(3), self.ask_all(quits)).await;
        if let Some(relay) = self.relay.take() {
            let _ = relay.kill().await;
        }
    }
}

fn address(relay: &Relay) -> io::Result<SocketAddr> {
    relay.ready().listening.parse().map_err(io::Error::other)
}

/// Asks several phones at once. Phones that are dead or too slow are not in the answer.
async fn ask_all(phones: &[Phone], commands: Vec<(usize, Command)>) -> BTreeMap<usize, Reply> {
    let mut asking = JoinSet::new();
    for (index, command) in commands {
        let phone = phones[index].clone();
        asking.spawn(async move { (index, timeout(ANSWER_TIMEOUT, phone.ask(command)).await) });
    }
    let mut replies = BTreeMap::new();
    while let Some(answer) = asking.join_next().await {
        if let Ok((index, Ok(Some(reply)))) = answer {
            replies.insert(index, reply);
        }
    }
    replies
}

async fn survey(phones: &[Phone], which: &[usize], fresh: bool) -> Survey {
    let all = |command: Command| which.iter().map(|phone| (*phone, command.clone())).collect();
    let statuses = ask_all(phones, all(Command::Status)).await;
    let mut held = ask_all(phones, all(Command::Held { fresh })).await;
    let pair = |(phone, status)| match (status, held.remove(&phone)) {
        (Reply::Status(status), Some(Reply::Held { held })) => Some((phone, (status, held))),
        _ => None,
    };
    statuses.into_iter().filter_map(pair).collect()
}

/// For each document, by id, the hash that most phones hold.
fn usual_hashes(survey: &Survey) -> BTreeMap<&String, &Option<String>> {
    let mut counts: BTreeMap<(&String, &Option<String>), usize> = BTreeMap::new();
    for (_, id, hash) in survey.values().flat_map(|(_, held)| held) {
        *counts.entry((id, hash)).or_default() += 1;
    }
    let mut usual: BTreeMap<&String, (&Option<String>, usize)> = BTreeMap::new();
    for ((id, hash), count) in counts {
        let best = usual.entry(id).or_insert((hash, count));
        if count > best.1 {
            *best = (hash, count);
        }
    }
    usual.into_iter().map(|(id, (hash, _))| (id, hash)).collect()
}
