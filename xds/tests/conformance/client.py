"""A gRPC client that the test drives: for each line N on its input it makes N calls and answers `ok FAILED FIRST_ERROR`."""
import sys

import grpc

call = grpc.insecure_channel("xds:///echo").unary_unary(sys.argv[1])
for line in sys.stdin:
    failed, error = 0, ""
    for _ in range(int(line)):
        try:
            call(b"", timeout=20, wait_for_ready=True)
        except grpc.RpcError as failure:
            failed, error = failed + 1, error or repr(failure).replace("\n", " ")
    print(int(line) - failed, failed, error, flush=True)
