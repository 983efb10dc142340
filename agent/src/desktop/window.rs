//! The worker app's window: the agent's own pages and nothing else, with an icon in the tray.

mod dialog;
mod host;
mod icon;
mod instance;
mod pages;
mod remembered;
mod tray;

use std::{
    path::Path,
    process::{self, ExitCode},
};

use anyhow::Context;
use gtk::prelude::*;
use pictor_protocol::DesiredState;
use tao::{
    event::{Event as LoopEvent, WindowEvent},
    event_loop::{ControlFlow, EventLoop, EventLoopBuilder, EventLoopProxy},
    platform::{run_return::EventLoopExtRunReturn, unix::WindowExtUnix},
    window::{Icon, Window, WindowBuilder},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Flags, absolute, agent::Finder, opened::Opened};
use crate::{
    config::{RunFlags, Session},
    program,
};
use host::{Host, News, Order};
use instance::{Asked, Claim, Instance};
use pages::Pages;
use remembered::Remembered;
use tray::{Choice, Tray};

const TITLE: &str = "My Workers";
const ICON_SIZE: i32 = 64;

/// Everything that happens to the window, from wherever.
#[derive(Debug)]
enum Event {
    Asked(Asked),
    News(News),
    Chosen(Choice),
    Titled(String),
    /// Its owner has said yes.
    Confirmed(Box<Opened>),
    /// What to do about a window without a tray: keep it small, or end the app.
    Minimise,
    Quit,
}

/// Whether there is a screen after all. Without one, GTK would end the program.
pub(super) fn reach_screen() -> anyhow::Result<()> {
    gtk::glib::set_prgname(Some("pictor-agent"));
    gtk::init().context("GTK cannot open a window")
}

