"""The scene of a test render, made of what every Blender brings: a bevelled cube on a floor. Runs before the driver."""

import bpy


def make_test_scene():
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples = 16
    # Not every Blender has a denoiser.
    scene.cycles.use_denoising = False
    cube = bpy.data.objects["Cube"]
    cube.modifiers.new("Bevel", "BEVEL").width = 0.2
    paint = cube.data.materials[0].node_tree.nodes["Principled BSDF"].inputs
    paint["Base Color"].default_value = (0.1, 0.06, 0.8, 1.0)
    paint["Roughness"].default_value = 0.25
    bpy.ops.mesh.primitive_plane_add(size=40.0, location=(0.0, 0.0, -1.0))
    scene.world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.3, 0.4, 0.6, 1.0)


make_test_scene()
