//! Nothing but the step into the sandbox: the smallest host there is, which the tests of this crate start.

fn main() {
    pictor_blender::inner();
}
