//! The folder of agent releases, as it is served to anyone.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use reqwest::header::{CONTENT_LENGTH, ETAG, IF_NONE_MATCH};
use reqwest::{Client, Response, StatusCode};

use crate::database::{Place, on_sqlite};
use crate::registry::Registry;

const FILE: &str = "/v1/releases/agent/pictor-agent-1.2.3-x86_64-unknown-linux-gnu";

async fn get(registry: &Registry, path: &str, etag: &str) -> Response {
    let client = Client::builder().no_proxy().build().unwrap();
    client.get(registry.url(path)).header(IF_NONE_MATCH, etag).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_is_served_and_nothing_beside_it() {
    on_sqlite(served).await;
}

async fn served(place: Place) {
    let releases = place.folder.path().join("releases");
    fs::create_dir_all(releases.join("sub")).unwrap();
    let program: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let name = FILE.rsplit('/').next().unwrap();
    for (name, bytes) in
        [("manifest.json", &b"{}"[..]), ("manifest.json.minisig", b"untrusted comment"), (name, &program)]
    {
        fs::write(releases.join(name), bytes).unwrap();
    }
    fs::write(place.folder.path().join("secret"), "secret").unwrap();
    fs::write(releases.join(".hidden"), "secret").unwrap();
    let registry = Registry::start_with(&place, &["--releases", releases.to_str().unwrap()]).await;

    let answer = get(&registry, FILE, "\"other\"").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[CONTENT_LENGTH], "3000000");
    let etag = answer.headers()[ETAG].to_str().unwrap().to_owned();
    assert_eq!(answer.bytes().await.unwrap(), program);
    assert_eq!(get(&registry, FILE, &etag).await.status(), StatusCode::NOT_MODIFIED);
    fs::write(releases.join(name), "another").unwrap();
    let answer = get(&registry, FILE, &etag).await;
    assert_eq!((answer.status(), answer.text().await.unwrap().as_str()), (StatusCode::OK, "another"));
    for (path, kind) in [("manifest.json", "application/json"), ("manifest.json.minisig", "text/plain")] {
        let answer = registry.anonymous(&format!("/v1/releases/agent/{path}")).await;
        assert!(answer.status == StatusCode::OK && answer.content_type.starts_with(kind), "{answer:?}");
    }

    // A client would tidy these up before it sends them.
    for path in [
        "missing",
        "sub",
        ".hidden",
        "../secret",
        "..%2Fsecret",
        "%2e%2e%2fsecret",
        "..%5csecret",
        "sub/../../secret",
        "%2Fetc%2Fpasswd",
        "manifest.json%00",
    ] {
        let status = raw_status(&registry, &format!("/v1/releases/agent/{path}"));
        assert_eq!(status, "404", "{path}");
    }
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_folder_there_is_none() {
    on_sqlite(not_served).await;
}

async fn not_served(place: Place) {
    let registry = Registry::start(&place).await;
    for path in ["/v1/releases/agent/manifest.json", "/v1/releases/agent/manifest.json.minisig", FILE] {
        assert_eq!(registry.anonymous(path).await.problem_code(404), "not_found");
    }
    registry.stop().await;
}

/// The status of a request whose path is sent as it stands.
fn raw_status(registry: &Registry, path: &str) -> String {
    let address = registry.url("").replace("http://", "");
    let mut line = TcpStream::connect(&address).unwrap();
    write!(line, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    line.read_to_string(&mut answer).unwrap();
    assert!(!answer.contains("secret"), "{answer}");
    answer.split(' ').nth(1).unwrap().to_owned()
}
