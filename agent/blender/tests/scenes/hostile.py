"""A scene whose Freestyle style module runs Python; run as `blender … --python hostile.py -- FILE MODULE`."""

import sys

import bpy

path, module = sys.argv[sys.argv.index("--") + 1:]
scene = bpy.context.scene
scene.render.engine = "CYCLES"
scene.cycles.use_denoising = False
scene.cycles.samples = 1
scene.render.resolution_x, scene.render.resolution_y = 64, 36
scene.render.resolution_percentage = 100
scene.render.use_freestyle = True
settings = bpy.context.view_layer.freestyle_settings
settings.mode = "SCRIPT"
text = bpy.data.texts.load(module)
settings.modules.new().script = text
text.filepath = ""
bpy.ops.wm.save_as_mainfile(filepath=path)
