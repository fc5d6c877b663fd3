//! Where values come from, and what is said about those that are wrong.

use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use thiserror::Error;
use toml::{Table, Value};

use super::{Config, Unusable};

/// Variables of the environment that begin with this are keys: `DINH_RELAY_QUOTAS__SPACE_BYTES` is `quotas.space_bytes`.
const PREFIX: &str = "DINH_RELAY_";
/// What stands between a section and a key in the name of a variable, because keys have a single one.
const BETWEEN: &str = "__";

/// Why a configuration cannot be used. Each says where, and what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no configuration.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        source: Box<toml::de::Error>,
    },
    /// A variable or a `--set` is none.
    #[error("{origin}: {why}")]
    Override {
        /// The variable, or the argument.
        origin: String,
        /// What is wrong with it.
        why: String,
    },
    /// A value cannot work.
    #[error("{origin}: {source}; `dinh-relay check-config --defaults` prints all keys with their defaults")]
    Unusable {
        /// Where the configuration comes from.
        origin: String,
        /// Which, and why.
        source: Unusable,
    },
}

/// Where a relay's configuration comes from; read again at SIGHUP.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// Variables of the environment, by name and value.
    pub environment: Vec<(String, String)>,
    /// `KEY=VALUE` of the command line, over everything else.
    pub set: Vec<String>,
}

impl Sources {
    /// What they say together.
    ///
    /// # Errors
    /// The first thing that is wrong, the file's before the others'.
    pub fn read(&self) -> Result<Config, ConfigError> {
        let mut table = self.file.as_deref().map_or_else(|| Ok(Table::new()), read_file)?;
        let of_environment = self.environment.iter().filter_map(|(name, value)| {
            let path = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
            Some((name.clone(), path.split(BETWEEN).map(str::to_owned).collect(), value.clone()))
        });
        for (origin, path, value) in of_environment {
            put(&mut table, origin, path, &value)?;
        }
        for set in &self.set {
            let origin = format!("--set {set}");
            let Some((key, value)) = set.split_once('=') else {
                return Err(ConfigError::Override { origin, why: "write KEY=VALUE".to_owned() });
            };
            let path = key.trim().split('.').map(str::to_owned).collect();
            put(&mut table, origin, path, value.trim())?;
        }
        // Each source was found to be one by itself.
        let config =
            Config::deserialize(table).map_err(|e| self.unusable(e.message().to_owned(), "the whole"))?;
        config.check().map_err(|source| ConfigError::Unusable { origin: self.origin(), source })?;
        Ok(config)
    }

    fn origin(&self) -> String {
        self.file.as_ref().map_or_else(|| "the configuration".to_owned(), |file| file.display().to_string())
    }

    fn unusable(&self, why: String, key: &'static str) -> ConfigError {
        ConfigError::Unusable { origin: self.origin(), source: Unusable { key, why } }
    }
}

fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let read = |source| ConfigError::Read { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(read)?;
    let wrong = |source| ConfigError::File { path: path.to_owned(), source: Box::new(source) };
    // As a configuration, so that what is wrong is told with its line, and as a table, to which the other sources are added.
    Config::parse(&text).map_err(wrong)?;
    toml::from_str(&text).map_err(wrong)
}

/// Puts one value over what is there, if it is a key and of its kind.
fn put(table: &mut Table, origin: String, path: Vec<String>, text: &str) -> Result<(), ConfigError> {
    let value = value_of(text);
    let single =
        path.iter().rev().fold(value, |inner, key| Value::Table(Table::from_iter([(key.clone(), inner)])));
    if let Err(error) = Config::deserialize(single.clone()) {
        return Err(ConfigError::Override { origin, why: error.message().to_owned() });
    }
    if let Value::Table(single) = single {
        merge(table, single);
    }
    Ok(())
}

