"""`/v1/models`, health and metrics, driven by the official client over a real server."""

import openai
import pytest

from serving.gateway.health import READY
from tests.support.gateway_server import IMAGE, MIXER, SPECS, VIDEO, refusal, serve


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("models")) as server:
        yield server


def test_the_client_lists_every_model_with_its_kind_and_limits(client):
    models = {model.id: model for model in client.models.list()}
    assert list(models) == [spec.name for spec in SPECS]
    assert [models[spec.name].kind for spec in SPECS] == [spec.kind for spec in SPECS]
    assert models[IMAGE.name].limits["max_pixels"] == 128 * 128
    assert models[VIDEO.name].limits["max_frames"] == 17
    assert (models[IMAGE.name].limits["presets"], models[VIDEO.name].limits["presets"]) == (["fast"], [])


def test_a_model_says_whether_paid_work_may_use_it_and_on_what_condition(client):
    models = {model.id: model for model in client.models.list()}
    for spec in SPECS:
        listed, one = models[spec.name], client.models.retrieve(spec.name)
        assert listed.commercial == one.commercial == spec.commercial
        assert listed.commercial_condition == one.commercial_condition == (spec.commercial_condition or None)
    assert models[MIXER.name].commercial == "below-revenue"
    assert models[MIXER.name].commercial_condition == "free below 10 million dollars of revenue a year"


def test_the_client_retrieves_one_model(client):
    assert client.models.retrieve(IMAGE.name).id == IMAGE.name


def test_a_model_of_elsewhere_is_not_found_and_its_nearest_is_named(client):
    with pytest.raises(openai.NotFoundError, match=rf"the nearest is '{VIDEO.name}'; the video models are"):
        client.models.retrieve("sora-2")


def test_an_unknown_model_is_a_not_found_error_with_a_code(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nothing")
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert IMAGE.name in refusal(caught)["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/v1/videos?limit=0", 422, "invalid_request"),
        ("GET", f"/v1/artifacts/{'0' * 64}", 404, "not_found"),
    ],
)
def test_errors_of_the_framework_have_the_one_shape_and_a_request_id(server, method, path, status, code):
    answer = server.http.request(method, path)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert sorted(error) == ["code", "details", "message", "param", "type"]
    assert (error["code"], error["type"]) == (code, "invalid_request_error")
    assert answer.headers["x-request-id"]


def test_a_405_says_what_is_allowed(server):
    assert server.http.delete("/v1/models").headers["allow"] == "GET, HEAD"


def test_a_harmless_request_id_is_kept_and_another_is_replaced(server):
    assert server.http.get("/healthz", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    replaced = server.http.get("/healthz", headers={"X-Request-ID": "a b\tc"}).headers["x-request-id"]
    assert replaced != "a b\tc"


def test_the_process_is_alive_before_it_is_ready_and_ready_after_real_generations(tmp_path):
    specs = (IMAGE, VIDEO)
    with serve(tmp_path, specs=specs) as server:
        assert server.http.get("/healthz").json() == {"status": "ok"}
        waiting = server.http.get("/readyz")
        assert waiting.status_code == 503
        assert waiting.headers["retry-after"]
        assert set(waiting.json()["error"]["details"]["deployments"]) == {spec.name for spec in specs}
        server.call(server.backend.warm_up())
        assert server.http.get("/readyz").json()["deployments"] == {spec.name: READY for spec in specs}
        assert [request.num_inference_steps for request in server.studio.requests] == [1, 1]


def test_a_model_that_cannot_generate_keeps_the_server_unready(tmp_path):
    with serve(tmp_path, specs=(IMAGE,)) as server:
        from models.errors import OutOfMemory

        server.studio.fail_with = OutOfMemory("no room for painter")
        server.call(server.backend.warm_up())
        assert "no room for painter" in server.http.get("/readyz").json()["error"]["message"]


def test_metrics_count_requests_by_address_pattern_and_what_the_models_did(server, client):
    client.images.generate(model=IMAGE.name, prompt="a bottle")
    server.http.get(f"/v1/artifacts/{'0' * 64}")
    text = server.http.get("/metrics").text
    assert 'admint_http_requests_total{method="GET",route="/v1/artifacts/{sha256}",status="404"}' in text
    assert f'admint_model_calls_total{{model="{IMAGE.name}"}} 1.0' in text
    assert f'admint_model_denoising_steps_total{{model="{IMAGE.name}"}}' in text
    assert "admint_generations_waiting 0.0" in text
    assert "0" * 64 not in text
