"""`admint deploy`: the files that it writes are what Ray Serve and Kubernetes read."""

import pytest
import yaml
from typer.testing import CliRunner

from configs.settings import load_profile
from serving.cli.deploy import total_gpus
from serving.cli.main import app


def written(*arguments):
    result = CliRunner().invoke(app, ["deploy", *arguments])
    assert result.exit_code == 0, result.output
    return yaml.safe_load(result.output)


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


def test_the_kuberay_manifest_carries_the_same_serve_config_and_one_worker_per_gpu():
    manifest = written("--profile", "cluster", "--kind", "kuberay", "--image", "registry.example/admint:1")
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayService")
    assert yaml.safe_load(manifest["spec"]["serveConfigV2"]) == written("--profile", "cluster")
    (workers,) = manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert workers["replicas"] == total_gpus(load_profile("cluster"))
    (container,) = workers["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/admint:1"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_no_secret_is_written_into_a_manifest():
    text = yaml.safe_dump(written("--profile", "cluster", "--kind", "kuberay"))
    assert text.count("secretKeyRef") == 4  # database and signing key, of the head and of the workers
    assert "postgresql" not in text


def test_an_unknown_profile_is_refused_by_name():
    result = CliRunner().invoke(app, ["deploy", "--profile", "nowhere"])
    assert result.exit_code != 0
    assert "nowhere" in str(result.exception)
