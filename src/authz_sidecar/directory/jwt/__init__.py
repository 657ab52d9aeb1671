"""JWTs of identity providers as credentials: issuers, their keys, and whom a token stands for."""
