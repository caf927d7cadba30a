import tempfile

from django.core.management import call_command
from django.test import Client, TestCase, override_settings

from .models import Category, Order, Product, Review


class ShopTests(TestCase):
    @classmethod
    def setUpClass(cls):
        static_root = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.enterClassContext(override_settings(STATIC_ROOT=static_root))
        call_command("collectstatic", interactive=False, verbosity=0)
        super().setUpClass()

    @classmethod
    def setUpTestData(cls):
        category = Category.objects.create(name="Boats", slug="boats", image="boat.svg", blurb="Afloat.")
        cls.product = Product.objects.create(
            category=category, name="Tidal Raft", slug="tidal-raft", description="It floats.", price="12.50", stock=5
        )
        Review.objects.create(product=cls.product, author="Ada", rating=4, text="Dry feet.")

    def add_to_cart(self, quantity=2, **headers):
        return self.client.post(f"/cart/add/{self.product.pk}/", {"quantity": quantity}, headers=headers)

    def test_shared_pages_are_the_same_for_everyone(self):
        paths = ["/", "/catalog/", "/catalog/boats/", "/catalog/product/tidal-raft/", "/api/products/"]
        anonymous = {path: self.client.get(path) for path in paths}
        self.add_to_cart()
        for path, response in anonymous.items():
            with self.subTest(path):
                self.assertEqual(response.status_code, 200)
                self.assertFalse(response.cookies)
                self.assertNotIn("Cookie", response.get("Vary", ""))
                self.assertNotIn("Cache-Control", response)
                self.assertEqual(self.client.get(path).content, response.content)

    def test_an_etag_gets_a_304(self):
        etag = self.client.get("/catalog/")["ETag"]
        self.assertEqual(self.client.get("/catalog/", headers={"If-None-Match": etag}).status_code, 304)

    def test_add_to_cart_shows_in_the_cart(self):
        # As a browser with a cached page does: no CSRF token, but Origin.
        self.client = Client(enforce_csrf_checks=True)
        response = self.add_to_cart(origin="http://testserver")
        self.assertRedirects(response, "/cart/")
        response = self.client.get("/cart/")
        self.assertContains(response, "Tidal Raft")
        self.assertEqual(response["Cache-Control"], "private, no-store")
        cart = self.client.get("/api/cart/").json()
        self.assertEqual((cart["count"], cart["total"]), (2, "25.00"))

    def test_add_to_cart_from_another_site_is_refused(self):
        for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}, {"origin": "null"}):
            with self.subTest(headers):
                response = self.add_to_cart(**headers)
                self.assertEqual(response.status_code, 403)
                self.assertFalse(response.cookies)

    def test_checkout_makes_an_order(self):
        self.add_to_cart()
        form = {"name": "Ada", "email": "ada@example.com", "address": "Pier 1"}
        response = self.client.post("/checkout/", form)
        order = Order.objects.get()
        self.assertRedirects(response, f"/checkout/done/{order.pk}/")
        self.assertEqual(str(order.total), "25.00")
        self.product.refresh_from_db()
        self.assertEqual(self.product.stock, 3)
        self.assertEqual(self.client.get("/api/cart/").json()["count"], 0)
        self.assertEqual(Client().get(f"/checkout/done/{order.pk}/").status_code, 404)

    def test_checkout_of_more_than_there_is_makes_none(self):
        self.add_to_cart(quantity=6)
        form = {"name": "Ada", "email": "ada@example.com", "address": "Pier 1"}
        self.assertContains(self.client.post("/checkout/", form), "Not enough of Tidal Raft", status_code=409)
        self.assertFalse(Order.objects.exists())

    def test_api(self):
        listing = self.client.get("/api/products/", {"category": "boats"}).json()
        self.assertEqual(listing["count"], 1)
        item = self.client.get(f"/api/products/{self.product.pk}/").json()
        self.assertEqual((item["price"], item["rating"]), ("12.50", 4.0))

    def test_static_names_are_hashed(self):
        page = self.client.get("/catalog/")
        self.assertRegex(page.content.decode(), r"/static/shop/shop\.[0-9a-f]{12}\.css")
        self.assertRegex(page.content.decode(), r"/static/shop/img/boat\.[0-9a-f]{12}\.svg")

    def test_account_needs_a_login(self):
        response = self.client.get("/account/")
        self.assertRedirects(response, "/login/?next=/account/")
        self.assertEqual(response["Cache-Control"], "private, no-store")

    def test_replicas_count_requests_but_not_health_checks(self):
        before = self.client.get("/__stats").json()["requests"]
        self.assertEqual(self.client.get("/healthz").content, b"ok")
        response = self.client.get("/catalog/")
        self.assertTrue(response["X-Replica"])
        self.assertEqual(self.client.get("/__stats").json()["requests"], before + 1)
        self.assertEqual(self.client.get("/__stats", headers={"x-forwarded-for": "10.0.0.1"}).status_code, 404)
