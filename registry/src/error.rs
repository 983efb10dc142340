//! Every error a caller can meet, and the one place where its HTTP status is chosen.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pictor_protocol::Problem;
use serde::Serialize;

pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong, in words for the caller. Causes that are ours are logged, not sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing, or none that this caller may know of.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    #[error("this route does not take that method; /openapi.json lists what it takes")]
    MethodNotAllowed,
    /// The request itself is malformed.
    #[error("{0}")]
    Invalid(String),
    /// Well formed, but what it carries cannot be accepted.
    #[error("{detail}")]
    Unprocessable { code: &'static str, detail: String },
    #[error("{detail}")]
    Conflict { code: &'static str, detail: String },
    #[error("this lease is lost: its task has another attempt, or has ended")]
    LeaseLost,
    #[error("no valid token: send 'Authorization: Bearer …' with a token that was not revoked")]
    Unauthorized,
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    TooLarge(String),
    #[error("{0}")]
    InsufficientFunds(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("something went wrong on our side; it was logged")]
    Database(#[from] sqlx::Error),
    #[error("something went wrong on our side; it was logged")]
    Internal(#[from] anyhow::Error),
}

impl Error {
    pub fn unprocessable(code: &'static str, detail: impl Into<String>) -> Error {
        Error::Unprocessable { code, detail: detail.into() }
    }

    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Error {
        Error::Conflict { code, detail: detail.into() }
    }

    /// For a page that says it in its own words.
    pub fn status(&self) -> StatusCode {
        self.kind().0
    }

    /// (status, code, title): the only choice of an HTTP status in this crate.
    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Error::NotFound(_) => (StatusCode::NOT_FOUND, "not_found", "Not found"),
            Error::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed")
            }
            Error::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid", "Invalid request"),
            Error::Unprocessable { code, .. } => (StatusCode::UNPROCESSABLE_ENTITY, code, "Not acceptable"),
            Error::Conflict { code, .. } => (StatusCode::CONFLICT, code, "Conflict"),
            Error::LeaseLost => (StatusCode::CONFLICT, "lease_lost", "Lease lost"),
            Error::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "Not signed in"),
            Error::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden", "Not allowed"),
            Error::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Too large"),
            Error::InsufficientFunds(_) => {
                (StatusCode::PAYMENT_REQUIRED, "insufficient_funds", "Insufficient funds")
            }
            Error::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now"),
            Error::Database(_) | Error::Internal(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error")
            }
        }
    }
}

impl From<object_store::Error> for Error {
    fn from(cause: object_store::Error) -> Error {
        match cause {
            object_store::Error::NotFound { .. } => Error::NotFound("stored file"),
            other => Error::Unavailable(full_disk(&other)),
        }
    }
}

/// A store that cannot write is the operator's to mend, and says how; retrying later is right for the caller.
fn full_disk(cause: &object_store::Error) -> String {
    tracing::error!(error = %cause, "the blob store failed");
    let text = format!("{cause:?}");
    if text.contains("StorageFull") || text.contains("No space left") {
        "the registry's disk is full: its operator must free some space; nothing was lost, try again later"
            .to_owned()
    } else {
        "the registry's file store does not answer; nothing was lost, try again later".to_owned()
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, code, title) = self.kind();
        match &self {
            Error::Database(cause) => tracing::error!(error = %cause, "a statement failed"),
            Error::Internal(cause) => tracing::error!(error = format!("{cause:#}"), "internal error"),
            _ => tracing::debug!(code, detail = %self, "refused"),
        }
        let problem = Problem {
            kind: format!("/problems/{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: self.to_string(),
        };
        let mut response = (status, axum::Json(&problem)).into_response();
        // For whoever shows it otherwise, as the console's pages do.
        response.extensions_mut().insert(problem);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// JSON in and out whose rejection is a problem.
#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(Error))]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// Path parameters whose rejection is a problem.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Error))]
pub struct Path<T>(pub T);

/// Query parameters whose rejection is a problem.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Error))]
pub struct Query<T>(pub T);

impl From<JsonRejection> for Error {
    fn from(rejection: JsonRejection) -> Error {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return Error::TooLarge(rejection.body_text());
        }
        Error::Invalid(rejection.body_text())
    }
}

impl From<PathRejection> for Error {
    /// A malformed id names nothing, so it is not found rather than a fault.
    fn from(_: PathRejection) -> Error {
        Error::NotFound("thing")
    }
}

impl From<QueryRejection> for Error {
    fn from(rejection: QueryRejection) -> Error {
        Error::Invalid(rejection.body_text())
    }
}
