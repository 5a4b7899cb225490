"""The contract of the eight verbs over HTTP, for any server that speaks them.

Inherit `VerbsContract` and give it a fixture `client`: an `httpx.AsyncClient` with the base URL and
an operator's key. Tests marked `essential` are the ones to run where the rest was proved elsewhere.
"""

from oneseek_sandbox.testing.verbs.execute import ExecuteContract
from oneseek_sandbox.testing.verbs.files import FilesContract
from oneseek_sandbox.testing.verbs.given import GivenContract
from oneseek_sandbox.testing.verbs.lifecycle import LifecycleContract
from oneseek_sandbox.testing.verbs.output import OutputContract
from oneseek_sandbox.testing.verbs.processes import ProcessesContract
from oneseek_sandbox.testing.verbs.refusals import RefusalsContract
from oneseek_sandbox.testing.verbs.streams import StreamsContract
from oneseek_sandbox.testing.verbs.terminals import TerminalsContract

__all__ = [
    "ExecuteContract",
    "FilesContract",
    "GivenContract",
    "LifecycleContract",
    "OutputContract",
    "ProcessesContract",
    "RefusalsContract",
    "StreamsContract",
    "TerminalsContract",
    "VerbsContract",
]


class VerbsContract(
    LifecycleContract,
    ExecuteContract,
    OutputContract,
    ProcessesContract,
    TerminalsContract,
    StreamsContract,
    FilesContract,
    RefusalsContract,
    GivenContract,
):
    """Everything the eight verbs promise."""
