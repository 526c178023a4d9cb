"""For those who are neither node nor client (Django, Flask, a cron job): messages to clients, through a proxy's admin
server.

requests  what is asked, and what is answered
attempts  when it is sent again
threads   Publisher; awaited: AsyncPublisher, over streams of asyncio or Trio
"""
