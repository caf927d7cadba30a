"""Visitors of the example shop: browse the catalogue, open a product, add it to the cart, check out.

TARGETS is a comma separated list of base URLs. Users are dealt over it in turn:
one URL is the proxy, several are the replicas themselves, as a plain round robin.
"""

import itertools
import os
import random
import re

import gevent
from locust import FastHttpUser, between, events, task

TARGETS = itertools.cycle(os.environ.get("TARGETS", "http://127.0.0.1:8080").rstrip("/").split(","))

CATEGORIES = ["boats", "mugs", "lamps", "ropes", "books", "shells", "kitchen", "clothing", "furniture", "garden", "tools", "paper"]
PRODUCT_LINK = re.compile(r'href="(/catalog/product/[^"]+)"')
STATIC_LINK = re.compile(r'(?:href|src)="(/static/[^"]+)"')
ADD_LINK = re.compile(r'action="(/cart/add/\d+/)"')
CSRF_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
STATIC = os.environ.get("STATIC", "1") == "1"


class Failed(Exception):
    """A step failed, so the visitor leaves. The failed request is in Locust's figures already."""


class Visitor(FastHttpUser):
    wait_time = between(1, 5)
    connection_timeout = 10
    network_timeout = 30

    def __init__(self, environment):
        self.host = next(TARGETS)
        super().__init__(environment)

    def think(self):
        gevent.sleep(self.wait_time())

    @task
    def shop(self):
        """One flow is one new visitor: no cookies, nothing in the browser's cache."""
        self.client.cookiejar.clear()
        self.fetched = set()
        try:
            page = self.page("/catalog/", "catalogue")
            self.think()
            if random.random() < 0.8:
                # Some categories are more popular than others.
                category = CATEGORIES[min(int(random.expovariate(0.4)), len(CATEGORIES) - 1)]
                page = self.page(f"/catalog/{category}/", "category")
                self.think()
            links = list(dict.fromkeys(PRODUCT_LINK.findall(page)))
            if not links:
                return
            page = self.page(links[min(int(random.expovariate(0.2)), len(links) - 1)], "product")
            self.think()
            self.submit(ADD_LINK.search(page).group(1), "add to cart", {"quantity": "1"}, "cart")
            self.think()
            page = self.page("/checkout/", "checkout form")
            self.think()
            form = {
                "csrfmiddlewaretoken": CSRF_TOKEN.search(page).group(1),
                "name": "Load Test",
                "email": "load@example.com",
                "address": "Pier 1",
            }
            self.submit("/checkout/", "place order", form, "order done")
        except Failed:
            pass

    def page(self, path, name):
        """A page, and the static files on it that this visitor has not got yet."""
        with self.client.get(path, name=name, allow_redirects=False, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}, not 200")
                raise Failed
            text = response.text
        if STATIC:
            for link in set(STATIC_LINK.findall(text)) - self.fetched:
                self.fetched.add(link)
                self.client.get(link, name="static file")
        return text

    def submit(self, path, name, form, next_name):
        """A form, as a browser sends it, and the page it redirects to."""
        headers = {"Origin": self.host, "Sec-Fetch-Site": "same-origin"}
        with self.client.post(
            path, data=form, headers=headers, name=name, allow_redirects=False, catch_response=True
        ) as response:
            if response.status_code != 302:
                response.failure(f"status {response.status_code}, not 302")
                raise Failed
            location = response.headers["Location"]
        return self.page(location, next_name)


@events.quitting.add_listener
def errors_are_judged_by_the_caller(environment, **_):
    environment.process_exit_code = 0
