"""A gRPC server that answers every call with its name; with `xds`, once its control plane has told it to. It prints its port, and ends
when nobody holds its standard input."""

import sys
from concurrent import futures

import grpc

NAME = sys.argv[1].encode()
PORT = sys.argv[2] if len(sys.argv) > 2 else "0"
XDS = "xds" in sys.argv[3:]


class EveryMethod(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: NAME)


server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), handlers=[EveryMethod()], xds=XDS)
port = server.add_insecure_port(f"127.0.0.1:{PORT}")
server.start()
print(port, flush=True)
sys.stdin.read()
server.stop(None)
