"""Nodes whose functions are asyncio's: `from holdfast.asyncio import Node`. All else is what `holdfast` has.

node      Node: whose functions run where
dispatch  requests: the handler in asyncio, before and after it Trio
workers   the asyncio tasks in which handlers run
crossing  from asyncio to Trio and back
hosts     Trio's run within asyncio's loop
"""

from holdfast.asyncio.node import Node

__all__ = ["Node"]
