"""What references show: views of one product merge, and a picture that contradicts its role is warned of."""

import pytest

from pipelines.agents.entities import Seen
from pipelines.brief import role_of
from pipelines.stages.looks import merged_look, product_look, role_problem


@pytest.mark.parametrize(
    ("looks", "merged"),
    [
        (["teal steel bottle"], "teal steel bottle"),
        (["steel bottle", "teal bottle with a black cap"], "teal steel bottle with a black cap"),
        (["teal bottle with a cap", "teal bottle with a cap"], "teal bottle with a cap"),
        (["bottle with a cap", "matte bottle with a logo"], "matte bottle with a cap and a logo"),
    ],
)
def test_several_views_make_one_description(looks, merged):
    assert merged_look(looks) == merged


def test_a_view_that_contradicts_the_others_is_left_out_and_named():
    views = [
        (0, Seen(name="bottle", description="teal bottle")),
        (1, Seen(name="bottle", description="red bottle with a cap")),
        (2, Seen(name="lamp", description="black glossy lamp")),
        (3, Seen(name="bottle", description="teal bottle with a strap")),
    ]
    look, warnings = product_look("bottle", views)
    assert look == "teal bottle with a strap"
    assert [warning[:11] for warning in warnings] == ["reference 2", "reference 3"]


@pytest.mark.parametrize(
    ("role", "name", "warned"),
    [
        ("product", "astronaut", True),
        ("product", "bottle", False),
        ("product", "watch", False),
        ("character", "water bottle", True),
        ("character", "woman", False),
        ("style", "bottle", False),
    ],
)
def test_a_role_that_the_picture_contradicts_is_a_problem(role, name, warned):
    seen = Seen(name=name, description=f"{name} in soft light")
    assert (role_problem(0, role, seen) is not None) == warned


@pytest.mark.parametrize(
    ("filename", "role"),
    [
        ("character-anna.png", "character"),
        ("style=gold.jpg", "style"),
        ("Style gold.png", "style"),
        ("product.png", "product"),
        ("bottle.png", "product"),
        ("", "product"),
    ],
)
def test_a_file_name_says_the_role(filename, role):
    assert role_of(filename) == role
