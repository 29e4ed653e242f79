"""Chimera: drafts from trigrams of tokens that see the whole context (Zeng et al., 2402.15758).

A trigram encoder turns the last three tokens into a state, a decoder layer lets it attend to the
target's final states, and a head reads the next token from it. ``net`` holds the weights,
``drafter`` the method in the engine, ``training`` and ``tuning`` how they are learnt and the tree
chosen.

Where the paper and the authors' published code (a4cd9f4) differ, two things here follow the code:
the default loss is cross-entropy alone (``loss: kl`` is an option), and steps are trained on the
text's own trigrams. Two things differ from the code: a step's row attends to the states of the
trigrams drafted before it, where the code uses the layer's outputs for them; and gradients reach
the encoder and the layer, where the published code cuts them off.
"""

from harness.method import Method
from methods.chimera.settings import ChimeraSettings
from methods.chimera.training import train
from methods.chimera.tuning import build, examine, plain, sized, tune

METHOD = Method(
    build, ChimeraSettings, train=train, tune=tune, sized=sized, plain=plain, examine=examine
)
