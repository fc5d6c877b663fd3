//! What an operator decides: a TOML file, over it variables of the environment, over them the command line.
//!
//! Every key has a default but `data`; `reference.toml` explains them all. Keys carry their units. What is not a key is an error that
//! names where it stands: a limit that was written with a typing error must not silently be the default.

mod sources;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use dinh_proto::limits;
use dinh_proto::permit::OperatorPublic;
use serde::{Deserialize, Serialize};

pub use sources::{ConfigError, Sources};

use crate::bucket::Rate;
use crate::hub::{Admission, HubConfig, Quotas};
use crate::{AdminConfig, GreetingLimits, Prefix, ProxyHeader, ServerConfig, TlsFiles};

/// All keys with their defaults and what they mean, as a file.
pub const REFERENCE: &str = include_str!("reference.toml");

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// The shortest silence after which a connection may be taken for dead: devices say something every 30 seconds, and are far away.
const IDLE_SECONDS_MIN: u64 = limits::KEEPALIVE_AFTER.as_secs() + 15;
/// No limit in seconds is longer.
const SECONDS_MAX: u64 = 3_600;
/// The least that the largest item may have: what one device makes of its longest change.
const ITEM_BYTES_MIN: u64 = (limits::RUN_BYTES_SOFT + limits::CHANGE_BYTES_MAX + 64 * 1024) as u64;

/// Everything that an operator can decide. The names and units are those of the file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "`reference.toml` says what each key means; two places would come to differ")]
pub struct Config {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    pub listen: SocketAddr,
    pub tls: Tls,
    pub log: Log,
    pub admin: AdminKeys,
    pub metrics: Metrics,
    pub admission: AdmissionKeys,
    pub storage: Storage,
    pub connections: Connections,
    pub rates: Rates,
    pub quotas: QuotaKeys,
}

/// The section `admission`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "see `Config`")]
pub struct AdmissionKeys {
    pub mode: Admission,
    pub operator_keys: Vec<String>,
}

/// The section `admin`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "see `Config`")]
pub struct AdminKeys {
    pub listen: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    pub hosts: BTreeSet<String>,
}

/// The section `metrics`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "see `Config`")]
pub struct Metrics {
    pub scrapers: BTreeSet<IpAddr>,
}

/// The section `tls`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "see `Config`")]
pub struct Tls {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

impl Tls {
    /// The two files, if there are both.
    #[must_use]
    pub fn files(&self) -> Option<TlsFiles> {
        Some(TlsFiles { certificate: self.certificate.clone()?, key: self.key.clone()? })
    }
}

/// The section `log`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "see `Config`")]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object a line, for programs.
    Json,
}

/// The section `storage`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "see `Config`")]
pub struct Storage {
    pub reserve_bytes: u64,
}

/// The section `connections`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "see `Config`")]
pub struct Connections {
    pub max: u32,
    pub per_address: u32,
    pub per_device: u32,
    pub proxies: BTreeSet<Prefix>,
    pub proxy_header: ProxyHeader,
    pub idle_seconds: u32,
    pub retry_spread_seconds: u32,
    pub greeting: Greeting,
}

/// The section `connections.greeting`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "see `Config`")]
pub struct Greeting {
    pub max: u32,
    pub per_address: u32,
    pub grace_seconds: u32,
    pub request_seconds: u32,
    pub timeout_seconds: u32,
    pub bytes: u64,
}

/// The section `rates`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "see `Config`")]
pub struct Rates {
    pub frames: BurstRate,
    pub messages: BurstRate,
    pub bytes: BurstRate,
    pub items: BurstRate,
}

/// So much at once, and how much of it comes back in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "see `Config`")]
pub struct BurstRate {
    pub burst: u64,
    pub per_second: u64,
}

