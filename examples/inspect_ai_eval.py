"""An eval of Inspect with sandboxes. MODEL names its model, SANDBOX_* variables say where sandboxes are."""

import os

from inspect_ai import Task, eval  # noqa: A004
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, use_tools
from inspect_ai.tool import bash

TASK = Task(
    dataset=[
        Sample(input="How many lines has poem.txt?", target="3", files={"poem.txt": "a\nb\nc\n"})
    ],
    solver=[use_tools(bash(timeout=60)), generate()],
    scorer=includes(),
    sandbox="oneseek",
)

(log,) = eval(TASK, model=os.environ["MODEL"])
print(log.status, log.results and log.results.scores[0].metrics["accuracy"].value)
