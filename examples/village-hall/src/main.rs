//! `village-hall`: plays a branch's meeting. Starts itself again as the relay and as each phone.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tokio::io::BufReader;
use village_hall::cast::{PHONES_MAX, PHONES_MIN};
use village_hall::orchestrator::{self, Config};
use village_hall::phone::{self, Fault};
use village_hall::process::Programs;
use village_hall::relay;
use village_hall::screen::Screen;
use village_hall::story::{CUT_MINUTES, Options};

/// A village branch's month: a draft goes round by round to the members and the reviewer; in the hall there is roll-call,
/// debate, the Wi-Fi goes down, everybody goes on, it comes back; votes, reading back, seals; a phone comes back three days
/// late.
///
/// Phones join by codes. One phone is lost during the meeting and one member leaves (if there are five or more); both are
/// removed and go on writing, and whoever lost a phone goes on with another. The exit status is zero only if all phones
/// of the branch have equal copies of what is for them and of nothing else, no confirmed act is lost, nothing of a removed phone
/// or of somebody who may not is on any, every seal is valid and the late phone's edits are listed as late on every phone,
/// and the relay's files hold no member's name and no words of the documents.
#[derive(Debug, Parser)]
#[command(name = "village-hall", version)]
struct Cli {
    #[command(flatten)]
    meeting: Meeting,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Args)]
struct Meeting {
    /// Number of members' phones at the beginning, from 4; the reviewer of the commune has one more.
    #[arg(long, default_value_t = 12, value_parser = phones)]
    phones: usize,
    /// Story minutes without Wi-Fi.
    #[arg(long, default_value_t = CUT_MINUTES, value_parser = clap::value_parser!(u32).range(1..=600))]
    cut_minutes: u32,
    /// Draws the extra acts, the kills and the moments at which phones come back.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Real milliseconds in one story minute.
    #[arg(long, default_value_t = 150, value_parser = clap::value_parser!(u64).range(5..=60_000))]
    minute_ms: u64,
    /// Kill the relay with signal 9 while people write and while they come back.
    #[arg(long)]
    kill_relay: bool,
    /// Kill some phones with signal 9 while they write, and one while it comes back.
    #[arg(long)]
    kill_phones: bool,
    /// Print the report as one line of JSON, last on stdout.
    #[arg(long)]
    json: bool,
    /// Write the sealed minutes and resolution as HTML files into this folder.
    #[arg(long)]
    papers: Option<PathBuf>,
    /// Keep the stores and logs here instead of in a temporary folder; must be empty or absent.
    #[arg(long)]
    keep: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Run the relay (used by the program itself).
    #[command(hide = true)]
    Relay {
        /// Where the log is kept.
        #[arg(long)]
        data: PathBuf,
        /// Where to listen.
        #[arg(long)]
        listen: std::net::SocketAddr,
        /// Write this into a file beside it: tests see that it is found.
        #[arg(long)]
        tells: Option<String>,
    },
    /// Run a phone that obeys lines on stdin (used by the program itself).
    #[command(hide = true)]
    Phone {
        /// Do something wrong: tests see that it is found out.
        #[arg(long, value_enum)]
        fault: Option<Fault>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match cli.role {
        None => runtime.block_on(meeting(&cli.meeting)).unwrap_or_else(|error| failed(&error)),
        Some(Role::Relay { data, listen, tells }) => ended(runtime.block_on(relay::run(data, listen, tells))),
        Some(Role::Phone { fault }) => ended(runtime.block_on(phone(fault))),
    }
}

/// Obeys the orchestrator; a person who takes part in the meeting.
async fn phone(fault: Option<Fault>) -> std::io::Result<()> {
    let input = BufReader::new(tokio::io::stdin());
    phone::serve(&mut phone::Phone::new(fault), input, tokio::io::stdout()).await?;
    // A read of stdin that is under way would hold the process.
    std::process::exit(0)
}

fn ended(result: std::io::Result<()>) -> ExitCode {
    result.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

async fn meeting(meeting: &Meeting) -> std::io::Result<ExitCode> {
    let temporary = tempfile::Builder::new().prefix("village-hall-").tempdir()?;
    let directory = match &meeting.keep {
        Some(directory) => {
            std::fs::create_dir_all(directory)?;
            if std::fs::read_dir(directory)?.next().is_some() {
                return Err(std::io::Error::other(format!("{} is not empty", directory.display())));
            }
            directory.clone()
        }
        None => temporary.path().to_owned(),
    };
    let config = Config {
        options: Options {
            phones: meeting.phones,
            seed: meeting.seed,
            cut_minutes: meeting.cut_minutes,
            minute_ms: meeting.minute_ms,
            kill_relay: meeting.kill_relay,
            kill_phones: meeting.kill_phones,
        },
        programs: Programs::this()?,
        directory,
        converge_timeout: Duration::from_secs(60),
    };
    let outcome = orchestrator::run(&config, &mut Screen::stdout()).await;
    let good = outcome.as_ref().is_ok_and(|outcome| outcome.report.is_good());
    if !good && meeting.keep.is_none() {
        eprintln!("Stores and logs are kept in {}", temporary.keep().display());
    }
    let outcome = outcome?;
    println!("\n{}\n{}", outcome.papers, outcome.report.to_text());
    let kept = meeting.keep.as_ref().map(|keep| keep.join("papers"));
    if let Some(folder) = meeting.papers.as_ref().or(kept.as_ref()) {
        std::fs::create_dir_all(folder)?;
        for (file, content) in &outcome.files {
            std::fs::write(folder.join(file), content)?;
            println!("   {}", folder.join(file).display());
        }
    }
    if meeting.json {
        println!("{}", outcome.report.to_json());
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn phones(text: &str) -> Result<usize, String> {
    let number: usize = text.parse().map_err(|error| format!("{error}"))?;
    if (PHONES_MIN..=PHONES_MAX).contains(&number) {
        Ok(number)
    } else {
        Err(format!("between {PHONES_MIN} and {PHONES_MAX}"))
    }
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("village-hall: {error}");
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let cli =
            Cli::parse_from(["village-hall", "--phones", "14", "--kill-relay", "--kill-phones", "--json"]);
        assert!(cli.role.is_none() && cli.meeting.kill_relay && cli.meeting.phones == 14);
        assert!(Cli::try_parse_from(["village-hall", "--phones", "1"]).is_err());
        let relay = Cli::parse_from(["village-hall", "relay", "--data", "x", "--listen", "127.0.0.1:0"]);
        assert!(matches!(relay.role, Some(Role::Relay { .. })));
    }
}
