//! Forms that people send: read, and proven to come from a page of theirs.

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Visitor;
use crate::App;
use crate::error::{Error, Result};

const FORM_BYTES_MAX: usize = 2 << 20;
/// The hidden field that [`super::Page::form_token`] fills.
pub(super) const TOKEN_FIELD: &str = "form_token";

/// A form that is all said by being sent.
#[derive(Deserialize)]
pub struct NoFields {}

/// A form of this visitor's; a field may come many times, for a list.
pub struct Form<T>(pub Visitor, pub T);

impl<T: DeserializeOwned> FromRequest<App> for Form<T> {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Form<T>> {
        let (mut parts, body) = request.into_parts();
        let visitor =
            <Visitor as axum::extract::FromRequestParts<App>>::from_request_parts(&mut parts, app).await?;
        let bytes = to_bytes(body, FORM_BYTES_MAX)
            .await
            .map_err(|cause| Error::TooLarge(format!("the form cannot be read: {cause}")))?;
        let token = url::form_urlencoded::parse(&bytes).find(|(field, _)| field == TOKEN_FIELD);
        visitor.check_form(token.as_ref().map_or("", |(_, token)| token))?;
        let request = Request::from_parts(parts, Body::from(bytes));
        let axum_extra::extract::Form(fields) = axum_extra::extract::Form::<T>::from_request(request, app)
            .await
            .map_err(|rejection| Error::Invalid(format!("the form cannot be read: {rejection}")))?;
        Ok(Form(visitor, fields))
    }
}
