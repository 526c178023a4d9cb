import pytest

from holdfast.balancer.coordination.redis_urls import Arrangement, Servers, parse_urls

SINGLE, SENTINEL, CLUSTER = Arrangement.SINGLE, Arrangement.SENTINEL, Arrangement.CLUSTER


@pytest.mark.parametrize(
    ("urls", "servers"),
    [
        (["redis://h"], Servers(SINGLE, (("h", 6379),))),
        (["redis://h:1/"], Servers(SINGLE, (("h", 1),))),
        (["redis://a%40b@[::1]:1/15"], Servers(SINGLE, (("::1", 1),), database=15, username="a@b")),
        (["rediss://h:1"], Servers(SINGLE, (("h", 1),), tls={})),
        (
            [
                "rediss://h?ssl_ca_certs=%2Fca&ssl_certfile=/c&ssl_keyfile=/k&ssl_cert_reqs=none&ssl_check_hostname=false"
            ],
            Servers(
                SINGLE,
                (("h", 6379),),
                tls={
                    **{"ssl_ca_certs": "/ca", "ssl_certfile": "/c", "ssl_keyfile": "/k"},
                    **{"ssl_cert_reqs": "none", "ssl_check_hostname": False},
                },
            ),
        ),
        (["redis+sentinel://a,b:1/main"], Servers(SENTINEL, (("a", 26379), ("b", 1)), service="main")),
        (
            ["rediss+sentinel://u@a/main/3"],
            Servers(SENTINEL, (("a", 26379),), service="main", database=3, username="u", tls={}),
        ),
        (
            ["redis://u@a:1", "redis://u@b:2/0", "redis://u@c"],
            Servers(CLUSTER, (("a", 1), ("b", 2), ("c", 6379)), username="u"),
        ),
    ],
)
def test_means(urls, servers):
    assert parse_urls(urls) == servers


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ([], "at least one URL"),
        (["h:6379"], "redis://HOST:PORT/DATABASE or"),
        (["redis:h"], "redis://HOST:PORT/DATABASE or"),
        (["http://h"], "redis://HOST:PORT/DATABASE or"),
        (["redis://h#x"], "redis://HOST:PORT/DATABASE or"),
        (["unix:///run/redis"], "redis://HOST:PORT/DATABASE or"),
        (["redis://"], "HOST:PORT or"),
        (["redis://:1"], "HOST:PORT or"),
        (["redis://h:0"], "HOST:PORT or"),
        (["redis://h:65536"], "HOST:PORT or"),
        (["redis://h:x"], "HOST:PORT or"),
        (["redis://[::1"], "HOST:PORT or"),
        (["redis+sentinel://a,,b/main"], "HOST:PORT or"),
        (["redis://a,b"], "one URL for each node"),
        (["redis://h/x"], "a number as database"),
        (["redis://h/0/1"], "a number as database"),
        (["redis+sentinel://a/main/x"], "a number as database"),
        (["redis+sentinel://a"], "the master's name"),
        (["redis://h?ssl_certfile=c"], "no options but TLS's"),
        (["rediss://h?socket_timeout=1000"], "no options but ssl_ca_certs"),
        (["rediss://h?ssl_cert_reqs=maybe"], "one of none, required"),
        (["redis://a", "redis+sentinel://b/main"], "one URL that lists all Sentinels"),
        (["redis://a", "redis://b/1"], "database 0"),
        (["redis://a/1", "redis://b/1"], "database 0"),
        (["redis://u@a", "redis://b"], "the same user and TLS options"),
        (["rediss://a", "redis://b"], "the same user and TLS options"),
    ],
)
def test_refuses(urls, expected):
    with pytest.raises(ValueError, match=expected):
        parse_urls(urls)


@pytest.mark.parametrize("url", ["redis://:hunter2@h", "redis://u:hunter2@h", "redis+sentinel://u:hunter2@h/main"])
def test_refuses_a_password_without_showing_it(url):
    with pytest.raises(ValueError, match="no password in a URL") as raised:
        parse_urls([url])
    assert "hunter2" not in str(raised.value)


def test_is_shown_for_people():
    assert str(parse_urls(["redis://u@h:1/2"])) == "Redis h:1"
    assert str(parse_urls(["redis+sentinel://a,b/main"])) == "Redis by Sentinel a:26379, b:26379 (main)"
    assert str(parse_urls(["redis://a", "redis://b"])) == "Redis Cluster a:6379, b:6379"
