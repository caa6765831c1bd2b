"""A gRPC client that calls at times which chance has fixed beforehand (open loop), until its input ends.

It says `ready` after its first answer, and in the end `calls COUNT failed COUNT FIRST_ERROR`. A call fails when it has no answer within 20 s, or at once when there is nobody to call.
"""
import random
import sys
import threading
import time

import grpc

METHOD, PER_SECOND = sys.argv[1], float(sys.argv[2])

call = grpc.insecure_channel("xds:///app").unary_unary(METHOD)
call(b"", timeout=60, wait_for_ready=True)
print("ready", flush=True)

over, changed = threading.Event(), threading.Condition()
under_way, failures = 0, []


def ended(future):
    global under_way
    with changed:
        under_way -= 1
        if future.code() is not grpc.StatusCode.OK:
            failures.append(repr(future.exception()).replace("\n", " "))
        changed.notify()


def wait_for_end():
    sys.stdin.read()
    over.set()


threading.Thread(target=wait_for_end, daemon=True).start()
draw, due, calls = random.Random(1), time.monotonic(), 0
while not over.wait(max(0.0, due - time.monotonic())):
    with changed:
        under_way += 1
    call.future(b"", timeout=20).add_done_callback(ended)
    due += draw.expovariate(PER_SECOND)
    calls += 1
with changed:
    changed.wait_for(lambda: under_way == 0)
print("calls", calls, "failed", len(failures), *failures[:1], flush=True)
