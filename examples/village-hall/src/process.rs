//! The processes of a meeting: starting them, killing them with signal 9, speaking with them in lines.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command as Process};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::act::Act;
use crate::protocol::{Command, RelayReady, Reply, Request, Response, Start};

/// How long a process may take until it has answered for the first time.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Orders that may wait for one phone's task.
const ORDERS_MAX: usize = 4096;

/// How to run the two roles of this program in processes of their own.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The executable.
    pub executable: PathBuf,
    /// Arguments that make it a phone speaking [`crate::protocol`] on stdin and stdout.
    pub phone: Vec<OsString>,
    /// Arguments that make it a relay; `--data DIR --listen ADDR` follow. Its first line of JSON is a [`RelayReady`].
    pub relay: Vec<OsString>,
}

impl Programs {
    /// This very executable with its hidden sub-commands.
    ///
    /// # Errors
    /// If the system does not tell where this executable is.
    pub fn this() -> io::Result<Self> {
        let executable = std::env::current_exe()?;
        Ok(Self { executable, phone: vec!["phone".into()], relay: vec!["relay".into()] })
    }

    fn process(&self, arguments: &[OsString], log: &Path) -> io::Result<Process> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let mut process = Process::new(&self.executable);
        process.args(arguments).stderr(log).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        Ok(process)
    }
}

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    child: Child,
    /// Held open: a relay may end when its stdin ends, so that none outlives the orchestrator.
    _stdin: Option<ChildStdin>,
    ready: RelayReady,
}

impl Relay {
    /// Starts a relay on what `data` holds and waits until it listens.
    ///
    /// # Errors
    /// If it cannot be started or does not say where it listens.
    pub async fn start(programs: &Programs, data: &Path, log: &Path) -> io::Result<Self> {
        let mut process = programs.process(&programs.relay, log)?;
        let mut child = process.arg("--data").arg(data).arg("--listen").arg("127.0.0.1:0").spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("the relay has no stdout"))?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = timeout(START_TIMEOUT, async {
            while let Some(line) = lines.next_line().await? {
                if let Ok(ready) = serde_json::from_str::<RelayReady>(&line) {
                    return Ok(ready);
                }
            }
            Err(io::Error::other(format!("the relay ended before it listened, see {}", log.display())))
        })
        .await
        .map_err(|_| io::Error::other("the relay does not say where it listens"))??;
        // What it prints later is read away, so that its pipe never fills.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, _stdin: stdin, ready })
    }

    /// What it printed when it was ready.
    #[must_use]
    pub fn ready(&self) -> &RelayReady {
        &self.ready
    }

    /// Kills it with signal 9 and waits until it is gone.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn kill(mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Whether it ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

/// What a phone is to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Step of the script.
    pub step: u32,
    /// The story's clock: milliseconds since 1970.
    pub at: i64,
    /// What.
    pub act: Act,
    /// Milliseconds between bursts of typing.
    pub typing_ms: u64,
}

/// An order to a phone's task.
#[derive(Debug)]
pub enum Order {
    /// Do this when what came before it has been answered; again after a crash.
    Do(Box<Job>),
    /// Ask now; the answer's channel is dropped if the phone is or falls dead.
    Ask(Box<Command>, oneshot::Sender<Reply>),
    /// Kill the process with signal 9.
    Kill,
    /// Start the process again: `Start` comes before any other command.
    Restart(Box<Start>),
}

/// News of a phone.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// An edit was answered.
    Answered {
        /// Step of the script.
        step: u32,
        /// [`Reply::Acted`], [`Reply::Skipped`], [`Reply::Denied`] or [`Reply::Failed`].
        reply: Reply,
    },
    /// It runs again after a restart.
    Running,
    /// It was killed as ordered.
    Killed,
    /// It ended without having been told to, or could not be started.
    Broken(String),
}

/// A handle on a phone's task.
#[derive(Clone, Debug)]
pub struct Phone {
    orders: mpsc::Sender<Order>,
}

