"""Floor 1: Casbin's model language, from text to plain data.

`conf` reads `model.conf`, `grammar` its matchers, `patterns` the patterns that rules hold. Nothing here knows a
bundle, a request in flight or the way rules are indexed. The language is written down in docs/models.md.
"""
