//! Live updates: parts of a page, sent again when they have changed.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    future::Future,
    time::Duration,
};

use axum::response::{
    IntoResponse, Response,
    sse::{Event, KeepAlive, Sse},
};
use futures_util::stream::unfold;
use tokio_util::sync::CancellationToken;

/// The parts of a page by the ids of their elements, each as HTML.
pub type Parts = Vec<(String, String)>;

/// What a page shows at one moment.
#[derive(Debug, Default)]
pub struct Seen {
    pub parts: Parts,
    /// What has come besides, such as lines of a log.
    pub events: Vec<Event>,
}

/// What a page is about, looked at again and again.
pub trait Watch: Send + 'static {
    /// Nothing where there is no more to see.
    fn look(&mut self) -> impl Future<Output = Option<Seen>> + Send;
}

struct Stream<W> {
    watch: W,
    every: Duration,
    shutdown: CancellationToken,
    has_looked: bool,
    sent: HashMap<String, String>,
    ready: VecDeque<Event>,
}

/// Looks at once and then `every` so often, and sends the parts that changed as one JSON object. Ends with the watch,
/// or at `shutdown`.
pub fn stream<W: Watch>(watch: W, every: Duration, shutdown: CancellationToken) -> Response {
    let stream =
        Stream { watch, every, shutdown, has_looked: false, sent: HashMap::new(), ready: VecDeque::new() };
    Sse::new(unfold(stream, next)).keep_alive(KeepAlive::default()).into_response()
}

async fn next<W: Watch>(mut stream: Stream<W>) -> Option<(Result<Event, Infallible>, Stream<W>)> {
    loop {
        if let Some(event) = stream.ready.pop_front() {
            return Some((Ok(event), stream));
        }
        if stream.has_looked {
            tokio::select! {
                () = stream.shutdown.cancelled() => return None,
                () = tokio::time::sleep(stream.every) => {}
            }
        }
        stream.has_looked = true;
        let seen = stream.watch.look().await?;
        stream.take(seen);
    }
}

impl<W> Stream<W> {
    fn take(&mut self, seen: Seen) {
        let mut changed = HashMap::new();
        for (id, html) in seen.parts {
            if self.sent.get(&id) != Some(&html) {
                self.sent.insert(id.clone(), html.clone());
                changed.insert(id, html);
            }
        }
        if !changed.is_empty() {
            self.ready.extend(Event::default().json_data(changed));
        }
        self.ready.extend(seen.events);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, time::Duration};

    use axum::{body::to_bytes, response::sse::Event};
    use tokio_util::sync::CancellationToken;

    use super::{Seen, Watch, stream};

    struct Looks(VecDeque<Seen>);

    impl Watch for Looks {
        async fn look(&mut self) -> Option<Seen> {
            self.0.pop_front()
        }
    }

    fn seen(parts: &[(&str, &str)]) -> Seen {
        let part = |(id, html): &(&str, &str)| ((*id).to_owned(), (*html).to_owned());
        Seen { parts: parts.iter().map(part).collect(), events: Vec::new() }
    }

    #[tokio::test]
    async fn what_changed_is_sent_once() {
        let looks = [
            seen(&[("a", "1"), ("b", "2")]),
            seen(&[("a", "1"), ("b", "2")]),
            seen(&[("a", "1"), ("b", "3")]),
            Seen { events: vec![Event::default().event("log").data("line")], ..seen(&[("a", "1")]) },
        ];
        let answer = stream(Looks(looks.into()), Duration::ZERO, CancellationToken::new());
        let body = to_bytes(answer.into_body(), 1 << 16).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        let events: Vec<&str> = text.split_terminator("\n\n").collect();
        assert_eq!(events.len(), 3, "{text}");
        assert!(events[0].contains("\"a\":\"1\"") && events[0].contains("\"b\":\"2\""), "{text}");
        assert_eq!(events[1..], ["data: {\"b\":\"3\"}", "event: log\ndata: line"]);
    }

    #[tokio::test]
    async fn a_stream_ends_when_the_server_does() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let looks = [seen(&[("a", "1")]), seen(&[("a", "2")])];
        let answer = stream(Looks(looks.into()), Duration::from_secs(600), shutdown);
        let body = to_bytes(answer.into_body(), 1 << 16).await.unwrap();
        assert_eq!(body, "data: {\"a\":\"1\"}\n\n");
    }
}
