"""The cart: {product id: quantity} in the session, so only visitors who put something in it get a cookie."""

from dataclasses import dataclass
from decimal import Decimal

from .models import Product

MAX_QUANTITY = 20


@dataclass
class Line:
    product: Product
    quantity: int

    @property
    def total(self) -> Decimal:
        return self.product.price * self.quantity


class Cart:
    def __init__(self, request):
        self.session = request.session
        # JSON turns the keys into strings.
        self.quantities: dict[str, int] = dict(self.session.get("cart", {}))

    def add(self, product: Product, quantity: int = 1):
        self.set(product.pk, self.quantities.get(str(product.pk), 0) + quantity)

    def set(self, product_id: int, quantity: int):
        if quantity <= 0:
            self.quantities.pop(str(product_id), None)
        else:
            self.quantities[str(product_id)] = min(quantity, MAX_QUANTITY)
        self.session["cart"] = self.quantities

    def clear(self):
        self.quantities = {}
        self.session["cart"] = {}

    def lines(self) -> list[Line]:
        products = Product.objects.filter(pk__in=self.quantities).select_related("category")
        return [Line(product, self.quantities[str(product.pk)]) for product in products]

    @property
    def count(self) -> int:
        return sum(self.quantities.values())


def total(lines: list[Line]) -> Decimal:
    return sum((line.total for line in lines), Decimal("0.00"))
