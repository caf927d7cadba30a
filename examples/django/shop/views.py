from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db import DatabaseError, connection, transaction
from django.db.models import Avg, Count, F
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET, require_POST, require_safe

from .cart import Cart, total
from .forms import CheckoutForm, QuantityForm
from .models import Category, Order, OrderItem, Product, Review
from .same_origin import same_origin_instead_of_csrf_token

private = cache_control(private=True, no_store=True)

PAGE_SIZE = 24
SORTS = {"name": "name", "price": "price", "-price": "-price", "newest": "-created"}


# --- Pages that are the same for every visitor -------------------------------
# They must not touch request.session or request.user: that would add
# `Vary: Cookie` and, with a session, a cookie. What is one visitor's own (the
# cart badge, the name in the header) is fetched by shop.js from /api/cart/.


@require_safe
def home(request):
    return render(
        request,
        "shop/home.html",
        {
            "featured": with_rating(Product.objects.filter(featured=True))[:8],
            "categories": Category.objects.annotate(product_count=Count("products")),
            "reviews": Review.objects.filter(rating__gte=4).select_related("product")[:4],
        },
    )


@require_safe
def catalog(request):
    return product_list(request, Product.objects.all(), None)


@require_safe
def category(request, slug):
    found = get_object_or_404(Category, slug=slug)
    return product_list(request, found.products.all(), found)


def product_list(request, products, category):
    sort = request.GET.get("sort", "name")
    query = request.GET.get("q", "").strip()[:60]
    if query:
        products = products.filter(name__icontains=query)
    products = with_rating(products).order_by(SORTS.get(sort, "name"), "id")
    page = Paginator(products, PAGE_SIZE).get_page(request.GET.get("page"))
    return render(
        request,
        "shop/catalog.html",
        {"category": category, "page": page, "sort": sort, "sorts": SORTS, "query": query},
    )


@require_safe
def product(request, slug):
    found = get_object_or_404(with_rating(Product.objects.all()), slug=slug)
    related = with_rating(Product.objects.filter(category=found.category_id).exclude(pk=found.pk))
    return render(
        request,
        "shop/product.html",
        {
            "product": found,
            "reviews": found.reviews.all()[:10],
            "related": related.order_by("-rating", "id")[:4],
        },
    )


def with_rating(products):
    return products.select_related("category").annotate(
        rating=Avg("reviews__rating"), review_count=Count("reviews")
    )


# --- One visitor's own pages --------------------------------------------------


@private
@require_GET
def cart(request):
    lines = Cart(request).lines()
    return render(request, "shop/cart.html", {"lines": lines, "total": total(lines)})


@private
@require_POST
@same_origin_instead_of_csrf_token
def cart_add(request, pk):
    form = QuantityForm({"quantity": request.POST.get("quantity", 1)})
    if not form.is_valid():
        return HttpResponse("quantity: a number from 1 to 20", status=400, content_type="text/plain")
    Cart(request).add(get_object_or_404(Product, pk=pk), form.cleaned_data["quantity"])
    return redirect("cart")


@private
@require_POST
def cart_update(request, pk):
    form = QuantityForm(request.POST)
    if form.is_valid():
        Cart(request).set(pk, form.cleaned_data["quantity"])
    return redirect("cart")


class OutOfStock(Exception):
    pass


@private
def checkout(request):
    shopping_cart = Cart(request)
    lines = shopping_cart.lines()
    if not lines:
        return redirect("cart")
    form = CheckoutForm(request.POST or None)
    status = 200
    if request.method == "POST" and form.is_valid():
        try:
            order = place_order(request.user, form.cleaned_data, lines)
        except OutOfStock as sold_out:
            form.add_error(None, f"Not enough of {sold_out} left.")
            status = 409
        else:
            shopping_cart.clear()
            # Whoever has this session may see the order: order numbers can be guessed.
            request.session["orders"] = [*request.session.get("orders", []), order.pk]
            return redirect("checkout-done", order.pk)
    return render(request, "shop/checkout.html", {"form": form, "lines": lines, "total": total(lines)}, status=status)


@transaction.atomic
def place_order(user, address, lines):
    for line in lines:
        left = Product.objects.filter(pk=line.product.pk, stock__gte=line.quantity)
        if left.update(stock=F("stock") - line.quantity) == 0:
            raise OutOfStock(line.product.name)
    order = Order.objects.create(user=user if user.is_authenticated else None, total=total(lines), **address)
    OrderItem.objects.bulk_create(
        OrderItem(order=order, product=line.product, quantity=line.quantity, price=line.product.price)
        for line in lines
    )
    return order


@private
@require_GET
def checkout_done(request, pk):
    if pk not in request.session.get("orders", []):
        raise Http404
    order = get_object_or_404(Order.objects.prefetch_related("items__product"), pk=pk)
    return render(request, "shop/done.html", {"order": order})


@private
@login_required
@require_GET
def account(request):
    orders = request.user.orders.prefetch_related("items__product")[:20]
    return render(request, "shop/account.html", {"orders": orders})


# --- For the load balancer ----------------------------------------------------


@require_safe
def healthz(request):
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return HttpResponse("database unavailable", status=503, content_type="text/plain")
    return HttpResponse("ok", content_type="text/plain", headers={"Cache-Control": "no-store"})
