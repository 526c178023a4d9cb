"""What each event of the logs means. proxy.reference makes the page of it, with levels and fields from the code."""

# proxy.nodes.access_log.who_asked
FIELDS_OF_A_REQUEST = ("request", "client", "address", "protocol", "method", "path", "route")

OF_PROXIES = {
    # clients
    "client_closed": "A client did not leave by itself: the [reason](errors.md), and in words what it was told. code: "
    "of a WebSocket, if the node has chosen one. No more than 10 lines a second; none for a drain, a fence, or an idle "
    "HTTP connection.",
    "clients_closed": "So many more within that second, by reason.",
    "client_kicked": "An operator has closed a client, by `holdfast kick`.",
    "connection_finished": "The last word of a connection.",
    "overloaded": "All clients together held above `client.max_buffered_bytes`: those that held most were closed, or "
    "answered. One line a second: the most that was held, and how many since the last line.",
    "jwt_keys_read": "The file of `client.jwt_keys`, at the first token and when it has changed: so many keys count.",
    "jwt_keys_unusable": "The file of `client.jwt_keys` can't be read, or has no key: those that were there go on "
    "counting. Once for each fault.",
    "accept_failed": "The system gives no further connection at this address; it is tried again. Once a minute.",
    "request": "A request was answered, or its client left: `log.access_log`, of a share of them. seconds: until then. "
    "attempt: above 1, it was redelivered. node: the last one that it was with; none if it waited for one. status: of "
    "a reply in parts, that of the first; of an error in its place or in that of its rest, the error's; 499, as nginx "
    "has it, if the client had gone, or was closed, before all of it was written. reply_bytes: of the body or the "
    "message, 0 of a reply to HEAD, 204, 205 and 304; of an error in its place, all that was written. path: of a "
    "message, that of its client's handshake; what it asks for is in its payload, which no line shows. client and "
    "request are what the node's own log may name. What a limit refuses before it has a number has no line: "
    "`limits_hit`. route: that which has taken it, of the configuration; an answer that the route gives itself has no "
    "request and no node.",
    "clients_let_in": "So many clients that waited for nodes with `on_connect` are in, unasked: the application is "
    "back without it.",
    "request_quarantined": "A request that two nodes were lost with is given to no third.",
    "request_timed_out": "A request has no reply in time: `deadline_exceeded`, or with `no_node` there was no node for "
    "it. seconds: since it came, or since the last part of its reply. No more than 10 lines a second.",
    "bad_reply": "A node's reply can't be said in the client's protocol: the client is told so in its place. No more "
    "than 10 lines a second.",
    "once_given_up": "That a client came or went was told to no node: for so long none could take it, or too much "
    "waited. kind: open or close. No more than 10 lines a second; `holdfast_once_given_up_total` has all.",
    "once_untold": "The proxy stops, and of so many clients that came or went no node has been told. Nodes know of "
    "them, and another proxy has it told.",
    "once_unwanted": "A proxy is no more, and for five minutes no node wanted to be told of so many comings and "
    "goings of its clients: nobody is. prefix: of their ids.",
    "orphans": "A proxy is no more, and one node is told which of its clients went, or came before. prefix: of their "
    "ids. node: who knew of so many.",
    # nodes
    "node_joined": "A node has said who it is.",
    "node_ready": "It gets requests.",
    "node_draining": "It finishes what it has, and gets nothing new. by: an operator, here; or the node's own word: it "
    "goes, or an operator has drained it at some proxy.",
    "node_lost": "Its session has ended without a goodbye. What it had goes to other nodes.",
    "node_left": "It has said goodbye.",
    "node_refused": "It may not be a node here, for good. Its connection is ended.",
    "too_many_nodes": "`node.max_nodes` are linked.",
    "node_ejected": "It has failed too often, and rests until then.",
    "node_process_died": "A process on this host is dead: nobody waits for its silence.",
    "node_link_error": "What came is no batch of frames in order; the session ends.",
    "node_frame_error": "A frame that means nothing here; the session ends.",
    "node_frame_crashed": "A fault of the proxy's, with the traceback; the session ends.",
    "master_elected": "A node is master, by that epoch.",
    "effects_missing": "What a node did to clients was lost on its way; those who would miss it are closed.",
    "history_away": "The log of channels with history can't be asked: `history.without_store`. Said once.",
    "history_back": "It can be again.",
    "history_went_back": "The log has lost what was given out of a channel: it is begun anew.",
    "history_interrupted": "Who is in a channel with history may miss something. No more than 10 lines a second.",
    "keeps_state": "This proxy keeps the nodes' state from now on.",
    "state_above_limit": "The state is above a limit of this proxy, which keeps it: it takes nothing that grows.",
    "waits_for_state": "A new keeper does not begin before it knows what there may be of the state.",
    "state_adopted": "A node has brought the state.",
    "state_given_up": "Changes of the state are given up for another one, which is newer. node: those of that node; "
    "else this proxy's own.",
    "key_not_authorized": "Who knocks at the node port has a key that is not among `node.curve_authorized_keys`: its "
    "public key. Once a minute for each, and once a second for all.",
    "authorized_keys_unreadable": "A file in the folder of `node.curve_authorized_keys` is no key, or can't be read: "
    "who may come in stays as it was.",
    "insecure_node_bind": "Nodes need not prove who they are, and the port is not loopback.",
    # the cluster
    "members": "The cluster has others in it now. gone: those that left, and those that were evicted.",
    "member_evicted": "One that has not left is no member any more: dead, frozen or cut off. It may be this proxy.",
    "waits_to_join": "What a proxy waits for before it is in a cluster: see [how to](../howto/run-a-cluster.md).",
    "proxy_not_heard": "The store names a proxy that is not heard here, with its addresses. At most once a minute.",
    "proxy_process_died": "A proxy's process on this host is dead: nobody waits for its silence.",
    "bad_peer_address": "A proxy's address can't be dialled.",
    "name_not_found": "A name in an address can't be looked up. Said when the reason is another one, and else once a "
    "minute.",
    "fenced": "This proxy does not hear the majority.",
    "not_fenced": "It does again.",
    "closes_clients": "Fenced for too long: its clients are sent elsewhere.",
    "cluster_reset": "The operator says that whom this proxy does not hear is dead.",
    "store_failed": "The coordination store can't be reached or understood. Said once, however long it lasts.",
    "store_is_back": "It can be again.",
    "left_without_the_store": "The proxy ends, and the record still names it.",
    "card_stays": "The proxy ends, and its card in the store ends by itself.",
    # the process
    "serving": "Everything is bound and clients are taken.",
    "draining": "The first signal: clients are closed, requests are finished.",
    "drained": "All are.",
    "drain_timeout": "Not all are, and the time is over.",
    "stopping_at_once": "The second signal.",
    "stopped": "The last line.",
    "sighup_not_used": "SIGHUP came.",
    "descriptor_limit": "The system's limit of open files leaves room for fewer clients than `client.max_connections`, "
    "and for so many nodes.",
    "was_away": "The process stood still for so long, or its turns are long: nobody is given up for that time.",
    "lines_left_out": "So many more of that event within the second: of what strangers and clients can cause at will, "
    "or what may go wrong for many at once, there are no more than 10 lines a second.",
    "log_lines_dropped": "Whoever reads the log is too slow.",
    "admin_connections": "As many connections to the admin server as may be.",
    "admin_connection_lost": "One of them has gone.",
    "admin_request_failed": "A fault of the proxy's, with the traceback.",
    "stranger_ended": "A connection of somebody who has not said who it is.",
    "adapter_crashed": "A fault of a client protocol's adapter, with the traceback. It ends one connection.",
    "flush_crashed": "A fault of the proxy's, with the traceback. It ends one connection.",
    "handshake_crashed": "A fault of the proxy's, with the traceback. It ends one connection.",
    "handler_crashed": "A fault of the proxy's, with the traceback.",
    "step_crashed": "A fault of the proxy's, with the traceback.",
    "effect_crashed": "A fault of the proxy's, with the traceback. That effect is lost.",
    # serve --workers
    "worker_started": "A worker process runs.",
    "worker_ended": "It has ended, and is started again after so many seconds.",
    "worker_failed": "It could not start the first time: all end.",
}

