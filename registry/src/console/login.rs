//! Signing in and out.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::cookie::CookieJar;
use pictor_protocol::Role;
use serde::Deserialize;
use url::form_urlencoded;

use super::visitor::{Browser, SESSION_COOKIE, session_cookie};
use super::{Form, NoFields, Page, Visitor};
use crate::App;
use crate::accounts::sign_in;
use crate::auth::Caller;
use crate::error::{Error, Result};

#[derive(Template)]
#[template(path = "console/login.html")]
struct LoginPage {
    next: String,
    refusal: Option<String>,
    /// The OpenID Connect provider, if there is one.
    provider: Option<String>,
}

impl LoginPage {
    fn provider_path(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        format!("/login/oidc?{}", query.append_pair("next", &self.next).finish())
    }
}

#[derive(Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct SignIn {
    token: String,
    #[serde(default)]
    next: String,
}

/// The page that a caller works on most.
pub(super) async fn home(visitor: Visitor) -> Redirect {
    Redirect::to(home_of(visitor.caller()))
}

fn home_of(caller: &Caller) -> &'static str {
    if caller.roles.contains(&Role::Provider) {
        "/workers"
    } else if caller.roles.contains(&Role::Creator) {
        "/jobs"
    } else {
        "/admin"
    }
}

pub(super) async fn page(
    State(app): State<App>,
    visitor: Result<Visitor>,
    Query(Next { next }): Query<Next>,
) -> Result<Response> {
    match visitor {
        Ok(visitor) => Ok(Redirect::to(&local(&next, home_of(visitor.caller()))).into_response()),
        Err(Error::Unauthorized) => show(&app, next, None),
        Err(error) => Err(error),
    }
}

fn show(app: &App, next: String, refusal: Option<String>) -> Result<Response> {
    let provider = app.oidc.as_ref().map(|provider| provider.name().to_owned());
    let content = LoginPage { next, refusal, provider };
    Ok(Page::of_stranger(app, "Sign in").show(&content)?.into_response())
}

/// Signs in with an access token. No form token is asked for here, because nobody is signed in yet; a form
/// of another site is refused before it comes to this.
pub(super) async fn sign_in(
    State(app): State<App>,
    jar: CookieJar,
    Browser(browser): Browser,
    axum_extra::extract::Form(SignIn { token, next }): axum_extra::extract::Form<SignIn>,
) -> Result<Response> {
    match sign_in::open_session(&app, &token, browser).await {
        Ok(secret) => {
            let jar = jar.add(session_cookie(&app, secret));
            Ok((jar, Redirect::to(&local(&next, "/"))).into_response())
        }
        Err(Error::Unauthorized) => {
            let refusal = "No account has this access token, or it was revoked.".to_owned();
            show(&app, next, Some(refusal))
        }
        Err(Error::Forbidden(refusal)) => show(&app, next, Some(refusal)),
        Err(error) => Err(error),
    }
}

pub(super) async fn sign_out(
    State(app): State<App>,
    jar: CookieJar,
    Form(visitor, NoFields {}): Form<NoFields>,
) -> Result<Response> {
    sign_in::end_session(&app, visitor.session.id).await?;
    let mut gone = session_cookie(&app, String::new());
    gone.make_removal();
    Ok((jar.remove(SESSION_COOKIE).add(gone), Redirect::to("/login")).into_response())
}

/// Only ever a page of this registry: a link must not sign people in to somewhere else.
pub(super) fn local(next: &str, otherwise: &str) -> String {
    let is_path =
        next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\r', '\n', '\t']);
    if is_path { next.to_owned() } else { otherwise.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn only_paths_of_this_registry_are_gone_to() {
        assert_eq!(local("/workers?tag=a", "/"), "/workers?tag=a");
        for elsewhere in
            ["", "https://example.org/", "//example.org", "/\\example.org", "workers", "/\t/example.org"]
        {
            assert_eq!(local(elsewhere, "/"), "/", "{elsewhere:?}");
        }
    }
}
