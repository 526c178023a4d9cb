import email.message
import time
from contextlib import suppress

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import File, Form, Headers, HttpInfo, Request, RequestError
from tests.holdfast.node.test_request import whom

BOUNDARY = "multipart/form-data; boundary=X"


def posted(body, content_type):
    headers = Headers([("content-type", content_type)] if content_type is not None else [])
    return Request(body, False, whom(), HttpInfo("POST", "/", headers))


def sent_by_httpx(**what):
    request = httpx.Request("POST", "http://a/", **what)
    return posted(request.read(), request.headers["content-type"])


def refused(request, **limits):
    with pytest.raises(RequestError) as info:
        request.form(**limits)
    return info.value.status


def part(head, content="x"):
    return f"--X\r\n{head}\r\n\r\n{content}\r\n"


def test_fields_of_a_urlencoded_form():
    form = sent_by_httpx(data={"name": "Ada & Bob", "room": ["7", "ä"], "empty": ""}).form()
    assert form.pairs == (("name", "Ada & Bob"), ("room", "7"), ("room", "ä"), ("empty", ""))
    assert form.files == ()
    assert posted(b"a=1", "APPLICATION/X-WWW-Form-URLEncoded; charset=UTF-8").form() == {"a": "1"}
    assert posted(b"", "application/x-www-form-urlencoded").form() == Form()


def test_fields_and_files_of_a_multipart_form():
    form = sent_by_httpx(
        data={"name": "ä", "tag": ["1", "2"]},
        files=[("avatar", ("a.png", b"\x89PNG\r\n--", "image/png")), ("avatar", ("ö.txt", b"", "text/plain"))],
    ).form()
    assert (form["name"], form.get_all("tag")) == ("ä", ["1", "2"])
    first = File("avatar", "a.png", "image/png", b"\x89PNG\r\n--")
    assert form.files == (first, File("avatar", "ö.txt", "text/plain", b""))
    assert form.file("avatar") == first
    assert form.file("name") is None


def test_a_form_as_a_browser_writes_it():
    """Names in UTF-8, quotes as %22, a file that nobody has chosen, a preamble of nothing."""
    body = (
        part('Content-Disposition: form-data; name="a%22ä"', "1")
        + part('content-disposition: form-data; name=file; filename=""\r\nContent-Type: application/octet-stream', "")
        + part('Content-Disposition: form-data; name="b"; filename="C:\\dir\\x;y.txt"')
        + "--X--\r\n"
    )
    form = posted(body.encode(), BOUNDARY).form()
    assert form.pairs == (("a%22ä", "1"),)
    assert form.files == (
        File("file", "", "application/octet-stream", b""),
        File("b", "x;y.txt", "text/plain", b"x"),
    )


@given(
    st.lists(st.tuples(st.text("ab", min_size=1), st.text("\r\n-X a\x00ä"))),
    st.lists(st.binary(max_size=40) | st.sampled_from([b"\r\n--X", b"\r\n--X-", b"--X--", b"\r\n--\r\n--X\r"])),
)
def test_what_is_in_a_form_comes_out_of_it(fields, files):
    body = bytearray()
    for name, value in fields:
        body += part(f'Content-Disposition: form-data; name="{name}"', "").encode()[:-2] + value.encode() + b"\r\n"
    for content in files:
        if b"\r\n--X" in b"\r\n" + content:
            content = content.replace(b"X", b"Y")
        head = 'Content-Disposition: form-data; name="f"; filename="f"'
        body += part(head, "").encode()[:-2] + content + b"\r\n"
    fields_are_clean = all("\r\n--X" not in "\r\n" + value for _, value in fields)
    if not (fields or files) or not fields_are_clean:
        return
    form = posted(bytes(body) + b"--X--", BOUNDARY).form()
    assert list(form.pairs) == fields
    assert [file.content.replace(b"Y", b"X") for file in form.files] == [each.replace(b"Y", b"X") for each in files]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "--X",
        "no boundary at all",
        part('Content-Disposition: form-data; name="a"'),  # it has no end
        part('Content-Disposition: form-data; name="a"')[:-3],
        part("Content-Disposition: form-data") + "--X--",
        part('Content-Disposition: attachment; name="a"') + "--X--",
        part("X: y") + "--X--",
        part("Content-Disposition: form-data; name=a\r\n" + "X: y\r\n" * 20) + "--X--",
        part("Content-Disposition: form-data; name=a\r\nX: " + "y" * 5000) + "--X--",
        part("Content Disposition: form-data") + "--X--",
    ],
)
def test_what_is_no_multipart_form(body):
    assert refused(posted(body.encode(), BOUNDARY)) == 400


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"a=%ff", "application/x-www-form-urlencoded"),
        (b"a=\xff", "application/x-www-form-urlencoded"),
        (b"--X\r\nContent-Disposition: form-data; name=a\r\n\r\n\xff\r\n--X--", BOUNDARY),
        (b"--X\r\nContent-Disposition: form-data; name=\xff\r\n\r\na\r\n--X--", BOUNDARY),
        (b"--X--", "multipart/form-data"),
        (b"--X--", "multipart/form-data; boundary=" + "x" * 1000),
    ],
)
def test_text_is_utf8_and_a_boundary_is_one(body, content_type):
    assert refused(posted(body, content_type)) == 400


