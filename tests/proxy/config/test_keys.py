import typing

import pytest

from holdfast.proxy.config import Config
from holdfast.proxy.config.keys import KEYS, Kind
from holdfast.proxy.config.sources import SECTIONS, value_of
from holdfast.proxy.config.values import convert

ALL = [f"{section}.{key}" for section, keys in SECTIONS.items() for key in keys]


def test_every_key_has_its_row_and_no_row_is_without_key():
    assert sorted(KEYS) == sorted(ALL)


def test_rows_of_a_section_stand_together():
    sections = [name.partition(".")[0] for name in KEYS]
    assert sections == sorted(sections, key=list(dict.fromkeys(sections)).index)


@pytest.mark.parametrize("name", ALL)
def test_a_rows_kind_fits_the_keys_type_and_name(name):
    section, _, key = name.partition(".")
    type_ = SECTIONS[section][key]
    kind = KEYS[name].kind
    assert (kind is Kind.BYTES) == (key.endswith("bytes"))
    assert (kind is Kind.FLAG) == (type_ is bool)
    assert (kind is Kind.CHOICE) == (typing.get_origin(type_) is typing.Literal)
    assert (kind in (Kind.SECONDS, Kind.PER_SECOND, Kind.SHARE)) == (type_ is float)
    assert (kind in (Kind.COUNT, Kind.BYTES)) == (type_ is int)
    if key.endswith(("timeout", "interval")):
        assert kind is Kind.SECONDS
    assert KEYS[name].meaning.endswith(".")


@pytest.mark.parametrize("name", ALL)
def test_a_default_is_a_value_that_would_be_taken(name):
    section, _, key = name.partition(".")
    default = value_of(Config(), name)
    given = list(default) if isinstance(default, tuple) else default
    assert convert(given, SECTIONS[section][key], KEYS[name]) == default
