"""Floor 2: a bundle's text, Casbin rows or YAML definitions, to checked rules with the place of each."""
