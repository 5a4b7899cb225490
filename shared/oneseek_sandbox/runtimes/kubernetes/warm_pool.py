"""Taking pods out of the warm pool.

Acquires that come at the same moment share one look at the pool, and no two of them try the same pod.
Other replicas may: every patch tests that the pod is still in the pool.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.runtimes.kubernetes import pod_state
from oneseek_sandbox.runtimes.kubernetes.api import ApiRefusalError
from oneseek_sandbox.runtimes.kubernetes.objects import readable_pod, readable_pods
from oneseek_sandbox.runtimes.kubernetes.pod_metadata import APP, WARM_APP, taking
from oneseek_sandbox.runtimes.kubernetes.refusals import refusal

if TYPE_CHECKING:
    from oneseek_sandbox.runtimes.kubernetes.api import KubernetesApi, Resource
    from oneseek_sandbox.runtimes.kubernetes.pod_spec import PodTemplate
    from oneseek_sandbox.runtimes.kubernetes.pods import Pods
    from oneseek_sandbox.runtimes.runtime import Labels
    from oneseek_sandbox.settings import Settings

__all__ = ["WarmPool"]

_LOOK: Final = 50
_FRESH_SECONDS: Final = 0.5
"""For so long a look at the pool is worth trying: by then other replicas took what it saw."""


class WarmPool:
    """The pods that wait for a thread.

    Args:
        pods: Deletes a pod that ended just when it was taken.
    """

    def __init__(
        self, settings: Settings, api: KubernetesApi, template: PodTemplate, pods: Pods
    ) -> None:
        self._namespace = settings.namespace
        self._path = f"/api/v1/namespaces/{settings.namespace}/pods"
        self._api = api
        self._template = template
        self._pods = pods
        self._untried: list[Resource] = []
        self._looked_at = float("-inf")
        self._looking: asyncio.Future[None] | None = None

    async def take(self, labels: Labels, *, now_ms: int) -> Resource | None:
        """Take a pod out of the pool; None when there is none of the current template that runs.

        Raises:
            RuntimeUnavailableError: The API server does not answer, or refuses.
        """
        came = asyncio.get_running_loop().time()
        while (pod := await self._next(came)) is not None:
            if (taken := await self._taken(pod, labels, now_ms=now_ms)) is not None:
                return taken
        return None

    async def _next(self, came: float) -> Resource | None:
        """Return a pod that nobody here has tried; None when a look since `came` saw no more."""
        clock = asyncio.get_running_loop().time
        while not self._untried or clock() - self._looked_at > _FRESH_SECONDS:
            if self._looked_at >= came:
                break
            await self._look()
        return self._untried.pop() if self._untried else None

    async def _look(self) -> None:
        """Look at the pool, or wait for the look that is under way and fail as it does."""
        if self._looking is None:
            self._looked_at = asyncio.get_running_loop().time()
            self._looking = asyncio.ensure_future(self._list())
            self._looking.add_done_callback(_known)
        await asyncio.shield(self._looking)

    async def _list(self) -> None:
        self._untried = []
        query = {"labelSelector": f"{APP}={WARM_APP}"}
        try:
            listed = await self._api.get(self._path, limit=_LOOK, **query)
        except ApiRefusalError as error:
            raise refusal(error, self._namespace) from error
        finally:
            # Here, not when it is told to have ended: an acquire between the two would wait for what
            # is over, which takes no time, over and over, and let nobody else run.
            self._looking = None
        items = listed.get("items")
        pods = readable_pods(items if isinstance(items, list) else [])
        self._untried = [pod for pod in pods if pod_state.is_to_be_had(pod, self._template.digest)]
        random.shuffle(self._untried)  # so that replicas seldom want the same

    async def _taken(self, pod: Resource, labels: Labels, *, now_ms: int) -> Resource | None:
        """Take this pod; None when another was quicker, or it ended."""
        path = f"{self._path}/{pod['metadata']['name']}"
        try:
            patch = taking(pod, labels, now_ms=now_ms)
            taken = readable_pod(await self._api.patch(path, patch))
        except ApiRefusalError as error:
            if error.is_outrun:
                return None
            raise refusal(error, self._namespace) from error
        if not pod_state.ended(taken):
            return taken
        await self._pods.delete(taken["metadata"]["uid"], taken["metadata"]["name"])
        return None


def _known(looking: asyncio.Future[None]) -> None:
    """Take note of an error, should all have gone that waited for it."""
    if not looking.cancelled():
        looking.exception()
