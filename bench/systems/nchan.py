"""Nchan, the publish/subscribe module of nginx: one worker, channels in its memory, subscribers by WebSocket."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from bench.build import PROGRAMS
from bench.process import Process
from bench.systems.base import (
    DESCRIPTORS,
    MEASURED_CPU,
    OTHER_CPU,
    System,
    accepts,
    command,
    folder,
    free_port,
    pipe,
    wait_until,
)

MODULE = "/usr/lib/nginx/modules/ngx_nchan_module.so"
CONFIGURATION = """\
load_module {module};
daemon off; pid {folder}/nginx.pid; error_log stderr error; {user}
worker_processes 1; worker_rlimit_nofile {descriptors};
events {{ worker_connections {connections}; multi_accept on; }}
http {{
    access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = / {{ nchan_subscriber websocket; nchan_channel_id bench; }}
        location = /publish {{ nchan_publisher http; nchan_channel_id bench; }}
    }}
}}
"""


@contextmanager
def nchan(members: int) -> Iterator[System]:
    """Subscribers connect to /; a program of ours posts each notification to /publish."""
    with folder() as place, pipe() as (commands, publish):
        port = free_port()
        file = place / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        file.write_text(
            CONFIGURATION.format(
                module=MODULE,
                folder=place,
                port=port,
                user=user,
                descriptors=DESCRIPTORS,
                # More than it can have: with fewer than a sixteenth of them left it closes clients to have some again.
                connections=2 * DESCRIPTORS,
            )
        )
        with Process(command("nginx"), "-p", place, "-c", file, cpu=MEASURED_CPU) as proxy:
            wait_until(lambda: accepts(port), proxy)
            options = [f"--port={port}", "--path=/publish", f"--members={members}"]
            with Process(PROGRAMS / "post", *options, cpu=OTHER_CPU, stdin=commands) as publisher:
                yield System(port, proxy, publisher, publish, publisher.read)
