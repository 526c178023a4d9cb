import pytest

from holdfast.testing import Broadcast, Close, Join, Leave, Notify, client


def test_a_client_is_its_id():
    ada = client()
    assert Join(ada, "room") == Join(ada.id, "room")
    assert Leave(ada, "room", version=1) == Leave(ada.id, "room", version=1)
    assert Close(ada).client == ada.id
    assert Notify("x", clients=[ada], exclude={ada}) == Notify("x", clients=[ada.id], exclude=[ada.id])
    with pytest.raises(TypeError, match="expected a client"):
        Join("ada", "room")


def test_a_payload_is_what_clients_get():
    assert Notify({"a": 1}).payload == Broadcast({"a": 1}).payload == '{"a":1}'
    assert (Notify(b"a").payload, Notify(bytearray(b"a")).payload) == (b"a", b"a")
    assert Notify([1]).json() == Broadcast("[1]").json() == [1]
    assert Notify("a") != Notify(b"a")


def test_of_names_the_order_does_not_count():
    assert Notify("x", channels=["a", "b"], clients=[2, 1]) == Notify("x", channels=("b", "a"), clients=(1, 2))
    assert Notify("x", channels=["a", "a"]) != Notify("x", channels=["a"])
    assert Notify("x", channels=["a"]) != Broadcast("x")
