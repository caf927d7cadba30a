"""The JSON API. Products are the same for everyone; /api/cart/ is the visitor's own."""

from django.core.paginator import Paginator
from django.http import JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe

from .cart import Cart, total
from .models import Product
from .views import private, with_rating


def as_json(product):
    return {
        "id": product.pk,
        "name": product.name,
        "slug": product.slug,
        "url": product.get_absolute_url(),
        "category": product.category.slug,
        "price": str(product.price),
        "availability": product.availability,
        "rating": round(product.rating, 2) if product.rating is not None else None,
        "reviews": product.review_count,
    }


@require_safe
def products(request):
    found = with_rating(Product.objects.all()).order_by("id")
    if category := request.GET.get("category"):
        found = found.filter(category__slug=category)
    page = Paginator(found, 50).get_page(request.GET.get("page"))
    return JsonResponse(
        {
            "count": page.paginator.count,
            "page": page.number,
            "pages": page.paginator.num_pages,
            "products": [as_json(product) for product in page],
        }
    )


@require_safe
def product(request, pk):
    found = get_object_or_404(with_rating(Product.objects.all()), pk=pk)
    return JsonResponse({**as_json(found), "description": found.description})


@private
@require_safe
def cart(request):
    lines = Cart(request).lines()
    return JsonResponse(
        {
            "user": request.user.get_username() or None,
            "count": sum(line.quantity for line in lines),
            "total": str(total(lines)),
            "lines": [{"product": as_line(line), "quantity": line.quantity} for line in lines],
        }
    )


def as_line(line):
    return {"id": line.product.pk, "name": line.product.name, "price": str(line.product.price)}
