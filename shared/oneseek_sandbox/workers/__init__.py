"""The host's side of the protocol with a sandbox's worker; its answers are hostile input."""
