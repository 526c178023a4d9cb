"""What `check` takes, `serve` bears: see borne."""

import pytest
import trio

from holdfast.proxy.config import Config
from holdfast.proxy.config.keys import KEYS, Kind
from tests.proxy.config.borne import examined, odd_values, outcome

NUMBERS = (Kind.COUNT, Kind.BYTES, Kind.SECONDS, Kind.PER_SECOND, Kind.SHARE)
NUMERIC = [name for name, key in KEYS.items() if key.kind in NUMBERS]
# A proxy of a cluster waits for others first, a second and more: these are among the slow tests.
ALONE = [name for name in NUMERIC if not name.startswith(("cluster.", "store."))]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a file without a folder is there
    (tmp_path / "files").mkdir()
    return tmp_path


def taken(name, folder):
    """What `check` takes of the key's odd values, as (value, configuration)."""
    for number, value in enumerate(odd_values(name, folder / "files")):
        (place := folder / str(number)).mkdir()
        config, problems = examined(name, value, place)
        assert (config is None) == bool(problems)
        assert not any("\n" in problem for problem in problems)
        if config is not None:
            yield value, config


async def bear(name, value, config: Config):
    try:
        await outcome(config)
    except BaseException as error:
        error.add_note(f"{name} = {value!r:.80}")
        raise


@pytest.mark.parametrize("name", ALONE)
async def test_a_proxy_bears_the_least_number_that_check_takes(name, folder):
    value, config = min(taken(name, folder), key=lambda one: (one[0] == 0, float(one[0])))
    await bear(name, value, config)


@pytest.mark.slow
@pytest.mark.parametrize("name", KEYS)
def test_a_proxy_bears_what_check_takes(name, folder):
    for value, config in taken(name, folder):
        trio.run(bear, name, value, config)
