//! The web console: the pages of providers, creators and operators, rendered here.
//!
//! A page is a call of the API first: its handler asks the feature's own functions, as the API's does, and
//! writes what they answer into a template. Scripts add live updates and comfort; all else works without.

mod account;
mod admin;
mod assets;
mod chart;
mod enrolments;
mod form;
mod frame;
mod history;
mod jobs;
mod live;
mod login;
mod monitor;
mod notifications;
mod oidc;
mod page;
mod reasons;
mod setup;
mod statistics;
mod summary;
mod test_render;
mod visitor;
mod workers;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};

use crate::App;

pub use form::{Form, NoFields};
pub use frame::unknown;
pub use live::live;
pub use page::{Page, render};
pub use visitor::{Visitor, said};

/// Every page.
pub fn routes(app: &App) -> Router<App> {
    // An archive holds pictures, which are compressed already.
    let worth_compressing = DefaultPredicate::new().and(NotForContentType::const_new("application/zip"));
    Router::new()
        .route("/", get(login::home))
        .route("/login", get(login::page).post(login::sign_in))
        .route("/logout", post(login::sign_out))
        .merge(oidc::routes())
        .merge(account::routes())
        .route("/account/notifications", get(notifications::page).post(notifications::change))
        .route("/account/notifications/channels", post(notifications::add))
        .route("/account/notifications/channels/{id}/test", post(notifications::test))
        .route("/account/notifications/channels/{id}/delete", post(notifications::remove))
        .merge(workers::routes())
        .route("/workers/new", get(setup::new_page).post(setup::create))
        .route("/workers/new/many", post(setup::create_many))
        .route("/workers/enrolments", get(enrolments::page).post(enrolments::create))
        .route("/workers/enrolments/{id}/revoke", post(enrolments::revoke))
        .route("/workers/{id}/setup", get(setup::setup_page))
        .route("/workers/{id}/setup/live", get(setup::setup_live))
        .route("/workers/{id}/test-render", post(test_render::start))
        .route("/workers/{id}/test-render/{slot}/frame", get(test_render::frame))
        .merge(monitor::routes())
        .route("/workers/{id}/statistics", get(statistics::page))
        .route("/workers/{id}/tasks", get(history::of_worker))
        .route("/attempts", get(history::of_fleet))
        .route("/attempts/{id}", get(history::attempt))
        .route("/summary", get(summary::page))
        .route("/summary/payouts.csv", get(summary::payouts_csv))
        .route("/jobs", get(jobs::list))
        // Scenes are bounded where they are received.
        .route("/jobs/new", get(jobs::new_form).post(jobs::send_new).layer(DefaultBodyLimit::disable()))
        .route("/jobs/{id}", get(jobs::one))
        .route("/jobs/{id}/live", get(jobs::one_live))
        .route("/jobs/{id}/frames/{n}", get(jobs::picture))
        .route("/jobs/{id}/frames.zip", get(jobs::archive))
        .route("/jobs/{id}/pause", post(jobs::pause))
        .route("/jobs/{id}/resume", post(jobs::resume))
        .route("/jobs/{id}/cancel", get(jobs::ask_cancel).post(jobs::cancel))
        .merge(admin::routes())
        .layer(axum::middleware::from_fn_with_state(app.clone(), frame::frame))
        .route("/assets/{name}", get(assets::get))
        .layer(CompressionLayer::new().compress_when(worth_compressing))
}
