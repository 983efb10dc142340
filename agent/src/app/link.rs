//! How programs of this machine find the running agent's app: an address and a key. The key is new whenever an agent is
//! started, and stays when the process goes on as another version.

use std::{
    fs, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use pictor_ground::{durable, process};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde::{Deserialize, Serialize};

use super::status::Status;
use crate::config;

const FILE: &str = "app.json";

/// What the file holds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub address: SocketAddr,
    pub key: String,
    pub pid: u32,
    /// When that process began, as far as it is known: ids are given again, in a container always the same one.
    #[serde(default)]
    pub started_at: Option<u64>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Link").field(&self.address).finish()
    }
}

/// What local programs call with: never through a proxy.
pub fn client(timeout: Duration) -> reqwest::Result<Client> {
    Client::builder().no_proxy().timeout(timeout).build()
}

/// A key that nobody can guess.
pub fn new_key() -> String {
    let bytes: [[u8; 16]; 2] = std::array::from_fn(|_| uuid::Uuid::new_v4().into_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(bytes.concat())
}

impl Link {
    /// Of an app that listens here; one that listens everywhere is met on loopback.
    pub fn new(mut address: SocketAddr, key: String) -> Link {
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() {
                Ipv4Addr::LOCALHOST.into()
            } else {
                Ipv6Addr::LOCALHOST.into()
            });
        }
        Link { address, key, pid: std::process::id(), started_at: process::started_at() }
    }

    /// What a browser opens.
    pub fn url(&self) -> String {
        format!("http://{}/?key={}", self.address, self.key)
    }

    /// The key of the version that this process was a moment ago: with it, pages that are open stay open.
    pub fn inherited_key(folder: &Path) -> Option<String> {
        let link: Link = serde_json::from_slice(&fs::read(folder.join(FILE)).ok()?).ok()?;
        let is_ours = link.pid == std::process::id()
            && link.started_at.is_some()
            && link.started_at == process::started_at();
        is_ours.then_some(link.key)
    }

    /// A call of the app, with its key.
    pub fn call(&self, client: &Client, method: Method, path: &str) -> RequestBuilder {
        client.request(method, format!("http://{}{path}", self.address)).bearer_auth(&self.key)
    }

    /// Everything that the Rendering page shows; `None` while the agent still asks for its config file.
    pub async fn status(&self, client: &Client) -> reqwest::Result<Option<Status>> {
        let answer = self.call(client, Method::GET, "/app/status").send().await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer.error_for_status()?.json().await.map(Some)
    }

    /// The links of the agent that keeps its data here and of this machine's service. Whether they still run is for the
    /// caller to find out: only an agent that was stopped takes its link away.
    pub fn candidates(data: &Path) -> impl Iterator<Item = Link> {
        [Some(data.to_owned()), config::service_link_folder()].into_iter().flatten().filter_map(|folder| {
            let text = fs::read_to_string(folder.join(FILE)).ok()?;
            serde_json::from_str(&text).ok()
        })
    }

    /// Whether a service runs whose link this user may not read.
    pub fn is_kept_from_us() -> bool {
        let file = config::service_link_folder().map(|folder| fs::File::open(folder.join(FILE)));
        file.is_some_and(|file| file.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied))
    }

    /// Leaves it for other programs: for this user's, and with `for_group` for those of the folder's group.
    pub fn publish(&self, folder: &Path, for_group: bool) -> io::Result<Published> {
        let file = folder.join(FILE);
        durable::write(&file, &serde_json::to_vec(self)?)?;
        if for_group {
            durable::show_to_group(&file)?;
        }
        Ok(Published(file))
    }
}

/// A link that lies there. It stays however the process ends or goes on, so that the version which it goes on as finds the
/// key, after a panic and a trial that hung, too.
#[derive(Debug)]
#[must_use = "a clean end takes it away"]
pub struct Published(PathBuf);

impl Published {
    /// The agent has ended.
    pub fn take_away(self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, "cannot remove {}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_published_is_found_until_it_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let link = Link::new(([0, 0, 0, 0], 9850).into(), new_key());
        assert_eq!(link.url(), format!("http://127.0.0.1:9850/?key={}", link.key));
        let published = link.publish(folder.path(), true).unwrap();
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!((Link::candidates(folder.path()).next(), mode & 0o777), (Some(link), 0o640));
        published.take_away();
        assert!(!folder.path().join(FILE).exists());
    }

    #[test]
    fn keys_are_long_and_never_the_same() {
        let (one, other) = (new_key(), new_key());
        assert!(one != other && one.len() == 43 && one.is_ascii(), "{one} {other}");
    }

    #[test]
    fn a_key_is_inherited_within_a_process_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Link::inherited_key(folder.path()), None);
        let link = Link::new(([127, 0, 0, 1], 9850).into(), new_key());
        let inherited = |link: &Link| {
            let _left = link.publish(folder.path(), false).unwrap();
            Link::inherited_key(folder.path())
        };
        assert_eq!(inherited(&link), Some(link.key.clone()));
        let began = link.started_at.unwrap();
        for other in [
            Link { pid: link.pid + 1, ..link.clone() },
            Link { started_at: Some(began + 1), ..link.clone() },
            Link { started_at: None, ..link.clone() },
        ] {
            assert_eq!(inherited(&other), None);
        }
        fs::write(folder.path().join(FILE), "half a li").unwrap();
        assert_eq!(Link::inherited_key(folder.path()), None);
    }
}
