"""A child that misbehaves, as HDF5 can on a crafted file."""

import os
import signal
import sys
import time

from opkit.base.sandbox import Limits, limit_this_process

limit_this_process(Limits(processor_seconds=2))
if sys.argv[1] == "sleep":
    time.sleep(60)
elif sys.argv[1] == "wait":
    time.sleep(3)
elif sys.argv[1] == "spin":
    while True:
        pass
elif sys.argv[1] == "allocate":
    try:
        bytearray(3 << 30)
    except MemoryError:
        print("x.h5: out of memory", file=sys.stderr)
        sys.exit(2)
elif sys.argv[1] == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)
