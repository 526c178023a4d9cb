"""What Holdfast costs beside others on the same machine in the same minutes: `python -m bench`.

build      the C programs in c/, and the packages they and the peers need
process    one process: started on a CPU, its CPU time, its memory
systems    what is measured, ready to be connected to: Holdfast and each peer, a file each
load       the load generator, by command; steady: another, that goes on at its rate while nodes are killed
works      the measurements, a file for each kind, with what Holdfast should reach
results    all runs, kept as JSON, with where and when they were made (machine)
figures    many runs to one figure: medians, ranges, ratios
report     the tables; markdown: on a page of the docs; plot: as a picture
ladder     where each microsecond goes: `python -m bench.ladder`; its programs: rungs, memory_link, bare_node
growth     what a cluster costs as it grows: `python -m bench.growth`; what it measures: cluster, growth_node, sockets
"""
