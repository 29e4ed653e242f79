"""Training a target from scratch: mini's, and targets that a config describes (``pretrain``)."""
