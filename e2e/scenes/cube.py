"""Makes a small scene for tests: a cube that turns, 64x36, ten frames.

    blender -b --factory-startup --python-exit-code 1 --python cube.py -- OUT.blend SAMPLES [no-camera]

SAMPLES sets how long a frame takes.
"""

import math
import sys

import bpy


def add_cube(scene):
    bpy.ops.mesh.primitive_cube_add(size=2.2)
    cube = bpy.context.object
    for frame in (1, 10):
        cube.rotation_euler = (0.4, 0.2, math.radians(8 * frame))
        cube.keyframe_insert("rotation_euler", frame=frame)


def add_light(scene):
    sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    sun.data.energy = 3.0
    sun.rotation_euler = (0.7, 0.2, 0.9)
    scene.collection.objects.link(sun)


def add_camera(scene):
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.location = (0.0, 0.0, 6.0)
    scene.collection.objects.link(camera)
    scene.camera = camera


def set_render(scene, samples):
    scene.frame_start, scene.frame_end = 1, 10
    scene.render.engine = "CYCLES"
    scene.render.resolution_x, scene.render.resolution_y = 64, 36
    scene.render.resolution_percentage = 100
    scene.render.image_settings.file_format = "PNG"
    scene.cycles.device = "CPU"
    scene.cycles.samples = samples
    scene.cycles.use_adaptive_sampling = False
    # Debian's Blender has no OpenImageDenoise and fails where a scene asks for it.
    scene.cycles.use_denoising = False


def main(output, samples, *options):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    add_cube(scene)
    add_light(scene)
    if "no-camera" not in options:
        add_camera(scene)
    set_render(scene, int(samples))
    bpy.ops.wm.save_as_mainfile(filepath=output)


main(*sys.argv[sys.argv.index("--") + 1 :])
