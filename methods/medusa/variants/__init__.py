"""Arms that decode with Medusa's heads: other trees, another acceptance, the upstream package."""