/// As TOML writes it; what is no TOML is a string, so that `--set listen=0.0.0.0:4480` needs no quotes.
fn value_of(text: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {text}")).ok();
    let value = parsed.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
    value.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) => merge(inner, value),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::REFERENCE;
    use super::*;

    fn file(text: &str) -> (tempfile::NamedTempFile, Sources) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let sources = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
        (file, sources)
    }

    #[test]
    fn the_reference_has_every_key_with_its_default() {
        let (_file, sources) = file(REFERENCE);
        assert_eq!(sources.read().unwrap(), Config::default());
        let written: Table = toml::from_str(REFERENCE).unwrap();
        let all = Table::try_from(Config::default()).unwrap();
        assert_eq!(written, all, "a key is missing in reference.toml, or differs");
    }

    #[test]
    fn the_command_line_is_above_the_environment_which_is_above_the_file() {
        let (_file, mut sources) =
            file("[quotas]\nspace_bytes = 600000000\ndocument_bytes = 40000000\n[connections]\nmax = 5\n");
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        sources.environment = vec![
            set("PATH", "/bin"),
            set("DINH_RELAY_QUOTAS__SPACE_BYTES", "700000000"),
            set("DINH_RELAY_CONNECTIONS__MAX", "6"),
            set("DINH_RELAY_LISTEN", "0.0.0.0:4480"),
        ];
        sources.set = vec!["connections.max = 7".into(), "connections.proxies=[\"10.0.0.1\"]".into()];
        let config = sources.read().unwrap();
        assert_eq!(config.quotas.document_bytes, 40_000_000);
        assert_eq!(config.quotas.space_bytes, 700_000_000);
        assert_eq!((config.connections.max, config.connections.per_device), (7, 8));
        assert_eq!(config.listen, "0.0.0.0:4480".parse().unwrap());
        assert_eq!(config.connections.proxies, ["10.0.0.1".parse().unwrap()].into());
    }

    #[test]
    fn what_is_wrong_is_told_where_it_stands() {
        for (text, told) in [
            ("spaces = 1\n", "unknown field `spaces`"),
            ("\n[quotas]\nspace_byte = 1\n", "line 3"),
            ("listen = \"here\"\n", "line 1"),
            ("[quotas]\nspace_bytes = \"much\"\n", "invalid type"),
            ("[quotas]\nspace_bytes = -1\n", "invalid value"),
            ("[rates]\nframes = { burst = 1 }\n", "per_second"),
            ("data = \n", "line 1"),
            ("[connections]\nmax = 0\n", "`connections.max` is 0"),
            ("[quotas]\nspace_bytes = 1000\n", "`quotas.space_bytes` is 1000, less than one item may have"),
            ("[quotas]\ndocument_bytes = 600000000\n", "is less than `quotas.document_bytes`"),
            ("[log]\nlevel = \"dinh=loud\"\n", "`log.level` is"),
            ("[tls]\nkey = \"/key.pem\"\n", "`tls.certificate` is missing"),
            ("[tls]\ncertificate = \"/chain.pem\"\n", "`tls.key` is missing"),
            ("[connections]\nproxies = [\"10.0.0.1/8\"]\n", "write 10.0.0.0/8"),
            ("[connections]\nproxy_header = \"x-real-ip\"\n", "line 2"),
            ("[connections]\nidle_seconds = 40\n", "`connections.idle_seconds` is 40"),
            ("[connections]\nidle_seconds = 4000\n", "give at most 3600"),
            ("[connections.greeting]\nrequest_seconds = 0\n", "`connections.greeting.request_seconds` is 0"),
            ("[quotas]\nitem_bytes = 100000\n", "`quotas.item_bytes` is 100000"),
            ("[quotas]\nitem_bytes = 2000000\n", "to 1000218"),
            ("[rates]\nbytes = { burst = 9, per_second = 9 }\n", "`rates.bytes.burst` is 9"),
        ] {
            let (file, sources) = file(text);
            let error = sources.read().unwrap_err().to_string();
            assert!(
                error.contains(told) && error.contains(&file.path().display().to_string()),
                "{text:?}: {error}"
            );
        }
        let sources = |environment: &[(&str, &str)], set: &[&str]| Sources {
            environment: environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            set: set.iter().map(|s| (*s).to_owned()).collect(),
            ..Sources::default()
        };
        for (sources, told) in [
            (
                sources(&[("DINH_RELAY_QUOTAS__SPACE", "1")], &[]),
                "DINH_RELAY_QUOTAS__SPACE: unknown field `space`",
            ),
            (
                sources(&[("DINH_RELAY_CONNECTIONS__MAX", "many")], &[]),
                "DINH_RELAY_CONNECTIONS__MAX: invalid type",
            ),
            (sources(&[], &["quotas.space_bytes"]), "--set quotas.space_bytes: write KEY=VALUE"),
            (sources(&[], &["quota.space_bytes=1"]), "unknown field `quota`"),
            (sources(&[], &["admission.mode=maybe"]), "--set admission.mode=maybe: unknown variant"),
            (
                sources(&[], &["admission.operator_keys=[\"dinh-operator:1\"]"]),
                "`admission.operator_keys` has \"dinh-operator:1\", which is no operator's key",
            ),
        ] {
            let error = sources.read().unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        let missing = Sources { file: Some("/no/such/file.toml".into()), ..Sources::default() };
        assert!(missing.read().unwrap_err().to_string().contains("/no/such/file.toml"));
    }

    #[test]
    fn what_a_running_relay_cannot_take_is_named() {
        let old = Config::default();
        let mut new = old.clone();
        new.quotas.space_bytes *= 2;
        new.log.level = "debug".to_owned();
        assert!(old.needs_restart(&new).is_empty());
        new.connections.max = 9;
        new.data = Some("/elsewhere".into());
        new.tls.certificate = Some("/chain.pem".into());
        new.tls.key = Some("/key.pem".into());
        assert_eq!(old.needs_restart(&new), ["data", "tls", "connections.max"]);
        let mut renewed = new.clone();
        renewed.tls.key = Some("/other.pem".into());
        assert!(new.needs_restart(&renewed).is_empty());
    }
}
