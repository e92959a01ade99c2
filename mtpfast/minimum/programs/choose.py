"""Which program belongs to which loss and region."""

from __future__ import annotations

from mtpfast.question import Setting

from .hinge import HingeProgram
from .hull import SmoothHullProgram
from .round import RoundProgram
from .smooth import SmoothProgram
from .wide import WIDE, WideHingeProgram

__all__ = ["hinge_program", "program_for", "smooth_program"]


def program_for(setting: Setting):
    if any(region.is_round for region in setting.regions.values()):
        return RoundProgram(setting)
    return (hinge_program if setting.objective.loss.name == "hinge" else smooth_program)(setting)


def hinge_program(setting: Setting):
    """The program for the hinge: with the coordinates eliminated where they are many and nothing ties them."""
    tied = any(region.groups or region.planes for region in setting.regions.values())
    return HingeProgram(setting) if tied or len(setting.theta) <= WIDE else WideHingeProgram(setting)


def smooth_program(setting: Setting):
    """The program for a smooth loss: with the coordinates eliminated where there are no groups."""
    grouped = any(region.groups or region.planes for region in setting.regions.values())
    return (SmoothHullProgram if grouped else SmoothProgram)(setting)
