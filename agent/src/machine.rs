//! What tells this machine and this start of the agent from others.

use std::{
    fs,
    io::{self, Write},
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
};

use anyhow::Context;
use sha2::{Digest, Sha256};
use url::Url;
use uuid::Uuid;

/// Says who beats, in every heartbeat.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Of the machine, across restarts.
    pub machine_id: String,
    /// Of this process.
    pub boot_id: String,
    pub hostname: String,
    pub os: String,
}

impl Machine {
    /// Reads the system's machine id, or makes one in `data` where there is none, as in containers.
    pub fn identify(data: &Path) -> anyhow::Result<Machine> {
        let known = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        let id = match known.trim() {
            "" | "uninitialized" => {
                made_up_id(&data.join("machine-id")).context("cannot remember a machine id")?
            }
            known => known.to_owned(),
        };
        // Never the id itself: it is meant to stay on the machine.
        let digest = Sha256::digest(format!("pictor machine {id}"));
        let hostname = hostname::get().context("this machine has no name")?.to_string_lossy().into_owned();
        Ok(Machine {
            machine_id: hex::encode(&digest[..16]),
            boot_id: Uuid::new_v4().simple().to_string(),
            hostname,
            os: sysinfo::System::long_os_version().unwrap_or_else(|_| std::env::consts::OS.to_owned()),
        })
    }
}

fn made_up_id(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Ok(id) if !id.trim().is_empty() => return Ok(id.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let id = Uuid::new_v4().simple().to_string();
    let mut file = fs::File::create(path)?;
    file.write_all(id.as_bytes())?;
    file.sync_all()?;
    Ok(id)
}

/// The address from which this machine reaches the registry. Sends nothing.
pub fn local_ip(registry: &Url) -> Option<IpAddr> {
    let target: SocketAddr = *registry.socket_addrs(|| None).ok()?.first()?;
    let any: SocketAddr = if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(target).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
