//! What the agent shows of GPUs, against a fake NVML.

use fake_nvml::install::Fake;

use super::agent::{Agent, config_text, nobody, wait_for};

fn config(fake: &Fake) -> String {
    format!(
        "{}[metrics]\nnvml_library = \"{}\"\ngpu_interval_seconds = 0.1\n",
        config_text(&nobody()),
        fake.library.display()
    )
}

#[tokio::test]
async fn golden() {
    for profile in ["geforce", "server-8", "mig", "old-driver"] {
        let folder = tempfile::tempdir().unwrap();
        let script = std::fs::read_to_string(format!("tests/data/nvml/{profile}.toml")).unwrap();
        let fake = Fake::install(folder.path(), &script);
        let agent = Agent::start(folder.path(), &config(&fake)).await;
        wait_for("GPUs", async || agent.metric("pictor_gpus_visible").await).await;
        println!("{}", agent.get("/metrics/nvml").await);
        println!("{}", agent.log());
    }
}
