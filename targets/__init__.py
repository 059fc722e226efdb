"""Target descriptions: one TOML file a board."""
