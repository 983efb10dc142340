//! Signing in through an OpenID Connect provider: authorization code with PKCE, state and nonce.
//!
//! The provider may be away when the registry starts, so it is looked up when somebody signs in, and again
//! on the next try. It only says who somebody is; what they may do follows from the account linked to them.

mod http;
pub mod store;

use std::collections::HashMap;
use std::time::Duration;

use chrono::DateTime;
use openidconnect::core::{
    CoreAuthPrompt, CoreAuthenticationFlow, CoreClient, CoreIdToken, CoreJwsSigningAlgorithm,
    CoreProviderMetadata,
};
use openidconnect::{
    AccessTokenHash, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, IssuerUrl, Nonce, OAuth2TokenResponse, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, TokenResponse,
};
use pictor_protocol::UnixMillis;
use tokio::sync::Mutex;
use url::Url;

use crate::clock::Clock;
use crate::config::{BadConfiguration, OidcSettings};
use crate::error::{Error, Result};

/// How long what the provider says of itself is believed.
const KNOWN_MILLIS: i64 = 5 * 60_000;
/// How long ago somebody may have typed their password who was asked to do it now.
const AGAIN_SECONDS: i64 = 5 * 60;
/// Never a shared secret (HS256): whoever knows it could sign in as anybody.
const SIGNED_WITH: [CoreJwsSigningAlgorithm; 7] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// The path to which the provider sends people back.
pub const CALLBACK: &str = "/login/oidc/callback";

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// The provider that people of this network sign in with.
pub struct Provider {
    issuer: IssuerUrl,
    client_id: ClientId,
    client_secret: Option<ClientSecret>,
    redirect: RedirectUrl,
    http: reqwest::Client,
    known: Mutex<Option<Known>>,
}

struct Known {
    metadata: CoreProviderMetadata,
    at: UnixMillis,
}

/// Where somebody is sent, and what has to come back with them.
pub struct Departure {
    pub url: Url,
    pub state: String,
    pub nonce: String,
    pub verifier: String,
}

/// What came back.
pub struct Arrival {
    pub code: String,
    pub nonce: String,
    pub verifier: String,
    /// Whether they were asked to prove again who they are.
    pub is_again: bool,
}

/// Who somebody is, as the provider says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub issuer: String,
    pub subject: String,
}

