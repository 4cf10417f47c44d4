"""Model weights of the known small models: the catalog, where they come from, fetching and conversion."""
