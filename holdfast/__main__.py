"""`holdfast` and `python -m holdfast`. Imports nothing before signals are seen to: all that the rest takes is time."""

import signal
import sys


def main() -> int:
    """Run the command line. Ctrl-C while it is being imported ends the process as it would end any other.

    SIGHUP waits until the command is known: servers go on (proxy.process.hangup).
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from holdfast import cli

    cli.load(sys.argv[1:])
    if is_ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
