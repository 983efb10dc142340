//! A server of ours that notes what it is sent, and answers as it is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use pictor_processes::until;
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) signature: String,
    pub(crate) text: String,
    pub(crate) body: Value,
}

#[derive(Clone)]
pub(crate) struct Web {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    status: Arc<AtomicU16>,
}

impl Web {
    pub(crate) async fn start() -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let web = Web {
            address: listener.local_addr().unwrap(),
            calls: Arc::default(),
            status: Arc::new(AtomicU16::new(200)),
        };
        let router = Router::new().fallback(note).with_state(web.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        web
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// Waits for the call of that number, from 1.
    pub(crate) async fn call(&self, number: usize) -> Call {
        until(&format!("call {number}"), async || self.calls().get(number - 1).cloned()).await
    }
}

async fn note(State(web): State<Web>, uri: Uri, headers: HeaderMap, text: String) -> impl IntoResponse {
    let signature = headers.get("pictor-signature").map(|value| value.to_str().unwrap().to_owned());
    web.calls.lock().unwrap().push(Call {
        path: uri.path().to_owned(),
        signature: signature.unwrap_or_default(),
        body: serde_json::from_str(&text).unwrap_or_default(),
        text,
    });
    let status = StatusCode::from_u16(web.status.load(Ordering::SeqCst)).unwrap();
    let said = json!({"ok": status.is_success(), "description": "Bad Request: chat not found"});
    (status, [("location", web.url("/elsewhere"))], axum::Json(said))
}
