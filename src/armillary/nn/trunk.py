"""The transformer over tokens of any modality."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from ..types import Tokens
from .attention import Block, through


class Trunk(nn.Module):
    """`depth` blocks and a final norm over tokens.

    Tokens come with their positions already added; or `place` [B, N, D] is added before every block (Point-JEPA).
    """

    def __init__(self, width: int, depth: int, heads: int, ratio: float = 4.0, eps: float = 1e-6):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, ratio, eps) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=eps)

    def hidden(self, tokens: Tokens, place: Float[Tensor, "B N D"] | None = None) -> Float[Tensor, "B N D"]:
        """The output of the last block, before the final norm."""
        return through(self.blocks, tokens.x, tokens.valid, place)

    def layers(self, tokens: Tokens) -> list[Float[Tensor, "B N D"]]:
        """The output of each block, before the final norm."""
        out, x = [], tokens.x
        for block in self.blocks:
            x = block(x, tokens.valid)
            out.append(x)
        return out

    def forward(self, tokens: Tokens, place: Float[Tensor, "B N D"] | None = None) -> Tokens:
        """Tokens with the same coordinates and new embeddings."""
        return Tokens(self.norm(self.hidden(tokens, place)), tokens.pos, tokens.valid)
