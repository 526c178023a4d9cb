"""nginx: one worker, each client proxied to its own connection to an echo in C."""

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
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://127.0.0.1:{backend}; proxy_http_version 1.1; proxy_read_timeout 1h; proxy_send_timeout 1h;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "Upgrade"; proxy_set_header Host $host;
        }}
    }}
}}
"""


@contextmanager
def nginx() -> Iterator[System]:
    """One worker, each client proxied to its own connection to an echo in C."""
    with folder() as place, echo() as (behind, backend):
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
                connections=DESCRIPTORS - 100,
            )
        )
        with Process(command("nginx"), "-p", place, "-c", file, cpu=MEASURED_CPU) as proxy:
            wait_until(lambda: accepts(port), proxy)
            yield System(port, proxy, behind)
