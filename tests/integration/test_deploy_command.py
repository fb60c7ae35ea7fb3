"""`admint deploy`: the files that it writes are what Ray Serve and Kubernetes read."""

import pytest
import yaml
from typer.testing import CliRunner

from configs.settings import load_profile
from pipelines.errors import BadInput
from serving.cli.deploy import total_cpus, total_gpus
from serving.cli.main import app

IMAGE = f"registry.example/admint@sha256:{'0a' * 32}"


WRITABLE = ["/data", "/dev/shm", "/tmp"]  # noqa: S108


def written_all(*arguments):
    result = CliRunner().invoke(app, ["deploy", *arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return list(yaml.safe_load_all(result.output))


def written(*arguments):
    (document,) = written_all(*arguments)
    return document


@pytest.mark.parametrize("profile", ["sketch", "cluster"])
def test_the_serve_config_is_valid_and_names_an_application_that_can_be_built(profile):
    from ray.serve.schema import ServeDeploySchema

    from serving.app import application

    config = ServeDeploySchema.model_validate(written("--profile", profile))
    (declared,) = config.applications
    assert declared.import_path == "serving.app:application"
    assert declared.args == {"profile": profile}
    if profile == "sketch":
        assert application(declared.args) is not None


@pytest.fixture
def manifests():
    """The RayService and the NetworkPolicy of the cluster profile."""
    return written_all("--profile", "cluster", "--kind", "kuberay", "--image", IMAGE)


def pods(service):
    cluster = service["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"] for group in groups]


def containers(service):
    return [container for pod in pods(service) for container in pod["spec"]["containers"]]


def test_the_kuberay_manifest_carries_the_same_serve_config_and_one_worker_per_gpu(manifests):
    service, _ = manifests
    assert (service["apiVersion"], service["kind"]) == ("ray.io/v1", "RayService")
    assert yaml.safe_load(service["spec"]["serveConfigV2"]) == written("--profile", "cluster")
    (workers,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert workers["replicas"] == total_gpus(load_profile("cluster"))
    (container,) = workers["template"]["spec"]["containers"]
    assert container["image"] == IMAGE
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1


@pytest.mark.parametrize("profile", ["sketch", "gpu-24gb", "gpu-24gb-int8", "gpu-80gb", "cluster"])
def test_every_replica_of_a_profile_finds_room_on_the_workers(profile):
    service, _ = written_all("--profile", profile, "--kind", "kuberay", "--image", IMAGE)
    (workers,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    limits = workers["template"]["spec"]["containers"][0]["resources"]["limits"]
    chosen = load_profile(profile)
    assert workers["replicas"] * limits["cpu"] >= total_cpus(chosen)
    assert workers["replicas"] * limits.get("nvidia.com/gpu", 0) >= total_gpus(chosen)
    assert ("nvidia.com/gpu" in limits) == (chosen.device == "cuda")


def test_ray_wants_a_token_and_nobody_strange_reaches_it(manifests):
    service, policy = manifests
    assert service["spec"]["rayClusterConfig"]["authOptions"] == {"mode": "token"}
    for container in containers(service):
        assert {"name": "RAY_AUTH_MODE", "value": "token"} in container["env"]
    assert (policy["apiVersion"], policy["kind"]) == ("networking.k8s.io/v1", "NetworkPolicy")
    chosen = policy["spec"]["podSelector"]["matchLabels"].items()
    assert all(chosen <= pod["metadata"]["labels"].items() for pod in pods(service))
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    from_outside = policy["spec"]["ingress"][1:]
    assert [[port["port"] for port in rule["ports"]] for rule in from_outside] == [[8265, 8000], [8000]]
    assert all(rule["from"] for rule in policy["spec"]["ingress"])


def test_no_container_can_become_root_or_write_outside_of_its_volumes(manifests):
    service, _ = manifests
    for pod in pods(service):
        assert pod["spec"]["automountServiceAccountToken"] is False
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        for container in pod["spec"]["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
            writable = sorted(path for path, mount in mounts.items() if not mount.get("readOnly"))
            assert writable == WRITABLE
            assert {mount["name"] for mount in mounts.values()} == volumes


def test_every_container_is_probed_and_has_time_to_end(manifests):
    service, _ = manifests
    for pod in pods(service):
        assert pod["spec"]["terminationGracePeriodSeconds"] >= 60
        for container in pod["spec"]["containers"]:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert container[probe]["httpGet"]["path"].endswith("healthz")


def test_secrets_are_files_and_none_is_written_into_a_manifest(manifests):
    service, _ = manifests
    for container in containers(service):
        given = {each["name"]: each["value"] for each in container["env"]}
        (mount,) = [each for each in container["volumeMounts"] if each["name"] == "secrets"]
        assert mount["readOnly"] is True
        assert given["ADMINT_DATABASE_FILE"].startswith(mount["mountPath"])
        assert given["ADMINT_SECRET_FILE"].startswith(mount["mountPath"])
        assert not {"ADMINT_DATABASE", "ADMINT_SECRET"} & set(given)
    assert "postgresql" not in yaml.safe_dump(service)


def test_a_redis_lets_the_cluster_outlive_its_head():
    asked = ("--profile", "cluster", "--kind", "kuberay", "--image", IMAGE, "--redis", "redis:6380")
    service, policy = written_all(*asked)
    options = service["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"]
    assert options["redisAddress"] == "redis:6380"
    assert options["redisPassword"]["valueFrom"]["secretKeyRef"]["name"] == "admint"
    assert {"protocol": "TCP", "port": 6380} in policy["spec"]["egress"][2]["ports"]


@pytest.mark.parametrize("image", [(), ("--image", "registry.example/admint:1"), ("--image", "admint@sha256:abc")])
def test_an_image_that_may_change_is_refused(image):
    result = CliRunner().invoke(app, ["deploy", "--profile", "cluster", "--kind", "kuberay", *image])
    assert isinstance(result.exception, BadInput)
    assert "@sha256:" in str(result.exception)


def test_an_image_by_tag_can_be_insisted_on():
    tagged = ("--image", "registry.example/admint:1", "--allow-tag")
    service, _ = written_all("--profile", "cluster", "--kind", "kuberay", *tagged)
    assert {container["image"] for container in containers(service)} == {"registry.example/admint:1"}


# What KubeRay's published schema (helm-chart/kuberay-operator/crds/ray.io_rayservices.yaml, v1) knows of the parts that
# are written here. A hand-written subset: the schema itself has a megabyte. The manifest was validated against it once,
# unknown fields refused.
KNOWN = {
    "cluster": {
        "rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs", "gcsFaultToleranceOptions",
        "enableInTreeAutoscaling", "autoscalerOptions", "headServiceAnnotations", "suspend", "upgradeStrategy",
    },
    "head": {"rayStartParams", "template", "headService", "enableIngress", "resources", "labels", "serviceType"},
    "worker": {
        "groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template", "numOfHosts",
        "idleTimeoutSeconds", "suspend", "scaleStrategy", "resources", "labels",
    },
    "pod": {
        "automountServiceAccountToken", "terminationGracePeriodSeconds", "securityContext", "containers", "volumes",
        "nodeSelector", "tolerations", "affinity", "initContainers", "serviceAccountName", "imagePullSecrets",
    },
    "container": {
        "name", "image", "env", "ports", "resources", "securityContext", "startupProbe", "livenessProbe",
        "readinessProbe", "volumeMounts", "command", "args", "lifecycle", "imagePullPolicy", "envFrom", "workingDir",
    },
    "probe": {
        "httpGet", "periodSeconds", "timeoutSeconds", "failureThreshold", "initialDelaySeconds", "successThreshold",
    },
}  # fmt: skip


def test_the_manifest_has_only_fields_that_kuberay_knows(manifests):
    service, _ = manifests
    cluster = service["spec"]["rayClusterConfig"]
    assert set(service["spec"]) == {"serveConfigV2", "rayClusterConfig"}
    assert set(cluster) <= KNOWN["cluster"]
    assert set(cluster["headGroupSpec"]) <= KNOWN["head"]
    assert all(set(group) <= KNOWN["worker"] for group in cluster["workerGroupSpecs"])
    assert all(
        isinstance(value, str)
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
        for value in group["rayStartParams"].values()
    )
    assert all(set(pod["spec"]) <= KNOWN["pod"] for pod in pods(service))
    for container in containers(service):
        assert set(container) <= KNOWN["container"]
        assert all(set(container[name]) <= KNOWN["probe"] for name in container if name.endswith("Probe"))


def test_an_unknown_profile_is_refused_by_name():
    result = CliRunner().invoke(app, ["deploy", "--profile", "nowhere"])
    assert result.exit_code != 0
    assert "nowhere" in str(result.exception)
