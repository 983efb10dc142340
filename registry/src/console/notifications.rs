//! The page on which an account says where it is told what happens, of what, and when.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use pictor_protocol::{
    Channel, ChannelId, ChannelKind, CreatedChannel, Delivery, NewChannel, NotificationEvent,
    NotificationSettings, PatchNotifications, QuietHours, TimeOfDay,
};
use serde::Deserialize;

use super::{Form, NoFields, Page, Visitor, said};
use crate::App;
use crate::error::{Error, Path, Result};
use crate::notifications;

const HERE: &str = "/account/notifications";
const DELIVERIES_SHOWN: u32 = 20;

#[derive(Template)]
#[template(path = "console/notifications.html")]
struct NotificationsPage<'a> {
    page: &'a Page,
    channels: Vec<Channel>,
    settings: NotificationSettings,
    deliveries: Vec<Delivery>,
    /// A webhook just made: the one time that its secret is shown.
    created: Option<CreatedChannel>,
    typed: Typed,
}

/// What was typed and refused, to be mended where it stands.
#[derive(Default)]
struct Typed {
    channel: NewChannelForm,
    quiet: SettingsForm,
    /// (field, why)
    refusal: Option<(&'static str, String)>,
}

impl Typed {
    fn error(&self, field: &str) -> Option<&str> {
        self.refusal.as_ref().filter(|(named, _)| *named == field).map(|(_, why)| why.as_str())
    }
}

impl NotificationsPage<'_> {
    fn wants(&self, event: &NotificationEvent) -> bool {
        self.settings.events.contains(event)
    }

    /// As it is kept, or as it was typed last.
    fn quiet(&self) -> (String, String) {
        if self.typed.error("quiet").is_some() {
            return (self.typed.quiet.quiet_from.clone(), self.typed.quiet.quiet_to.clone());
        }
        self.settings.quiet_hours.map_or_else(Default::default, |hours| (hours.from.into(), hours.to.into()))
    }

    fn channel_of(&self, delivery: &Delivery) -> String {
        let channel = self.channels.iter().find(|channel| channel.id == delivery.channel_id);
        let target = channel.map(|channel| channel.target.as_str()).unwrap_or_default();
        format!("{} {target}", kind_name(&delivery.channel_kind))
    }
}

fn kind_name(kind: &ChannelKind) -> &'static str {
    match kind {
        ChannelKind::Email => "E-mail",
        ChannelKind::Webhook => "Webhook",
        ChannelKind::Telegram => "Telegram",
    }
}

/// What can be chosen, and in which words. A changed wallet is told in any case.
const CHOICES: &[(NotificationEvent, &str)] = &[
    (NotificationEvent::WorkerLost, "A worker is lost: not heard of, without a goodbye"),
    (NotificationEvent::GpuLost, "A worker has lost a GPU"),
    (NotificationEvent::HealthFailed, "A health check keeps a worker from working"),
    (NotificationEvent::RepeatedFailures, "A worker failed three tasks in a row"),
    (NotificationEvent::PayoutSent, "A payout was sent"),
    (NotificationEvent::PayoutFailed, "A payout failed"),
];

pub(super) async fn page(State(app): State<App>, visitor: Visitor) -> Result<Response> {
    show(&app, &visitor, None, Typed::default()).await
}

async fn show(
    app: &App,
    visitor: &Visitor,
    created: Option<CreatedChannel>,
    typed: Typed,
) -> Result<Response> {
    visitor.caller().require_full()?;
    let account = visitor.caller().account_id;
    let page = Page::new(app, visitor, "Notifications");
    let content = NotificationsPage {
        page: &page,
        channels: notifications::channels(app, account).await?,
        settings: notifications::settings(app, account).await?,
        deliveries: notifications::deliveries(app, account, None, DELIVERIES_SHOWN).await?.items,
        created,
        typed,
    };
    Ok(page.show(&content)?.into_response())
}

/// One form for each kind; the fields of the others stay empty.
#[derive(Default, Deserialize)]
pub(super) struct NewChannelForm {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    bot_token: String,
    #[serde(default)]
    chat_id: String,
}

impl NewChannelForm {
    fn channel(&self) -> Result<NewChannel> {
        match self
            .kind
            .parse()
            .map_err(|error: pictor_protocol::UnknownWord| Error::Invalid(error.to_string()))?
        {
            ChannelKind::Email => Ok(NewChannel::Email { address: self.address.clone() }),
            ChannelKind::Webhook => Ok(NewChannel::Webhook { url: self.url.clone() }),
            ChannelKind::Telegram => {
                Ok(NewChannel::Telegram { bot_token: self.bot_token.clone(), chat_id: self.chat_id.clone() })
            }
        }
    }
}

