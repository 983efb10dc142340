//! How the provider is spoken to.

use std::future::Future;
use std::time::Duration;

use openidconnect::{HttpRequest, HttpResponse};
use reqwest::redirect::Policy;

const CONNECT_MAX: Duration = Duration::from_secs(5);
const ANSWER_MAX: Duration = Duration::from_secs(15);
const ANSWER_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("the request failed")]
    Request(#[from] reqwest::Error),
    #[error("the answer is larger than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
}

pub(super) fn client() -> anyhow::Result<reqwest::Client> {
    // A redirect could lead into the registry's own network, and take the client's secret along.
    Ok(reqwest::Client::builder()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_MAX)
        .timeout(ANSWER_MAX)
        .build()?)
}

pub(super) fn sender(
    client: &reqwest::Client,
) -> impl Fn(HttpRequest) -> std::pin::Pin<Box<dyn Future<Output = Result<HttpResponse, SendError>> + Send>> + use<>
{
    let client = client.clone();
    move |request| Box::pin(send(client.clone(), request))
}

async fn send(client: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, SendError> {
    let mut answer = client.execute(reqwest::Request::try_from(request)?).await?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(SendError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    let mut response = HttpResponse::new(body);
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    Ok(response)
}
