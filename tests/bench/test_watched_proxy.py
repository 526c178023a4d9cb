import gc
import os

from bench.watched_proxy import PAUSES_FILE, _Watch, pauses


def test_each_collection_is_written_down_with_its_time(tmp_path, monkeypatch):
    file = tmp_path / "pauses"
    monkeypatch.setenv(PAUSES_FILE, str(file))
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    watch = _Watch(descriptor)
    gc.callbacks.append(watch)
    try:
        gc.collect(0)
        gc.collect()
    finally:
        gc.callbacks.remove(watch)
        os.close(descriptor)
    written = pauses(0.0, float("inf"))
    first, last = written[0], written[-1]
    assert (first.generation, last.generation) == (0, 2)
    assert 0.0 < first.seconds < last.seconds
    assert pauses(last.at, float("inf")) == [last]
    assert last not in pauses(0.0, last.at)
