"""What DeerFlow does with its sandbox provider, in a nutshell; it runs where DeerFlow is installed."""

from oneseek_sandbox.adapters.deerflow import OneSeekSandboxProvider

provider = OneSeekSandboxProvider()
sandbox = provider.get(provider.acquire("first-thread", user_id="alice"))
sandbox.write_file("/mnt/user-data/workspace/hello.py", "print('hello')\n")
print(sandbox.execute_command("python3 /mnt/user-data/workspace/hello.py"), end="")
print(sandbox.list_dir("/mnt/user-data/workspace"))
provider.shutdown()
