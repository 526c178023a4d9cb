"""A cluster on hosts of its own: network namespaces, joined by a switch that loses, delays and doubles what it is told.

hosts      Network and Host: namespaces, their addresses, the processes in them
switch     the program that passes packets on, by rules
world      proxies, nodes, Redis and clients, each on its host
watch      what the proxies say of themselves, all the while
clients    the clients' program; books: what they sent, heard, and should have heard
testimony  what the nodes say, which are those of chaos: who acted as master, which clients came and went
trial      what trials have in common; rows: what was measured, as a table

Needs Linux, root, /dev/net/tun and redis-server; says which of these is lacking, and is skipped then. Nothing of it
outlives the process of the tests, however that ends: a namespace lives as long as somebody holds it.
"""
