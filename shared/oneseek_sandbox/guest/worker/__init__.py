"""The first process of every sandbox: runs commands and edits files, asked over HTTP/1.1.

The contract is `docs/worker-protocol.md`. Everything happens in one thread, so that code inside
cannot stop it by using up processes; whatever takes long gives way in between (`turn`). A request
goes from `server` by `worker` to `files` or `commands`; `bundle.PROGRAMS` has the modules bottom up.
"""
