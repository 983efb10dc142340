//! Who may read `/metrics`.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

#[derive(Clone, PartialEq, Eq)]
pub enum MetricsAccess {
    /// Whoever reaches the listener: it is on loopback, or its owner said so.
    Anyone,
    /// Who shows this bearer token.
    Bearer(String),
}

impl fmt::Debug for MetricsAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MetricsAccess::Anyone => "Anyone",
            MetricsAccess::Bearer(_) => "Bearer",
        })
    }
}

/// Why nobody can be told who may.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("cannot read {}: {source}", file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    #[error("the token file is empty")]
    Empty(PathBuf),
    #[error(
        "{0} can be reached from other machines: say --metrics-token-file FILE, or write `token_file = \"FILE\"` \
         under [metrics], so that /metrics asks for the token in it, or `open = true` there to let anybody read it"
    )]
    Unsaid(SocketAddr),
}

impl MetricsAccess {
    /// With the token in the file, or without one where nobody else gets there or `is_open` says so.
    pub fn of(
        token_file: Option<&Path>,
        is_open: bool,
        listen: SocketAddr,
    ) -> Result<MetricsAccess, AccessError> {
        let Some(file) = token_file else {
            return match listen.ip().is_loopback() || is_open {
                true => Ok(MetricsAccess::Anyone),
                false => Err(AccessError::Unsaid(listen)),
            };
        };
        let text = fs::read_to_string(file)
            .map_err(|source| AccessError::Unreadable { file: file.to_owned(), source })?;
        match text.trim() {
            "" => Err(AccessError::Empty(file.to_owned())),
            token => Ok(MetricsAccess::Bearer(token.to_owned())),
        }
    }
}
