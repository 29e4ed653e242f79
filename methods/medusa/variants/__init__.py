"""Medusa's heads with other trees, another acceptance, and in the package itself."""
