"""Codes: whether Centrifuge's clients do of themselves what a reason asks of them."""

import pytest

from holdfast.protocols.clients.centrifuge import codes
from holdfast.protocols.clients.centrifuge.codes import close_code, comes_back, error_code, unsubscribe_code
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError, RequestError


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_a_code_that_is_legal_in_a_close_frame(reason):
    code = close_code(reason)
    assert code == 1009 or 3000 <= code <= 3999
    assert 100 <= error_code(HoldfastError("", reason))[0] <= 399


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.retryable])
def test_what_may_work_in_a_moment_is_tried_again(reason):
    assert comes_back(close_code(reason))
    assert error_code(HoldfastError("", reason))[1]
    assert unsubscribe_code(HoldfastError("", reason)) >= 2500


# Not the client's fault, and at an end as soon as somebody has mended it.
OURS = {
    Reason.CLIENT_LEFT,
    Reason.EXPIRED,
    Reason.QUARANTINED,
    Reason.NODE_ERROR,
    Reason.BAD_REPLY,
    Reason.INTERNAL_ERROR,
}


@pytest.mark.parametrize("reason", [reason for reason in Reason if not reason.retryable])
def test_what_will_not_work_is_not_tried_again(reason):
    assert comes_back(close_code(reason)) == (reason in OURS)
    assert error_code(HoldfastError("", reason))[1] == (reason is Reason.EXPIRED)


def test_codes_of_nodes_are_split_as_those_of_the_protocol():
    assert [comes_back(code) for code in (3499, 3500, 4000, 4499, 4500, 4999, 1009)] == [
        True, False, True, True, False, False, False,
    ]  # fmt: skip


def test_an_expired_token_brings_a_new_one():
    assert error_code(HoldfastError("", Reason.EXPIRED)) == (109, True)
    assert unsubscribe_code(HoldfastError("", Reason.EXPIRED)) == codes.SUBSCRIPTION_EXPIRED == 2501
    assert unsubscribe_code(HoldfastError("", Reason.REFUSED)) == codes.SERVER_UNSUBSCRIBE == 2000


@pytest.mark.parametrize(
    ("status", "retry_after", "expected"),
    [
        (404, None, (404, False)),
        (409, 1.0, (409, True)),
        (503, None, (503, True)),
        (500, None, (500, False)),
        (302, None, (100, False)),
        (None, 2.0, (100, False)),
    ],
)
def test_a_status_that_a_node_has_chosen_is_the_code(status, retry_after, expected):
    assert error_code(RequestError("no", Reason.NODE_ERROR, retry_after, status)) == expected
