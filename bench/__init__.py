"""What Holdfast costs, beside nginx, HAProxy and plain C on the same machine in the same minutes: `python -m bench`.

    build      the C programs in c/, and the packages they and the peers need
    process    one process: started on a CPU, its CPU time, its memory
    systems    what is measured: Holdfast with a node, nginx and HAProxy with an echo, the C send loop
    load       the load generator, by command
    works      the measurements: round trip, fan-out, memory
    figures    many runs to one figure: medians, ranges, ratios
    report     the table and the JSON

A measurement is a function in works and one line in its table; a peer is one function in systems.
"""
