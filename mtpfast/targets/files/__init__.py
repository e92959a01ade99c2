"""Linear models in the files of other packages, read without running code."""

from .model import ModelFile
from .read import read_model

__all__ = ["ModelFile", "read_model"]
