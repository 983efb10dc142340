//! A browser without a window: it keeps cookies, sends forms, and goes where it is told step by step.

use std::collections::BTreeMap;
use std::sync::Mutex;

use pictor_processes::PATIENCE;
use reqwest::header::{ACCEPT, COOKIE, LOCATION, SET_COOKIE, USER_AGENT};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode};

use crate::registry::{Account, Registry};

pub(crate) struct Browser {
    base: String,
    client: reqwest::Client,
    cookies: Mutex<BTreeMap<String, String>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Shown {
    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> &Shown {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> &Shown {
        assert!(self.text.contains(text), "not said: {text}\n{}", self.text);
        self
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Where a redirect leads.
    #[track_caller]
    pub(crate) fn leads_to(&self) -> &str {
        assert!(self.status.is_redirection(), "{self:?}");
        self.header(LOCATION.as_str())
    }

    /// What the forms of this page carry.
    #[track_caller]
    pub(crate) fn form_token(&self) -> &str {
        let (_, rest) = self.text.split_once("name=\"form_token\" value=\"").expect("a form");
        rest.split_once('"').unwrap().0
    }

    /// The whole `Set-Cookie` of a cookie.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        let set = self.headers.get_all(SET_COOKIE).into_iter().map(|value| value.to_str().unwrap());
        set.map(str::to_owned).find(|text| text.starts_with(&format!("{name}=")))
    }
}

impl Browser {
    pub(crate) fn of(registry: &Registry) -> Browser {
        let client =
            reqwest::Client::builder().no_proxy().redirect(Policy::none()).timeout(PATIENCE).build().unwrap();
        Browser { base: registry.url(""), client, cookies: Mutex::default() }
    }

    pub(crate) async fn signed_in(registry: &Registry, account: &Account) -> Browser {
        let browser = Browser::of(registry);
        browser.sign_in(&account.token).await.is(303);
        browser
    }

    pub(crate) async fn sign_in(&self, token: &str) -> Shown {
        self.post("/login", &[("token", token)], &[]).await
    }

    pub(crate) async fn get(&self, path: &str) -> Shown {
        self.ask(Method::GET, path, None, &[]).await
    }

    /// Sends a form as it stands.
    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Shown {
        let form: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.ask(Method::POST, path, Some(form), headers).await
    }

    /// Sends a form with the token that this session's pages carry.
    pub(crate) async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Shown {
        self.send_from(&self.get("/account").await, path, fields).await
    }

    /// Sends a form of a page that was loaded before.
    pub(crate) async fn send_from(&self, page: &Shown, path: &str, fields: &[(&str, &str)]) -> Shown {
        let fields: Vec<_> = fields.iter().copied().chain([("form_token", page.form_token())]).collect();
        self.post(path, &fields, &[]).await
    }

    pub(crate) async fn form_token(&self) -> String {
        self.get("/account").await.form_token().to_owned()
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().unwrap().get(name).cloned()
    }

    pub(crate) fn set_cookie(&self, name: &str, value: &str) {
        self.cookies.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }

    /// The answer to a GET while it still comes.
    pub(crate) async fn open(&self, path: &str) -> reqwest::Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    async fn ask(&self, method: Method, path: &str, form: Option<String>, headers: &[(&str, &str)]) -> Shown {
        let mut request = self.request(method, path);
        if let Some(form) = form {
            request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let is_ours = answer.url().as_str().starts_with(&self.base);
        let (status, headers) = (answer.status(), answer.headers().clone());
        let shown = Shown { status, headers, text: answer.text().await.unwrap() };
        if is_ours {
            self.keep(&shown);
        }
        shown
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let mut request = self.client.request(method, &url).header(ACCEPT, "text/html");
        request = request.header(USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64) Chromium/130.0");
        if url.starts_with(&self.base) {
            let cookies = self.cookies.lock().unwrap().clone();
            let text: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header(COOKIE, text.join("; "));
        }
        request
    }

    fn keep(&self, shown: &Shown) {
        let mut cookies = self.cookies.lock().unwrap();
        for set in shown.headers.get_all(SET_COOKIE) {
            let set = set.to_str().unwrap();
            let (name, rest) = set.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if set.contains("Max-Age=0") {
                cookies.remove(name);
            } else {
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}