/// The section `quotas`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "see `Config`")]
pub struct QuotaKeys {
    pub device_bytes_per_minute: u64,
    pub device_bytes_per_day: u64,
    pub patience_seconds: u64,
    pub item_bytes: u64,
    pub document_bytes: u64,
    pub space_bytes: u64,
    pub branch_documents: u64,
    pub charter_bytes: u64,
    pub branch_records_per_day: u64,
    pub device_records_per_day: u64,
}

impl BurstRate {
    fn rate(self) -> Rate {
        let micros = u128::from(self.burst) * 1_000_000 / u128::from(self.per_second.max(1));
        Rate::new(self.burst, Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
    }
}

/// The same as the library's own defaults, which are the only place where they are chosen.
impl Default for Config {
    fn default() -> Self {
        Self {
            data: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 4_480)),
            tls: Tls::default(),
            log: Log::default(),
            admin: AdminKeys::default(),
            metrics: Metrics::default(),
            admission: AdmissionKeys::default(),
            storage: Storage::default(),
            connections: Connections::default(),
            rates: Rates::default(),
            quotas: QuotaKeys::default(),
        }
    }
}

impl Default for AdminKeys {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)), token_file: None, hosts: BTreeSet::new() }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self { scrapers: [IpAddr::from([127, 0, 0, 1]), IpAddr::V6(Ipv6Addr::LOCALHOST)].into() }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self { reserve_bytes: crate::disk::RESERVE_BYTES }
    }
}

impl Default for Connections {
    fn default() -> Self {
        let of_address = GreetingLimits::default();
        Self {
            max: 65_536,
            per_address: count(of_address.open_per_address),
            per_device: count(limits::CONNECTIONS_PER_DEVICE_MAX),
            proxies: of_address.proxies,
            proxy_header: of_address.proxy_header,
            idle_seconds: seconds(limits::DEAD_AFTER),
            retry_spread_seconds: 10,
            greeting: Greeting::default(),
        }
    }
}

impl Default for Greeting {
    fn default() -> Self {
        Self {
            max: count(limits::GREETING_CONNECTIONS_MAX),
            per_address: count(limits::GREETING_CONNECTIONS_PER_ADDRESS_MAX),
            grace_seconds: seconds(limits::GREETING_GRACE),
            request_seconds: seconds(limits::UPGRADE_TIMEOUT),
            timeout_seconds: seconds(limits::HANDSHAKE_TIMEOUT),
            bytes: limits::GREETING_BYTES_MAX as u64,
        }
    }
}

impl Default for Rates {
    fn default() -> Self {
        let rate = |burst, per: Duration| BurstRate { burst, per_second: burst / per.as_secs() };
        Self {
            frames: rate(limits::FRAMES_BURST, limits::FRAMES_PER),
            messages: rate(limits::MESSAGES_BURST, limits::MESSAGES_PER),
            bytes: rate(limits::FRAME_BYTES_BURST, limits::FRAME_BYTES_PER),
            items: rate(limits::PUT_ITEMS_BURST, limits::PUT_ITEMS_PER),
        }
    }
}

