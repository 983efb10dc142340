//! A machine that cannot render says why and what to do, and no task suffers for it.

use std::fs;
use std::path::{Path, PathBuf};

use pictor_processes::{command, installed, run, until_true};
use pictor_protocol::{AttemptStatus, JobStatus};
use rustix::fs::statvfs;

use crate::network::{Network, Pace};
use crate::scenes;

#[tokio::test]
async fn without_blender_the_agent_is_up_and_takes_no_tasks() {
    let scene = scenes::quick().await;
    let network = Network::start(Pace::QUICK).await;
    let machine = network.machine("bare").await;
    let without = ["--blender", "/nonexistent/blender"];
    let agent = network.agent(&machine, &without);
    agent.says("taking no tasks").await;
    agent.says("/nonexistent/blender").await;
    agent.answers(&format!("http://{}/metrics", machine.listen)).await;
    let job = network.submit(&scene, &["--frames", "1"]).await;
    until_true("the registry knows the worker", async || {
        network.worker(machine.id).await.uptime_seconds.is_some()
    })
    .await;

    let doctor = run(machine.command("doctor", &without)).await;
    assert_eq!(doctor.code, Some(1), "{doctor:#?}");
    let said = doctor.stdout.to_lowercase();
    assert!(said.contains("/nonexistent/blender") && said.contains("--blender"), "{doctor:#?}");
    assert_eq!(network.job(job).await.status, JobStatus::Pending);
    assert!(network.attempts().await.is_empty());
    assert_eq!(agent.terminate().await, Some(0));
}

#[tokio::test]
async fn on_a_full_disk_the_task_waits_for_a_better_day() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: a full disk needs a small file system, and only root may mount one");
        return;
    }
    let scene = scenes::quick().await;
    let network = Network::start(Pace::QUICK).await;
    let machine = network.machine("full").await;
    let disk = SmallDisk::mount(&machine.data).await;
    let agent = network.idle_agent(&machine).await;
    disk.fill();
    let job = network.submit(&scene, &["--frames", "1-2"]).await;
    agent.says("disk").await;
    agent.says("taking no tasks").await;
    until_true("the task is given back", async || network.job(job).await.tasks_running == 0).await;
    assert_eq!(network.ledger().await.transfers("reward"), 0);
    assert_eq!(agent.terminate().await, Some(0));

    disk.make_room();
    // At once, rather than at its next look at the disk.
    let agent = network.agent(&machine, &[]);
    network.completed(job).await;
    network.paid_frames(2).await;
    let attempts = network.attempts().await;
    assert!(attempts.iter().all(|row| row.status != AttemptStatus::Failed), "{attempts:?}");
    assert_eq!(agent.terminate().await, Some(0));
}

/// A file system of half a gigabyte in memory.
struct SmallDisk(PathBuf);

impl SmallDisk {
    async fn mount(at: &Path) -> SmallDisk {
        fs::create_dir_all(at).expect("a place to mount on");
        let mut mount =
            command(&installed("mount"), ["-t", "tmpfs", "-o", "size=512m,mode=700", "pictor-e2e"]);
        mount.arg(at);
        run(mount).await.succeeded();
        SmallDisk(at.to_owned())
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    fn fill(&self) {
        let ballast = fs::File::create(self.ballast()).expect("a file");
        let stat = statvfs(&self.0).expect("the file system's size");
        rustix::fs::fallocate(
            &ballast,
            rustix::fs::FallocateFlags::empty(),
            0,
            stat.f_bavail * stat.f_frsize,
        )
        .expect("all the room there is");
    }

    fn make_room(&self) {
        fs::remove_file(self.ballast()).expect("no ballast");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: what still runs there is about to be stopped.
        let unmounted = command(&installed("umount"), ["--lazy".as_ref(), self.0.as_os_str()]).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking(), "still mounted");
    }
}
