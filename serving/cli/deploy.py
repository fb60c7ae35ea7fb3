"""`admint deploy`: the files that run a profile on a cluster: a Serve config, or KubeRay manifests.

It writes to standard output and contacts no cluster. Names of storage classes and registries are left to edit.
"""

from __future__ import annotations

import re
from enum import StrEnum
from math import ceil
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from configs.serving import ReplicaSettings
    from configs.settings import Profile


NAME = "admint"
PORT = 8000
GCS_PORT, DASHBOARD_PORT, AGENT_PORT = 6379, 8265, 52365
"""Of Ray: the head's store, the address to which the KubeRay operator sends the Serve config, each node's health."""
POSTGRESQL_PORT, DNS_PORT = 5432, 53
HEAD_CPUS, HEAD_GB = 2, 8
WORKER_CPUS, GB_PER_GPU = 8, 64
USER = 10001
"""Of Dockerfile.gpu."""
SECRETS = "/run/secrets/admint"
GRACE_SECONDS = 60
"""What a running denoising step of a large video model may take, and then the hand-over of its generation."""
LOADING_SECONDS = 1800
"""The longest that a node may take to come up; models load after that, and no probe waits for them."""
PINNED = re.compile(r".+@sha256:[0-9a-f]{64}")
STR = "tag:yaml.org,2002:str"
LABELS = {"app.kubernetes.io/part-of": NAME}


class Kind(StrEnum):
    SERVE = "serve"
    KUBERAY = "kuberay"


def deploy(
    profile: Annotated[str, typer.Option(help="Which models to serve, and how (configs/profiles).")],
    kind: Annotated[
        Kind, typer.Option(help="serve: for `serve deploy`; kuberay: manifests for `kubectl apply`.")
    ] = Kind.SERVE,
    image: Annotated[
        str | None, typer.Option(help="Container image of Dockerfile.gpu, by digest (NAME@sha256:…), for kuberay.")
    ] = None,
    allow_tag: Annotated[bool, typer.Option(help="Take an image that is named by a tag, which may change.")] = False,
    redis: Annotated[
        str | None, typer.Option(help="HOST:PORT of a Redis that lets the cluster outlive its head, for kuberay.")
    ] = None,
    ingress_namespace: Annotated[
        str, typer.Option(help="The namespace whose pods may reach the server, for kuberay.")
    ] = "ingress-nginx",
) -> None:
    """Write the deployment file of a profile to standard output."""
    import yaml

    from configs.settings import load_profile

    chosen = load_profile(profile)
    if kind is Kind.SERVE:
        documents = [serve_config(chosen)]
    else:
        pinned = _pinned(image, allow_tag)
        documents = [ray_service(chosen, pinned, redis), network_policy(redis, ingress_namespace)]

    class Plain(yaml.SafeDumper):
        """Without anchors, and with texts of several lines as they are."""

        def ignore_aliases(self, data: object) -> bool:
            return True

    Plain.add_representer(str, lambda dumper, text: dumper.represent_scalar(STR, text, "|" if "\n" in text else None))
    typer.echo(yaml.dump_all(documents, Dumper=Plain, sort_keys=False, width=110), nl=False)


def serve_config(profile: Profile) -> dict[str, Any]:
    """Config file of `serve deploy` (ray.serve.schema.ServeDeploySchema)."""
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": PORT},  # noqa: S104  (inside the cluster; its ingress decides who sees it)
        "applications": [
            {
                "name": NAME,
                "route_prefix": "/",
                "import_path": "serving.app:application",
                "args": {"profile": profile.name},
            }
        ],
    }


def ray_service(profile: Profile, image: str, redis: str | None = None) -> dict[str, Any]:
    """A KubeRay RayService: a head that runs no replica, one worker per GPU, weights and artifacts on a shared volume.

    With `redis`, an address, a new head finds the cluster as the old one left it; its password is in the secret.
    """
    from importlib.metadata import version

    import yaml

    gpus = total_gpus(profile)
    cluster: dict[str, Any] = {
        "rayVersion": version("ray"),
        "authOptions": {"mode": "token"},
        "headGroupSpec": {
            # The operator sends the Serve config to the dashboard's address, so that must be reachable in the pod's
            # network: the token and the network policy keep all others away.
            "rayStartParams": {"num-gpus": "0", "num-cpus": "0", "dashboard-host": "0.0.0.0"},  # noqa: S104
            "template": _pod("ray-head", image, HEAD_CPUS, HEAD_GB, gpus=0),
        },
        "workerGroupSpecs": [_workers(profile, image, gpus)],
    }
    if redis is not None:
        password = {"secretKeyRef": {"name": NAME, "key": "redis-password"}}
        cluster["gcsFaultToleranceOptions"] = {"redisAddress": redis, "redisPassword": {"valueFrom": password}}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": NAME, "labels": LABELS},
        "spec": {
            "serveConfigV2": yaml.safe_dump(serve_config(profile), sort_keys=False),
            "rayClusterConfig": cluster,
        },
    }


def network_policy(redis: str | None, ingress_namespace: str) -> dict[str, Any]:
    """Who reaches the pods: each other, the operator and the ingress; whom they reach: each other, stores and DNS."""
    ours = {"podSelector": {"matchLabels": LABELS}}
    operator = {
        "namespaceSelector": {},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}},
    }
    entrance = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ingress_namespace}}}
    stores = [POSTGRESQL_PORT, *([] if redis is None else [int(redis.rpartition(":")[2])])]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": NAME, "labels": LABELS},
        "spec": {
            "podSelector": {"matchLabels": LABELS},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [ours]},
                {"from": [operator], "ports": _tcp(DASHBOARD_PORT, PORT)},
                {"from": [entrance], "ports": _tcp(PORT)},
            ],
            "egress": [
                {"to": [ours]},
                {"ports": [{"protocol": "UDP", "port": DNS_PORT}, *_tcp(DNS_PORT)]},
                {"ports": _tcp(*stores)},
            ],
        },
    }


