"""Hydra: Medusa's heads made sequential (Ankner et al., arXiv 2402.05109).

Each head reads the final state and the embeddings of the tokens drafted before its own, so that a
draft depends on its parents. ``heads`` holds the weights, ``drafter`` the method in the engine,
``training`` and ``tuning`` how heads are learnt and the tree chosen. Hydra++ is ``prefix: true``
and ``layers: 4``.
"""

from harness.method import Method
from methods.hydra.settings import HydraSettings
from methods.hydra.training import train
from methods.hydra.tuning import build, examine, plain, sized, tune

METHOD = Method(
    build, HydraSettings, train=train, tune=tune, sized=sized, plain=plain, examine=examine
)
