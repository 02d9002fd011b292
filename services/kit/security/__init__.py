"""Who calls and who may: keys, tokens, roles, rates, TLS."""
