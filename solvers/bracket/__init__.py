"""Linear elasticity of brackets in space."""
