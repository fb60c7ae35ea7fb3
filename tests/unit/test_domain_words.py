"""A family with few words is told what it knows in its own words, whatever the caller's."""

import pytest

from models.spec import Domain

DOMAIN = Domain(
    products={"shoe": ("shoe", "running shoe", "sneaker"), "bottle": ("bottle", "water bottle", "thermos")},
    default_product="bottle",
    colours={"teal": ("teal", "turquoise")},
    materials={"metallic": ("metallic", "stainless steel", "steel")},
    settings={"kitchen": ("kitchen", "kitchen counter", "counter"), "city": ("city", "street")},
    settings_as_said={"kitchen": "in the kitchen", "city": "in the city"},
    times={"evening": ("evening", "dusk")},
)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("purple running shoes in the street at dusk", "purple shoe in the city at evening"),
        ("A Turquoise stainless steel thermos", "A teal metallic bottle"),
        ("a teal steel water bottle on the kitchen counter", "a teal metallic water bottle on the kitchen counter"),
        ("sneakers and bottles", "shoe and bottle"),
        ("a steely streetlamp", "a steely streetlamp"),
        ("", ""),
    ],
)
def test_words_for_what_a_domain_knows_become_its_own(said, meant):
    assert DOMAIN.own_words(said) == meant
