//! A config file that was opened with the app: whose it is, what to ask before it is installed.

use std::path::{Path, PathBuf};

use super::absolute;
use crate::{
    config::{self, RunFlags},
    import,
    registry::Identity,
};
use anyhow::bail;

#[derive(Debug)]
pub(super) struct Opened {
    file: PathBuf,
    destination: PathBuf,
    worker: Identity,
    existing: Option<Identity>,
}

impl Opened {
    pub(super) fn read(file: &Path, flags: &RunFlags) -> anyhow::Result<Opened> {
        let file = absolute(file)?;
        let worker = Identity(config::identity(&file, &config::read(&file)?)?);
        let destination = config::path_of(flags.config.as_deref())?;
        let existing = config::read(&destination).ok();
        let existing = existing.and_then(|text| config::identity(&destination, &text).ok()).map(Identity);
        Ok(Opened { file, destination, worker, existing })
    }

    /// Whether the machine is a worker already, by this very file.
    pub(super) fn is_installed(&self) -> bool {
        self.existing.as_ref().is_some_and(|Identity(existing)| {
            existing.worker_id == self.worker.0.worker_id && existing.token == self.worker.0.token
        })
    }

    /// What its owner has to say yes to; none on a machine that is no worker yet.
    pub(super) fn question(&self) -> Option<String> {
        let (Identity(old), Identity(new)) = (self.existing.as_ref()?, &self.worker);
        let is_same = old.worker_id == new.worker_id;
        let (old, new) = (&old.worker_name, &new.worker_name);
        let asked = if is_same {
            format!("This machine is worker {old}. Use the new config file for it?")
        } else {
            format!("This machine is worker {old}. Make it worker {new} instead?")
        };
        Some(format!(
            "{asked}\n\nThe settings of this machine are kept. What renders now goes back to the network."
        ))
    }

    pub(super) fn install(&self) -> anyhow::Result<()> {
        import::import_file(&self.file, &self.destination).map(drop)
    }

    /// Somebody else's agent would go on with the file that it has.
    pub(super) fn refuse_for_other(&self) -> anyhow::Result<()> {
        bail!(
            "the agent of this machine was not started by this app, so the file was not imported. As the user who runs \
             the agent, run `pictor-agent import {}` and start it anew; for the service, with sudo, then \
             `sudo systemctl restart pictor-agent`",
            self.file.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(folder: &Path, name: &str, id: u8, worker_name: &str, token: &str) -> PathBuf {
        let path = folder.join(name);
        let id = format!("wrk_018900000000700080000000000000{id:02}");
        let text = format!(
            "registry = \"http://127.0.0.1:8080/\"\nworker_id = \"{id}\"\nworker_name = \"{worker_name}\"\ntoken = \"{token}\"\n"
        );
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_machine_that_is_a_worker_is_asked_about() {
        let home = tempfile::tempdir().unwrap();
        let flags = RunFlags { config: Some(home.path().join("etc/worker.toml")), ..RunFlags::default() };
        let first = file(home.path(), "pictor-worker-attic.toml", 1, "attic", "first");

        let opened = Opened::read(&first, &flags).unwrap();
        assert_eq!((opened.question(), opened.is_installed()), (None, false));
        opened.install().unwrap();
        assert!(Opened::read(&first, &flags).unwrap().is_installed());

        let renewed = file(home.path(), "pictor-worker-attic-1.toml", 1, "attic", "second");
        let renewed = Opened::read(&renewed, &flags).unwrap();
        assert!(!renewed.is_installed() && renewed.question().unwrap().contains("new config file for it?"));

        let other = file(home.path(), "pictor-worker-cellar.toml", 2, "cellar", "third");
        let other = Opened::read(&other, &flags).unwrap();
        assert!(other.question().unwrap().contains("Make it worker cellar instead?"));
    }

    #[test]
    fn what_is_no_config_file_is_named() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("pictor-worker-broken.toml");
        fs::write(&path, "registry = 1").unwrap();
        let error = Opened::read(&path, &RunFlags::default()).unwrap_err();
        assert!(error.to_string().contains("pictor-worker-broken.toml"), "{error}");
    }
}
