"""A cube that turns, 64 x 36 by Cycles; run as `blender -b --factory-startup --python cube.py -- FILE KIND`."""

import sys

import bpy

path, kind = sys.argv[sys.argv.index("--") + 1:]
scene = bpy.context.scene
scene.render.engine = "CYCLES"
# Debian's Blender has no denoiser.
scene.cycles.use_denoising = kind == "denoise"
scene.cycles.samples = 1_000_000 if kind == "endless" else 8
scene.render.resolution_x, scene.render.resolution_y = (1920, 1080) if kind == "endless" else (64, 36)
scene.render.resolution_percentage = 100
scene.render.filepath = "//stray_"

cube = bpy.data.objects["Cube"]
for frame, angle in ((-10, 0.0), (10, 3.0)):
    cube.rotation_euler = (0.0, 0.0, angle)
    cube.keyframe_insert("rotation_euler", frame=frame)
if kind == "no_camera":
    bpy.data.objects.remove(scene.camera)
if kind == "writer":
    # A compositor that writes wherever it likes.
    scene.use_nodes = True
    node = scene.node_tree.nodes.new("CompositorNodeOutputFile")
    node.base_path = "//"
    node.file_slots[0].path = "stray_"
    layers = scene.node_tree.nodes["Render Layers"]
    scene.node_tree.links.new(layers.outputs["Image"], node.inputs[0])

bpy.ops.wm.save_as_mainfile(filepath=path)
