"""Runs inside Blender: reads commands on stdin, renders, and reports on its own channel.

A command is one line of JSON, {"frame", "path", "width"?, "height"?}: render it. The end of
stdin means stop, in the middle of a frame too. An event is a record separator (0x1E),
JSON and a newline on the descriptor that was standard output at the start. Everything else
there is what Blender printed.
"""

import json
import os
import queue
import sys
import threading

import bpy

RECORD_SEPARATOR = b"\x1e"
PRINTED_LINE_BYTES_MAX = 16384


class Channel:
    """The original standard output, written only a whole line at a time.

    Blender's C code and Python share descriptor 1 and cut into each other's lines, so
    descriptor 1 becomes a pipe, and its lines are passed on between events.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._descriptor = os.dup(1)
        printed, write_end = os.pipe()
        os.dup2(write_end, 1)
        os.close(write_end)
        threading.Thread(target=self._forward, args=(printed,), daemon=True).start()

    def event(self, name, **fields):
        text = json.dumps({"event": name, **fields})
        self._write(RECORD_SEPARATOR + text.encode("ascii") + b"\n")

    def _forward(self, printed):
        rest = b""
        while True:
            chunk = os.read(printed, 65536)
            if not chunk:
                return
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > PRINTED_LINE_BYTES_MAX:
                lines.append(rest)
                rest = b""
            if lines:
                self._write(b"".join(line.replace(RECORD_SEPARATOR, b"") + b"\n" for line in lines))

    def _write(self, data):
        with self._lock:
            while data:
                data = data[os.write(self._descriptor, data):]


class Refused(Exception):
    """What the agent is told in an error event: a kind it knows, and words."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


def read_commands(commands):
    """A thread of its own, so that stop ends Blender in the middle of a frame too."""
    for line in sys.stdin.buffer:
        commands.put(json.loads(line))
    os._exit(0)


def compositor_trees():
    for scene in bpy.data.scenes:
        tree = getattr(scene, "node_tree", None)
        if tree is not None:
            yield tree
    yield from bpy.data.node_groups


def disable_side_effects():
    """Only the operating system isolates; these are the known ways to write or run elsewhere."""
    for scene in bpy.data.scenes:
        scene.render.use_freestyle = False
        for layer in scene.view_layers:
            layer.use_freestyle = False
    for tree in compositor_trees():
        for node in tree.nodes:
            if node.bl_idname == "CompositorNodeOutputFile":
                node.mute = True


def use_gpu(backends):
    """Chooses the first backend that has a GPU. --factory-startup has wiped the preferences."""
    preferences = bpy.context.preferences.addons["cycles"].preferences
    for backend in backends:
        try:
            preferences.compute_device_type = backend
        except TypeError:
            continue
        preferences.refresh_devices()
        used = []
        for device in preferences.devices:
            device.use = device.type == backend
            if device.use:
                used.append(device.name)
        if used:
            return f"{', '.join(used)} ({backend})"
    raise Refused("no_gpu", "Cycles finds no GPU it can use (tried " + ", ".join(backends) + ")")


def choose_device(device):
    """Returns the device Cycles renders on, or None when Cycles does not render."""
    if bpy.context.scene.render.engine != "CYCLES":
        return None
    name = "CPU" if device["kind"] == "cpu" else use_gpu(device["backends"])
    for scene in bpy.data.scenes:
        scene.cycles.device = "CPU" if device["kind"] == "cpu" else "GPU"
    return name


def lacks():
    try:
        import _cycles
    except ImportError:
        return ["Cycles"]
    # A version that does not say is taken to have it.
    return [] if getattr(_cycles, "with_openimagedenoise", True) else ["OpenImageDenoise"]


def own_size(render):
    return (render.resolution_x, render.resolution_y, render.resolution_percentage, render.use_crop_to_border)


def set_output(scene, command, scene_size):
    render, image = scene.render, scene.render.image_settings
    if hasattr(image, "media_type"):
        image.media_type = "IMAGE"
    if image.file_format != "PNG":
        image.file_format = "PNG"
        image.color_depth = "8"
        image.color_mode = "RGBA" if render.film_transparent else "RGB"
    render.filepath = command["path"]
    render.use_file_extension = False
    render.use_overwrite = True
    render.use_placeholder = False
    render.use_multiview = False
    if not render.use_stamp:
        # Not drawn, only written beside the picture, where it tells of the provider's machine.
        render.use_stamp_date = render.use_stamp_render_time = render.use_stamp_memory = False
        render.use_stamp_hostname = render.use_stamp_filename = False
    asked = "width" in command and "height" in command
    size = (command["width"], command["height"], 100, False) if asked else scene_size
    render.resolution_x, render.resolution_y, render.resolution_percentage, render.use_crop_to_border = size


def render_frame(command, scene_size):
    scene = bpy.context.scene
    set_output(scene, command, scene_size)
    # Not frame_set(): that would also evaluate the scene once for a viewport nobody sees.
    scene.frame_current = command["frame"]
    try:
        result = bpy.ops.render.render(write_still=True)
    except RuntimeError as error:
        message = str(error).strip().removeprefix("Error: ")
        if "no camera" in message:
            raise Refused("no_camera", message) from error
        if "OpenImageDenoise" in message:
            raise Refused("no_denoiser", message) from error
        raise Refused("render", message) from error
    if "FINISHED" not in result:
        raise Refused("render", "Blender cancelled the render")


def main():
    channel = Channel()
    commands = queue.Queue()
    threading.Thread(target=read_commands, args=(commands,), daemon=True).start()
    settings = json.loads(sys.argv[sys.argv.index("--") + 1])

    def on_stats(*arguments):
        # Before 4.5 the text is not handed over, but printed.
        if arguments and isinstance(arguments[0], str):
            channel.event("stats", text=arguments[0])

    bpy.app.handlers.render_stats.append(on_stats)
    # Blender refuses frames below 0 unless its user allows them.
    bpy.context.preferences.edit.use_negative_frames = True
    try:
        disable_side_effects()
        device = choose_device(settings["device"])
    except Refused as refused:
        channel.event("error", kind=refused.kind, message=str(refused))
        return
    engine = bpy.context.scene.render.engine
    scene_size = own_size(bpy.context.scene.render)
    channel.event("loaded", version=bpy.app.version_string, engine=engine, device=device, lacks=lacks())
    while True:
        command = commands.get()
        try:
            render_frame(command, scene_size)
            channel.event("frame", frame=command["frame"])
        except Refused as refused:
            channel.event("error", kind=refused.kind, message=str(refused))


main()
