//! The plugin configuration: what one proxy must know before the first snapshot reaches it.

use serde::Deserialize;

/// How the filter runs; read once, when the VM starts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Envoy cluster of the broker.
    pub broker_cluster: String,
    /// How long one request waits for the broker, in milliseconds (100 to 10,000).
    #[serde(default = "default_deadline_ms")]
    pub deadline_ms: u64,
    /// Longest request body that is read, in bytes (1 KiB to 16 MiB); Envoy's buffer must hold 64 KiB more.
    #[serde(default = "default_max_body_bytes")]
    pub max_body_bytes: usize,
    /// Longest inbound token, in bytes (1 to 64 KiB).
    #[serde(default = "default_max_token_bytes")]
    pub max_token_bytes: usize,
    /// Bounds of each cache of one worker.
    #[serde(default)]
    pub cache: CacheBounds,
    /// Which halves of the gate this instance is.
    #[serde(default)]
    pub role: Role,
}

/// Bounds of the caches of callers and of credentials; each cache has its own entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheBounds {
    /// Most entries of one cache (1 to 1,000,000).
    pub entries: usize,
    /// Oldest an entry may grow, in milliseconds (1 second to 1 hour), whatever its own expiry says.
    pub max_age_ms: u64,
}

impl Default for CacheBounds {
    fn default() -> Self {
        Self { entries: 20_000, max_age_ms: 300_000 }
    }
}

/// Which halves of the gate an instance is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Judges the caller and sets the credential.
    #[default]
    Both,
}

/// Why a plugin configuration is refused; the VM then does not start, and Envoy serves nothing through it (I8).
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON of the expected shape.
    #[error("plugin configuration is not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// The name of the broker's cluster is missing or has characters no cluster name has.
    #[error("broker_cluster must name an Envoy cluster: 1 to 256 visible ASCII characters")]
    BrokerCluster,
    /// A number outside its bounds.
    #[error("{field} is {value}, must be between {least} and {most}")]
    OutOfBounds {
        /// Path of the field.
        field: &'static str,
        /// What was configured.
        value: u64,
        /// Least value accepted.
        least: u64,
        /// Greatest value accepted.
        most: u64,
    },
}

impl Config {
    /// Reads the JSON of the plugin configuration; unknown and repeated fields are refused.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let config: Self = serde_json::from_slice(json)?;
        let cluster = config.broker_cluster.as_bytes();
        if cluster.is_empty() || cluster.len() > 256 || !cluster.iter().all(u8::is_ascii_graphic) {
            return Err(ConfigError::BrokerCluster);
        }
        bounds("deadline_ms", config.deadline_ms, 100, 10_000)?;
        bounds("max_body_bytes", wide(config.max_body_bytes), 1 << 10, 16 << 20)?;
        bounds("max_token_bytes", wide(config.max_token_bytes), 1 << 10, 64 << 10)?;
        bounds("cache.entries", wide(config.cache.entries), 1, 1_000_000)?;
        bounds("cache.max_age_ms", config.cache.max_age_ms, 1_000, 3_600_000)?;
        Ok(config)
    }
}

fn bounds(field: &'static str, value: u64, least: u64, most: u64) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(ConfigError::OutOfBounds { field, value, least, most }) }
}

fn wide(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn default_deadline_ms() -> u64 {
    3_000
}

fn default_max_body_bytes() -> usize {
    1 << 20
}

fn default_max_token_bytes() -> usize {
    16 << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_alone_is_enough() {
        let config = Config::parse(br#"{"broker_cluster":"broker"}"#).unwrap();
        assert_eq!(
            config,
            Config {
                broker_cluster: "broker".into(),
                deadline_ms: 3_000,
                max_body_bytes: 1_048_576,
                max_token_bytes: 16_384,
                cache: CacheBounds { entries: 20_000, max_age_ms: 300_000 },
                role: Role::Both,
            }
        );
    }

    #[test]
    fn every_field_is_read() {
        let json = br#"{"broker_cluster":"b","deadline_ms":100,"max_body_bytes":2048,"max_token_bytes":4096,
            "cache":{"entries":5,"max_age_ms":1000},"role":"both"}"#;
        let config = Config::parse(json).unwrap();
        assert_eq!((config.deadline_ms, config.max_body_bytes, config.max_token_bytes), (100, 2048, 4096));
        assert_eq!(config.cache, CacheBounds { entries: 5, max_age_ms: 1000 });
    }

    #[test]
    fn i8_refuses_what_it_does_not_know_and_what_makes_no_sense() {
        for (flaw, json) in [
            ("empty", ""),
            ("not an object", "[]"),
            ("no cluster", "{}"),
            ("null cluster", r#"{"broker_cluster":null}"#),
            ("empty cluster", r#"{"broker_cluster":""}"#),
            ("space in cluster", r#"{"broker_cluster":"a b"}"#),
            ("unknown field", r#"{"broker_cluster":"b","fail_open":true}"#),
            ("repeated field", r#"{"broker_cluster":"b","broker_cluster":"c"}"#),
            ("unknown field of cache", r#"{"broker_cluster":"b","cache":{"size":1}}"#),
            ("unknown role", r#"{"broker_cluster":"b","role":"open"}"#),
            ("deadline too short", r#"{"broker_cluster":"b","deadline_ms":99}"#),
            ("deadline too long", r#"{"broker_cluster":"b","deadline_ms":10001}"#),
            ("deadline as text", r#"{"broker_cluster":"b","deadline_ms":"3s"}"#),
            ("negative deadline", r#"{"broker_cluster":"b","deadline_ms":-1}"#),
            ("no body", r#"{"broker_cluster":"b","max_body_bytes":0}"#),
            ("body too large", r#"{"broker_cluster":"b","max_body_bytes":16777217}"#),
            ("token too large", r#"{"broker_cluster":"b","max_token_bytes":65537}"#),
            ("no cache", r#"{"broker_cluster":"b","cache":{"entries":0}}"#),
            ("eternal cache", r#"{"broker_cluster":"b","cache":{"max_age_ms":3600001}}"#),
            ("trailing data", r#"{"broker_cluster":"b"} {}"#),
        ] {
            assert!(Config::parse(json.as_bytes()).is_err(), "{flaw}");
        }
    }

    #[test]
    fn an_error_says_field_and_bounds() {
        let error = Config::parse(br#"{"broker_cluster":"b","deadline_ms":5}"#).unwrap_err();
        assert_eq!(error.to_string(), "deadline_ms is 5, must be between 100 and 10000");
    }
}
