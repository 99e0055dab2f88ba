"""A trained update cut to a lower rank: the best approximation of that rank, found without ever forming the update itself.

In: the factors A and B of a layer. Out: singular values, and factors of the same shapes whose product is the truncated update.
Eckart and Young 1936: of all matrices of rank k, the first k singular directions come closest to the update in the Frobenius norm.
Shapes: A ``(r, in)``, B ``(out, r)``, U ``(out, k)``, s ``(k,)``, V^T ``(k, in)``; k is the least of r, in and out.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Directions:
    """The singular value decomposition of ``scaling * B A``, in double precision on the CPU."""

    left: torch.Tensor
    """U: orthonormal columns."""
    values: torch.Tensor
    """s, largest first; its length ``sqrt(sum s^2)`` is the Frobenius norm of the update."""
    right: torch.Tensor
    """V^T: orthonormal rows."""
    scaling: float
    """The factor in front of B A."""
    width: int
    """r of the original factors, which may be more than there are directions."""

    def factors(self, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A and B of the update cut to ``rank``, in the shapes of the original ones: what is cut is zero."""
        root = (self.values[:rank] / self.scaling).sqrt()
        a, b = root[:, None] * self.right[:rank], self.left[:, :rank] * root
        missing = self.width - len(a)
        return F.pad(a, (0, 0, 0, missing)), F.pad(b, (0, missing))


def directions(a: torch.Tensor, b: torch.Tensor, scaling: float) -> Directions:
    """Decomposes ``scaling * B A`` by QR of B and A^T and the SVD of the small ``(r, r)`` core between them (Golub and Van Loan, 5.4)."""
    out_basis, out_core = torch.linalg.qr(b.detach().cpu().double())
    in_basis, in_core = torch.linalg.qr(a.detach().cpu().double().T)
    left, values, right = torch.linalg.svd(scaling * out_core @ in_core.T, full_matrices=False)
    return Directions(out_basis @ left, values, right @ in_basis.T, scaling, len(a))
