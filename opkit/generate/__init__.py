"""Data generation: a case and a seed become one data file."""

from opkit.generate.plan import Plan, plan
from opkit.generate.run import Progress, generate

__all__ = ["Plan", "Progress", "generate", "plan"]
