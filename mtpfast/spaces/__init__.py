"""Axis 2, where a point may lie: boxes and records, documents, pools."""

from .documents import DocumentSpace
from .features import FeatureSpace
from .pool import CandidatePool

__all__ = ["CandidatePool", "DocumentSpace", "FeatureSpace"]
