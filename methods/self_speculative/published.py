"""Skip sets published by the authors: skip_layers.json of dilab-zju/self-speculative-decoding."""

from harness.engine.stack import Sublayer


def _set(attention: str, mlp: str) -> frozenset[Sublayer]:
    return frozenset(
        [(layer, "attention") for layer in _layers(attention)]
        + [(layer, "mlp") for layer in _layers(mlp)]
    )


def _layers(text: str) -> list[int]:
    """'3 5-7' -> [3, 5, 6, 7]."""
    layers: list[int] = []
    for part in text.split():
        first, _, last = part.partition("-")
        layers += range(int(first), int(last or first) + 1)
    return layers


LAYERS = 40  # of each of the three models; layer numbers below start at 0
PUBLISHED = {
    "llama-2-13b": _set("3 5 6 8 10 11 14 15 18 22-31 33-37", "6 9 10 11 15 24 25 27 28 35"),
    "llama-2-13b-chat": _set("7-11 14 15 18 22-24 26-38", "7 10 11 14 27 30 32 33 37 38"),
    "codellama-13b": _set(
        "5 6 9 10 11 14 15 16 21 23 24 26-32 34-37", "10 11 12 14 15 25 26 27 30 32 33 34"
    ),
}
