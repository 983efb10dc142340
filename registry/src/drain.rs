//! Lets a refused upload be told why.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::StreamExt;
use futures_util::stream::poll_fn;

/// How long the rest of a refused upload is read for.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Reads what a refusing handler left unread. A connection closed under a client that still sends is a
/// broken pipe to it, and the answer with the reason is lost.
pub async fn drain_refused(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let unread = Arc::new(Mutex::new(body.into_data_stream()));
    let lent = Arc::clone(&unread);
    let lend = poll_fn(move |cx| lent.lock().unwrap_or_else(PoisonError::into_inner).poll_next_unpin(cx));
    let response = next.run(Request::from_parts(parts, Body::from_stream(lend))).await;
    if response.status().is_client_error() {
        let rest = poll_fn(|cx| unread.lock().unwrap_or_else(PoisonError::into_inner).poll_next_unpin(cx));
        let drained =
            rest.take_while(|chunk| std::future::ready(chunk.is_ok())).for_each(|_| std::future::ready(()));
        if tokio::time::timeout(DRAIN_MAX, drained).await.is_err() {
            tracing::debug!("a refused upload was cut off");
        }
    }
    response
}
