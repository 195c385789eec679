"""Changes of contracts: what one does to a running platform, and who accepted it."""
