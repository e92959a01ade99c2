"""Axis 2, where a point may lie: boxes and records, documents, pools, balls, slabs and their intersections."""

from .ball import Ball
from .documents import DocumentSpace
from .features import FeatureSpace
from .intersection import Intersection
from .pool import CandidatePool
from .slab import Slab

__all__ = ["Ball", "CandidatePool", "DocumentSpace", "FeatureSpace", "Intersection", "Slab"]
