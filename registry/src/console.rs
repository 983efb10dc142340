//! The web console: the pages of providers, creators and operators, rendered here.
//!
//! A page is a call of the API first: its handler asks the feature's own functions, as the API's does, and
//! writes what they answer into a template. Scripts add live updates and comfort; all else works without.

mod account;
mod admin;
mod assets;
mod chart;
mod form;
mod frame;
mod live;
mod login;
mod notifications;
mod oidc;
mod page;
mod statistics;
mod summary;
pub mod text;
mod visitor;

use axum::Router;
use axum::routing::{get, post};
use tower_http::compression::CompressionLayer;

use crate::App;

pub use form::Form;
pub use frame::unknown;
pub use live::{Parts, live};
pub use page::{Page, render};
pub use visitor::{Visitor, flash};

/// Every page.
pub fn routes(app: &App) -> Router<App> {
    Router::new()
        .route("/", get(login::home))
        .route("/login", get(login::page).post(login::sign_in))
        .route("/logout", post(login::sign_out))
        .route("/account/notifications", get(notifications::page).post(notifications::change))
        .route("/account/notifications/channels", post(notifications::add))
        .route("/account/notifications/channels/{id}/test", post(notifications::test))
        .route("/account/notifications/channels/{id}/delete", post(notifications::remove))
        .merge(admin::routes())
        .merge(account::routes())
        .merge(oidc::routes())
        .route("/summary", get(summary::page))
        .route("/summary/payouts.csv", get(summary::payouts_csv))
        .route("/workers/{id}/statistics", get(statistics::page))
        .layer(axum::middleware::from_fn_with_state(app.clone(), frame::frame))
        .route("/assets/{name}", get(assets::get))
        .layer(CompressionLayer::new())
}
