//! What `pictor-registry serve` can be told: flags over environment, nothing else.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use ipnet::IpNet;
use pictor_protocol::{FeeRatio, is_loopback};
use url::Url;

/// Where the database is; every command that needs it takes this.
#[derive(Debug, Clone, Args)]
pub struct DatabaseArgs {
    /// The database: sqlite://PATH
    #[arg(long, env = "PICTOR_DATABASE", default_value = "sqlite://registry.db", value_name = "URL")]
    pub database: String,
}

/// The OpenID Connect provider that people may sign in with.
#[derive(Debug, Clone, Args)]
pub struct OidcSettings {
    /// The OpenID Connect provider that people may sign in with
    #[arg(long, env = "PICTOR_OIDC_ISSUER", value_name = "URL", requires = "oidc_client_id")]
    pub oidc_issuer: Option<String>,

    /// What the provider calls this registry; its redirect address there is PUBLIC_URL/login/oidc/callback
    #[arg(long, env = "PICTOR_OIDC_CLIENT_ID", value_name = "ID", requires = "oidc_issuer")]
    pub oidc_client_id: Option<String>,

    /// A file with the secret that the provider gave, if it gave one
    #[arg(long, env = "PICTOR_OIDC_CLIENT_SECRET_FILE", value_name = "FILE", requires = "oidc_issuer")]
    pub oidc_client_secret_file: Option<PathBuf>,
}

/// The settings of `serve`.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Address and port to listen on
    #[arg(long, env = "PICTOR_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    #[command(flatten)]
    pub database: DatabaseArgs,

    /// Where scenes and frames are kept: file://FOLDER
    #[arg(long, env = "PICTOR_BLOBS", default_value = "file://blobs", value_name = "URL")]
    pub blobs: String,

    /// What config files name as the registry's address [default: http://LISTEN]
    #[arg(long, env = "PICTOR_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<Url>,

    /// The Prometheus in which accounts may query their own series; a user and a password may stand in it
    #[arg(long, env = "PICTOR_PROMETHEUS_URL", hide_env_values = true, value_name = "URL")]
    pub prometheus_url: Option<Url>,

    /// Where Grafana is: the console's pages link to its dashboards
    #[arg(long, env = "PICTOR_GRAFANA_URL", value_name = "URL")]
    pub grafana_url: Option<Url>,

    /// The mail server that notifications go through: smtps://USER:PASSWORD@HOST:PORT, or smtp:// with STARTTLS
    #[arg(long, env = "PICTOR_SMTP_URL", hide_env_values = true, requires = "mail_from", value_name = "URL")]
    pub smtp_url: Option<Url>,

    /// Whom notifications by e-mail come from, such as 'My Workers <workers@example.org>'
    #[arg(long, env = "PICTOR_MAIL_FROM", value_name = "ADDRESS")]
    pub mail_from: Option<String>,

    /// Where Telegram's bots are called
    #[arg(long, env = "PICTOR_TELEGRAM_URL", default_value = "https://api.telegram.org", value_name = "URL")]
    pub telegram_url: Url,

    #[command(flatten)]
    pub oidc: OidcSettings,

    /// Networks whose proxies may say who is behind them (X-Forwarded-For)
    #[arg(long = "trusted-proxy", env = "PICTOR_TRUSTED_PROXY", value_delimiter = ',', value_name = "CIDR")]
    pub trusted_proxies: Vec<IpNet>,

    /// Networks in which Prometheus may scrape agents directly
    #[arg(
        long,
        env = "PICTOR_SCRAPE_NETWORKS",
        value_delimiter = ',',
        default_value = "127.0.0.0/8,::1/128",
        value_name = "CIDR,…"
    )]
    pub scrape_networks: Vec<IpNet>,

    /// The network's one currency
    #[arg(long, env = "PICTOR_CURRENCY", default_value = "EUR", value_parser = currency)]
    pub currency: String,

    /// The part of a task's cost that the network keeps, rounded down per task
    #[arg(long, env = "PICTOR_FEE_RATIO", default_value = "0.2", value_name = "RATIO")]
    pub fee_ratio: FeeRatio,

    /// How long a lease lasts without a heartbeat
    #[arg(long, env = "PICTOR_LEASE_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub lease_seconds: u32,

    /// How often agents report
    #[arg(long, env = "PICTOR_HEARTBEAT_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub heartbeat_seconds: u32,

    /// Points for each completed frame
    #[arg(long, env = "PICTOR_POINTS_PER_FRAME", default_value_t = 1, value_parser = clap::value_parser!(i64).range(0..))]
    pub points_per_frame: i64,

    /// Points for each full hour online and able to work
    #[arg(long, env = "PICTOR_POINTS_PER_HOUR", default_value_t = 1, value_parser = clap::value_parser!(i64).range(0..))]
    pub points_per_hour: i64,

    /// A folder of agent releases, as scripts/release makes it: agents update themselves from it, and new machines are
    /// installed from it
    #[arg(long, env = "PICTOR_RELEASES", value_name = "DIR")]
    pub releases: Option<PathBuf>,

    /// The largest scene accepted
    #[arg(long, env = "PICTOR_SCENE_BYTES_MAX", default_value_t = 8 << 30, value_name = "BYTES")]
    pub scene_bytes_max: u64,

    /// The largest frame accepted
    #[arg(long, env = "PICTOR_FRAME_BYTES_MAX", default_value_t = 256 << 20, value_name = "BYTES")]
    pub frame_bytes_max: u64,
}

