"""The residual block of Medusa's and Hydra's heads and of Chimera's trigram encoder."""

from torch import Tensor, nn
from torch.nn.functional import silu


class Block(nn.Module):
    """Sx + SiLU(Wx + b), [.., D] -> [.., H]. S is the identity if D equals H, else a learnt matrix
    that at first takes the first H numbers of x. W and b are initialised to zero.
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

    def forward(self, inputs: Tensor) -> Tensor:
        """[.., D] -> [.., H]."""
        shortcut = inputs if self.skip is None else self.skip(inputs)
        outputs: Tensor = shortcut + silu(self.linear(inputs))
        return outputs
