//! The agent's HTTP API spoken by hand, to say what a real agent says only in bad luck.

use std::fs;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::{ImageFormat, Rgb, RgbImage};
use pictor_processes::until;
use pictor_protocol::{
    AttemptId, AttemptReport, HeartbeatRequest, HeartbeatResponse, Lease, LeaseRequest, LeasesResponse,
    Problem, ReportedSlot, SlotStatus, WorkerConfig, WorkerId,
};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::network::Network;

/// A worker without an agent.
pub(crate) struct Hand {
    pub(crate) id: WorkerId,
    token: String,
    name: String,
}

impl Hand {
    /// A new worker that has said what it is.
    pub(crate) async fn register(network: &Network, name: &str) -> Hand {
        let (id, file) = network.download(name).await;
        let config: WorkerConfig =
            toml::from_str(&fs::read_to_string(file).expect("a config file")).expect("its five keys");
        let hand = Hand { id, token: config.token, name: name.to_owned() };
        hand.heartbeat(network, &[]).await;
        hand
    }

    /// Says that it is there and holds these leases.
    pub(crate) async fn heartbeat(&self, network: &Network, held: &[AttemptId]) -> HeartbeatResponse {
        let report = |attempt_id| AttemptReport {
            attempt_id,
            progress_ratio: None,
            elapsed_seconds: None,
            remaining_seconds: None,
        };
        let heartbeat = HeartbeatRequest {
            machine_id: self.name.clone(),
            boot_id: self.name.clone(),
            slots: vec![ReportedSlot {
                slot: 0,
                gpu_uuid: None,
                status: if held.is_empty() { SlotStatus::Idle } else { SlotStatus::Busy },
                attempt_id: held.first().copied(),
                reasons: Vec::new(),
            }],
            attempts: held.iter().copied().map(report).collect(),
            ..HeartbeatRequest::example()
        };
        let heartbeat = serde_json::to_value(heartbeat).expect("JSON");
        let response = network.call(&self.token, Method::POST, "/v1/agent/heartbeat", Some(heartbeat)).await;
        let (status, text) = (response.status(), response.text().await.expect("a body"));
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).expect("a heartbeat's answer")
    }

    /// Asks until it gets a task.
    pub(crate) async fn lease(&self, network: &Network) -> Lease {
        let mut asked = 0;
        until(&format!("{} has a task", self.name), async || {
            self.heartbeat(network, &[]).await;
            asked += 1;
            let ask = LeaseRequest {
                ask_id: format!("{}-{asked}", self.name).try_into().expect("a short name"),
                slots: vec![0],
                wait_seconds: 1,
            };
            let ask = serde_json::to_value(ask).expect("JSON");
            let response = network.call(&self.token, Method::POST, "/v1/agent/leases", Some(ask)).await;
            let (status, text) = (response.status(), response.text().await.expect("a body"));
            assert_eq!(status, StatusCode::OK, "{text}");
            let response: LeasesResponse = serde_json::from_str(&text).expect("leases");
            response.leases.into_iter().next()
        })
        .await
    }

    /// Sends a real picture as each frame of the task; the last answer.
    pub(crate) async fn send_frames(&self, network: &Network, lease: &Lease) -> Response {
        let mut last = None;
        for frame in lease.frames.iter() {
            last = Some(self.send_frame(network, lease.id, frame, frame).await);
        }
        last.expect("a task has a frame")
    }

    /// Sends the picture number `picture` as `frame`.
    pub(crate) async fn send_frame(
        &self,
        network: &Network,
        attempt: AttemptId,
        frame: i32,
        picture: i32,
    ) -> Response {
        let bytes = png(picture);
        let digest = BASE64_STANDARD.encode(Sha256::digest(&bytes));
        let url = format!("{}/v1/agent/leases/{attempt}/frames/{frame}", network.url);
        let call = network.client().put(url).bearer_auth(&self.token).header("Content-Type", "image/png");
        let call = call.header("Content-Digest", format!("sha-256=:{digest}:")).body(bytes);
        call.send().await.expect("an answer")
    }

    pub(crate) async fn complete(&self, network: &Network, attempt: AttemptId) -> Response {
        let path = format!("/v1/agent/leases/{attempt}/complete");
        network.call(&self.token, Method::POST, &path, Some(json!({ "render_seconds": 1.5 }))).await
    }
}

/// The JSON of an answer that has this status.
#[track_caller]
pub(crate) fn accepted(response: Response) -> impl Future<Output = Value> {
    let status = response.status();
    assert_eq!(status, StatusCode::OK, "{response:?}");
    async { response.json().await.expect("JSON") }
}

/// A problem+json with this status; its code.
pub(crate) async fn refused(response: Response, status: StatusCode) -> String {
    let kind = response.headers().get("content-type").cloned();
    let (got, text) = (response.status(), response.text().await.expect("a body"));
    assert_eq!(got, status, "{text}");
    assert_eq!(kind.expect("a content type"), "application/problem+json", "{text}");
    let problem: Problem = serde_json::from_str(&text).expect("a problem");
    assert_eq!(problem.status, status.as_u16());
    problem.code
}

fn png(number: i32) -> Vec<u8> {
    let shade = u8::try_from(number.rem_euclid(256)).expect("a byte");
    let picture = RgbImage::from_fn(64, 36, |x, y| Rgb([shade, x as u8, y as u8]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).expect("a picture");
    bytes.into_inner()
}
