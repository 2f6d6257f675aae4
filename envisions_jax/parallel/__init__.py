"""One model on many devices: the mesh, how parameters lie on it, and how layers find them whole."""

from envisions_jax.mesh_config import MeshConfig
from envisions_jax.parallel.layout import Layout
from envisions_jax.parallel.mesh import make_mesh

__all__ = ["Layout", "MeshConfig", "make_mesh"]
