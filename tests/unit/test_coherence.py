import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.coherence import CoherenceSettings, derived_seed, plan_coherence

SCENES = (1, 2, 3)


def plans(seed=7, has_references=True, **settings):
    return plan_coherence(CoherenceSettings(**settings), seed, SCENES, has_references)


@given(seed=st.integers(0, 2**63 - 1), policy=st.sampled_from(["fixed", "derived", "blend"]))
def test_the_plan_is_a_pure_function_of_its_arguments(seed, policy):
    settings = CoherenceSettings(seed_policy=policy)
    assert plan_coherence(settings, seed, SCENES, True) == plan_coherence(settings, seed, SCENES, True)


def test_a_fixed_policy_gives_every_scene_the_same_noise():
    assert len({plan.keyframe_noise for plan in plans(seed_policy="fixed")}) == 1


def test_a_derived_policy_gives_every_scene_its_own_noise_and_nothing_shared():
    noises = [plan.keyframe_noise for plan in plans(seed_policy="derived")]
    assert len({noise.seed for noise in noises}) == 3
    assert {noise.shared_strength for noise in noises} == {0.0}


def test_a_blend_shares_one_seed_with_the_asked_strength():
    noises = [plan.clip_noise for plan in plans(seed_policy="blend", blend_strength=0.4)]
    assert len({noise.seed for noise in noises}) == 3
    assert {(noise.shared_seed, noise.shared_strength) for noise in noises} == {(noises[0].shared_seed, 0.4)}


def test_a_cutoff_reaches_the_noise_of_pictures_and_clips_where_noise_is_shared():
    for policy, expected in (("blend", 0.2), ("fixed", None), ("derived", None)):
        for plan in plans(seed_policy=policy, shared_cutoff=0.2):
            assert {plan.keyframe_noise.shared_cutoff, plan.clip_noise.shared_cutoff} == {expected}


def test_a_plan_without_the_later_knobs_is_written_as_it_was_before_there_were_any():
    noise = plans()[0].model_dump()["keyframe_noise"]
    assert sorted(noise) == ["seed", "shared_seed", "shared_strength"]


def test_seed_control_off_means_independent_seeds_whatever_the_policy():
    assert plans(use_seed_control=False, seed_policy="fixed") == plans(seed_policy="derived", use_seed_control=False)
    assert len({plan.keyframe_noise.seed for plan in plans(use_seed_control=False, seed_policy="fixed")}) == 3


def test_seed_value_overrides_the_seed_of_the_generation():
    assert plans(seed=1, seed_value=99) == plans(seed=2, seed_value=99) != plans(seed=2)


def test_keyframe_and_clip_of_a_scene_do_not_share_their_seed():
    assert all(plan.keyframe_noise.seed != plan.clip_noise.seed for plan in plans())


def test_a_scene_keeps_its_seed_when_scenes_are_added_behind_it():
    longer = plan_coherence(CoherenceSettings(), 7, (1, 2, 3, 4), True)
    assert longer[:3] == plans()


def test_latent_reuse_and_chaining_point_to_the_scene_before_and_never_for_the_first():
    result = plans(use_latent_reuse=True, chain="last_frame")
    assert [plan.start_from_scene for plan in result] == [None, 1, 2]
    assert [plan.chain_from_scene for plan in result] == [None, 1, 2]
    for plan in plans():
        assert (plan.start_from_scene, plan.chain_from_scene) == (None, None)
        assert (plan.keyframe_from_scene, plan.end_on_scene) == (None, None)


def test_a_chain_of_keyframes_points_back_and_one_of_both_ends_points_ahead():
    assert [plan.keyframe_from_scene for plan in plans(chain="keyframe")] == [None, 1, 2]
    ends = plans(chain="first_last")
    assert [plan.end_on_scene for plan in ends] == [2, 3, None]
    assert {plan.chain_from_scene for plan in ends} == {None}


def test_consistent_attention_lets_every_scene_look_at_the_first_one():
    shared = plans(consistent_attention=True)
    assert [plan.attention_from_scene for plan in shared] == [None, 1, 1]
    assert len({plan.attention_seed for plan in shared}) == 1
    assert {plan.attention_from_scene for plan in plans()} == {None}


@pytest.mark.parametrize(("use", "has", "expected"), [(True, True, True), (True, False, False), (False, True, False)])
def test_references_condition_a_scene_only_when_asked_for_and_present(use, has, expected):
    assert {plan.use_references for plan in plans(use_ip_adapter=use, has_references=has)} == {expected}


@pytest.mark.parametrize("field", ["blend_strength", "adapter_scale", "latent_strength"])
def test_a_strength_outside_its_range_is_refused(field):
    with pytest.raises(ValidationError, match=field):
        CoherenceSettings(**{field: 1.5})


def test_derived_seeds_differ_by_every_part_and_survive_a_page_that_reads_json():
    seeds = {derived_seed(1, "a", 2), derived_seed(1, "a", 3), derived_seed(1, "b", 2), derived_seed(2, "a", 2)}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**53 for seed in seeds)
