//! `dinh-relay console`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::ask::{ask, json};
use crate::admin::api::SignIn;

pub(super) const EXAMPLE: &str = "Example:\n  dinh-relay console --data /var/lib/dinh\n\n\
    The link is good once, for five minutes. From another machine reach it through SSH, for example, when the console is at port 4481:\n  \
    ssh -L 4481:127.0.0.1:4481 relay.example.vn";

#[derive(Debug, clap::Args)]
pub(super) struct Console {
    /// The data directory of the relay.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn console(args: &Console) -> ExitCode {
    ask(&args.data, async |relay| {
        let sign_in: SignIn = relay.post("/api/v1/sign-in", &()).await?;
        let address = format!("http://{}/", relay.access().address);
        let link = format!("{}{}", address.trim_end_matches('/'), sign_in.path);
        if args.json {
            return json(
                &serde_json::json!({ "address": address, "link": link, "seconds": sign_in.seconds }),
            );
        }
        Ok(format!("console at {address}\nsign in   {link}"))
    })
}
