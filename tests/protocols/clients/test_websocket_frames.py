"""WebSocket frames: masking with and without C. All else about frames is seen through the adapter's tests."""

import importlib.util
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from websockets.speedups import apply_mask

from holdfast.protocols.clients import websocket_frames
from holdfast.protocols.clients.websocket_frames import xor_mask


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_masking_without_c_is_the_same(data, mask):
    assert xor_mask(data, mask) == apply_mask(data, mask)
    assert xor_mask(xor_mask(data, mask), mask) == data


def test_masking_is_done_in_c_where_it_can_be():
    assert websocket_frames.apply_mask is apply_mask


def test_where_the_c_module_is_missing_masking_is_done_without_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "websockets.speedups", None)
    source = Path(websocket_frames.__file__).with_name("websocket_frames.py")  # that of a compiled module, too
    spec = importlib.util.spec_from_file_location("frames_without_c", source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.apply_mask is module.xor_mask
    incoming = module.Incoming(100, None, 0.0, False)
    assert incoming.take(b"\x81\x83\x01\x02\x03\x04" + bytes((0x61 ^ 1, 0x62 ^ 2, 0x63 ^ 3)), 0) == 9
    assert incoming.finish_message() == (b"abc", True)
