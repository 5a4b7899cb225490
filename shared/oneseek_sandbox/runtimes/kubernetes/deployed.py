"""The settings that the functions of a cluster run with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from oneseek_sandbox.runtimes.kubernetes.api import ApiRefusalError, KubernetesApi
from oneseek_sandbox.runtimes.kubernetes.objects import understood
from oneseek_sandbox.runtimes.kubernetes.refusals import refusal

if TYPE_CHECKING:
    from oneseek_sandbox.runtimes.kubernetes.api import Resource

__all__ = ["SYSTEM", "read_deployed"]

SYSTEM: Final = "oneseek-sandbox-system"
"""The functions' namespace."""

_ACQUIRE: Final = f"/apis/serving.knative.dev/v1/namespaces/{SYSTEM}/services/sandbox-acquire"
_NOT_FOUND: Final = 404


async def read_deployed(context: str) -> dict[str, str]:
    """Return the plain variables of the deployed `acquire`; empty where nothing is deployed.

    Those that come from a Secret are left out.

    Raises:
        RuntimeUnavailableError: The API server does not answer, or does not allow it.
    """
    api = KubernetesApi(context)
    try:
        service = await api.get(_ACQUIRE)
        with understood("The deployed acquire"):
            container = service["spec"]["template"]["spec"]["containers"][0]
            variables = await _from_config_maps(api, container)
            variables |= {
                entry["name"]: entry["value"]
                for entry in container.get("env", [])
                if "value" in entry
            }
    except ApiRefusalError as error:
        if error.status == _NOT_FOUND:
            return {}
        raise refusal(error, SYSTEM) from error
    finally:
        await api.close()
    return variables


async def _from_config_maps(api: KubernetesApi, container: Resource) -> dict[str, str]:
    variables: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            name = source["configMapRef"]["name"]
            found = await api.get(f"/api/v1/namespaces/{SYSTEM}/configmaps/{name}")
            variables |= found.get("data", {})
    return variables
