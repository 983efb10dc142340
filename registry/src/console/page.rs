//! What every page has around its own content, and what its template can ask for.

use askama::Template;
use axum::response::Html;
use jiff::tz::TimeZone;
use pictor_protocol::{Role, UnixMillis};
use url::Url;

use super::text::Moment;
use super::{Visitor, assets};
use crate::App;
use crate::error::{Error, Result};

pub struct NavItem {
    pub path: &'static str,
    pub label: &'static str,
    pub is_current: bool,
}

/// The frame of a page: templates have it as `page`.
pub struct Page {
    pub title: String,
    pub nav: Vec<NavItem>,
    /// Who is signed in; nobody on the page that signs in.
    pub account_name: Option<String>,
    pub flash: Option<String>,
    pub form_token: String,
    pub currency: String,
    pub now: UnixMillis,
    pub zone: TimeZone,
    pub grafana_url: Option<Url>,
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
            nav: nav
                .map(|(target, label, _)| NavItem {
                    path: target,
                    label,
                    is_current: path == *target || path.starts_with(&format!("{target}/")),
                })
                .collect(),
            account_name: Some(caller.name.clone()),
            flash: visitor.flash.clone(),
            form_token: visitor.form_token.clone(),
            zone: visitor.zone.clone(),
            ..Page::of_stranger(app, title)
        }
    }

    pub fn of_stranger(app: &App, title: &str) -> Page {
        Page {
            title: title.to_owned(),
            nav: Vec::new(),
            account_name: None,
            flash: None,
            form_token: String::new(),
            currency: app.settings.currency.clone(),
            now: app.clock.now(),
            zone: TimeZone::UTC,
            grafana_url: app.settings.grafana_url.clone(),
        }
    }

    pub fn style(&self) -> String {
        assets::style_path()
    }

    pub fn script(&self) -> String {
        assets::script_path()
    }

    pub fn icon(&self) -> String {
        assets::icon_path()
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

/// A template as a page, or as a part of one.
pub fn render(template: &impl Template) -> Result<Html<String>> {
    let text = template.render().map_err(|cause| Error::Internal(anyhow::Error::new(cause)))?;
    Ok(Html(text))
}
