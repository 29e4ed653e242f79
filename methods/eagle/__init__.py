"""EAGLE: one decoder layer predicts the target's own features (Li et al., arXiv 2401.15077).

From a token's feature and the embedding of the next token it predicts the next token's feature, and
goes on from its own predictions; the target's head reads tokens from features. ``net`` holds the
weights, ``drafter`` the method in the engine, ``training`` how the net is learnt, ``tuning`` the
choice of EAGLE-1's fixed tree, ``dynamic`` EAGLE-2.
"""

from harness.method import Method
from methods.eagle.settings import EagleSettings
from methods.eagle.training import train
from methods.eagle.tuning import build, examine, plain, sized, tune

METHOD = Method(
    build, EagleSettings, train=train, tune=tune, sized=sized, plain=plain, examine=examine
)
