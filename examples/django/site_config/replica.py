"""Which replica answered, and how many requests it has had."""

import os
import threading
from collections import Counter

from django.http import HttpResponseNotFound, JsonResponse

NAME = os.environ.get("REPLICA_PORT") or f"pid-{os.getpid()}"


class ReplicaMiddleware:
    """Adds X-Replica to each response, counts requests, and answers /__stats.

    First in MIDDLEWARE, so that static files count too. Health checks and
    /__stats itself are left out of `requests`: they are not visitors' requests.
    """

    def __init__(self, get_response):
        self.get_response = get_response
        self.lock = threading.Lock()
        self.requests = 0
        self.health_checks = 0
        self.by_prefix = Counter()

    def __call__(self, request):
        if request.path == "/__stats":
            response = self.stats(request)
        else:
            self.count(request.path)
            response = self.get_response(request)
        response["X-Replica"] = NAME
        return response

    def count(self, path):
        with self.lock:
            if path == "/healthz":
                self.health_checks += 1
            else:
                self.requests += 1
                # "/catalog/shoes/" counts as "/catalog"; unknown prefixes can't grow this much.
                prefix = "/" + path.split("/", 2)[1]
                if prefix in self.by_prefix or len(self.by_prefix) < 50:
                    self.by_prefix[prefix] += 1

    def stats(self, request):
        # For the operator on this machine: a proxied request is a visitor's.
        if "X-Forwarded-For" in request.headers:
            return HttpResponseNotFound()
        with self.lock:
            body = {
                "replica": NAME,
                "requests": self.requests,
                "health_checks": self.health_checks,
                "by_prefix": dict(self.by_prefix),
            }
        return JsonResponse(body, headers={"Cache-Control": "no-store"})
