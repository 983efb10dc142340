//! The test render of a worker, on its setup page.

use axum::extract::State;
use axum::response::Response;
use pictor_protocol::{Role, TestRender, WorkerId};

use super::{Form, NoFields, Visitor, said};
use crate::App;
use crate::error::{Error, Path, Result};
use crate::workers::test_render;

pub(super) async fn start(
    State(app): State<App>,
    Path(id): Path<WorkerId>,
    Form(visitor, NoFields {}): Form<NoFields>,
) -> Result<Response> {
    let caller = visitor.acting(Role::Provider)?;
    let done = match test_render::request(&app, caller, id).await {
        Ok(_) => "The test render is on its way; what it comes to is shown here.".to_owned(),
        Err(Error::Conflict { detail, .. }) => format!("No test render was begun: {detail}."),
        Err(error) => return Err(error),
    };
    Ok(said(&done, &format!("/workers/{id}/setup#test-render")))
}

pub(super) async fn frame(
    State(app): State<App>,
    visitor: Visitor,
    Path((id, slot)): Path<(WorkerId, u32)>,
) -> Result<Response> {
    test_render::picture(&app, visitor.with_role(Role::Provider)?, id, slot).await
}

/// Whether something may still come of it.
pub(super) fn is_under_way(test: &TestRender) -> bool {
    test.slots.iter().any(|slot| !slot.status.has_ended())
}
