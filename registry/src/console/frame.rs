//! What holds for every page: who may send forms, what a browser may load, and how an error looks.

use askama::Template;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::cookie::CookieJar;
use pictor_protocol::Problem;
use url::form_urlencoded;

use super::visitor::{FLASH_COOKIE, no_flash};
use super::{Page, Visitor};
use crate::App;
use crate::error::Error;

/// Nothing from elsewhere, and no script or style but ours.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
     connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

#[derive(Template)]
#[template(path = "console/error.html")]
struct ErrorPage {
    problem: Problem,
}

pub(super) async fn frame(State(app): State<App>, request: Request, next: Next) -> Response {
    let is_foreign =
        !matches!(*request.method(), Method::GET | Method::HEAD) && is_cross_site(request.headers());
    let (asked, body) = request.into_parts();
    let response = if is_foreign {
        Error::Forbidden("another site sent this form".to_owned()).into_response()
    } else {
        next.run(Request::from_parts(asked.clone(), body)).await
    };
    dress(&app, asked, response).await
}

/// What no route takes: a page for browsers, a problem for programs.
pub async fn unknown(State(app): State<App>, request: Request) -> Response {
    dress(&app, request.into_parts().0, Error::NotFound("page").into_response()).await
}

async fn dress(app: &App, mut asked: Parts, response: Response) -> Response {
    let wants_page = is_navigation(&asked.headers);
    let had_flash = CookieJar::from_headers(&asked.headers).get(FLASH_COOKIE).is_some();
    let shows_page = response.status().is_success() && is_html(&response);
    let mut response = match response.extensions().get::<Problem>().cloned() {
        Some(problem) if problem.status == StatusCode::UNAUTHORIZED && wants_page => {
            sign_in(asked.method == Method::GET, &asked.uri)
        }
        Some(problem) if wants_page => {
            let visitor = Visitor::from_request_parts(&mut asked, app).await.ok();
            error_page(app, visitor.as_ref(), problem)
        }
        _ => response,
    };
    if had_flash && shows_page {
        add_cookie(&mut response, &no_flash());
    }
    secure(response)
}

/// Whether a browser goes to a page, rather than a script asking for a part of one.
fn is_navigation(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepts.contains("text/html")
}

fn is_html(response: &Response) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|text| text.starts_with("text/html"))
}

/// Browsers say where a form comes from; each form carries a token besides.
fn is_cross_site(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) => origin.split_once("://").is_none_or(|(_, from)| from != host),
        _ => false,
    }
}

fn sign_in(is_get: bool, location: &Uri) -> Response {
    let location = location.path_and_query().map_or("/", |path| path.as_str());
    let next = if is_get { location } else { "/" };
    let query: String = form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
    Redirect::to(&format!("/login?{query}")).into_response()
}

fn error_page(app: &App, visitor: Option<&Visitor>, problem: Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let title = problem.title.clone();
    let page = match visitor {
        Some(visitor) => Page::new(app, visitor, &title),
        None => Page::of_stranger(app, &title),
    };
    match page.show(&ErrorPage { problem }) {
        Ok(page) => (status, page).into_response(),
        Err(error) => error.into_response(),
    }
}

pub(super) fn add_cookie(response: &mut Response, cookie: &axum_extra::extract::cookie::Cookie<'_>) {
    if let Ok(value) = HeaderValue::from_str(&cookie.to_string()) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

fn secure(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let always: [(HeaderName, &'static str); 4] = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in always {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-store"));
    response
}
