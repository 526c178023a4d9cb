"""Tell everybody something, or those in one room: `python -m examples.auction.announce TEXT [--room /auctions/ID]`.

It is neither node nor client: it asks the admin server of one proxy, as a cron job or a web application would.
"""

import argparse
import os
import sys

from holdfast import ConfigError, Publisher, PublishError

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Tell everybody in the auctions something.")
    parser.add_argument("text")
    parser.add_argument("--room", default="", help="only those in this one, such as /auctions/ID")
    parser.add_argument("--admin", default=os.environ.get("HOLDFAST_ADMIN") or "http://127.0.0.1:7513")
    arguments = parser.parse_args()
    token = os.environ.get("HOLDFAST_ADMIN_TOKEN", "")  # with the scope publish, if the proxy wants any
    said = {"type": "announced", "text": arguments.text}
    try:
        with Publisher(arguments.admin, token, timeout=5) as publisher:  # returns when a node has told all
            if arguments.room:
                publisher.publish(said, channels=[arguments.room])
            else:
                publisher.broadcast(said)
    except (ConfigError, PublishError) as error:
        sys.exit(f"announce: {error}")
