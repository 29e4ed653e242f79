"""EAGLE: one decoder layer predicts the target's own features (Li et al., arXiv 2401.15077).

Fed the feature at a token and the embedding of the next one, it predicts the next feature, and so
on from its own; the target's head reads tokens from them. ``net`` the weights, ``drafter`` the
method in the engine, ``training`` and ``tuning`` how weights are learnt and EAGLE-1's fixed tree is
chosen, ``dynamic`` EAGLE-2.
"""

from harness.method import Method
from methods.eagle.settings import EagleSettings
from methods.eagle.training import train
from methods.eagle.tuning import build, decoder, plain, sized, trained_net, tune

__all__ = ["METHOD", "decoder", "train", "trained_net"]

METHOD = Method(build, EagleSettings, train=train, tune=tune, sized=sized, plain=plain)
