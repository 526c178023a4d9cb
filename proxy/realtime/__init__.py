"""What nodes do to clients and channels.

channels     who is in which channel; fan-out in slices, in order (fan_out: one of them; filtered: who
             has a filter for it)
effects      what comes in: checked, numbered, bounded
lanes        the order in which it is carried out, and how much in one turn (lane: of one node)
subscriptions what clients subscribe to by themselves, and publish; permits: whether they may
history      channels with history, put together; histories: through the log, in its order; followed: one of them
history_asks what nodes ask of it
log_queue    what the log is asked; publishing: what is on its way (identities: by which it is there)
explain      which rule takes a channel, for holdfast channel
mutes        channels that have nobody here
"""
