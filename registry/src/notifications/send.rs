//! How a message leaves: by e-mail, as a signed call of a webhook, or through a Telegram bot.

use std::time::Duration;

use anyhow::Context;
use hmac::{Hmac, KeyInit, Mac};
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message as Mail, Tokio1Executor};
use pictor_protocol::{AccountId, ChannelKind, UnixMillis, is_loopback};
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use sha2::Sha256;
use url::{Host, Url};

use super::address::{self, PublicOnly};
use super::message::{Message, cut, merged};
use super::store::{ChannelRow, Due};
use crate::config::Settings;
use crate::error::{Error, Result};

/// Shorter than a message is taken for, so that it is never sent twice for being slow.
const SEND_MAX: Duration = Duration::from_secs(15);
const TELEGRAM_CHARS_MAX: usize = 4_000;
const ERROR_CHARS_MAX: usize = 300;

/// What sends; made once from the settings.
pub struct Sender {
    mail: Option<(AsyncSmtpTransport<Tokio1Executor>, Mailbox)>,
    /// For webhooks, which accounts name.
    web: reqwest::Client,
    telegram: reqwest::Client,
    telegram_url: Url,
    loopback_only: bool,
}

/// A message, or several that waited, for one channel.
pub(super) struct Parcel {
    pub(super) title: String,
    pub(super) text: String,
    /// As webhooks get them.
    pub(super) messages: Vec<Value>,
    pub(super) account_id: AccountId,
    pub(super) at: UnixMillis,
}

impl Parcel {
    pub(super) fn of(
        due: &[Due],
        account_id: AccountId,
        zone: &jiff::tz::TimeZone,
        at: UnixMillis,
    ) -> Parcel {
        let messages: Vec<(&Message, UnixMillis)> =
            due.iter().map(|due| (&due.message, due.created_at)).collect();
        let (title, text) = merged(&messages, zone);
        let messages = due
            .iter()
            .map(|Due { id, message, created_at, .. }| {
                json!({
                    "id": id, "event": message.event, "phase": message.phase, "worker_id": message.worker_id,
                    "title": message.title, "text": message.text, "created_at": created_at,
                })
            })
            .collect();
        Parcel { title, text, messages, account_id, at }
    }

    pub(super) fn test(account_id: AccountId, at: UnixMillis) -> Parcel {
        Parcel {
            title: "Test from My Workers".to_owned(),
            text: "This channel works: messages about your workers and payouts come here.".to_owned(),
            messages: Vec::new(),
            account_id,
            at,
        }
    }
}

impl Sender {
    pub fn new(settings: &Settings) -> anyhow::Result<Sender> {
        let client = || {
            reqwest::Client::builder()
                .redirect(Policy::none())
                .no_proxy()
                .timeout(SEND_MAX)
                .user_agent("pictor-registry")
        };
        let loopback_only = settings.is_loopback_only();
        let web = if loopback_only { client() } else { client().dns_resolver(PublicOnly) };
        Ok(Sender {
            mail: mail(settings)?,
            web: web.build()?,
            telegram: client().build()?,
            telegram_url: settings.telegram_url.clone(),
            loopback_only,
        })
    }

    pub(super) fn sends_email(&self) -> bool {
        self.mail.is_some()
    }

    pub(super) fn webhook_url(&self, text: &str) -> Result<Url> {
        address::webhook(text, self.loopback_only)
    }

    /// Why nothing came of it, in words for the account.
    pub(super) async fn send(
        &self,
        channel: &ChannelRow,
        parcel: &Parcel,
    ) -> std::result::Result<(), String> {
        let sent = match channel.kind {
            ChannelKind::Email => self.by_mail(&channel.target, parcel).await,
            ChannelKind::Webhook => {
                self.by_webhook(&channel.target, channel.secret.as_deref().unwrap_or_default(), parcel).await
            }
            ChannelKind::Telegram => {
                self.by_telegram(channel.secret.as_deref().unwrap_or_default(), &channel.target, parcel).await
            }
        };
        sent.map_err(|error| cut(&error, ERROR_CHARS_MAX))
    }

    async fn by_mail(&self, to: &str, parcel: &Parcel) -> std::result::Result<(), String> {
        let Some((transport, from)) = &self.mail else {
            return Err("this registry sends no e-mail: its operator sets --smtp-url".to_owned());
        };
        let to: Address = to.parse().map_err(|_| "it is not an e-mail address".to_owned())?;
        let mail = Mail::builder()
            .from(from.clone())
            .to(Mailbox::new(None, to))
            .subject(parcel.title.replace(char::is_control, " "))
            .header(ContentType::TEXT_PLAIN)
            .body(format!("{}\n", parcel.text))
            .map_err(|cause| format!("the e-mail cannot be written: {cause}"))?;
        transport.send(mail).await.map(drop).map_err(|cause| {
            let permanence = if cause.is_permanent() { "refused" } else { "not taken" };
            // The server's own words can be about its operator's account there.
            tracing::warn!(error = %cause, "an e-mail was {permanence}");
            format!("the mail server has {permanence} it")
        })
    }

