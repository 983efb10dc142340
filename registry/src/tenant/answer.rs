//! Refusals in the form that clients of Prometheus read.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{Error, Json};

/// An answer of Prometheus' API.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    /// success or error.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Answer {
    pub(super) fn success(data: serde_json::Value) -> Response {
        Json(Answer { status: "success", data: Some(data), error_type: None, error: None }).into_response()
    }
}

/// An error as Prometheus would say it, with the status that it has everywhere else.
pub(super) struct Refused(pub(super) Error);

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        Refused(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let detail = self.0.to_string();
        let problem = self.0.into_response();
        let error_type = match problem.status() {
            StatusCode::SERVICE_UNAVAILABLE => "unavailable",
            status if status.is_server_error() => "internal",
            _ => "bad_data",
        };
        let answer =
            Answer { status: "error", data: None, error_type: Some(error_type), error: Some(detail) };
        let (mut parts, _) = problem.into_parts();
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        (parts.status, parts.headers, Json(answer)).into_response()
    }
}
