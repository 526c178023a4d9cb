"""nginx: one worker, each client proxied to its own connection to an echo in C; HTTP over connections that are kept."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from bench.process import Process
from bench.systems.base import DESCRIPTORS, MEASURED_CPU, System, accepts, command, echo, folder, free_port, wait_until

CONFIGURATION = """\
daemon off; pid {folder}/nginx.pid; error_log stderr error; {user}
worker_processes 1; worker_rlimit_nofile {descriptors};
events {{ worker_connections {connections}; multi_accept on; }}
http {{
    access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    keepalive_requests 1000000000;
    upstream backend {{ server 127.0.0.1:{backend}; keepalive 1024; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://127.0.0.1:{backend}; proxy_http_version 1.1; proxy_read_timeout 1h; proxy_send_timeout 1h;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "Upgrade"; proxy_set_header Host $host;
        }}
        location /items/ {{
            proxy_pass http://backend; proxy_http_version 1.1;
            proxy_set_header Connection ""; proxy_set_header Host $host;
        }}
    }}
}}
"""


@contextmanager
def nginx(backend_program: str = "echo") -> Iterator[System]:
    """One worker. backend_program: see base.echo."""
    with folder() as place, echo(backend_program) as (behind, backend):
        port = free_port()
        file = place / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        file.write_text(
            CONFIGURATION.format(
                folder=place,
                port=port,
                backend=backend,
                user=user,
                descriptors=DESCRIPTORS,
                # More than it can have: with fewer than a sixteenth of them left it closes clients to have some again.
                connections=2 * DESCRIPTORS,
            )
        )
        with Process(command("nginx"), "-p", place, "-c", file, cpu=MEASURED_CPU) as proxy:
            wait_until(lambda: accepts(port), proxy)
            yield System(port, proxy, behind)