    async fn by_webhook(&self, url: &str, secret: &str, parcel: &Parcel) -> std::result::Result<(), String> {
        let url = Url::parse(url).map_err(|_| "its URL cannot be read".to_owned())?;
        address::allowed(&url, self.loopback_only)?;
        let body = json!({
            "account": parcel.account_id, "sent_at": parcel.at, "title": parcel.title,
            "text": format!("{}\n{}", parcel.title, parcel.text), "messages": parcel.messages,
        })
        .to_string();
        let request = self
            .web
            .post(url)
            .header("content-type", "application/json")
            .header("pictor-signature", signature(secret, parcel.at, &body)?)
            .body(body);
        let answer = request.send().await.map_err(|cause| unreachable(&cause))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status if status.is_redirection() => {
                Err(format!("it answered {status}, and redirects are not followed: name the URL itself"))
            }
            status => Err(format!("it answered {status}")),
        }
    }

    async fn by_telegram(
        &self,
        bot_token: &str,
        chat_id: &str,
        parcel: &Parcel,
    ) -> std::result::Result<(), String> {
        let mut url = self.telegram_url.clone();
        url.path_segments_mut()
            .map_err(|()| "--telegram-url has no path".to_owned())?
            .pop_if_empty()
            .extend([&format!("bot{bot_token}"), "sendMessage"]);
        let text = cut(&format!("{}\n{}", parcel.title, parcel.text), TELEGRAM_CHARS_MAX);
        let request = self.telegram.post(url).json(&json!({"chat_id": chat_id, "text": text}));
        let answer = request.send().await.map_err(|cause| unreachable(&cause))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let said: Value = answer.json().await.unwrap_or_default();
        let why = said["description"].as_str().unwrap_or("without saying why");
        Err(format!("Telegram answered {status}: {why}"))
    }
}

/// Without the URL, which holds secrets.
fn unreachable(cause: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = cause;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match cause {
        _ if cause.is_timeout() => "it did not answer in time".to_owned(),
        _ if cause.is_connect() => format!("it cannot be reached: {innermost}"),
        _ => "the connection broke".to_owned(),
    }
}

/// `t=SECONDS,sha256=HEX`: the HMAC of `SECONDS.BODY`, so that a call cannot be made up, nor an old one
/// made again unnoticed.
fn signature(secret: &str, at: UnixMillis, body: &str) -> std::result::Result<String, String> {
    let seconds = at.0 / 1_000;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|cause| cause.to_string())?;
    mac.update(format!("{seconds}.{body}").as_bytes());
    Ok(format!("t={seconds},sha256={}", hex::encode(mac.finalize().into_bytes())))
}

fn mail(settings: &Settings) -> anyhow::Result<Option<(AsyncSmtpTransport<Tokio1Executor>, Mailbox)>> {
    let (Some(url), Some(from)) = (&settings.smtp_url, &settings.mail_from) else { return Ok(None) };
    let mut url = url.clone();
    if url.scheme() == "smtp" && url.query().is_none() && !is_local(&url) {
        // A password and what concerns money do not cross a network in the clear.
        url.set_query(Some("tls=required"));
    }
    let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.as_str())
        .map_err(|_| anyhow::anyhow!("--smtp-url: write smtps://USER:PASSWORD@HOST:PORT"))?
        .timeout(Some(SEND_MAX))
        .build();
    Ok(Some((transport, from.parse().context("--mail-from: write an address, such as NAME <A@B>")?)))
}

/// In a URL of a scheme that is not the web's, an address is read as a name.
fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    is_loopback(url)
        || Host::parse(host).is_ok_and(|host| match host {
            Host::Ipv4(ip) => ip.is_loopback(),
            Host::Ipv6(ip) => ip.is_loopback(),
            Host::Domain(name) => name == "localhost",
        })
}

/// An address that mail can go to.
pub(super) fn email_address(text: &str) -> Result<String> {
    let address: Address = text.trim().parse().map_err(|_| {
        Error::Invalid("address: write an e-mail address, such as name@example.org".to_owned())
    })?;
    Ok(address.to_string())
}

/// A bot's token, as Telegram makes them: `NUMBER:LETTERS`.
pub(super) fn bot_token(text: &str) -> Result<String> {
    let text = text.trim();
    let is_token = text.split_once(':').is_some_and(|(number, secret)| {
        (1..=20).contains(&number.len())
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && (20..=100).contains(&secret.len())
            && secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    });
    if is_token {
        return Ok(text.to_owned());
    }
    Err(Error::Invalid("bot_token: paste the token that @BotFather gave, such as 123456:ABC…".to_owned()))
}

pub(super) fn chat_id(text: &str) -> Result<String> {
    let text = text.trim();
    let is_number =
        |text: &str| (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = text.strip_prefix('@').is_some_and(|name| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    });
    if is_name || is_number(text.strip_prefix('-').unwrap_or(text)) {
        return Ok(text.to_owned());
    }
    Err(Error::Invalid("chat_id: write the chat's number, or @name of a public channel".to_owned()))
}
