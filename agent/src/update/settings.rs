//! `[update]` of the config file: whether the agent replaces itself, and whose releases it believes.

use std::path::PathBuf;

use minisign_verify::PublicKey;
use serde::Deserialize;

/// The key whose owner makes releases. Whoever builds agents for a network of their own puts theirs here.
const RELEASE_KEY: &str = include_str!("../../release.pub");

/// The table as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    pub enabled: Option<bool>,
    public_key: Option<String>,
}

/// What was understood, and where the agent keeps what updates need.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether new versions are taken without being asked for.
    pub is_enabled: bool,
    pub key: PublicKey,
    pub data: PathBuf,
    /// A new version has to be able to read it.
    pub config_file: PathBuf,
}

impl Table {
    /// Fails with what is wrong with the key.
    pub fn key(&self) -> Result<PublicKey, String> {
        match &self.public_key {
            Some(key) => PublicKey::from_base64(key.trim()).map_err(|error| {
                format!("`public_key` under [update] is no key of minisign's ({error}): it is the last line of the .pub file")
            }),
            None => PublicKey::decode(RELEASE_KEY)
                .map_err(|error| format!("the key that this agent was built with is none: {error}")),
        }
    }

    pub fn settings(&self, data: PathBuf, config_file: PathBuf) -> Result<Settings, String> {
        Ok(Settings { is_enabled: self.enabled.unwrap_or(true), key: self.key()?, data, config_file })
    }
}