/// A setting that was understood and cannot work: exit code 78.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadConfiguration(pub String);

impl Settings {
    /// What one setting alone cannot tell.
    pub fn check(&self) -> Result<(), BadConfiguration> {
        if !self.database.database.starts_with("sqlite:") {
            return Err(BadConfiguration(
                "--database: serve takes sqlite://PATH in this version; PostgreSQL comes with a later one"
                    .to_owned(),
            ));
        }
        if !self.blobs.starts_with("file://") {
            return Err(BadConfiguration("--blobs: write file://FOLDER".to_owned()));
        }
        if self.prometheus_url.as_ref().is_some_and(|url| !matches!(url.scheme(), "http" | "https")) {
            return Err(BadConfiguration(
                "--prometheus-url: write http://HOST:PORT or https://HOST, with its path prefix if it has one"
                    .to_owned(),
            ));
        }
        if self.smtp_url.as_ref().is_some_and(|url| !matches!(url.scheme(), "smtp" | "smtps")) {
            return Err(BadConfiguration("--smtp-url: write smtps://USER:PASSWORD@HOST:PORT".to_owned()));
        }
        if let Some(folder) = self.releases.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(BadConfiguration(format!("--releases: there is no folder {}", folder.display())));
        }
        self.oidc.check()?;
        if self.lease_seconds < 2 * self.heartbeat_seconds {
            return Err(BadConfiguration(format!(
                "--lease-seconds {} must be at least twice --heartbeat-seconds {}: one lost heartbeat would lose leases",
                self.lease_seconds, self.heartbeat_seconds
            )));
        }
        Ok(())
    }

    /// The address that config files name.
    pub fn public_url(&self, listening_on: SocketAddr) -> anyhow::Result<Url> {
        match &self.public_url {
            Some(url) => Ok(url.clone()),
            None => Ok(Url::parse(&format!("http://{listening_on}"))?),
        }
    }

    /// A worker is offline after three missed heartbeats.
    pub fn offline_after_seconds(&self) -> i64 {
        3 * i64::from(self.heartbeat_seconds)
    }

    /// Whether only programs on this machine can reach the service.
    pub fn is_loopback_only(&self) -> bool {
        self.listen.ip().is_loopback() && self.trusted_proxies.is_empty()
    }
}

impl OidcSettings {
    /// What the provider says decides who may sign in, so nobody on the way may change it.
    fn check(&self) -> Result<(), BadConfiguration> {
        let Some(issuer) = &self.oidc_issuer else { return Ok(()) };
        let is_safe = Url::parse(issuer)
            .is_ok_and(|url| url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url));
        if is_safe {
            return Ok(());
        }
        Err(BadConfiguration(
            "--oidc-issuer: write the provider's https:// address exactly as it names itself".to_owned(),
        ))
    }
}

fn currency(text: &str) -> Result<String, String> {
    if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        Ok(text.to_owned())
    } else {
        Err("a currency is three capital letters such as EUR".to_owned())
    }
}
