//! A small OpenID Connect provider, served on a port of its own.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use openidconnect::core::{CoreJsonWebKey, CoreJwsSigningAlgorithm, CoreRsaPrivateSigningKey};
use openidconnect::{JsonWebKey, JsonWebKeyId, PrivateSigningKey};
use rsa::RsaPrivateKey;
use rsa::pkcs1::{EncodeRsaPrivateKey, LineEnding};
use rsa::rand_core::OsRng;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

pub(crate) const CLIENT_ID: &str = "my-workers";
pub(crate) const SECRET: &str = "the client's secret";

/// Two keys, made once: to sign with, to change to, and to forge with.
static KEYS: LazyLock<[String; 2]> = LazyLock::new(|| {
    [(); 2].map(|()| {
        let key = RsaPrivateKey::new(&mut OsRng, 2_048).unwrap();
        key.to_pkcs1_pem(LineEnding::LF).unwrap().to_string()
    })
});

pub(crate) struct Provider {
    pub(crate) issuer: String,
    state: Arc<Shared>,
}

struct Shared {
    issuer: String,
    key: Mutex<usize>,
    codes: Mutex<HashMap<String, HashMap<String, String>>>,
    /// What the next tokens say instead.
    claims: Mutex<Value>,
    /// How the next tokens are forged.
    forged: Mutex<Option<&'static str>>,
}

impl Provider {
    pub(crate) async fn start() -> Provider {
        Provider::start_at("127.0.0.1:0").await
    }

    pub(crate) async fn start_at(address: &str) -> Provider {
        let listener = TcpListener::bind(address).await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Shared {
            issuer: issuer.clone(),
            key: Mutex::new(0),
            codes: Mutex::default(),
            claims: Mutex::new(json!({})),
            forged: Mutex::new(None),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/jwks", get(keys))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Provider { issuer, state }
    }

    /// What ID tokens say besides, or instead; null leaves a claim out.
    pub(crate) fn say(&self, claims: Value) {
        *self.state.claims.lock().unwrap() = claims;
    }

    /// `RS256` is signed with a key that is not the provider's, under its name.
    pub(crate) fn forge(&self, how: Option<&'static str>) {
        *self.state.forged.lock().unwrap() = how;
    }

    pub(crate) fn change_key(&self) {
        *self.state.key.lock().unwrap() = 1;
    }
}

fn signing_key(index: usize, name: usize) -> CoreRsaPrivateSigningKey {
    CoreRsaPrivateSigningKey::from_pem(&KEYS[index], Some(JsonWebKeyId::new(format!("key-{name}")))).unwrap()
}

async fn configuration(State(state): State<Arc<Shared>>) -> Json<Value> {
    let issuer = &state.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
    }))
}

async fn keys(State(state): State<Arc<Shared>>) -> Json<Value> {
    let index = *state.key.lock().unwrap();
    let key: CoreJsonWebKey = signing_key(index, index).as_verification_key();
    assert!(key.key_id().is_some());
    Json(json!({ "keys": [key] }))
}

/// The person is signed in here already, and agrees.
async fn authorize(
    State(state): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
) -> Redirect {
    assert_eq!((query["client_id"].as_str(), query["response_type"].as_str()), (CLIENT_ID, "code"));
    assert_eq!(query["code_challenge_method"], "S256");
    assert!(query["scope"].split(' ').any(|scope| scope == "openid"));
    let code = URL_SAFE_NO_PAD.encode(pictor_registry::clock::Clock::system().random::<16>());
    let back = format!("{}?code={code}&state={}", query["redirect_uri"], query["state"]);
    state.codes.lock().unwrap().insert(code, query);
    Redirect::to(&back)
}

async fn token(
    State(state): State<Arc<Shared>>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let refuse = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    let secret: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    let expected = format!("Basic {}", STANDARD.encode(format!("{CLIENT_ID}:{secret}")));
    if headers.get("authorization").is_none_or(|sent| sent.to_str().unwrap() != expected) {
        return refuse("invalid_client");
    }
    let Some(asked) = state.codes.lock().unwrap().remove(&form["code"]) else {
        return refuse("invalid_grant");
    };
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(form["code_verifier"].as_bytes()));
    if asked["code_challenge"] != challenge || asked["redirect_uri"] != form["redirect_uri"] {
        return refuse("invalid_grant");
    }
    let id_token = id_token(&state, &asked["nonce"]);
    Json(json!({ "access_token": "a", "token_type": "Bearer", "id_token": id_token })).into_response()
}

fn id_token(state: &Shared, nonce: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // Long enough for a registry whose clock a test has moved.
    let mut claims = json!({
        "iss": state.issuer, "sub": "person-1", "aud": CLIENT_ID, "nonce": nonce, "iat": now, "exp": now + 86_400,
    });
    let claimed = claims.as_object_mut().unwrap();
    claimed.extend(state.claims.lock().unwrap().as_object().unwrap().clone());
    claimed.retain(|_, value| !value.is_null());
    let forged = *state.forged.lock().unwrap();
    let index = *state.key.lock().unwrap();
    let header = json!({ "alg": forged.unwrap_or("RS256"), "typ": "JWT", "kid": format!("key-{index}") });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&header), part(&claims));
    let sign = |index: usize| {
        let key = signing_key(index, index);
        key.sign(&CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256, text.as_bytes()).unwrap()
    };
    let signature = match forged {
        Some("none") => Vec::new(),
        // What whoever knows the client's secret could sign.
        Some("HS256") => hmac(SECRET.as_bytes(), text.as_bytes()),
        Some(_) => sign(1 - index),
        None => sign(index),
    };
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// RFC 2104, for a key no longer than a block.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let pad = |with: u8| {
        let mut block = [with; 64];
        for (byte, key) in block.iter_mut().zip(key) {
            *byte ^= key;
        }
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}
