"""Chimera: drafts from trigrams of tokens that see the whole context (Zeng et al., 2402.15758).

A trigram encoder makes a state of the last three tokens, a decoder layer has it attend to the
target's final states, and a head reads the next token. ``net`` the weights, ``drafter`` the method
in the engine, ``training`` and ``tuning`` how they are learnt and the tree chosen.

The paper and the authors' published code (a4cd9f4) differ; of the code are the cross-entropy alone,
and that steps are trained on the text's own trigrams. Ours: a step's row sees the trigrams drafted
before it, where the code puts what the layer made of them in their place; and gradients reach the
encoder and the layer, where the code's lines, as published, cut them off.
"""

from harness.method import Method
from methods.chimera.settings import ChimeraSettings
from methods.chimera.training import train
from methods.chimera.tuning import build, plain, sized, tune

METHOD = Method(build, ChimeraSettings, train=train, tune=tune, sized=sized, plain=plain)
