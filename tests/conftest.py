"""Shared fixtures. One thread: the models are tiny, and waiting for a second core costs more."""

import torch

torch.set_num_threads(1)
