//! The Dinh relay: stores and forwards signed items, and acknowledges only what is durable.
//!
//! [`hub`] is the brain, without IO; [`log`] is the disk; [`Server`] joins them to sockets; [`archive`] makes copies; [`cli`] is the
//! program.

mod admin;
pub mod archive;
mod bucket;
pub mod cli;
pub mod config;
mod desk;
mod disk;
#[allow(clippy::disallowed_methods, reason = "a driver: it is told the time by the listener")]
mod doorstep;
#[allow(clippy::disallowed_methods, reason = "a driver: it hands the clock to the hub")]
mod driver;
mod http;
#[warn(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod hub;
mod identity;
pub mod log;
mod metrics;
mod network;
mod observer;
mod pool;
mod process;
mod request_id;
mod server;
mod supervisor;
mod throttle;
#[allow(clippy::disallowed_methods, reason = "a driver: certificates end by the wall clock")]
mod tls;
mod ws;

pub use admin::AdminConfig;
pub use doorstep::GreetingLimits;
pub use identity::IdentityError;
pub use network::{Prefix, PrefixError, ProxyHeader};
pub use server::{Running, ServeError, Server, ServerConfig};
pub use tls::{TlsError, TlsFiles};
