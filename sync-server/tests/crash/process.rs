//! The driver's side of the processes: starting them, hearing what they say, killing them with signal 9.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::child::{TOLD, Task};
use crate::tokens::{self, Numbers};

/// What anything may take before the test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a phone said in all its lives.
#[derive(Debug, Default, Clone)]
pub(crate) struct Heard {
    /// The newest number that it began to write.
    pub(crate) begun: u64,
    /// What it said is saved, and what it once was seen to hold.
    pub(crate) saved: Numbers,
    /// Everything that is saved up to here was acknowledged by the relay.
    pub(crate) acked: u64,
    /// The highest place in the relay's log that it was told.
    pub(crate) acked_seq: u64,
    /// What it held when it started last.
    pub(crate) held: Option<Numbers>,
    pub(crate) ready: bool,
    pub(crate) failed: Option<String>,
    /// The newest line about its state.
    pub(crate) state: String,
}

impl Heard {
    fn hear(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "begun" => self.begun = rest.parse().unwrap(),
            "saved" => {
                self.saved.insert(rest.parse().unwrap());
            }
            "acked" => {
                let (n, seq) = rest.split_once(' ').unwrap();
                (self.acked, self.acked_seq) = (n.parse().unwrap(), seq.parse().unwrap());
            }
            "held" => self.held = Some(tokens::read(rest)),
            "ready" => self.ready = true,
            "failed" => self.failed = Some(rest.to_owned()),
            "waits" | "synced" => self.state = line.to_owned(),
            // What libtest says of itself.
            _ => {}
        }
    }

    pub(crate) fn acknowledged(&self) -> Numbers {
        self.saved.range(..=self.acked).copied().collect()
    }
}

type Ear = Arc<(Mutex<Heard>, Condvar)>;

pub(crate) struct Phone {
    pub(crate) index: usize,
    /// What was saved when it was started last: it must hold that.
    pub(crate) before_start: Numbers,
    ear: Ear,
    running: Option<(Child, ChildStdin, JoinHandle<()>)>,
}

impl Phone {
    pub(crate) fn new(index: usize) -> Self {
        Self { index, before_start: Numbers::new(), ear: Arc::default(), running: None }
    }

    pub(crate) fn spawn(&mut self, task: &Task) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_phone_process", "--ignored", "--nocapture", "--test-threads=1"])
            .env(TOLD, task.write())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        {
            let mut heard = self.ear.0.lock().unwrap();
            (heard.ready, heard.held) = (false, None);
            heard.state.clear();
            self.before_start.clone_from(&heard.saved);
        }
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let ear = self.ear.clone();
        let reader = std::thread::spawn(move || {
            // A line that the kill cut off says nothing.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                ear.0.lock().unwrap().hear(&line);
                ear.1.notify_all();
            }
        });
        self.running = Some((child, stdin, reader));
    }

    /// Kill -9. What it had said by then is heard.
    pub(crate) fn kill(&mut self) {
        let Some((mut child, stdin, reader)) = self.running.take() else { return };
        child.kill().unwrap();
        child.wait().unwrap();
        drop(stdin);
        reader.join().unwrap();
        assert_eq!(self.heard().failed, None, "phone {}", self.index);
    }

    pub(crate) fn tell(&mut self, order: &str) {
        if let Some((_, stdin, _)) = &mut self.running {
            // A phone that is gone is found out by what it does not say.
            let _ = writeln!(stdin, "{order}");
        }
    }

    pub(crate) fn heard(&self) -> Heard {
        self.ear.0.lock().unwrap().clone()
    }

    /// Waits until what it said is so. `None` if it takes too long or the phone failed.
    pub(crate) fn wait(&self, mut so: impl FnMut(&Heard) -> bool, patience: Duration) -> Option<Heard> {
        let deadline = Instant::now() + patience;
        let mut heard = self.ear.0.lock().unwrap();
        loop {
            assert_eq!(heard.failed, None, "phone {}", self.index);
            if so(&heard) {
                return Some(heard.clone());
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            heard = self.ear.1.wait_timeout(heard, left).unwrap().0;
        }
    }

    pub(crate) fn note_saved(&self, numbers: &Numbers) {
        self.ear.0.lock().unwrap().saved.extend(numbers);
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        if let Some((child, ..)) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The relay of this build, or the one that `DINH_TEST_RELAY` names.
pub(crate) fn relay_program() -> PathBuf {
    std::env::var_os("DINH_TEST_RELAY").map_or_else(|| env!("CARGO_BIN_EXE_dinh-relay").into(), PathBuf::from)
}

/// The relay's process.
pub(crate) struct Relay {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Relay {
    /// Starts it, and does not wait for it.
    pub(crate) fn spawn(data: &Path, listen: &str) -> Self {
        Self::spawn_logging(data, listen, &data.with_extension("log"))
    }

    /// The same with its stderr in this file.
    pub(crate) fn spawn_logging(data: &Path, listen: &str, log: &Path) -> Self {
        Self::spawn_with_reserve(data, listen, log, 0)
    }

    /// The same, read-only when less than this is free: none of the small volumes of these tests has the usual reserve.
    pub(crate) fn spawn_with_reserve(data: &Path, listen: &str, log: &Path, bytes: u64) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut child = Command::new(relay_program())
            .args(["serve", "--listen", listen, "--data"])
            .arg(data)
            .env("RUST_LOG", "warn")
            .env("DINH_RELAY_STORAGE__RESERVE_BYTES", bytes.to_string())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let (said, lines) = mpsc::channel();
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = said.send(line);
            }
        });
        Self { child, lines }
    }

    /// The address that it prints when it is ready.
    pub(crate) fn address(&mut self) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if let Some(address) = line.strip_prefix("dinh-relay address ") {
                        return address.to_owned();
                    }
                }
                Err(_) => panic!("the relay did not start: {:?}", self.child.try_wait()),
            }
        }
    }

    /// How it ended, if it does within this time.
    pub(crate) fn ended_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.child.try_wait().unwrap();
            if status.is_some() || Instant::now() > deadline {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kill -9.
    pub(crate) fn kill(mut self) {
        // It must not have ended by itself before.
        assert!(matches!(self.child.try_wait(), Ok(None)), "the relay ended: {:?}", self.child.try_wait());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
