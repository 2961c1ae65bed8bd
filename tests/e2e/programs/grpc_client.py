"""Calls a gRPC target as often as each line of its standard input says, and prints for each line who answered and what failed."""

import json
import sys
from collections import Counter

import grpc

TIMEOUT_SECONDS = 25

channel = grpc.insecure_channel(sys.argv[1])
call = channel.unary_unary(sys.argv[2])
for line in sys.stdin:
    answered, failed = Counter(), Counter()
    for _ in range(int(line)):
        try:
            answered[call(b"", timeout=TIMEOUT_SECONDS).decode()] += 1
        except grpc.RpcError as error:
            failed[f"{error.code().name}: {error.details()}"] += 1
    print(json.dumps({"answered": answered, "failed": failed}), flush=True)
