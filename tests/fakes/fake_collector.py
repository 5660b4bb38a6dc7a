"""Collectors that receive OTLP, over gRPC and over HTTP, in the test's own process; good ones and bad ones."""

import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import grpc  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service_grpc


class Received:
    """What came."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.go = threading.Event()
        """Until it is set, a slow collector does not answer."""
        self.called = threading.Event()

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for request in self.requests
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]

    @property
    def resource(self) -> dict[str, str]:
        return {pair.key: pair.value.string_value for pair in self.requests[0].resource_spans[0].resource.attributes}


class GrpcCollector(Received):
    """`with` it."""

    protocol = "grpc"

    def __enter__(self) -> Self:
        outer = self

        class Service(service_grpc.TraceServiceServicer):
            def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
                outer.requests.append(request)
                outer.called.set()
                return service.ExportTraceServiceResponse()

        self._server = grpc.server(ThreadPoolExecutor(2))
        service_grpc.add_TraceServiceServicer_to_server(Service(), self._server)  # type: ignore[no-untyped-call]
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait(5)


class HttpCollector(Received):
    """`with` it. `status` other than 200 refuses; `slow` waits for `go` before it answers."""

    protocol = "http/protobuf"

    def __init__(self, *, status: int = 200, slow: bool = False) -> None:
        super().__init__()
        self.status, self.slow = status, slow

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.called.set()
                if outer.slow:
                    outer.go.wait(20)
                if outer.status == 200:
                    request = service.ExportTraceServiceRequest()
                    request.ParseFromString(body)
                    outer.requests.append(request)
                self.send_response(outer.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self._server.shutdown()
        self._thread.join(5)
        self._server.server_close()
