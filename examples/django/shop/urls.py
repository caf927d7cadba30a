from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from . import api, views

urlpatterns = [
    # The same for every visitor: cached.
    path("", views.home, name="home"),
    path("catalog/", views.catalog, name="catalog"),
    path("catalog/product/<slug:slug>/", views.product, name="product"),
    path("catalog/<slug:slug>/", views.category, name="category"),
    path("api/products/", api.products),
    path("api/products/<int:pk>/", api.product),
    # One visitor's own: never cached.
    path("cart/", views.cart, name="cart"),
    path("cart/add/<int:pk>/", views.cart_add, name="cart-add"),
    path("cart/update/<int:pk>/", views.cart_update, name="cart-update"),
    path("checkout/", views.checkout, name="checkout"),
    path("checkout/done/<int:pk>/", views.checkout_done, name="checkout-done"),
    path("api/cart/", api.cart),
    path("login/", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("account/", views.account, name="account"),
    path("healthz", views.healthz),
]
