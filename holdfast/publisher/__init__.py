"""For those who are neither node nor client (Django, Flask, a cron job): messages to clients, through a proxy's admin
server.

requests      what is asked, and what is answered
conversation  one request over a connection, and its answer
attempts      one request until it is done: when it is sent again, and what it has come to
threads       Publisher, over sockets; awaited: AsyncPublisher, over streams of asyncio or Trio
"""