impl Phone {
    /// Spawns the phone's process and the task that speaks with it. News carry this phone's index.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn spawn(
        programs: &Programs,
        index: usize,
        log: PathBuf,
        news: mpsc::Sender<(usize, News)>,
    ) -> io::Result<Self> {
        let (orders, received) = mpsc::channel(ORDERS_MAX);
        let running = Running::spawn(programs, &log)?;
        let task = Task {
            programs: programs.clone(),
            index,
            log,
            news,
            running: Some(running),
            next_id: 0,
            asked: BTreeMap::new(),
            queue: VecDeque::new(),
            again: false,
            in_flight: None,
        };
        tokio::spawn(task.run(received));
        Ok(Self { orders })
    }

    /// Gives an order.
    pub async fn order(&self, order: Order) {
        // The task ends only with the orchestrator.
        let _ = self.orders.send(order).await;
    }

    /// Asks and waits for the answer; `None` when the phone is or falls dead.
    pub async fn ask(&self, command: Command) -> Option<Reply> {
        let (sender, answer) = oneshot::channel();
        self.order(Order::Ask(Box::new(command), sender)).await;
        answer.await.ok()
    }
}

struct Running {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn spawn(programs: &Programs, log: &Path) -> io::Result<Self> {
        let mut child = programs.process(&programs.phone, log)?.spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("a phone has no pipes"));
        };
        Ok(Self { child, stdin, lines: BufReader::new(stdout).lines() })
    }
}

struct Task {
    programs: Programs,
    index: usize,
    log: PathBuf,
    news: mpsc::Sender<(usize, News)>,
    running: Option<Running>,
    next_id: u64,
    asked: BTreeMap<u64, oneshot::Sender<Reply>>,
    /// Edits that have not been answered, in order; the first may be in flight.
    queue: VecDeque<Box<Job>>,
    /// Whether the first was sent before, to a process that fell dead.
    again: bool,
    in_flight: Option<u64>,
}

impl Task {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            self.send_next().await;
            let line = async {
                match &mut self.running {
                    Some(running) => running.lines.next_line().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => return,
                },
                line = line => match line {
                    Ok(Some(line)) => self.heard(&line).await,
                    Ok(None) | Err(_) => self.broke().await,
                },
            }
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Do(job) => self.queue.push_back(job),
            Order::Ask(command, answer) => {
                if let Some(id) = self.send(*command).await {
                    self.asked.insert(id, answer);
                }
            }
            Order::Kill => {
                if let Some(mut running) = self.running.take() {
                    let _ = running.child.kill().await;
                }
                self.forget();
                self.tell(News::Killed).await;
            }
            Order::Restart(start) => self.restart(*start).await,
        }
    }

    async fn restart(&mut self, start: Start) {
        match Running::spawn(&self.programs, &self.log) {
            Ok(running) => self.running = Some(running),
            Err(error) => return self.tell(News::Broken(error.to_string())).await,
        }
        // Answered in order; what is wrong shows in the answer to the first act or question.
        self.send(Command::Start(start)).await;
        self.tell(News::Running).await;
    }

    async fn heard(&mut self, line: &str) {
        let Ok(Response { id, reply }) = serde_json::from_str::<Response>(line) else { return };
        if self.in_flight == Some(id) {
            (self.in_flight, self.again) = (None, false);
            if let Some(job) = self.queue.pop_front() {
                self.tell(News::Answered { step: job.step, reply }).await;
            }
        } else if let Some(answer) = self.asked.remove(&id) {
            // The asker may have given up.
            let _ = answer.send(reply);
        } else if let Reply::Failed { error } = reply {
            self.tell(News::Broken(error)).await;
        }
    }

    async fn send_next(&mut self) {
        if self.in_flight.is_some() || self.running.is_none() {
            return;
        }
        let Some(job) = self.queue.front().cloned() else { return };
        let Job { step, at, act, typing_ms } = *job;
        self.in_flight = self.send(Command::Do { step, at, act, typing_ms, again: self.again }).await;
    }

    async fn send(&mut self, command: Command) -> Option<u64> {
        let running = self.running.as_mut()?;
        self.next_id += 1;
        let mut line = serde_json::to_vec(&Request { id: self.next_id, command }).ok()?;
        line.push(b'\n');
        // If it is dying, the end of its output tells.
        running.stdin.write_all(&line).await.ok()?;
        Some(self.next_id)
    }

    async fn broke(&mut self) {
        self.running = None;
        self.forget();
        let text = format!("phone {} ended by itself, see {}", self.index, self.log.display());
        self.tell(News::Broken(text)).await;
    }

    fn forget(&mut self) {
        self.asked.clear();
        self.again |= self.in_flight.take().is_some();
    }

    async fn tell(&self, news: News) {
        let _ = self.news.send((self.index, news)).await;
    }
}
