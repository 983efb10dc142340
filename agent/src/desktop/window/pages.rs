//! The web view: it goes nowhere but to the agent's own pages, and keeps nothing.

use std::{cell::RefCell, rc::Rc};

use anyhow::Context;
use tao::{platform::unix::WindowExtUnix, window::Window};
use url::Url;
use webkit2gtk::{HardwareAccelerationPolicy, SettingsExt, WebViewExt};
use wry::{
    NewWindowResponse, PermissionResponse, WebView, WebViewBuilder, WebViewBuilderExtUnix, WebViewExtUnix,
};

use crate::{app::link::Link, desktop::browser};

/// What the window says for itself.
const OWN_PAGE: &str = "about:blank";

pub(super) struct Pages {
    view: WebView,
    place: Rc<RefCell<Place>>,
}

/// Whose pages are shown.
#[derive(Debug, Default)]
struct Place {
    app: Option<Url>,
}

/// Where a link leads.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// Shown here.
    Here,
    /// Another site's, or the console's: the browser shows it.
    Browser,
    Nowhere,
}

impl Pages {
    pub(super) fn open(window: &Window, titled: impl Fn(String) + 'static) -> anyhow::Result<Pages> {
        let place = Rc::new(RefCell::new(Place::default()));
        let (of_navigation, of_window) = (Rc::clone(&place), Rc::clone(&place));
        let builder = WebViewBuilder::new()
            // The key of the agent's start is in a cookie.
            .with_incognito(true)
            .with_devtools(false)
            .with_clipboard(true)
            .with_html(page("Starting", "The agent is looked for."))
            .with_navigation_handler(move |url| of_navigation.borrow().go(&url))
            .with_new_window_req_handler(move |url, _| {
                // It would be a window without these rules.
                if of_window.borrow().way(&url) != Way::Nowhere {
                    visit(&url);
                }
                NewWindowResponse::Deny
            })
            .with_download_started_handler(|_, _| false)
            .with_permission_handler(|_| PermissionResponse::Deny)
            .with_document_title_changed_handler(titled);
        let container = window.default_vbox().context("the window has no room for pages")?;
        let view = builder.build_gtk(container).context("WebKit cannot be started")?;
        // Text and bars need no GPU: those of this machine are for rendering, and with some drivers the window stays
        // empty.
        let settings = view.webview().settings().context("WebKit has no settings")?;
        settings.set_hardware_acceleration_policy(HardwareAccelerationPolicy::Never);
        Ok(Pages { view, place })
    }

    /// Shows the agent's pages.
    pub(super) fn go(&self, link: &Link) {
        let url = link.url();
        self.place.borrow_mut().app = Url::parse(&url).ok();
        self.load(&url, |view| view.load_url(&url));
    }

    /// Shows a message in their place.
    pub(super) fn say(&self, title: &str, text: &str) {
        self.place.borrow_mut().app = None;
        self.load(OWN_PAGE, |view| view.load_html(&page(title, text)));
    }

    fn load(&self, what: &str, load: impl FnOnce(&WebView) -> wry::Result<()>) {
        if let Err(error) = load(&self.view) {
            tracing::error!("{what} is not shown: {error}");
        }
    }
}

impl Place {
    /// Whether the window goes there.
    fn go(&self, url: &str) -> bool {
        let way = self.way(url);
        if way == Way::Browser {
            visit(url);
        }
        way == Way::Here
    }

    fn way(&self, url: &str) -> Way {
        if url == OWN_PAGE {
            return Way::Here;
        }
        let Ok(url) = Url::parse(url) else { return Way::Nowhere };
        match url.scheme() {
            "http" | "https" if self.app.as_ref().is_some_and(|app| app.origin() == url.origin()) => {
                Way::Here
            }
            "http" | "https" => Way::Browser,
            _ => Way::Nowhere,
        }
    }
}

fn visit(url: &str) {
    if let Err(error) = browser::visit(url) {
        tracing::error!("{url} is not opened: {error:#}");
    }
}

/// A page of a few words.
fn page(title: &str, text: &str) -> String {
    let (title, text) = (escaped(title), escaped(text));
    format!(
        "<!doctype html><meta charset=utf-8><meta name=color-scheme content='light dark'><title></title>\
         <body style='font: 16px system-ui, sans-serif; max-width: 40em; margin: 20vh auto; padding: 0 1em'>\
         <h1 style='font-size: 22px'>{title}</h1><p style='overflow-wrap: anywhere'>{text}</p>"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_goes_to_the_agents_pages_alone() {
        let place = Place { app: Url::parse("http://127.0.0.1:9850/?key=k").ok() };
        for url in ["http://127.0.0.1:9850/", "http://127.0.0.1:9850/settings?x=1#y", OWN_PAGE] {
            assert_eq!(place.way(url), Way::Here, "{url}");
        }
        for url in [
            "http://127.0.0.1:8080/workers",
            "https://127.0.0.1:9850/",
            "https://example.org/",
            "http://localhost:9850/",
        ] {
            assert_eq!(place.way(url), Way::Browser, "{url}");
        }
        for url in [
            "file:///etc/passwd",
            "javascript:alert(1)",
            "data:text/html,x",
            "blob:http://127.0.0.1:9850/1",
            "",
            "x",
        ] {
            assert_eq!(place.way(url), Way::Nowhere, "{url}");
        }
        assert_eq!(Place::default().way("http://127.0.0.1:9850/"), Way::Browser);
    }
}
