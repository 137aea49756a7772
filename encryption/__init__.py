"""Secrets at rest: a keyring of rotating keys and the model field that uses it."""
