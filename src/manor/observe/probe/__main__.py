"""`python -m manor.observe.probe CONFIG.json`: the probe as a process of its own, which outlives whoever started it."""

import sys

from manor.observe.probe.process import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
