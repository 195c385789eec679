"""Silver and quarantine made from bronze again."""
