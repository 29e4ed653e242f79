"""The residual block that Hydra's heads and Chimera's trigram encoder are made of."""

from torch import Tensor, nn
from torch.nn.functional import silu


class Block(nn.Module):
    """Sx + SiLU(Wx + b), [.., D] -> [.., H]; S is the identity where D is H, else it is learnt and
    starts by taking the first H numbers. W and b start at zero.
    """

    def __init__(self, wide: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(wide, size)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.skip: nn.Linear | None = None
        if wide != size:
            self.skip = nn.Linear(wide, size, bias=False)
            nn.init.eye_(self.skip.weight)

    def forward(self, given: Tensor) -> Tensor:
        """[.., D] -> [.., H]."""
        kept = given if self.skip is None else self.skip(given)
        made: Tensor = kept + silu(self.linear(given))
        return made
