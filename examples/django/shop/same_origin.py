"""A guard against cross-site POSTs for a form that is part of a cached page.

Django's CSRF token is made per visitor: a page with `{% csrf_token %}` sets a
cookie, varies by Cookie and can't be shared by a cache. So the add-to-cart form,
which is on the cached product page, has no token. Instead its view asks the
browser where the request comes from: every current browser sends
`Sec-Fetch-Site` (or at least `Origin`) with a POST, and no page can forge them.
A request with neither is not from a browser, so it carries nobody's cookies but
its own. All other forms are on uncached pages and use Django's token as usual.
"""

from functools import wraps
from urllib.parse import urlsplit

from django.http import HttpResponseForbidden
from django.views.decorators.csrf import csrf_exempt


def is_same_origin(request) -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("Origin")
    if origin is not None:
        return urlsplit(origin).netloc == request.get_host()
    return True


def same_origin_instead_of_csrf_token(view):
    @csrf_exempt
    @wraps(view)
    def wrapped(request, *args, **kwargs):
        if not is_same_origin(request):
            return HttpResponseForbidden("This form can only be sent from the shop's own pages.")
        return view(request, *args, **kwargs)

    return wrapped