def total_gpus(profile: Profile) -> int:
    """How many GPUs the profile's replicas use at most; none for a profile of the CPU, else at least one."""
    if profile.device == "cpu":
        return 0
    serving = profile.serving
    asked = sum(_most(each) * each.num_gpus for each in (serving.image, serving.video, serving.scorer))
    asked += _most(serving.chat) * serving.chat.num_gpus * serving.chat.tensor_parallel_size
    return max(1, ceil(asked))


def total_cpus(profile: Profile) -> float:
    """How many cores the profile's replicas reserve at most."""
    serving = profile.serving
    each = [serving.image, serving.video, serving.scorer, serving.gateway, serving.chat]
    if serving.pipeline is not None:
        each.append(serving.pipeline)
    extra = (serving.chat.tensor_parallel_size - 1) * _most(serving.chat) * serving.chat.num_cpus
    return sum(_most(one) * one.num_cpus for one in each) + extra


def _most(settings: ReplicaSettings) -> int:
    return settings.max_replicas or settings.num_replicas


def _pinned(image: str | None, allow_tag: bool) -> str:
    """Raises BadInput without an image, and for one that tomorrow may be another."""
    from pipelines.errors import BadInput

    if image is None:
        raise BadInput("--kind kuberay needs --image: the image of Dockerfile.gpu in your registry, as NAME@sha256:…")
    if not allow_tag and not PINNED.fullmatch(image):
        raise BadInput(
            f"--image {image!r} names no digest, so its pods may run different code: give NAME@sha256:… as "
            "`docker push` prints it, or add --allow-tag"
        )
    return image


def _workers(profile: Profile, image: str, gpus: int) -> dict[str, Any]:
    count = max(1, gpus)
    cpus = max(WORKER_CPUS if gpus else 1, ceil(total_cpus(profile) / count))
    return {
        "groupName": "gpu" if gpus else "cpu",
        "replicas": count,
        "minReplicas": count,
        "maxReplicas": count,
        "rayStartParams": {},
        "template": _pod("ray-worker", image, cpus, GB_PER_GPU if gpus else HEAD_GB, gpus=min(1, gpus)),
    }


def _pod(name: str, image: str, cpus: int, memory_gb: int, gpus: int) -> dict[str, Any]:
    resources: dict[str, Any] = {"cpu": cpus, "memory": f"{memory_gb}Gi"}
    if gpus:
        resources["nvidia.com/gpu"] = gpus
    head = name == "ray-head"
    ports = [{"containerPort": PORT, "name": "serve"}]
    if head:
        ports += [
            {"containerPort": GCS_PORT, "name": "gcs-server"},
            {"containerPort": DASHBOARD_PORT, "name": "dashboard"},
        ]
    lives = {"httpGet": {"path": "/api/local_raylet_healthz", "port": AGENT_PORT}}
    serves = {"path": "/api/gcs_healthz", "port": DASHBOARD_PORT} if head else {"path": "/-/healthz", "port": PORT}
    writable = {"data": "/data", "tmp": "/tmp", "shm": "/dev/shm"}  # noqa: S108
    return {
        "metadata": {"labels": LABELS},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": name,
                    "image": image,
                    "env": [{"name": key, "value": value} for key, value in _environment().items()],
                    "ports": ports,
                    "resources": {"limits": resources, "requests": resources},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "startupProbe": {**lives, "periodSeconds": 10, "failureThreshold": LOADING_SECONDS // 10},
                    "livenessProbe": {**lives, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 12},
                    "readinessProbe": {"httpGet": serves, "periodSeconds": 5, "timeoutSeconds": 5},
                    "volumeMounts": [
                        *({"name": each, "mountPath": path} for each, path in writable.items()),
                        {"name": "secrets", "mountPath": SECRETS, "readOnly": True},
                    ],
                }
            ],
            "volumes": [
                {"name": "data", "persistentVolumeClaim": {"claimName": "admint-data"}},
                {"name": "tmp", "emptyDir": {"sizeLimit": "20Gi"}},
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{max(2, memory_gb // 4)}Gi"}},
                {"name": "secrets", "secret": {"secretName": NAME, "defaultMode": 0o440}},
            ],
        },
    }


def _environment() -> dict[str, str]:
    """Of every container. Secrets are files: what is in the environment is in every crash report and child process."""
    return {
        "ADMINT_HOME": "/data",
        "ADMINT_DATABASE_FILE": f"{SECRETS}/database",
        "ADMINT_SECRET_FILE": f"{SECRETS}/secret",
        "ADMINT_LOG_FORMAT": "json",
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        # The root file system is read-only: what libraries cache goes where it ends with the pod.
        "HOME": "/tmp/home",  # noqa: S108
        "XDG_CACHE_HOME": "/tmp/cache",  # noqa: S108
        "TORCHINDUCTOR_CACHE_DIR": "/tmp/cache/inductor",  # noqa: S108
        "TRITON_CACHE_DIR": "/tmp/cache/triton",  # noqa: S108
        "VLLM_CACHE_ROOT": "/tmp/cache/vllm",  # noqa: S108
    }


def _tcp(*ports: int) -> list[dict[str, Any]]:
    return [{"protocol": "TCP", "port": port} for port in ports]
