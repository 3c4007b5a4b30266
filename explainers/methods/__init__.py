"""The black-box methods, one file each: importing a file declares its method."""

from .lime import lime

__all__ = ["lime"]
