"""How a language model is served: what contradicts itself is refused when the profile is read."""

import pytest
from pydantic import ValidationError

from configs.serving import LanguageSettings


def test_the_default_is_the_in_process_engine_on_one_core():
    settings = LanguageSettings()
    assert (settings.engine, settings.num_replicas, settings.num_cpus, settings.num_gpus) == ("in_process", 1, 1, 0)


def test_settings_of_vllm_beside_the_in_process_engine_are_refused():
    with pytest.raises(ValidationError, match="max_model_len, tensor_parallel_size: only with 'engine: vllm'"):
        LanguageSettings.model_validate({"tensor_parallel_size": 2, "max_model_len": 4096})


def test_workers_that_share_weights_take_whole_cards():
    assert LanguageSettings.model_validate({"engine": "vllm", "tensor_parallel_size": 2, "num_gpus": 1})
    with pytest.raises(ValidationError, match="whole card per worker"):
        LanguageSettings.model_validate({"engine": "vllm", "tensor_parallel_size": 2, "num_gpus": 0.5})


def test_an_unknown_key_is_an_error():
    with pytest.raises(ValidationError, match="prefix_caching"):
        LanguageSettings.model_validate({"engine": "vllm", "prefix_caching": True})
