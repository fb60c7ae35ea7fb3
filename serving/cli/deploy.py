"""`admint deploy`: the files that run a profile on a cluster: a Serve config, or a KubeRay RayService manifest.

It writes to standard output and contacts no cluster. Names of nodes, storage classes and registries are left to edit.
"""

from __future__ import annotations

from enum import StrEnum
from math import ceil
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from configs.settings import Profile


PORT = 8000
HEAD_CPUS = 2


class Kind(StrEnum):
    SERVE = "serve"
    KUBERAY = "kuberay"


def deploy(
    profile: Annotated[str, typer.Option(help="Which models to serve, and how (configs/profiles).")],
    kind: Annotated[
        Kind, typer.Option(help="serve: for `serve deploy`; kuberay: a RayService for `kubectl apply`.")
    ] = Kind.SERVE,
    image: Annotated[str, typer.Option(help="Container image of Dockerfile.gpu, for kuberay.")] = "admint:gpu",
) -> None:
    """Write the deployment file of a profile to standard output."""
    import yaml

    from configs.settings import load_profile

    chosen = load_profile(profile)
    content = serve_config(chosen) if kind is Kind.SERVE else ray_service(chosen, image)
    typer.echo(yaml.safe_dump(content, sort_keys=False, width=110), nl=False)


def serve_config(profile: Profile) -> dict[str, Any]:
    """Config file of `serve deploy` (ray.serve.schema.ServeDeploySchema)."""
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": PORT},  # noqa: S104  (inside the cluster; its ingress decides who sees it)
        "applications": [
            {
                "name": "admint",
                "route_prefix": "/",
                "import_path": "serving.app:application",
                "args": {"profile": profile.name},
            }
        ],
    }


def ray_service(profile: Profile, image: str) -> dict[str, Any]:
    """A KubeRay RayService: a head without GPUs, one worker per GPU, weights and artifacts on shared volumes."""
    import yaml

    gpus = total_gpus(profile)
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": "admint"},
        "spec": {
            "serveConfigV2": yaml.safe_dump(serve_config(profile), sort_keys=False),
            "rayClusterConfig": {
                "headGroupSpec": {
                    "rayStartParams": {"num-gpus": "0", "dashboard-host": "0.0.0.0"},  # noqa: S104
                    "template": _pod("ray-head", image, HEAD_CPUS, gpus=0),
                },
                "workerGroupSpecs": [
                    {
                        "groupName": "gpu",
                        "replicas": gpus,
                        "minReplicas": gpus,
                        "maxReplicas": gpus,
                        "rayStartParams": {},
                        "template": _pod("ray-worker", image, cpus=8, gpus=1),
                    }
                ],
            },
        },
    }


def total_gpus(profile: Profile) -> int:
    """How many GPUs the profile's replicas use at most; at least one."""
    serving = profile.serving
    pictures = (serving.image, serving.video, serving.scorer)
    asked = sum((each.max_replicas or each.num_replicas) * each.num_gpus for each in pictures)
    chat = serving.chat
    asked += (chat.max_replicas or chat.num_replicas) * chat.num_gpus * chat.tensor_parallel_size
    return max(1, ceil(asked))


def _pod(name: str, image: str, cpus: int, gpus: int) -> dict[str, Any]:
    limits: dict[str, Any] = {"cpu": cpus, "memory": f"{max(8, 64 * gpus)}Gi"}
    if gpus:
        limits["nvidia.com/gpu"] = gpus
    return {
        "spec": {
            "containers": [
                {
                    "name": name,
                    "image": image,
                    "env": [
                        {"name": "ADMINT_HOME", "value": "/data"},
                        *(_from_secret(key) for key in ("database", "secret")),
                    ],
                    "ports": [{"containerPort": PORT, "name": "serve"}],
                    "resources": {"limits": limits},
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }
            ],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "admint-data"}}],
        }
    }


def _from_secret(key: str) -> dict[str, Any]:
    """An environment variable from the Kubernetes secret `admint`: ADMINT_DATABASE, ADMINT_SECRET."""
    return {"name": f"ADMINT_{key.upper()}", "valueFrom": {"secretKeyRef": {"name": "admint", "key": key}}}
