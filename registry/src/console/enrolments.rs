//! Enrolment keys: made, listed, revoked.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use pictor_look::text;
use pictor_protocol::{CreatedEnrolment, Enrolment, EnrolmentId, NewEnrolment, Role};

use super::setup::{self, Key};
use super::{Form, NoFields, Page, Visitor, said};
use crate::App;
use crate::enrolments;
use crate::error::{Path, Result};

const DAY_SECONDS: i64 = 86_400;

#[derive(Template)]
#[template(path = "console/enrolments.html")]
struct EnrolmentsPage<'a> {
    page: &'a Page,
    keys: Vec<Enrolment>,
    created: Option<CreatedEnrolment>,
    registry: String,
    may_write: bool,
}

impl EnrolmentsPage<'_> {
    fn is_expired(&self, key: &Enrolment) -> bool {
        key.expires_at.is_some_and(|at| at <= self.page.now)
    }
}

async fn show(app: &App, visitor: &Visitor, created: Option<CreatedEnrolment>) -> Result<Response> {
    let caller = visitor.with_role(Role::Provider)?;
    let page = Page::new(app, visitor, "Enrolment keys");
    let content = EnrolmentsPage {
        page: &page,
        keys: enrolments::keys(app, caller).await?,
        created,
        registry: app.public_url.to_string(),
        may_write: caller.is_full(),
    };
    Ok(page.show(&content)?.into_response())
}

pub(super) async fn page(State(app): State<App>, visitor: Visitor) -> Result<Response> {
    show(&app, &visitor, None).await
}

/// Answers with the page itself, because the key must be shown and be kept nowhere.
pub(super) async fn create(State(app): State<App>, Form(visitor, key): Form<Key>) -> Result<Response> {
    let caller = visitor.acting(Role::Provider)?;
    let lifetime = i64::from(key.days).saturating_mul(DAY_SECONDS);
    let new = NewEnrolment {
        name_pattern: key.name_pattern.clone(),
        count: key.count,
        expires_at: (key.days > 0).then(|| app.clock.now().plus_seconds(lifetime)),
        tags: setup::tags(&key.tags),
    };
    match enrolments::make(&app, caller, new).await {
        Ok(created) => show(&app, &visitor, Some(created)).await,
        Err(error) => {
            let key = Key { refusal: Some(setup::refusal(error)?), ..key };
            setup::show_key(&app, &visitor, key)
        }
    }
}

pub(super) async fn revoke(
    State(app): State<App>,
    Path(id): Path<EnrolmentId>,
    Form(visitor, NoFields {}): Form<NoFields>,
) -> Result<Response> {
    enrolments::end(&app, visitor.acting(Role::Provider)?, id).await?;
    Ok(said("The key was revoked. The workers that it made stay.", "/workers/enrolments"))
}
