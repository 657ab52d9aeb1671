"""API keys, passwords and access tokens: how they are made, and whom they stand for."""
