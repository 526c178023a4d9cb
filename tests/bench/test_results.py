import json

import pytest

from bench.process import BenchError
from bench.results import decode, encode, load, merge, save
from tests.bench.results import ALONE, RESULTS, ROUND_TRIP


def test_what_is_kept_comes_back(tmp_path):
    file = tmp_path / "data" / "benchmark.json"
    save(file, RESULTS)
    assert load(file) == RESULTS
    assert [path.name for path in file.parent.iterdir()] == ["benchmark.json"]


def test_it_is_json_of_objects():
    [work, *_] = json.loads(encode(RESULTS))["works"]
    assert work["goals"][0] == {"metric": "cpu_us", "limit": 0.9, "peer": "nginx", "at_least": False}
    assert work["conditions"]["versions"]["nginx"] == "1.22"


def test_a_later_run_of_a_work_takes_the_place_of_the_former():
    later = ALONE._replace(samples={"Holdfast": [{"p99_ms": 1.0}]})
    names = [ALONE.name, "a work that has not been measured yet", ROUND_TRIP.name]  # and UNCOMPARED is no more
    assert merge(RESULTS, [later], names) == [later, ROUND_TRIP]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"works": [{}]}', '{"works": [{"metrics": 3}]}'])
def test_what_is_no_result(text, tmp_path):
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(BenchError, match=r"other\.json holds no results of this benchmark"):
        load(file)


def test_a_result_with_a_field_too_many_is_none_of_ours():
    works = json.loads(encode(RESULTS))
    works["works"][0]["verdict"] = "good"
    with pytest.raises(TypeError, match="verdict"):
        decode(json.dumps(works))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BenchError, match="No such file"):
        load(tmp_path / "none.json")


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match=r"file/new\.json"):
        save(tmp_path / "file" / "new.json", RESULTS)
