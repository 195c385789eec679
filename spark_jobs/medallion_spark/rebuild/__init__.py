"""Silver and quarantine made anew from bronze."""