impl Provider {
    /// None when none is configured.
    pub fn new(settings: &OidcSettings, public_url: &Url) -> anyhow::Result<Option<Provider>> {
        let (Some(issuer), Some(client_id)) = (&settings.oidc_issuer, &settings.oidc_client_id) else {
            return Ok(None);
        };
        let client_secret = match &settings.oidc_client_secret_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|cause| {
                    BadConfiguration(format!("--oidc-client-secret-file {}: {cause}", path.display()))
                })?;
                Some(ClientSecret::new(text.trim().to_owned()))
            }
        };
        let mut redirect = public_url.clone();
        redirect.set_path(CALLBACK);
        Ok(Some(Provider {
            issuer: IssuerUrl::new(issuer.clone())?,
            client_id: ClientId::new(client_id.clone()),
            client_secret,
            redirect: RedirectUrl::from_url(redirect),
            http: http::client()?,
            known: Mutex::new(None),
        }))
    }

    pub fn issuer(&self) -> &str {
        self.issuer.as_str()
    }

    /// What people call it: the host of its address.
    pub fn name(&self) -> &str {
        self.issuer.url().host_str().unwrap_or_default()
    }

    /// Sends somebody to the provider; `is_again` has them prove who they are though it knows them.
    pub async fn depart(&self, clock: &Clock, is_again: bool) -> Result<Departure> {
        let client = self.client(self.metadata(clock, false).await?);
        let verifier = PkceCodeVerifier::new(hex::encode(clock.random::<32>()));
        let (state, nonce) = (hex::encode(clock.random::<32>()), hex::encode(clock.random::<32>()));
        let (own_state, own_nonce) = (state.clone(), nonce.clone());
        let mut request = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                move || CsrfToken::new(own_state.clone()),
                move || Nonce::new(own_nonce.clone()),
            )
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
        if is_again {
            request = request.add_prompt(CoreAuthPrompt::Login).set_max_age(Duration::ZERO);
        }
        let (url, _, _) = request.url();
        Ok(Departure { url, state, nonce, verifier: verifier.into_secret() })
    }

    /// Trades the code for who it is. The caller has compared the state.
    pub async fn arrive(&self, clock: &Clock, arrival: Arrival) -> Result<Identity> {
        let Arrival { code, nonce, verifier, is_again } = arrival;
        let client = self.client(self.metadata(clock, false).await?);
        let send = http::sender(&self.http);
        let answer = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|cause| self.away(&cause))?
            .set_pkce_verifier(PkceCodeVerifier::new(verifier))
            .request_async(&send)
            .await
            .map_err(|cause| self.refused_code(&cause))?;
        let id_token = answer
            .id_token()
            .ok_or_else(|| refused(&"the provider's answer says nothing of who signed in"))?;
        let said = Said { id_token, access_token: answer.access_token(), nonce: Nonce::new(nonce), is_again };
        let claims = |client: &Client| self.identity(clock, client, &said);
        match claims(&client) {
            // The provider may have new keys.
            Err(ClaimsVerificationError::SignatureVerification(_)) => {
                claims(&self.client(self.metadata(clock, true).await?)).map_err(|cause| refused(&cause))
            }
            checked => checked.map_err(|cause| refused(&cause)),
        }
    }

    fn identity(
        &self,
        clock: &Clock,
        client: &Client,
        said: &Said<'_>,
    ) -> std::result::Result<Identity, ClaimsVerificationError> {
        let Said { id_token, access_token, ref nonce, is_again } = *said;
        let now = DateTime::from_timestamp_millis(clock.now().0).unwrap_or_default();
        let verifier = client
            .id_token_verifier()
            .set_allowed_algs(SIGNED_WITH)
            .set_time_fn(move || now)
            .set_auth_time_verifier_fn(move |at| match at {
                _ if !is_again => Ok(()),
                Some(at) if (now - at).num_seconds() <= AGAIN_SECONDS => Ok(()),
                Some(_) => Err("the provider did not ask to sign in again".to_owned()),
                None => Err("the provider does not say when somebody signed in".to_owned()),
            });
        let claims = id_token.claims(&verifier, nonce)?;
        if let Some(expected) = claims.access_token_hash() {
            let other = |cause: &dyn std::fmt::Display| ClaimsVerificationError::Other(cause.to_string());
            let algorithm = id_token.signing_alg().map_err(|cause| other(&cause))?;
            let key = id_token.signing_key(&verifier).map_err(|cause| other(&cause))?;
            let hash =
                AccessTokenHash::from_token(access_token, algorithm, key).map_err(|cause| other(&cause))?;
            if hash != *expected {
                return Err(other(&"the access token is not the one of this sign-in"));
            }
        }
        Ok(Identity { issuer: self.issuer.to_string(), subject: claims.subject().to_string() })
    }

    async fn metadata(&self, clock: &Clock, is_anew: bool) -> Result<CoreProviderMetadata> {
        let mut known = self.known.lock().await;
        if let Some(known) =
            known.as_ref().filter(|known| !is_anew && clock.now().0 - known.at.0 < KNOWN_MILLIS)
        {
            return Ok(known.metadata.clone());
        }
        let send = http::sender(&self.http);
        let metadata = CoreProviderMetadata::discover_async(self.issuer.clone(), &send)
            .await
            .map_err(|cause| self.away(&cause))?;
        *known = Some(Known { metadata: metadata.clone(), at: clock.now() });
        Ok(metadata)
    }

    fn client(&self, metadata: CoreProviderMetadata) -> Client {
        CoreClient::from_provider_metadata(metadata, self.client_id.clone(), self.client_secret.clone())
            .set_redirect_uri(self.redirect.clone())
    }

    fn away(&self, cause: &dyn std::error::Error) -> Error {
        tracing::warn!(
            issuer = self.issuer(),
            cause = chain(cause),
            "the OpenID Connect provider cannot be asked"
        );
        Error::Unavailable(format!(
            "{} does not answer as an OpenID Connect provider now: try again later, or sign in with an access token",
            self.name()
        ))
    }

    fn refused_code<E: std::error::Error + 'static>(
        &self,
        cause: &openidconnect::RequestTokenError<
            E,
            openidconnect::StandardErrorResponse<openidconnect::core::CoreErrorResponseType>,
        >,
    ) -> Error {
        match cause {
            openidconnect::RequestTokenError::ServerResponse(answer) => refused(&answer),
            other => self.away(other),
        }
    }
}

/// What the provider's answer holds, and what was asked of it.
struct Said<'a> {
    id_token: &'a CoreIdToken,
    access_token: &'a openidconnect::AccessToken,
    nonce: Nonce,
    /// Whether the sign-in had to be a new one.
    is_again: bool,
}

/// The provider's, or somebody's, fault: what is wrong is for the log, as the person can only start again.
fn refused(cause: &dyn std::fmt::Display) -> Error {
    tracing::warn!(%cause, "a sign-in through OpenID Connect was refused");
    Error::Forbidden(format!("This sign-in cannot be trusted, so it was refused ({cause}). Start again."))
}

fn chain(cause: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(cause), |cause| cause.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What a provider says in the query of its answer, when it signed nobody in.
pub fn refusal(query: &HashMap<String, String>) -> Option<String> {
    let code = query.get("error")?;
    let described = query.get("error_description").unwrap_or(code);
    Some(described.chars().filter(|char| !char.is_control()).take(200).collect())
}
