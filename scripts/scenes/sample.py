"""Makes the sample scene: a wave of coloured columns, different in each of its ten frames.

    blender -b --factory-startup --python-exit-code 1 --python scripts/scenes/sample.py -- OUT.blend

Works on Blender 3.4 and later. Small on purpose: about a second a frame on two cores.
"""

import colorsys
import math
import sys

import bmesh
import bpy
from mathutils import Vector

FRAMES = 10
COLUMNS, ROWS = 25, 17
SPACING = 0.52


def column_mesh():
    """One bevelled column, shared by all: it is moved, never scaled, so its edges stay round."""
    mesh = bpy.data.meshes.new("column")
    shape = bmesh.new()
    bmesh.ops.create_cube(shape, size=1.0)
    bmesh.ops.scale(shape, vec=(0.44, 0.44, 4.0), verts=shape.verts)
    bmesh.ops.bevel(shape, geom=shape.edges[:], offset=0.05, segments=3, profile=0.7, affect="EDGES")
    shape.to_mesh(mesh)
    shape.free()
    return mesh


def material(name, hue):
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    surface = made.node_tree.nodes["Principled BSDF"]
    surface.inputs["Base Color"].default_value = (*colorsys.hsv_to_rgb(hue % 1.0, 0.72, 0.85), 1.0)
    surface.inputs["Roughness"].default_value = 0.35
    return made


def height(x, y, turn):
    """A ring-shaped wave that travels outwards once in `FRAMES` frames, so the pictures loop."""
    distance = math.hypot(x, y)
    return 0.9 * math.cos(1.7 * distance - turn) * math.exp(-0.2 * distance)


def add_columns(scene):
    mesh = column_mesh()
    palette = [material(f"hue {n}", 0.5 + 0.6 * n / (COLUMNS + ROWS - 2)) for n in range(COLUMNS + ROWS - 1)]
    mesh.materials.append(palette[0])
    for column in range(COLUMNS):
        for row in range(ROWS):
            x, y = (column - (COLUMNS - 1) / 2) * SPACING, (row - (ROWS - 1) / 2) * SPACING
            block = bpy.data.objects.new(f"column {column}.{row}", mesh)
            scene.collection.objects.link(block)
            block.material_slots[0].link = "OBJECT"
            block.material_slots[0].material = palette[column + row]
            for frame in range(1, FRAMES + 1):
                block.location = (x, y, height(x, y, math.tau * (frame - 1) / FRAMES))
                block.keyframe_insert("location", frame=frame)


def add_camera(scene):
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    camera.location = (0.0, -10.4, 9.2)
    camera.rotation_euler = (Vector((0.0, -0.2, 1.6)) - camera.location).to_track_quat("-Z", "Y").to_euler()
    camera.data.lens = 34
    scene.camera = camera


def add_light(scene):
    sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    sun.data.energy = 3.2
    sun.data.angle = math.radians(6)
    sun.data.color = (1.0, 0.9, 0.78)
    sun.rotation_euler = (math.radians(48), math.radians(8), math.radians(58))
    scene.collection.objects.link(sun)

    world = bpy.data.worlds.new("sky")
    world.use_nodes = True
    sky = world.node_tree.nodes["Background"].inputs
    sky["Color"].default_value = (0.20, 0.26, 0.45, 1.0)
    sky["Strength"].default_value = 1.0
    scene.world = world


def set_render(scene):
    scene.frame_start, scene.frame_end = 1, FRAMES
    scene.render.engine = "CYCLES"
    scene.render.resolution_x, scene.render.resolution_y = 320, 180
    scene.render.resolution_percentage = 100
    scene.render.image_settings.file_format = "PNG"
    scene.view_settings.view_transform = "Standard"
    scene.cycles.device = "CPU"
    scene.cycles.samples = 20
    scene.cycles.use_adaptive_sampling = False
    # Debian's Blender has no OpenImageDenoise and fails where a scene asks for it.
    scene.cycles.use_denoising = False
    scene.cycles.max_bounces = 3


def main():
    if "--" not in sys.argv or len(sys.argv[sys.argv.index("--") :]) != 2:
        sys.exit("usage: blender -b --factory-startup --python sample.py -- OUT.blend")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    add_columns(scene)
    add_camera(scene)
    add_light(scene)
    set_render(scene)
    bpy.ops.wm.save_as_mainfile(filepath=sys.argv[-1], compress=True)


main()