OF_NODES = {
    "lines_left_out": "So many more of that event within the second: of what clients can have functions do wrong.",
    "link_ready": "The node is linked with a proxy. via: through another one.",
    "link_lost": "It was linked, and is not any more; it tries again.",
    "link_failed": "It can't link. Said when the reason is another one, and else once a minute.",
    "tunnel_ended": "A link through another proxy has ended.",
    "tunnel_failed": "A link through another proxy can't be made. Said as link_failed is.",
    "bad_peer_address": "A proxy's address can't be dialled.",
    "name_not_found": "A name in an address can't be looked up. Said when the reason is another one, and else once a "
    "minute.",
    "handler_failed": "`on_request` or the like has raised, or returned what can't be sent. id: what the client was "
    "told in place of the reason. function: which, and where it is. route: the path or field by which it was found.",
    "action_failed": "The same of an action of Kuzzle's API.",
    "callback_failed": "`on_open`, `on_close` or the like has raised. function: which, and where it is.",
    "task_failed": "A task of `node.start_soon` or a turn of `node.every` has raised. That has its next turn. "
    "function: which, and where it is.",
    "lifespan_failed": "`lifespan` has raised: before its `yield`, and the node ends; or after it.",
    "lifespan_timeout": "A lifespan was not left when `drain_timeout` was over, and is cancelled.",
    "metrics_failed": "What `--metrics` serves could not be made, with the traceback.",
    "on_master_failed": "`on_master` has raised, and is called again. function: which, and where it is.",
    "master_began": "This node is master.",
    "master_ended": "It is not any more.",
    "state_unreadable": "A value of the state can't be read.",
    "state_given_up": "Changes of the state are given up for another one, which is newer.",
    "effects_given_up": "A proxy did not take what a handler did to its clients, and may have some: of one that "
    "is gone, by the word of others, nobody misses anything.",
    "drained_by_operator": "At that proxy. The node gets no more requests, from whichever proxy, until it is started "
    "anew.",
    "draining": "The node ends, and finishes what it has.",
    "drain_timeout": "It has not, or a proxy has not read the last of it, and the time is over.",
}
