"""What a number proves. Nothing here knows a search or a solver."""

from .bounds import lower_bound
from .certificate import Certificate, CertificateCheck, bound
from .clean_pass import CleanGradient, clean_gradient

__all__ = ["Certificate", "CertificateCheck", "CleanGradient", "bound", "clean_gradient", "lower_bound"]
