//! The Dinh relay: stores and forwards signed items, and acknowledges only what is durable.
//!
//! [`hub`] is the brain, without IO; [`log`] is the disk; [`Server`] joins them to sockets; [`cli`] is the program.

mod bucket;
pub mod cli;
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
mod pool;
mod server;
mod ws;

pub use doorstep::GreetingLimits;
pub use identity::IdentityError;
pub use server::{Running, ServeError, Server, ServerConfig};