/// The field that a refusal is about, and the refusal without its name.
fn at_field(refusal: &str, otherwise: &'static str) -> (&'static str, String) {
    for field in ["address", "url", "bot_token", "chat_id"] {
        if let Some(why) = refusal.strip_prefix(field).and_then(|rest| rest.strip_prefix(": ")) {
            return (field, why.to_owned());
        }
    }
    (otherwise, refusal.to_owned())
}

pub(super) async fn add(
    State(app): State<App>,
    Form(visitor, form): Form<NewChannelForm>,
) -> Result<Response> {
    visitor.caller().require_full()?;
    match notifications::add_channel(&app, visitor.caller().account_id, form.channel()?).await {
        Ok(created) if created.signing_secret.is_some() => {
            show(&app, &visitor, Some(created), Typed::default()).await
        }
        Ok(created) => {
            let done = format!("{} was added. Send a test to see that it arrives.", created.channel.target);
            Ok(said(&done, HERE))
        }
        Err(Error::Invalid(why)) => refuse_channel(&app, &visitor, form, &why).await,
        Err(Error::Unprocessable { detail, .. }) => refuse_channel(&app, &visitor, form, &detail).await,
        Err(error) => Err(error),
    }
}

async fn refuse_channel(app: &App, visitor: &Visitor, form: NewChannelForm, why: &str) -> Result<Response> {
    let otherwise = match form.kind.as_str() {
        "email" => "address",
        "telegram" => "bot_token",
        _ => "url",
    };
    let refusal = Some(at_field(why, otherwise));
    // A token is not sent back into the page.
    let channel = NewChannelForm { bot_token: String::new(), ..form };
    show(app, visitor, None, Typed { channel, refusal, ..Typed::default() }).await
}

pub(super) async fn test(
    State(app): State<App>,
    Path(id): Path<ChannelId>,
    Form(visitor, NoFields {}): Form<NoFields>,
) -> Result<Response> {
    visitor.caller().require_full()?;
    let done = match notifications::test_channel(&app, visitor.caller().account_id, id).await {
        Ok(()) => "The test was delivered.".to_owned(),
        Err(Error::Unprocessable { detail, .. } | Error::Conflict { detail, .. }) => {
            let why = Some(("test", detail));
            return show(&app, &visitor, None, Typed { refusal: why, ..Typed::default() }).await;
        }
        Err(error) => return Err(error),
    };
    Ok(said(&done, HERE))
}

pub(super) async fn remove(
    State(app): State<App>,
    Path(id): Path<ChannelId>,
    Form(visitor, NoFields {}): Form<NoFields>,
) -> Result<Response> {
    visitor.caller().require_full()?;
    notifications::remove_channel(&app, visitor.caller().account_id, id).await?;
    Ok(said("The channel was removed.", HERE))
}

#[derive(Default, Deserialize)]
pub(super) struct SettingsForm {
    #[serde(default)]
    event: Vec<NotificationEvent>,
    #[serde(default)]
    quiet_from: String,
    #[serde(default)]
    quiet_to: String,
}

impl SettingsForm {
    fn change(&self) -> std::result::Result<PatchNotifications, String> {
        let time = |text: &str| text.trim().parse::<TimeOfDay>().map_err(|error| error.to_string());
        let quiet_hours = match (self.quiet_from.trim(), self.quiet_to.trim()) {
            ("", "") => None,
            ("", _) | (_, "") => return Err("give both times, or neither".to_owned()),
            (from, to) => Some(QuietHours { from: time(from)?, to: time(to)? }),
        };
        let mut events = self.event.clone();
        events.push(NotificationEvent::WalletChanged);
        Ok(PatchNotifications { quiet_hours: Some(quiet_hours), events: Some(events) })
    }
}

pub(super) async fn change(
    State(app): State<App>,
    Form(visitor, form): Form<SettingsForm>,
) -> Result<Response> {
    visitor.caller().require_full()?;
    let changed = match form.change() {
        Ok(change) => {
            notifications::change_settings(&app, visitor.caller().account_id, change).await.map(drop)
        }
        Err(why) => Err(Error::Invalid(why)),
    };
    match changed {
        Ok(()) => Ok(said("Saved.", HERE)),
        Err(Error::Invalid(why)) => {
            let why = why.trim_start_matches("quiet_hours: ").to_owned();
            let typed = Typed { quiet: form, refusal: Some(("quiet", why)), ..Typed::default() };
            show(&app, &visitor, None, typed).await
        }
        Err(error) => Err(error),
    }
}
