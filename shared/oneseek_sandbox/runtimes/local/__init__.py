"""The local runtime: sandboxes of this machine's kernel, by bubblewrap."""
