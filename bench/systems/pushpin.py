"""Pushpin: WebSocket clients, whose messages go as events in HTTP requests to a backend in C, one after another.

It is five processes that talk by ZeroMQ (pushpin, condure, zurl, pushpin-proxy, pushpin-handler); all have the measured
CPU to themselves, and all count.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.process import Process
from bench.systems.base import DESCRIPTORS, MEASURED_CPU, System, accepts, command, echo, folder, free_port, wait_until

CONFIGURATION = """\
[global]
include={{libdir}}/internal.conf
rundir={folder}
ipc_prefix=bench-
[runner]
services=condure,zurl,pushpin-proxy,pushpin-handler
http_port=127.0.0.1:{port}
logdir={folder}
log_level=1
client_maxconn={clients}
condure_bin=condure
zurl_bin=zurl
[proxy]
routesfile={folder}/routes
zurl_out_specs=ipc://{folder}/bench-zurl-in
zurl_out_stream_specs=ipc://{folder}/bench-zurl-in-stream
zurl_in_specs=ipc://{folder}/bench-zurl-out
[handler]
push_in_spec=ipc://{folder}/bench-push-in
push_in_sub_specs=ipc://{folder}/bench-push-in-sub
push_in_http_addr=127.0.0.1
push_in_http_port={publish_port}
command_spec=ipc://{folder}/bench-command
stats_spec=ipc://{folder}/bench-stats
"""


@contextmanager
def pushpin() -> Iterator[System]:
    """As installed, without logs and at one place of its own."""
    with folder() as place, echo("items") as (behind, backend):
        port = free_port()
        (place / "pushpin.conf").write_text(
            CONFIGURATION.format(folder=place, port=port, publish_port=free_port(), clients=DESCRIPTORS // 2)
        )
        (place / "routes").write_text(f"* 127.0.0.1:{backend},over_http\n")
        with Process(command("pushpin"), f"--config={place}/pushpin.conf", cpu=MEASURED_CPU) as proxy:
            wait_until(lambda: accepts(port), proxy)
            yield System(port, proxy, behind)