impl Default for QuotaKeys {
    fn default() -> Self {
        Self {
            device_bytes_per_minute: limits::PUT_BYTES_PER_MINUTE,
            device_bytes_per_day: limits::PUT_BYTES_PER_DAY,
            patience_seconds: limits::PUT_PATIENCE.as_secs(),
            item_bytes: Quotas::default().item_bytes,
            document_bytes: limits::DOCUMENT_BYTES_MAX,
            space_bytes: limits::SPACE_BYTES_MAX,
            branch_documents: limits::BRANCH_DOCUMENTS_MAX as u64,
            charter_bytes: limits::CHARTER_BYTES_MAX,
            branch_records_per_day: limits::CHARTER_RECORDS_PER_DAY,
            device_records_per_day: limits::CHARTER_RECORDS_OF_DEVICE_PER_DAY,
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

/// A value that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` {why}")]
pub struct Unusable {
    /// The key, with its sections.
    pub key: &'static str,
    /// What is wrong with it, and what it may be.
    pub why: String,
}

impl Config {
    /// What a file says, with the defaults of what it does not.
    ///
    /// # Errors
    /// What is no TOML or no key, with its line.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// What is well written but cannot work: the first such key.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn check(&self) -> Result<(), Unusable> {
        let no = |key, why: String| Err(Unusable { key, why });
        let Connections { max, per_address, per_device, idle_seconds, greeting, .. } = &self.connections;
        let rates = &self.rates;
        let quotas = &self.quotas;
        let positive = [
            ("connections.max", u64::from(*max)),
            ("connections.per_address", u64::from(*per_address)),
            ("connections.per_device", u64::from(*per_device)),
            ("connections.greeting.max", u64::from(greeting.max)),
            ("connections.greeting.per_address", u64::from(greeting.per_address)),
            ("connections.greeting.request_seconds", u64::from(greeting.request_seconds)),
            ("connections.greeting.timeout_seconds", u64::from(greeting.timeout_seconds)),
            ("rates.frames.burst", rates.frames.burst),
            ("rates.frames.per_second", rates.frames.per_second),
            ("rates.messages.burst", rates.messages.burst),
            ("rates.messages.per_second", rates.messages.per_second),
            ("rates.bytes.per_second", rates.bytes.per_second),
            ("rates.items.burst", rates.items.burst),
            ("rates.items.per_second", rates.items.per_second),
            ("quotas.branch_documents", quotas.branch_documents),
            ("quotas.branch_records_per_day", quotas.branch_records_per_day),
            ("quotas.device_records_per_day", quotas.device_records_per_day),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, number)| *number == 0) {
            return no(key, "is 0, and with that nobody could do anything: give at least 1".to_owned());
        }
        if *max > 10_000_000 {
            return no("connections.max", format!("is {max}: no machine has room for more than 10000000"));
        }
        let times = [
            ("connections.idle_seconds", *idle_seconds),
            ("connections.greeting.request_seconds", greeting.request_seconds),
            ("connections.greeting.timeout_seconds", greeting.timeout_seconds),
        ];
        if let Some((key, time)) = times.into_iter().find(|(_, time)| u64::from(*time) > SECONDS_MAX) {
            return no(
                key,
                format!("is {time}: connections that are dead would stay: give at most {SECONDS_MAX}"),
            );
        }
        if u64::from(*idle_seconds) < IDLE_SECONDS_MIN {
            let why = "devices say something every 30 seconds, so those that live would be ended";
            return no(
                "connections.idle_seconds",
                format!("is {idle_seconds}: {why}: give at least {IDLE_SECONDS_MIN}"),
            );
        }
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            let key = if self.tls.key.is_some() { "tls.certificate" } else { "tls.key" };
            return no(key, "is missing: TLS needs both `tls.certificate` and `tls.key`".to_owned());
        }
        let most = Quotas::default().item_bytes;
        if !(ITEM_BYTES_MIN..=most).contains(&quotas.item_bytes) {
            let (given, why) = (quotas.item_bytes, "devices would make items that are refused for ever");
            return no(
                "quotas.item_bytes",
                format!("is {given}: give {ITEM_BYTES_MIN}, below which {why}, to {most}"),
            );
        }
        // Less than the largest item could never be put: devices would offer it again for ever.
        let item = limits::ITEM_PAYLOAD_BYTES_MAX as u64 + 1_024;
        let sizes = [
            ("quotas.device_bytes_per_minute", quotas.device_bytes_per_minute),
            ("quotas.device_bytes_per_day", quotas.device_bytes_per_day),
            ("quotas.document_bytes", quotas.document_bytes),
            ("quotas.space_bytes", quotas.space_bytes),
            ("quotas.charter_bytes", quotas.charter_bytes),
            ("connections.greeting.bytes", greeting.bytes),
            ("rates.bytes.burst", rates.bytes.burst),
        ];
        if let Some((key, bytes)) = sizes.into_iter().find(|(_, bytes)| *bytes < item) {
            return no(key, format!("is {bytes}, less than one item may have: give at least {item}"));
        }
        if quotas.space_bytes < quotas.document_bytes {
            return no("quotas.space_bytes", "is less than `quotas.document_bytes`".to_owned());
        }
        if let Some(key) = self.admission.operator_keys.iter().find(|k| k.parse::<OperatorPublic>().is_err())
        {
            let why = format!("has {key:?}, which is no operator's key: `dinh-relay permit key` prints one");
            return no("admission.operator_keys", why);
        }
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log.level) {
            return no("log.level", format!("is {:?}: {error}", self.log.level));
        }
        Ok(())
    }

    /// For the relay itself. Call [`check`](Self::check) before.
    #[must_use]
    pub fn server(&self, data: PathBuf) -> ServerConfig {
        let mut server = ServerConfig::new(data, self.listen);
        server.tls = self.tls.files();
        server.connections_max = self.connections.max as usize;
        server.greeting = GreetingLimits {
            total: self.connections.greeting.max as usize,
            per_address: self.connections.greeting.per_address as usize,
            grace: Duration::from_secs(u64::from(self.connections.greeting.grace_seconds)),
            request: Duration::from_secs(u64::from(self.connections.greeting.request_seconds)),
            open_per_address: self.connections.per_address as usize,
            proxies: self.connections.proxies.clone(),
            proxy_header: self.connections.proxy_header,
        };
        let AdminKeys { listen, token_file, hosts } = self.admin.clone();
        // No key is a secret: those stand in files.
        let configuration = toml::to_string(self).unwrap_or_default();
        server.admin = Some(AdminConfig { token_file, hosts, configuration, ..AdminConfig::new(listen) });
        server.scrapers = self.metrics.scrapers.iter().map(IpAddr::to_canonical).collect();
        server.frames = self.rates.frames.rate();
        server.reserve_bytes = self.storage.reserve_bytes;
        server.hub = self.hub();
        server
    }

    fn hub(&self) -> HubConfig {
        let quotas = &self.quotas;
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        HubConfig {
            admission: self.admission.mode,
            operators: self.admission.operator_keys.iter().filter_map(|key| key.parse().ok()).collect(),
            retry_spread_ms: self.connections.retry_spread_seconds.saturating_mul(1_000),
            connections_per_device_max: self.connections.per_device as usize,
            greeting: Duration::from_secs(u64::from(self.connections.greeting.timeout_seconds)),
            idle: Duration::from_secs(u64::from(self.connections.idle_seconds)),
            quotas: Quotas {
                messages: self.rates.messages.rate(),
                frame_bytes: self.rates.bytes.rate(),
                items: self.rates.items.rate(),
                bytes_per_minute: Rate::new(quotas.device_bytes_per_minute, MINUTE),
                bytes_per_day: Rate::new(quotas.device_bytes_per_day, DAY),
                patience: Duration::from_secs(quotas.patience_seconds),
                item_bytes: quotas.item_bytes,
                document_bytes: quotas.document_bytes,
                space_bytes: quotas.space_bytes,
                branch_documents: bytes(quotas.branch_documents),
                charter_bytes: quotas.charter_bytes,
                records_of_branch: Rate::new(quotas.branch_records_per_day, DAY),
                records_of_device: Rate::new(quotas.device_records_per_day, DAY),
                greeting_bytes: bytes(self.connections.greeting.bytes),
            },
            ..HubConfig::default()
        }
    }

    /// Keys that differ and of which a running relay cannot take the new value.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        let kept = [
            ("data", self.data == new.data),
            ("listen", self.listen == new.listen),
            ("admin", self.admin == new.admin),
            ("tls", self.tls.files().is_some() == new.tls.files().is_some()),
            ("log.format", self.log.format == new.log.format),
            ("connections.max", self.connections.max == new.connections.max),
        ];
        kept.into_iter().filter_map(|(key, is_same)| (!is_same).then_some(key)).collect()
    }
}
