"""Weights of the small models that this package knows: catalog, download and conversion."""