pub(super) fn open(flags: &Flags, session: &Session) -> anyhow::Result<ExitCode> {
    let remembered = Remembered::of(&session.state, process::id());
    // A new version of the agent has the words of its first start, which were heeded then.
    let is_hidden = remembered.was_hidden().unwrap_or(flags.hidden);
    let file = flags.file.as_deref().filter(|_| remembered.was_hidden().is_none());
    let file = file.map(absolute).transpose()?;
    let finder = Finder::new(&flags.run)?;
    let asked = Asked { file: file.clone(), is_hidden, startup_id: session.startup_id.clone() };
    let instance = match instance::claim(&session.runtime, finder.data(), &asked)? {
        Claim::First(instance) => instance,
        Claim::HandedOver => {
            println!("The app is open already: its window was brought to the front.");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let mut events: EventLoop<Event> = EventLoopBuilder::with_user_event().build();
    let runtime = program::runtime()?;
    let (orders, ordered) = mpsc::unbounded_channel();
    let quit = CancellationToken::new();
    {
        let _context = runtime.enter();
        listen(instance, &events, quit.clone())?;
        let proxy = events.create_proxy();
        let host = Host {
            flags: flags.run.clone(),
            finder,
            tell: move |news| send(&proxy, Event::News(news)),
            quit: quit.clone(),
        };
        tokio::spawn(host.run(file, ordered));
    }
    let mut desk = Desk::build(&events, flags, remembered, is_hidden, orders, quit)?;
    let code = events.run_return(|event, _, flow| {
        *flow = ControlFlow::Wait;
        if !desk.hear(event) {
            *flow = ControlFlow::Exit;
        }
    });
    drop(desk);
    runtime.shutdown_timeout(program::RUNTIME_GRACE);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn send(proxy: &EventLoopProxy<Event>, event: Event) {
    if proxy.send_event(event).is_err() {
        tracing::debug!("the window is gone");
    }
}

/// Later starts, and signals.
fn listen(instance: Instance, events: &EventLoop<Event>, quit: CancellationToken) -> anyhow::Result<()> {
    let proxy = events.create_proxy();
    tokio::spawn(async move {
        let heard = |asked| send(&proxy, Event::Asked(asked));
        tokio::select! {
            Err(error) = instance.listen(heard) => {
                tracing::error!("a second start will not find this window: {error:#}");
            }
            // Who starts it now waits for its end, and is the next one.
            () = quit.cancelled() => {}
        }
        // Still the one window.
        std::future::pending::<()>().await;
        drop(instance);
    });
    let (proxy, stop) = (events.create_proxy(), CancellationToken::new());
    program::stop_on_signals(&stop)?;
    tokio::spawn(async move {
        stop.cancelled().await;
        send(&proxy, Event::Quit);
    });
    Ok(())
}

/// The window, and what it knows of the agent behind it.
struct Desk {
    window: Window,
    pages: Pages,
    tray: Option<Tray>,
    proxy: EventLoopProxy<Event>,
    orders: mpsc::UnboundedSender<Order>,
    quit: CancellationToken,
    flags: RunFlags,
    remembered: Remembered,
    is_own: bool,
    desired: Option<DesiredState>,
}

impl Desk {
    fn build(
        events: &EventLoop<Event>,
        flags: &Flags,
        mut remembered: Remembered,
        is_hidden: bool,
        orders: mpsc::UnboundedSender<Order>,
        quit: CancellationToken,
    ) -> anyhow::Result<Desk> {
        remembered.set_hidden(is_hidden);
        let mut builder = WindowBuilder::new()
            .with_title(TITLE)
            .with_inner_size(remembered.size())
            .with_min_inner_size(remembered::SMALLEST)
            .with_visible(!is_hidden);
        match icon::draw(ICON_SIZE).and_then(|(rgba, side)| Ok(Icon::from_rgba(rgba, side, side)?)) {
            Ok(icon) => builder = builder.with_window_icon(Some(icon)),
            Err(error) => tracing::warn!("the window has no icon: {error:#}"),
        }
        let window = builder.build(events).context("cannot open a window")?;
        let proxy = events.create_proxy();
        let pages = Pages::open(&window, move |title| send(&proxy, Event::Titled(title)))?;
        let proxy = events.create_proxy();
        let tray = match Tray::show(move |choice| send(&proxy, Event::Chosen(choice))) {
            Ok(tray) => Some(tray),
            Err(error) => {
                tracing::info!("{error:#}");
                None
            }
        };
        Ok(Desk {
            window,
            pages,
            tray,
            proxy: events.create_proxy(),
            orders,
            quit,
            flags: flags.run.clone(),
            remembered,
            is_own: false,
            desired: None,
        })
    }

    /// Whether the app goes on.
    fn hear(&mut self, event: LoopEvent<'_, Event>) -> bool {
        match event {
            LoopEvent::WindowEvent { event: WindowEvent::CloseRequested, .. } => self.close(),
            LoopEvent::UserEvent(event) => return self.react(event),
            _ => {}
        }
        true
    }

    fn react(&mut self, event: Event) -> bool {
        match event {
            Event::News(News::Stopped) => return false,
            Event::News(news) => self.learn(news),
            Event::Asked(asked) => {
                if !asked.is_hidden {
                    self.show(asked.startup_id.as_deref());
                }
                if let Some(file) = asked.file {
                    self.open_file(&file);
                }
            }
            Event::Chosen(Choice::Open) => self.show(None),
            Event::Chosen(Choice::Pause) => self.pause(),
            Event::Chosen(Choice::Quit) | Event::Quit => self.end(),
            Event::Titled(title) => self.window.set_title(if title.is_empty() { TITLE } else { &title }),
            Event::Confirmed(opened) => self.order(Order::Import(opened)),
            Event::Minimise => self.window.set_minimized(true),
        }
        true
    }

    fn learn(&mut self, news: News) {
        match news {
            News::Serves { link, is_own } => {
                self.is_own = is_own;
                self.pages.go(&link);
            }
            News::Desired(desired) => self.desired = Some(desired),
            News::Silent => self.desired = None,
            News::Failed(reason) => {
                (self.is_own, self.desired) = (false, None);
                self.pages.say("The agent does not run", &reason);
            }
            News::Open(file) => self.open_file(&file),
            News::Told(text) => dialog::tell(self.window.gtk_window(), &text),
            News::Stopped => {}
        }
        if let Some(tray) = &self.tray {
            tray.update(self.desired, self.is_own);
        }
    }

    fn open_file(&mut self, file: &Path) {
        let opened = match Opened::read(file, &self.flags) {
            Ok(opened) => opened,
            Err(error) => return dialog::tell(self.window.gtk_window(), &format!("{error:#}")),
        };
        self.show(None);
        if opened.is_installed() {
            return;
        }
        let Some(question) = opened.question() else { return self.order(Order::Import(Box::new(opened))) };
        let proxy = self.proxy.clone();
        dialog::ask(self.window.gtk_window(), &question, ["_Cancel", "_Import"], move |is_yes| {
            if is_yes {
                send(&proxy, Event::Confirmed(Box::new(opened)));
            }
        });
    }

    /// To the front, wherever it was.
    fn show(&mut self, startup_id: Option<&str>) {
        let window = self.window.gtk_window();
        if let Some(id) = startup_id {
            window.set_startup_id(id);
        }
        window.show_all();
        window.deiconify();
        window.present();
        self.remembered.set_hidden(false);
    }

    /// The cross of the window. Where there is no tray, a window that is gone could not be had back.
    fn close(&mut self) {
        self.remember_size();
        if self.tray.is_some() && tray::is_there() {
            self.window.set_visible(false);
            self.remembered.set_hidden(true);
        } else if self.is_own {
            let proxy = self.proxy.clone();
            let question = "Quit and stop rendering?\n\nThis desktop has no tray in which the app could go on. \
                 Minimised, its window stays in the list of windows, and the agent goes on.";
            dialog::ask(self.window.gtk_window(), question, ["_Minimise", "_Quit"], move |is_yes| {
                send(&proxy, if is_yes { Event::Quit } else { Event::Minimise });
            });
        } else {
            self.end();
        }
    }

    fn pause(&self) {
        let desired = match self.desired {
            None => return,
            Some(DesiredState::Active) => DesiredState::Paused,
            Some(_) => DesiredState::Active,
        };
        self.order(Order::Desire(desired));
    }

    /// The agent that was started here has work to give back first; the window need not be looked at for that.
    fn end(&mut self) {
        if self.window.is_visible() {
            self.remember_size();
        }
        self.remembered.end();
        self.window.set_visible(false);
        self.quit.cancel();
    }

    fn remember_size(&mut self) {
        self.remembered.set_size(self.window.inner_size().to_logical(self.window.scale_factor()));
    }

    fn order(&self, order: Order) {
        if self.orders.send(order).is_err() {
            tracing::debug!("the app ends");
        }
    }
}
