from pipelines.steps import Step, StepOutput


async def nothing(desk):
    return StepOutput(value={})


def step(name="storyboard/scene-001", **inputs):
    return Step(name=name, inputs=inputs, work=nothing)


def test_the_key_does_not_depend_on_the_order_of_the_inputs():
    assert step(a=1, b={"x": 1, "y": 2}).key == step(b={"y": 2, "x": 1}, a=1).key


def test_the_key_changes_with_any_input_and_with_the_name():
    keys = {step(a=1).key, step(a=2).key, step(b=1).key, step(name="video/scene-001", a=1).key}
    assert len(keys) == 4


def test_the_key_tells_one_from_one_point_zero_in_text():
    assert step(a=1).key != step(a="1").key
