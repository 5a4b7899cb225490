"""Programs that run inside a sandbox: standard library only, Python 3.9 or newer.

`worker/` is the first process of every sandbox, and `search/` finds and deletes files for adapters;
`bundle.py` combines each into one file. `entry.py` and `listener.py` are the first processes of a
Docker sandbox and of its second container. `probe.py` runs in a local trial sandbox,
`network_probe.py` in pods and containers.
"""
