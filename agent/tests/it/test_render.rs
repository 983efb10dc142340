//! A test render that the registry wants: the real Blender in the real sandbox, sent as frame and figures.

use pictor_agent::{probe::Tools, test_render};
use pictor_blender::{Device, Limits, Mode, Places, Sandbox, detect, sandbox::Settings};
use pictor_processes::until;
use pictor_protocol::{ReasonCode, TestRenderId, TestRenderStatus, WantedTestRender};

use super::{
    agent::{Agent, config_text},
    registry::Registry,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_test_render_says_what_it_took() {
    let places = Places { search_path: std::env::var_os("PATH"), ..Places::default() };
    let blender = detect(&places).await.installed.into_iter().next();
    let blender = blender.expect("these tests need Blender: scripts/test installs it");
    let settings = Settings::new(Mode::Bubblewrap, env!("CARGO_BIN_EXE_pictor-agent").into());
    let sandbox = Sandbox::probe(settings).await.unwrap();
    let tools = Tools { blender, sandbox };
    let folder = tempfile::tempdir().unwrap();
    let scratch = folder.path().join("test-render");
    let (figures, png) =
        test_render::render(&tools, Device::Cpu, 0, &Limits::default(), &scratch).await.unwrap();
    assert_eq!(figures.device.as_deref(), Some("CPU"));
    assert!(figures.render_seconds > 0.0 && figures.load_seconds > 0.0, "{figures:?}");
    assert!(figures.peak_memory_bytes.is_some_and(|bytes| bytes > 20 << 20), "{figures:?}");
    let picture = image::load_from_memory(&png).unwrap().into_rgb8();
    assert_eq!(picture.dimensions(), (640, 360));
    let bluest = picture.pixels().map(|pixel| i32::from(pixel.0[2]) - i32::from(pixel.0[1])).max();
    assert!(bluest > Some(60), "the cube cannot be seen: {bluest:?}");
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0, "something was left behind");
}

#[tokio::test]
async fn a_wanted_test_render_is_rendered_once_and_sent() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::start().await);
    let id = TestRenderId::from_parts(1, [3; 10]);
    registry.books().test_render = Some(WantedTestRender { id, slots: vec![0] });
    let config = format!("{}[blender]\ndevice = \"cpu\"\n", config_text(&registry.url()));
    let _agent = Agent::start(folder.path(), &config).await;
    let end = until("the end of the test render", async || {
        registry.books().tested.iter().find(|(_, report)| report.status.has_ended()).cloned()
    })
    .await;
    let (slot, report) = end;
    assert_eq!((slot, report.status, &report.error), (0, TestRenderStatus::Completed, &None));
    assert!(report.seconds.is_some_and(|seconds| seconds > 0.0), "{report:?}");
    assert!(report.device.is_some() && report.peak_memory_bytes.is_some(), "{report:?}");
    let busy = registry.books().beats.iter().flat_map(|beat| &beat.slots).any(|slot| {
        slot.attempt_id.is_none() && slot.reasons.iter().any(|reason| reason.code == ReasonCode::TestRender)
    });
    assert!(busy, "no heartbeat told of it");
    {
        let books = registry.books();
        assert!(books.test_frames[&0].starts_with(b"\x89PNG"));
        assert_eq!(books.tested.len(), 2, "{:?}", books.tested);
        assert!(books.calls.is_empty(), "it is no attempt");
    }
    let beats = registry.books().beats.len();
    until("a free slot", async || {
        let books = registry.books();
        let last = books.beats.last().filter(|_| books.beats.len() > beats)?;
        last.slots[0].reasons.is_empty().then_some(())
    })
    .await;
}
