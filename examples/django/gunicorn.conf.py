"""One replica. Read by `python -m gunicorn` from the directory it starts in."""

import os

wsgi_app = "site_config.wsgi"
bind = f"127.0.0.1:{os.environ.get('REPLICA_PORT', '8001')}"

# One process per replica, so that the request counter behind /__stats is the
# replica's own; more replicas, not more workers, is how this example scales.
workers = 1
worker_class = "gthread"
threads = 4

# Longer than the proxy keeps an idle connection in its pool: the side that
# sends the next request must be the one to close, or requests race the close.
keepalive = 75
graceful_timeout = 5
control_socket_disable = True
loglevel = os.environ.get("GUNICORN_LOG_LEVEL", "warning")