@pytest.mark.parametrize("content_type", [None, "", "application/json", "multipart/mixed; boundary=X", "ä€"])
def test_what_says_that_it_is_something_else(content_type):
    assert refused(posted(b"a=1", content_type)) in (400, 415)


def test_a_message_is_no_form():
    assert refused(Request(b"a=1", True, whom())) == 415


def test_a_form_has_bounds():
    urlencoded = posted(b"a=1&b=2", "application/x-www-form-urlencoded")
    multipart = posted(((part("Content-Disposition: form-data; name=a")) * 2 + "--X--").encode(), BOUNDARY)
    for request in (urlencoded, multipart):
        size = len(request.payload)
        assert request.form(max_parts=2, max_bytes=size)
        assert refused(request, max_parts=1) == 413
        assert refused(request, max_bytes=size - 1) == 413
    assert refused(posted(b"&" * 1000, "application/x-www-form-urlencoded")) == 413
    assert refused(posted(b"--X\r\n\r\n\r\n" * 1001, BOUNDARY)) in (400, 413)


@pytest.mark.parametrize("filling", [b"x", b"\r", b"\r\n", b"\r\n--", b"\r\n--XXXXXXX"])
def test_a_large_one_costs_linear_time(filling):
    """Against the time that half of it takes, so that no machine is too slow."""
    head = b'--XXXXXXXX\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'

    def seconds(size):
        request = posted(
            head + filling * (size // len(filling)) + b"\r\n--XXXXXXXX--", "multipart/form-data; boundary=XXXXXXXX"
        )
        started = time.process_time()
        assert len(request.form().files[0].content) > size - 20
        return time.process_time() - started

    small = min(seconds(1 << 16) for _ in range(3))
    assert seconds(1 << 20) < 16 * small * 8 + 0.05


def test_the_parameters_of_a_content_type_are_those_of_the_standard_library():
    message = email.message.Message()
    message["content-type"] = 'multipart/form-data; charset=utf-8; boundary="a b"'
    boundary = message.get_param("boundary")
    body = f"--{boundary}\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--{boundary}--"
    assert posted(body.encode(), message["content-type"]).form() == {"a": "1"}


@pytest.mark.parametrize(
    ("parameters", "name", "filename"),
    [
        ("; name=a", "a", None),
        (";NAME = a b ;filename= \t", "a b", ""),
        ("; ;name=a;", "a", None),
        ("; name=\"a;b\"; filename*=UTF-8''x", "a;b", None),
        (r'; name="a\"b"; filename="c\\d"', 'a"b', r"c\d"),
        (r'; name="a\b"', r"a\b", None),
        (r'; name="a"; filename="b\"', "a", "b\\"),  # a browser's: the file's name ends so
        (r'; name="a"; filename="b\c"', "a", r"b\c"),
    ],
)
def test_how_a_part_says_its_name(parameters, name, filename):
    form = posted((part(f"Content-Disposition: Form-Data {parameters}") + "--X--").encode(), BOUNDARY).form()
    if filename is None:
        assert form.pairs == ((name, "x"),)
    else:
        assert [(file.name, file.filename) for file in form.files] == [(name, filename)]


@pytest.mark.parametrize("parameters", ['name="a', 'name="a"b', 'a b; name=a"', "name=a" + "; b=c" * 16, '"'])
def test_what_says_no_name(parameters):
    assert refused(posted((part(f"Content-Disposition: form-data; {parameters}") + "--X--").encode(), BOUNDARY)) == 400


@pytest.mark.parametrize("filling", [b";", b'";', b"\\;", b'\\"', b";a=", b"; ", b'a="b";'])
@pytest.mark.parametrize("quote", [b'"', b""])
def test_a_long_header_costs_little_whatever_is_in_it(filling, quote):
    """Against as many letters, which cost what the parser of the parts does: to read these was a hundred times that."""

    def seconds(filling):
        name = quote + filling * (4000 // len(filling))
        head = b"--X\r\nContent-Disposition: form-data; name=" + name + quote + b"\r\n\r\nv\r\n"
        body = head * 200 + b"--X--"
        started = time.process_time()
        for _ in range(3):
            with suppress(RequestError):
                posted(body, BOUNDARY).form()
            with suppress(RequestError):
                posted(b"", "multipart/form-data; boundary=" + (name + quote).decode()).form()
        return time.process_time() - started

    assert seconds(filling) < 20 * seconds(b"x") + 0.05


def test_a_form_without_files_is_no_larger_than_what_is_read_soon():
    most = (1 << 20) // 3 - 1
    body = b"a=" + b"%41" * most
    assert posted(body, "application/x-www-form-urlencoded").form() == {"a": "A" * most}
    assert refused(posted(body + b"%41", "application/x-www-form-urlencoded")) == 413


@pytest.mark.parametrize(
    ("count", "size", "is_form"), [(16, 10, True), (17, 10, False), (2, 4000, True), (2, 4150, False)]
)
def test_headers_of_a_part_are_bounded(count, size, is_form):
    """More than the library for it has as its own: an author's client may say more than browsers do."""
    more = "".join(f"\r\nX-{number}: {'x' * size}" for number in range(count - 1))
    request = posted((part(f'Content-Disposition: form-data; name="a"{more}') + "--X--\r\n").encode(), BOUNDARY)
    if is_form:
        assert request.form()["a"] == "x"
    else:
        assert refused(request) == 400
