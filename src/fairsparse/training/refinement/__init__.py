"""Ballot's training refinement, under which other methods train too."""

from fairsparse.training.refinement.offsets import unfold_
from fairsparse.training.refinement.options import Refinement
from fairsparse.training.refinement.refining import refine

__all__ = ["Refinement", "refine", "unfold_"]
