"""FIRP: future intermediate representation prediction (Wu et al., arXiv 2410.20488).

``projections`` holds the weights and ``drafter`` the method in the engine; ``streams`` and
``training`` learn the weights, ``tuning`` chooses the tree, ``learnt`` and ``similarity`` measure
what training achieved. ``adapters``, ``parents`` and ``bottlenecks`` are extensions of ours.
"""

from pathlib import Path
from typing import Any

from harness.decoder import Decoder
from harness.engine.target import Target
from harness.method import Method
from methods.firp.learnt import examine
from methods.firp.settings import FirpSettings
from methods.firp.training import train
from methods.firp.tuning import load_decoder, plain, sized, tune


def build(target: Target, settings: FirpSettings, folder: Path) -> Decoder:
    """Decode with trained projections, and the tree and pass that tuning chose."""
    return load_decoder(target, folder)


def fits(settings: FirpSettings, config: Any) -> None:
    """Refuse entries that a target of so many layers does not have."""
    settings.layout.check_depth(int(config.num_hidden_layers))


METHOD = Method(
    build,
    FirpSettings,
    train=train,
    tune=tune,
    examine=examine,
    sized=sized,
    plain=plain,
    fits=fits,
)
