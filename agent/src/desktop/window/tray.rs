//! The icon in the tray, and its menu. Where a desktop has no tray, nothing is shown and the window does without.

use anyhow::Context;
use gtk::{gio, glib};
use pictor_protocol::DesiredState;
use tray_icon::{
    Icon, MouseButton, MouseButtonState, TrayIcon, TrayIconBuilder, TrayIconEvent,
    menu::{Menu, MenuEvent, MenuId, MenuItem, PredefinedMenuItem},
};

use super::icon;

const ICON_SIZE: i32 = 32;
const WATCHER_TIMEOUT_MILLISECONDS: i32 = 1_000;

/// What its menu asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    Open,
    /// Pauses what runs, and resumes what is paused.
    Pause,
    Quit,
}

pub(super) struct Tray {
    /// Gone with this.
    _icon: TrayIcon,
    pause: MenuItem,
    quit: MenuItem,
}

impl Tray {
    pub(super) fn show(chosen: impl Fn(Choice) + Clone + Send + Sync + 'static) -> anyhow::Result<Tray> {
        let open = MenuItem::with_id("open", "Open", true, None);
        let pause = MenuItem::with_id("pause", "Pause", false, None);
        let quit = MenuItem::with_id("quit", "Quit", true, None);
        let (first, second) = (PredefinedMenuItem::separator(), PredefinedMenuItem::separator());
        let menu = Menu::with_items(&[&open, &first, &pause, &second, &quit])?;
        let heard = chosen.clone();
        MenuEvent::set_event_handler(Some(move |event: MenuEvent| {
            if let Some(choice) = choice(&event.id) {
                heard(choice);
            }
        }));
        TrayIconEvent::set_event_handler(Some(move |event| {
            if let TrayIconEvent::Click {
                button: MouseButton::Left,
                button_state: MouseButtonState::Up,
                ..
            } = event
            {
                chosen(Choice::Open);
            }
        }));
        let mut builder =
            TrayIconBuilder::new().with_id("pictor-agent").with_title("My Workers").with_menu(Box::new(menu));
        match icon::draw(ICON_SIZE).and_then(|(rgba, side)| Ok(Icon::from_rgba(rgba, side, side)?)) {
            Ok(icon) => builder = builder.with_icon(icon),
            Err(error) => tracing::warn!("the tray has no icon: {error:#}"),
        }
        let icon = builder.build().context("no icon in the tray")?;
        Ok(Tray { _icon: icon, pause, quit })
    }

    /// What can be chosen now: nothing can be paused where no agent answers.
    pub(super) fn update(&self, desired: Option<DesiredState>, is_own: bool) {
        self.pause.set_enabled(desired.is_some());
        self.pause.set_text(match desired {
            None | Some(DesiredState::Active) => "Pause",
            Some(_) => "Resume",
        });
        self.quit.set_text(if is_own { "Quit (rendering stops)" } else { "Quit (the agent keeps running)" });
    }
}

fn choice(id: &MenuId) -> Option<Choice> {
    match id.as_ref() {
        "open" => Some(Choice::Open),
        "pause" => Some(Choice::Pause),
        "quit" => Some(Choice::Quit),
        _ => None,
    }
}

/// Whether this desktop shows tray icons now: a panel may start later, or never.
pub(super) fn is_there() -> bool {
    const WATCHER: &str = "org.kde.StatusNotifierWatcher";
    let ask = || -> Result<glib::Variant, glib::Error> {
        let bus = gio::bus_get_sync(gio::BusType::Session, gio::Cancellable::NONE)?;
        bus.call_sync(
            Some(WATCHER),
            "/StatusNotifierWatcher",
            "org.freedesktop.DBus.Properties",
            "Get",
            Some(&(WATCHER, "IsStatusNotifierHostRegistered").into()),
            None,
            gio::DBusCallFlags::NO_AUTO_START,
            WATCHER_TIMEOUT_MILLISECONDS,
            gio::Cancellable::NONE,
        )
    };
    match ask() {
        Ok(answer) => {
            answer.get::<(glib::Variant,)>().and_then(|(is_there,)| is_there.get()).unwrap_or(false)
        }
        Err(error) => {
            tracing::debug!("there is no tray: {error}");
            false
        }
    }
}
