//! A message to begin from: tests say what is different in theirs.

use semver::Version;

use crate::{BlenderInstall, Cpu, HeartbeatRequest, ReportedSlot, SlotStatus};

impl HeartbeatRequest {
    /// The heartbeat of a machine that is ready and has one slot, on its processor, without a task.
    #[must_use]
    pub fn example() -> HeartbeatRequest {
        HeartbeatRequest {
            machine_id: "machine".to_owned(),
            boot_id: "boot".to_owned(),
            hostname: "host".to_owned(),
            agent_version: "0.1.0".to_owned(),
            os: "Debian 12".to_owned(),
            local_ip: None,
            metrics_listen: "127.0.0.1:9850".to_owned(),
            accepts_tasks: true,
            refusal: None,
            stopping: false,
            blender: vec![BlenderInstall {
                version: Version::new(3, 4, 1),
                path: "/usr/bin/blender".to_owned(),
            }],
            cpu: Some(Cpu {
                name: Some("CPU".to_owned()),
                cores: Some(2),
                utilization_ratio: Some(0.1),
                temperature_celsius: None,
            }),
            memory_total_bytes: Some(8_000_000_000),
            memory_used_bytes: Some(1_000_000_000),
            gpus: Vec::new(),
            slots: vec![ReportedSlot {
                slot: 0,
                gpu_uuid: None,
                status: SlotStatus::Idle,
                attempt_id: None,
                reasons: Vec::new(),
            }],
            attempts: Vec::new(),
            health: Vec::new(),
            electricity: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::HeartbeatRequest;

    /// The same for tests that are not in Rust.
    const HEARTBEAT: &str = include_str!("../examples/heartbeat.json");

    #[test]
    fn the_file_says_the_same() {
        let example = serde_json::to_value(HeartbeatRequest::example()).unwrap();
        let file: Value = serde_json::from_str(HEARTBEAT).unwrap();
        assert_eq!(file, example, "write this to examples/heartbeat.json:\n{example:#}");
    }
}
