//! What every page has around its own content, and what its template can ask for.

use askama::Template;
use axum::response::Html;
use jiff::tz::TimeZone;
use pictor_look::text::Moment;
use pictor_look::{Document, Said, Tab};
use pictor_protocol::{Role, UnixMillis};
use url::Url;

use super::{Visitor, assets};
use crate::App;
use crate::error::{Error, Result};

/// The frame of a page: templates have it as `page`.
pub struct Page {
    pub title: String,
    pub tabs: Vec<Tab>,
    /// Who is signed in; nobody on the page that signs in.
    pub account_name: Option<String>,
    pub said: Option<Said>,
    /// Where its parts are sent again when they change.
    live: Option<String>,
    pub form_token: String,
    pub currency: String,
    pub now: UnixMillis,
    pub zone: TimeZone,
    pub grafana_url: Option<Url>,
}

/// Who is signed in, at the end of the bar on top.
#[derive(Template)]
#[template(path = "console/who.html")]
struct Who<'a> {
    name: &'a str,
    form_token: &'a str,
}

/// Which pages there are, and for whom.
const NAV: &[(&str, &str, Role)] = &[
    ("/summary", "Summary", Role::Provider),
    ("/workers", "Workers", Role::Provider),
    ("/attempts", "History", Role::Provider),
    ("/jobs", "Jobs", Role::Creator),
    ("/admin", "Operator", Role::Operator),
];

impl Page {
    pub fn new(app: &App, visitor: &Visitor, title: &str) -> Page {
        let caller = visitor.caller();
        let path = visitor.location.split('?').next().unwrap_or_default();
        let nav = NAV.iter().filter(|(_, _, role)| caller.has_role(*role));
        Page {
            tabs: nav
                .map(|(target, label, _)| Tab {
                    path: target,
                    label,
                    is_current: path == *target || path.starts_with(&format!("{target}/")),
                })
                .collect(),
            account_name: Some(caller.name.clone()),
            said: visitor.flash.clone().map(|text| Said { text, is_good: true }),
            form_token: visitor.form_token.clone(),
            zone: visitor.zone.clone(),
            ..Page::of_stranger(app, title)
        }
    }

    pub fn of_stranger(app: &App, title: &str) -> Page {
        Page {
            title: title.to_owned(),
            tabs: Vec::new(),
            account_name: None,
            said: None,
            live: None,
            form_token: String::new(),
            currency: app.settings.currency.clone(),
            now: app.clock.now(),
            zone: TimeZone::UTC,
            grafana_url: app.settings.grafana_url.clone(),
        }
    }

    /// With parts that are sent again, from this path, when they change.
    pub fn live(self, path: String) -> Page {
        Page { live: Some(path), ..self }
    }

    /// The whole page around its content.
    pub fn show(&self, content: &impl Template) -> Result<Html<String>> {
        let who = |name: &String| render(&Who { name, form_token: &self.form_token });
        let who = self.account_name.as_ref().map(who).transpose()?;
        let document = Document {
            title: &self.title,
            brand: "My Workers",
            style: &assets::style_path(),
            script: &assets::script_path(),
            icon: &assets::icon_path(),
            tabs: &self.tabs,
            who: who.as_deref(),
            said: self.said.as_ref(),
            live: self.live.as_deref(),
            lost: None,
            content,
        };
        Ok(Html(render(&document)?))
    }

    /// A moment in the visitor's zone, the exact one on hover.
    pub fn time(&self, at: &UnixMillis) -> Moment {
        Moment::at(*at, self.now, &self.zone)
    }

    /// How long ago a moment was, the exact one on hover; the script keeps it fresh.
    pub fn ago(&self, at: &UnixMillis) -> Moment {
        Moment::ago(*at, self.now, &self.zone)
    }

    /// A dashboard with these variables (`var-…`) and range, where a Grafana is known.
    pub fn grafana(&self, dashboard: &str, query: &[(&str, &str)]) -> Option<String> {
        let mut url = self.grafana_url.clone()?;
        url.path_segments_mut().ok()?.pop_if_empty().extend(["d", dashboard]);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Some(url.into())
    }
}

/// A template as HTML, such as a part of a page.
pub fn render(template: &impl Template) -> Result<String> {
    template.render().map_err(|cause| Error::Internal(anyhow::Error::new(cause)))
}
